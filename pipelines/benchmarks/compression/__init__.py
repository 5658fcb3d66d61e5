"""Compares the effect of compression with its prediction: every score against the held-out loss, next to the peer
library.

The truth is the rise of the loss on test rows, which no plan sees, over the loss before: with one layer alone rounded
or pruned (`singles`), and with whole models compressed by a plan (`plans`).
"""
