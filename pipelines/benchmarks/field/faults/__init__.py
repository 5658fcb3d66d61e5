"""Faults. Importing this package registers them."""

from pipelines.benchmarks.field.faults import (  # noqa: F401
    boosters,
    data,
    loop,
    losses,
    optimizers,
    parameters,
    recommenders,
    students,
)
