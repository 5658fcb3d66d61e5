"""Loaders of ratings. Run from the repository's root; never installed."""
