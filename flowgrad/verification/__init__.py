"""Reports and tables held against the observations beside them."""
