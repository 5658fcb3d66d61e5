"""The rule book: a Hydra config group and plain YAML at once."""
