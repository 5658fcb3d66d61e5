"""We inject known faults into healthy runs and score the diagnosis: recall, precision, repairs."""
