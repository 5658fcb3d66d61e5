"""The analyzer of rankings: what it finds on vectors with a known fault, and what it refuses."""

import math

import numpy as np
import pytest

from flowgrad import FlowGradError, RankingAnalyzer
from flowgrad.report import from_xml, validate

QUERIES, ITEMS, DIM = 400, 120, 16


def drawn(scale=1.0, offset=0.0, seed=0, normalised=False):
    """Vectors, exposures, and targets drawn by softmax(scale * scores + offset * log exposures)."""
    rng = np.random.default_rng(seed)
    queries, items = rng.normal(size=(QUERIES, DIM)) / 2, rng.normal(size=(ITEMS, DIM)) / 2
    if normalised:
        queries, items = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (queries, items))
    exposures = np.maximum(1, (2000 / np.arange(1, ITEMS + 1)).astype(int))
    logits = scale * queries @ items.T + offset * np.log(exposures)
    targets = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return queries, items, exposures, targets


def types(analyzer):
    return {finding.type for finding in analyzer.findings()}


def test_sound_vectors_have_no_finding():
    analyzer = RankingAnalyzer(*drawn(scale=1.0))
    analyzer.observe_loss(temperature=1.0, in_batch_negatives=0.0)
    assert not types(analyzer)


def test_every_declared_measure_is_there_before_and_after_anything_is_told():
    analyzer = RankingAnalyzer(*drawn())
    names = [measure.name for measure in RankingAnalyzer.MEASURES]
    assert sorted(analyzer.measurements().scalars) == sorted(names)
    analyzer.observe_loss(temperature=1.0)
    analyzer.observe_padding(padding_shift=0.0)
    assert sorted(analyzer.measurements().scalars) == sorted(names)


def test_one_vector_for_all_is_a_collapse_and_not_a_list_for_all():
    queries, items, exposures, targets = drawn()
    items = np.ones_like(items) + 1e-4 * items
    assert types(RankingAnalyzer(queries, items, exposures, targets)) >= {"RANKING_COLLAPSED"}
    assert "ONE_LIST_FOR_ALL" not in types(RankingAnalyzer(queries, items, exposures, targets))


def test_one_list_for_all_is_told_from_a_collapse():
    queries, items, exposures, targets = drawn()
    queries = 0.2 * queries
    queries[:, 0], items[:, 0] = 2.0, np.log(exposures)
    found = types(RankingAnalyzer(queries, items, exposures, targets))
    assert "ONE_LIST_FOR_ALL" in found
    assert "RANKING_COLLAPSED" not in found


def test_items_in_few_directions_are_told_from_both():
    queries, items, exposures, targets = drawn()
    items[:, 2:] *= 1e-3
    found = types(RankingAnalyzer(queries, items, exposures, targets))
    assert "VECTORS_IN_FEW_DIRECTIONS" in found
    assert not found & {"ONE_LIST_FOR_ALL", "RANKING_COLLAPSED"}


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_a_temperature_is_too_high_where_targets_ask_for_a_lower_one(temperature):
    analyzer = RankingAnalyzer(*drawn(scale=10.0, normalised=True))  # cosines divided by 0.1
    analyzer.observe_loss(temperature=temperature)
    assert ("TEMPERATURE_TOO_HIGH" in types(analyzer)) == (temperature == 1.0)
    assert analyzer.measurements().scalars["fitted_scale"] == pytest.approx(10 * temperature, rel=0.2)


@pytest.mark.parametrize(
    ("crowded", "temperature", "told"), [(True, 0.01, True), (False, 0.01, False), (True, 0.1, False)]
)
def test_a_temperature_is_too_low_where_it_is_low_and_vectors_crowd(crowded, temperature, told):
    queries, items, exposures, targets = drawn(normalised=True)
    if crowded:
        queries, items = (one + 6 / np.sqrt(DIM) for one in (queries, items))
        queries, items = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (queries, items))
    analyzer = RankingAnalyzer(queries, items, exposures, targets)
    analyzer.observe_loss(temperature=temperature, hard_negatives=0.0)
    assert ("TEMPERATURE_TOO_LOW" in types(analyzer)) == told


def test_hard_negatives_are_blamed_for_one_list_and_for_nothing_else():
    queries, items, exposures, targets = drawn()
    analyzer = RankingAnalyzer(queries, items, exposures, targets)
    analyzer.observe_loss(hard_negatives=8.0, false_negative_share=0.1)
    assert "HARDEST_NEGATIVES_COLLAPSE" not in types(analyzer)
    queries, items = 0.2 * queries, items.copy()
    queries[:, 0], items[:, 0] = 2.0, np.log(exposures)
    for kept in (8.0, 0.0):
        analyzer = RankingAnalyzer(queries, items, exposures, targets)
        analyzer.observe_loss(hard_negatives=kept, false_negative_share=0.1)
        assert ("HARDEST_NEGATIVES_COLLAPSE" in types(analyzer)) == (kept > 0)


