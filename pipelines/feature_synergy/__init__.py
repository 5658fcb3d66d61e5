"""Terms of two columns: found on half of the rows, proven on the other half, tried in a booster."""
