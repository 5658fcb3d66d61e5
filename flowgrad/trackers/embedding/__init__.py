"""The tracker of embedding tables: what is counted of every row, and followed of a sample of them."""

from flowgrad.trackers.embedding.tracker import EmbeddingTracker

__all__ = ["EmbeddingTracker"]
