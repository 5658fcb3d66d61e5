"""`from_xml(to_xml(report)) == report`, for whatever a report may hold."""

import math
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowgrad.evidence.confidence import Confidence
from flowgrad.report import (
    CausalModel,
    CoverageReport,
    Evaluation,
    Metric,
    OpenCause,
    Override,
    PlainChange,
    Report,
    RowList,
    RowRecord,
    RunIdentity,
    RunReport,
    Seen,
    Unjudged,
    Unseen,
    Validation,
    from_xml,
    to_text,
    to_xml,
)
from flowgrad.report.codec import DOUBLE, clean, format_number
from flowgrad.rules.rule import SEVERITIES, Evidence

any_character = st.characters(exclude_categories=())
texts = st.text(any_character, max_size=12) | st.text("\r\n\t <&>\"']\x00\ud800\uffff5.-e", max_size=8)
numbers = st.floats() | st.integers(-(2**60), 2**60)
probabilities = st.floats(0, 1)
counts = st.integers(0, 2**40)
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,6}", fullmatch=True).filter(
    lambda name: name not in ("id", "xmlns", "lr", "batch_size", "epochs", "steps", "loss_first", "loss_last")
)

training = st.builds(
    lambda known, other: {**known, **other},
    st.fixed_dictionaries({}, optional={"lr": st.floats(), "steps": counts}),
    st.dictionaries(names, texts | st.floats() | st.integers(), max_size=3),
)
runs = st.builds(
    RunIdentity,
    texts,
    texts,
    counts,
    st.none() | st.integers(-(2**40), 2**40),
    texts,
    texts,
    training,
    st.dictionaries(names, texts, max_size=3),
)
row_lists = st.builds(
    lambda more, shown, table: RowList(len(shown) + more, tuple(shown), table),
    counts,
    st.lists(st.builds(RowRecord, st.integers() | texts, st.dictionaries(names, numbers, max_size=3)), max_size=3),
    texts,
)
validations = st.builds(
    Validation,
    st.sampled_from(["confirmed", "refuted", "inconclusive"]),
    texts,
    texts,
    counts,
    texts,
    *[numbers] * 8,
    *[texts] * 5,
    st.none() | numbers,
)
findings = st.builds(
    CausalModel,
    st.from_regex(r"[A-Z]{1,4}(_[A-Z0-9]{1,4})?", fullmatch=True),
    texts,
    st.sampled_from(SEVERITIES),
    *[texts] * 4,
    st.builds(
        Confidence,
        probabilities,
        st.sampled_from(["prior", "measured"]),
        counts,
        counts,
        probabilities,
        probabilities,
        counts,
        texts,
        st.sampled_from(["", "pair", "model", "data", "neither"]),
    ),
    texts,
    st.lists(st.builds(Evidence, texts, numbers, st.none() | numbers), max_size=2).map(tuple),
    st.none() | row_lists,
    st.lists(st.builds(Override, texts, texts, texts, st.none() | numbers), max_size=2).map(tuple),
    texts,
    st.none() | validations,
    texts,
    st.lists(st.builds(PlainChange, texts, texts), max_size=2).map(tuple),
    st.just(()),
    st.none() | st.builds(Evaluation, texts, st.sampled_from(["higher", "lower", "unknown"]), texts, texts),
)
open_findings = st.builds(
    lambda found, causes: replace(found, fix=(), plain=(), candidates=causes),
    findings,
    st.lists(st.builds(OpenCause, st.just("CAUSE"), texts), min_size=1, max_size=2).map(tuple),
)
coverages = st.builds(
    CoverageReport,
    st.lists(st.builds(Seen, texts, numbers), max_size=2).map(tuple),
    st.lists(st.builds(Unseen, texts, texts), max_size=2).map(tuple),
    st.lists(st.builds(Unjudged, texts, texts), max_size=2).map(tuple),
    texts,
    texts,
)
reports = st.builds(
    Report,
    st.sampled_from(
        ["embedding", "training", "flow", "batches", "boosting", "feature", "distillation", "saliency", "quantization"]
    ),
    texts,
    st.none() | runs,
    st.lists(st.builds(Metric, texts, numbers, texts), max_size=3).map(tuple),
    st.lists(findings | open_findings, max_size=2).map(tuple),
    st.none() | coverages,
)
run_reports = st.builds(RunReport, st.lists(reports, min_size=1, max_size=2).map(tuple), st.none() | runs)

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@unhurried
@given(reports)
def test_report(report):
    data = to_xml(report)
    back = from_xml(data)
    assert back == report
    assert hash(back) == hash(report)
    assert to_xml(back) == data
    to_text(report)


@unhurried
@given(run_reports)
def test_run_report(report):
    assert from_xml(to_xml(report)) == report
    to_text(report)


@given(st.floats())
def test_numbers_to_six_digits(value):
    """Seventeen digits of a figure that is known to three drown a reader."""
    assert DOUBLE.fullmatch(format_number(value))
    back = from_xml(to_xml(Report("flow", "l", measurements=(Metric("m", value),)))).measurements[0].value
    assert math.isnan(back) if math.isnan(value) else back == float(f"{value:.6g}")
    assert format_number(back) == format_number(value)


@given(texts)
def test_clean_twice_is_once(text):
    assert clean(clean(text)) == clean(text)
    assert len(clean(text)) == len(text)
