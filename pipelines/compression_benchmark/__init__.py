"""What compression does, foretold and done: every score against the held-out loss, beside the peer library.

The truth is the rise of the loss on test rows, which no plan sees, over the loss before: with one layer alone rounded
or pruned (`singles`), and with whole models compressed by a plan (`plans`).
"""
