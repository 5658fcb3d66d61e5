"""Trainers, a folder for each family of models, behind one class."""
