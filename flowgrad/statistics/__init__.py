"""Tests of whether a change helped, on statsmodels and SciPy."""

from flowgrad.statistics.ablation import Ablation, ablation, mean_gain
from flowgrad.statistics.comparisons import (
    CONTROL,
    OBSERVATION_COLUMNS,
    PRIMARY,
    Comparison,
    pairs_of,
    reason_of,
    significance,
)
from flowgrad.statistics.design import (
    PRUNED,
    STACKED,
    harmless_from,
    round_comparison,
    rounds_from,
    rounds_of_a_run,
)
from flowgrad.statistics.equivalence import EquivalenceResult, tost
from flowgrad.statistics.multiplicity import benjamini_hochberg, holm
from flowgrad.statistics.nested import NestedResult, halves, nested_f, random_products
from flowgrad.statistics.noninferiority import EQUIVALENT, NO_WORSE, PROVEN, margin_table
from flowgrad.statistics.paired import adjust, gap_closed, paired_t, sign_test, wilcoxon
from flowgrad.statistics.pairs import LEAST_PAIRS, Pairs, pair
from flowgrad.statistics.power import detectable_effect, seeds_needed
from flowgrad.statistics.resampling import Interval, bootstrap_interval, corrected_t
from flowgrad.statistics.result import TestResult, verdict
from flowgrad.statistics.rows import CrossedResult, RowTestValidity, crossed_t, variance_ratio
from flowgrad.statistics.single import arms_test
from flowgrad.statistics.users import NOT_EVIDENCE, user_significance
from flowgrad.statistics.variance import VarianceResult, variance_test

__all__ = [
    "CONTROL",
    "EQUIVALENT",
    "LEAST_PAIRS",
    "NOT_EVIDENCE",
    "NO_WORSE",
    "OBSERVATION_COLUMNS",
    "PRIMARY",
    "PROVEN",
    "PRUNED",
    "STACKED",
    "Ablation",
    "Comparison",
    "CrossedResult",
    "EquivalenceResult",
    "Interval",
    "NestedResult",
    "Pairs",
    "RowTestValidity",
    "TestResult",
    "VarianceResult",
    "ablation",
    "adjust",
    "arms_test",
    "benjamini_hochberg",
    "bootstrap_interval",
    "corrected_t",
    "crossed_t",
    "detectable_effect",
    "gap_closed",
    "halves",
    "harmless_from",
    "holm",
    "margin_table",
    "mean_gain",
    "nested_f",
    "pair",
    "paired_t",
    "pairs_of",
    "random_products",
    "reason_of",
    "round_comparison",
    "rounds_from",
    "rounds_of_a_run",
    "seeds_needed",
    "sign_test",
    "significance",
    "tost",
    "user_significance",
    "variance_ratio",
    "variance_test",
    "verdict",
    "wilcoxon",
]
