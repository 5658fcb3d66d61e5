"""Decides when a tracker samples: plain callables from the number of a step (the first is 1) to whether it is
sampled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Schedule = Callable[[int], bool]


@dataclass(frozen=True)
class Every:
    """Schedule of the first `in_a_row` of each `steps` steps, and all of the `first` steps of the run. It can be
    pickled.
    """

    steps: int
    in_a_row: int
    first: int

    def __call__(self, step: int) -> bool:
        """Whether the step is sampled."""
        return step <= self.first or (step - 1) % self.steps < self.in_a_row


@dataclass(frozen=True)
class Logarithmic:
    """Schedule of so many groups of samples in each doubling of the steps. It can be pickled."""

    a_doubling: int
    in_a_row: int

    def __call__(self, step: int) -> bool:
        """Whether the step is sampled."""
        stride = max(1, (1 << (step.bit_length() - 1)) // self.a_doubling)
        return step % stride < self.in_a_row


def every(steps: int = 1, in_a_row: int = 1, first: int = 0) -> Schedule:
    """Make a schedule of the first `in_a_row` of each `steps` steps, and all of the `first` steps of the run.

    Args:
        steps: length of a period.
        in_a_row: sampled steps in a row; two or more show how the gradients of successive steps agree.
        first: steps at the start that are all sampled.

    Raises:
        ValueError: `steps` or `in_a_row` is below 1, `in_a_row` above `steps`, or `first` below 0.

    >>> [step for step in range(1, 12) if every(5)(step)]
    [1, 6, 11]
    """
    if not 1 <= in_a_row <= steps:
        raise ValueError(f"steps={steps}, in_a_row={in_a_row}: must be 1 <= in_a_row <= steps")
    if first < 0:
        raise ValueError(f"first={first}: must be 0 or more")
    return Every(steps, in_a_row, first)


def logarithmic(a_doubling: int = 16, in_a_row: int = 1) -> Schedule:
    """Make a schedule of about so many samples from each power of two to the next, evenly spaced: the share of steps
    sampled falls as the run goes on, and so does the cost.

    Args:
        a_doubling: samples (or groups of them) in each doubling of the steps.
        in_a_row: steps sampled each time.

    Raises:
        ValueError: one of them is below 1.

    >>> [step for step in range(1, 33) if logarithmic(4)(step)]
    [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32]
    """
    if a_doubling < 1 or in_a_row < 1:
        raise ValueError(f"a_doubling={a_doubling}, in_a_row={in_a_row}: must be 1 or more")
    return Logarithmic(a_doubling, in_a_row)


def default() -> Schedule:
    """Make the default schedule: the first 20 steps, then two in a row of every 41.

    This is a prime number: what comes again every few steps, as those of a second optimizer do, is met sooner or later.
    """
    return every(41, in_a_row=2, first=20)
