"""One training loop, its losses and its order of examples."""
