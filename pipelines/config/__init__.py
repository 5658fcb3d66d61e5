"""The config of a run: its schema, composing, values and targets, and how errors in it are told."""
