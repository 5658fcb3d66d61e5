"""Premises of shipped rules tell no figure that is not known."""

from __future__ import annotations

import pytest

from flowgrad.rules import RuleBook
from flowgrad.rules.premise import render_premise

STEP = {"nonfinite_step": 1.0, "steps": 64.0, "nonfinite_tensors": 4.0, "tensors": 4.0}
RATE = {"median_update_ratio_first": 9.0, "fastest_update_ratio_first": 10.0, "lr_peak": 10.0, "loss_peak_ratio": 2e29}


@pytest.mark.parametrize(
    ("rule", "measured", "told"),
    [
        ("nonfinite_values", STEP, "4 of 4 tensors"),
        ("nonfinite_values", STEP | {"loss_growth_before": 5.0}, "5 times its lowest level"),
        ("nonfinite_values", STEP | {"update_before": 4.0}, "an update reached 4 of its weights"),
        ("nonfinite_values", STEP | {"update_before": 4.0, "loss_growth_before": 5.0}, "5 times its lowest level"),
        ("nonfinite_values", STEP | {"update_before": 4.0, "gradient_growth_before": 7.0}, "7 times its median"),
        ("network_rate_too_high", RATE | {"loss_nonfinite": 1.0}, "some numbers were NaN or infinite"),
        ("unnormalised_inputs", {"input_size": 8.0, "input_size_max": 13.0}, "root mean square of 8"),
        ("gradient_spikes", {"total_gradient_norm_max": 1e4, "gradient_spike": 200.0}, "200 times the median look"),
        ("divergence", {"loss_peak_ratio": 30.0}, "rose to 30 times"),
        ("divergence", {"loss_first": 1.0, "loss_last": 2.0}, "from 1 to 2"),
        ("divergence", {"loss_first": 1.0, "loss_last": 2.0, "loss_peak_ratio": 3.0}, "rose to 3 times"),
        ("nonfinite_loss", {"loss_nonfinite": 1.0}, "none that was told was finite"),
    ],
)
def test_a_figure_that_is_not_known_is_not_told(rule: str, measured: dict[str, float], told: str) -> None:
    """A run that diverged read "the loss stood at nan times its lowest level", "by epoch it went from nan to nan"."""
    premise = render_premise(RuleBook.load()[rule].premise_of(measured), measured)
    words = premise.split()
    assert told in premise
    assert not {"nan", "nan%"} & set(words)


def test_a_loss_that_is_no_number_is_not_told_as_one() -> None:
    """The mean of the finite losses of a run that ended in NaN was told as what the loss "is now"."""
    measured = RATE | {"loss_nonfinite": 1.0, "loss_rise": 1e30, "loss_last": 5e31, "loss_best": 232.0}
    measured["median_update_ratio"] = 0.0
    assert " now" not in render_premise(RuleBook.load()["network_rate_too_high"].premise_of(measured), measured)


def test_figures_that_are_known_are_told() -> None:
    """A run of finite numbers tells all of its figures, as before."""
    book = RuleBook.load()
    known = STEP | {"loss_growth_before": 5.0, "gradient_growth_before": 7.0, "update_before": 4.0}
    assert "7 times its median" in render_premise(book["nonfinite_values"].premise_of(known), known)
    inputs = {"input_size": 8.0, "input_size_max": 13.0, "loss_fall": 0.25, "loss_nonfinite": 0.0}
    assert "fell by 25.0%" in render_premise(book["unnormalised_inputs"].premise_of(inputs), inputs)
    rate = RATE | {"loss_nonfinite": 0.0, "nonfinite_tensors": 0.0, "median_update_ratio": 0.5, "loss_rise": 0.2}
    assert "0.5 now" in render_premise(book["network_rate_too_high"].premise_of(rate), rate)
