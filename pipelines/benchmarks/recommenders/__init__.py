"""Compares our models of recommenders with those of other libraries."""
