"""Batches that are told: what their ids, targets and rows say before any of it reaches a model."""
