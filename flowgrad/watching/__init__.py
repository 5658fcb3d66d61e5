"""Watches a whole training by one line, and tells it in one report."""

from flowgrad.watching.watch import Watch, watch

__all__ = ["Watch", "watch"]
