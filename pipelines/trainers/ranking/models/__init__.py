"""Ranking models: one module each, with its settings."""
