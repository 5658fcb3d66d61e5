"""The steps of a job: check, gate, diagnose, treat, plan seeds, compare, write what came of it."""
