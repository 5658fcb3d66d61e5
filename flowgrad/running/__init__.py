"""Runs a script of others and watches what it trains: `python -m flowgrad run train.py`. Nothing here imports torch."""
