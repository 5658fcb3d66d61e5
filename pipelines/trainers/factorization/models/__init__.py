"""Models that the pipelines train."""
