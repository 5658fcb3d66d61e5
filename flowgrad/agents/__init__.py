"""Answers that agents act on: verbs such as `flowgrad findings`, each a function that returns a plain mapping.

Command line, JSON and the tools of the MCP server say what these functions return, and nothing else.
"""
