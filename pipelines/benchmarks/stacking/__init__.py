"""Measures what training seeds together costs, beside a seed alone, and whether each gets the same figures.

Each case runs in a process of its own, one after the other. In each round one seed is trained alone; then so many seeds
as the job says, in the stacks that the proof trains, one after the other; then the same stacks, shared out to `workers`
processes as in the proof, which are started before. The order is swapped each round: other work of the machine hits all
alike, and drifts cancel in the ratio of a round. `ratio` is the median over the rounds, of wall time, with an interval
from order statistics; `cpu_ratio` that of the time that the processor spent; `shared_ratio` that of the processes, of
wall time. Memory is the rise of the peak of the resident memory of the one process.
"""
