"""Makes the figures of a page from tables of a run, one module a topic."""
