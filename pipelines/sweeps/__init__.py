"""Sweeps: a folder for each job, a mark where it ended, one table over all of them."""
