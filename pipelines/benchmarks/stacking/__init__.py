"""Measures what training seeds together costs, beside a seed alone, and whether each gets the same figures.

Each case runs in a process of its own, one after the other. In each round one seed is trained alone, and so many seeds
as the job says as the proof trains them, in an order that is swapped each round: other work of the machine hits both,
and drifts cancel in the ratio of a round. `ratio` is the median over the rounds, of wall time, with an interval from
order statistics; `cpu_ratio` that of the time that the processor spent. Memory is the rise of the peak of resident
memory.
"""
