"""Damaged and hostile input of every kind, drawn by seed: what is refused, what runs, and what goes wrong."""
