"""Chooses terms of two columns on half of the rows, proves them on the other half, and tries them in a booster."""
