"""Watches a whole training by one line, and tells it in one report."""

from flowgrad.watching.watched_run import Watch, watch

__all__ = ["Watch", "watch"]
