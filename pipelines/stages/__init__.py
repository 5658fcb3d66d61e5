"""The steps of a job: check, gate, diagnose, treat, prune, plan seeds, compare, write what came of it."""
