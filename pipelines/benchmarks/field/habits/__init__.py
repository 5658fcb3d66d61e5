"""Healthy habits. Importing this package registers them."""

from pipelines.benchmarks.field.habits import boosters, loops, models, optimizers  # noqa: F401
