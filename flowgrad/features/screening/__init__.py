"""Which terms of columns a table speaks for: the arithmetic, on arrays."""
