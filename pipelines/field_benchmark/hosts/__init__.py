"""Sound trainings. Importing this package registers them."""

from pipelines.field_benchmark.hosts import boosters, networks, recommenders, students, unusual  # noqa: F401
