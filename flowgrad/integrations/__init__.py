"""Callbacks that put a watch into the loops of other frameworks. Each module imports its own framework alone:
`flowgrad.integrations.lightning`, `flowgrad.integrations.transformers`.
"""
