"""The table that compares our models of clicks with those of another library."""

from __future__ import annotations

import importlib.util

import pandas as pd
import pytest

from flowgrad.errors import FlowGradError
from pipelines.benchmarks.recommenders import rechub
from pipelines.benchmarks.recommenders.job import comparison


def test_means_agree_within_two_standard_errors_or_they_do_not():
    lines = []
    for seed, (ours, theirs) in enumerate([(0.70, 0.71), (0.72, 0.70), (0.71, 0.72)]):
        for library, value in (("flowgrad", ours), ("torch-rechub", theirs)):
            lines.append({"setting": "a", "seed": seed, "library": library, "auc": value, "logloss": value})
            lines.append({"setting": "b", "seed": seed, "library": library, "auc": value + (library == "flowgrad"),
                          "logloss": value})  # fmt: skip
    table = comparison(pd.DataFrame(lines)).set_index(["setting", "metric"])
    assert table.loc[("a", "auc"), "difference"] == pytest.approx(0)
    assert table.loc[("a", "auc"), "standard_error"] == pytest.approx((2 * 0.01**2 / 3) ** 0.5)
    assert table["within_two"].to_dict() == {
        ("a", "auc"): True, ("b", "auc"): False, ("a", "logloss"): True, ("b", "logloss"): True,
    }  # fmt: skip


@pytest.mark.skipif(importlib.util.find_spec("torch_rechub") is not None, reason="Torch-RecHub is installed")
def test_without_the_library_the_error_says_how_it_is_installed():
    with pytest.raises(FlowGradError, match=r"pip install --no-deps torch-rechub==0\.9\.0"):
        rechub.check_installed()
