"""Known faults put into real training, and whether the diagnosis finds them: recall, precision, repairs."""
