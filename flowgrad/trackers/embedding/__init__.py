"""The tracker of embedding tables: it counts lookups of every row, and follows the weights of a sample of rows."""

from flowgrad.trackers.embedding.tracker import EmbeddingTracker

__all__ = ["EmbeddingTracker"]
