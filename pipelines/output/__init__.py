"""What a run prints and writes: console, tables, its folder, its end."""
