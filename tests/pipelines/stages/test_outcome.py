"""The line of a proof, in words."""

from __future__ import annotations

import pandas as pd

from flowgrad.statistics import Comparison, significance
from pipelines.stages.outcome import proof_line


def line_of(n):
    lines = [
        ("e", arm, seed, "mse", base + shift + 0.01 * seed * scale, False)
        for arm, shift, scale in (("baseline", 0.0, 1), ("treated", -0.5, 2))
        for seed, base in zip(range(n), (1.0, 1.2, 1.1), strict=False)
    ]
    table = pd.DataFrame(lines, columns=["experiment", "arm", "seed", "metric", "value", "higher_is_better"])
    return significance(table, [Comparison("treated_vs_baseline", "baseline", "treated", "change")], ["mse"]).iloc[0]


def test_a_proof_of_two_pairs_says_why_it_has_no_verdict():
    """A p that there is none of left a gap in the line."""
    told = proof_line(line_of(2))
    assert told.endswith("wins 2/2: inconclusive (2 pairs are too few for a verdict; give 3 or more)")
    assert ", p" not in told


def test_a_proof_of_three_has_its_p():
    told = proof_line(line_of(3))
    assert ", p " in told
    assert told.endswith("wins 3/3: confirmed")
