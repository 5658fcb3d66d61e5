"""Loaders of ratings and tables. They run from the repository's root and are never installed."""
