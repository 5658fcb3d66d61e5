"""Tests of whether a change helped, on statsmodels and SciPy."""

from flowgrad.statistics.multiplicity import holm
from flowgrad.statistics.paired import TestResult, adjust, gap_closed, paired_t, sign_test, verdict, wilcoxon

__all__ = ["TestResult", "adjust", "gap_closed", "holm", "paired_t", "sign_test", "verdict", "wilcoxon"]
