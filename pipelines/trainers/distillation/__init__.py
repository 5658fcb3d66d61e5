"""Students of a teacher: networks on tables and on ratings that learn from another network's outputs."""
