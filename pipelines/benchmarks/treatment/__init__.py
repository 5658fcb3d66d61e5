"""Compares fixes made while training runs with no fix, and with the same training made anew with its fix."""
