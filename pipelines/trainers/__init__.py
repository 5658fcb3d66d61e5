"""What is trained, a folder a family of models, behind one class."""
