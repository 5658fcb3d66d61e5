"""Output of a run: console, tables, its folder, its end."""
