"""Compares what a document shows with what its code prints."""

from __future__ import annotations

import re

import numpy as np

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def alike(shown, printed, rtol=0.05):
    """Whether a page shows what was printed: the same words, and numbers that differ by 5 % at most (another machine
    rounds otherwise). A last line `…` stands for all that follows.
    """
    shown = shown.rstrip()
    if shown.endswith("\n…"):
        shown = shown.removesuffix("…").rstrip()
        printed = "\n".join(printed.splitlines()[: len(shown.splitlines())])
    numbers = [[float(number) for number in _NUMBER.findall(text)] for text in (shown, printed)]
    return words(shown) == words(printed) and np.allclose(*numbers, rtol=rtol)


def words(text):
    """What stands between the numbers of a text."""
    return [" ".join(part.split()) for part in _NUMBER.split(text)]
