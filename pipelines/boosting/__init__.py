"""Gradient boosters on tables."""
