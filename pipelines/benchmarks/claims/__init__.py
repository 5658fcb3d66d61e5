"""Computes the claims of the README again from raw data."""
