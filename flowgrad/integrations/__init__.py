"""Callbacks that put a watch into the loops of other frameworks. Each module imports its framework, and none the others:
`flowgrad.integrations.lightning`, `flowgrad.integrations.transformers`.
"""
