"""Programs of the user's own, which are not imported: run as processes, an arm and a seed each."""