def test_scores_that_say_nothing_have_no_temperature():
    queries, items, exposures, _ = drawn(normalised=True)
    targets = np.random.default_rng(9).integers(ITEMS, size=QUERIES)
    analyzer = RankingAnalyzer(queries, items, exposures, targets)
    analyzer.observe_loss(temperature=0.05)
    assert not {one for one in types(analyzer) if one.startswith("TEMPERATURE")}


@pytest.mark.parametrize(("offset", "in_batch", "told"), [(1.0, 1.0, True), (0.0, 1.0, False), (1.0, 0.0, False)])
def test_a_missing_correction_needs_negatives_of_the_batch_and_targets_that_bear_it_out(offset, in_batch, told):
    analyzer = RankingAnalyzer(*drawn(scale=1.0, offset=offset))
    analyzer.observe_loss(in_batch_negatives=in_batch, sampling_correction=0.0)
    assert ("POPULARITY_OF_NEGATIVES_NOT_CORRECTED" in types(analyzer)) == told


@pytest.mark.parametrize(("offset", "correction", "told"), [(1.5, 1.0, True), (0.0, 1.0, False), (1.5, 0.0, False)])
def test_a_correction_that_targets_do_not_bear_out_is_asked_about(offset, correction, told):
    """Its sign is turned, or it never reaches the loss."""
    analyzer = RankingAnalyzer(*drawn(scale=1.0, offset=offset))
    analyzer.observe_loss(in_batch_negatives=1.0, sampling_correction=correction)
    assert ("POPULARITY_CORRECTION_NOT_IN_FORCE" in types(analyzer)) == told


def test_cold_items_that_are_recommended_are_found():
    queries, items, exposures, targets = drawn()
    exposures[-40:] = 0
    keep = targets < ITEMS - 40
    analyzer = RankingAnalyzer(queries[keep], items, exposures, targets[keep])
    assert "COLD_ITEMS_RECOMMENDED" in types(analyzer)
    items[-40:] = 0  # scores of 0 stand in no list of ten of eighty
    assert "COLD_ITEMS_RECOMMENDED" not in types(RankingAnalyzer(queries[keep], items, exposures, targets[keep]))


def test_items_that_were_met_are_in_no_list():
    queries, items, exposures, _ = drawn()
    seen = np.zeros((QUERIES, ITEMS), dtype=bool)
    seen[:, :60] = True
    measured = RankingAnalyzer(queries, items, exposures, None, seen=seen).measurements().scalars
    assert measured["coverage"] <= 0.5
    assert math.isnan(measured["ndcg"])


def test_the_report_is_valid_and_says_what_was_not_told():
    analyzer = RankingAnalyzer(*drawn()[:3])
    text = analyzer.to_agent_xml()
    validate(text.encode())
    report = from_xml(text.encode())
    assert {"targets", "loss", "padding"} <= {one.name for one in report.coverage.unseen}


def test_vectors_that_are_not_finite_are_not_judged():
    queries, items, exposures, targets = drawn()
    items[0, 0] = np.nan
    analyzer = RankingAnalyzer(queries, items, exposures, targets)
    assert "NaN" in analyzer.measurements().coverage.blind
    assert not types(analyzer)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queries": np.ones((3, 2))}, "queries have 2 columns and items 16"),
        ({"items": np.ones(3)}, "items: shape"),
        ({"exposures": [1, 2]}, "exposures: shape"),
        ({"targets": np.full(QUERIES, ITEMS)}, "targets: give the number of an item"),
        ({"seen": np.ones((2, 2), dtype=bool)}, "seen: shape"),
        ({"cutoff": 0}, "cutoff=0"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(change, message):
    queries, items, exposures, targets = drawn()
    given = {"queries": queries, "items": items, "exposures": exposures, "targets": targets} | change
    with pytest.raises(FlowGradError, match=message):
        RankingAnalyzer(**given)


def test_facts_that_no_rule_names_are_refused():
    analyzer = RankingAnalyzer(*drawn())
    with pytest.raises(FlowGradError, match="unknown fact 'logq'"):
        analyzer.observe_loss(logq=1.0)
    with pytest.raises(FlowGradError, match="temperature=0"):
        analyzer.observe_loss(temperature=0)
    with pytest.raises(FlowGradError, match="padding_shift=nan: must be a number"):
        analyzer.observe_padding(padding_shift=math.nan)
