"""Healthy habits. Importing this package registers them."""

from pipelines.field_benchmark.habits import boosters, loops, models, optimizers  # noqa: F401
