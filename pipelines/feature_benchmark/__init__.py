"""Known interactions put into tables, and tables without any: what is found, and what is found where nothing is."""
