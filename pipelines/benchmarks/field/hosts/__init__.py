"""Sound trainings. Importing this package registers them."""

from pipelines.benchmarks.field.hosts import boosters, networks, recommenders, students, unusual  # noqa: F401
