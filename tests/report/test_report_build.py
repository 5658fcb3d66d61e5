import math

import numpy as np
import pandas as pd
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from flowgrad.evidence.confidence import posterior
from flowgrad.measurements import Measurements
from flowgrad.measures import VOCABULARY
from flowgrad.report import (
    Override,
    RowRecord,
    build_report,
    causal_model,
    fix_without_config,
    from_xml,
    override_text,
    to_xml,
    with_validations,
)
from flowgrad.rules.rule import Evidence, Finding, Fix


def finding(**changes) -> Finding:
    common = {
        "rule_id": "zombie_rows",
        "type": "ZOMBIE_EMBEDDINGS",
        "severity": "high",
        "subject": "item_emb",
        "premise": "p",
        "implies": "i",
        "action": "LOOK",
        "expected_effect": "e",
        "confidence": posterior(38, 40),
    }
    return Finding(**(common | changes))


@pytest.fixture
def rows() -> pd.DataFrame:
    return pd.DataFrame(
        {"exposures": [117, 3, 5], "coherence": np.array([-0.5, np.nan, 0.25], dtype=np.float32)}, index=[242, 17, 4]
    )


def test_causal_model(rows):
    override = Override("optimizer.lr", "0.005", "0.05")
    found = finding(risk="r", evidence=(Evidence("a", 1.0),), rows=rows)
    model = causal_model(found, (override,), "rows.csv", shown=2)
    assert (model.rule, model.type, model.risk, model.evidence) == (found.rule_id, found.type, "r", found.evidence)
    assert model.fix == (override,)
    assert model.rows.count == 3
    assert model.rows.table == "rows.csv"
    assert model.rows.shown == (
        RowRecord(242, {"exposures": 117.0, "coherence": -0.5}),
        RowRecord(17, {"exposures": 3.0}),
    )
    assert type(model.rows.shown[0].id) is int


def test_no_rows_and_empty_rows(rows):
    assert causal_model(finding()).rows is None
    assert causal_model(finding(rows=rows.iloc[:0])).rows.count == 0
    assert causal_model(finding(rows=rows), shown=0).rows.shown == ()
    with pytest.raises(ValueError, match="shown=-1"):
        causal_model(finding(rows=rows), shown=-1)


def test_build_report(rows):
    declared = next(measure for measure in VOCABULARY["embedding"] if not measure.per_row)
    scalars = {declared.name: np.float32(0.5), "zombie_share": 0.83, "whatever": math.nan}
    report = build_report(Measurements("embedding", "item_emb", scalars), [causal_model(finding(rows=rows))])
    assert (report.kind, report.layer, report.run, report.healthy) == ("embedding", "item_emb", None, False)
    assert [metric.unit for metric in report.measurements] == [declared.unit, "share"]
    assert report.coverage.unknown == "whatever"
    assert from_xml(to_xml(report)) == report


def test_fix_without_config():
    fix = Fix(
        set={"optimizer": "sparse_adam", "training.early_stop": True},
        scale={"optimizer.lr": 0.1},
        copy={"training.epochs": "best_epoch", "model.margin": "margin", "model.a": "unknown", "model.b": "nothing"},
    )
    found = finding(fix=fix, measured={"best_epoch": 42.0, "margin": np.float64(0.25), "unknown": math.nan})
    assert fix_without_config(found) == (
        Override("optimizer", "sparse_adam"),
        Override("training.early_stop", "true"),
        Override("optimizer.lr", scale=0.1),
        Override("training.epochs", "42"),
        Override("model.margin", "0.25"),
        Override("model.a"),
        Override("model.b"),
    )
    assert fix_without_config(finding()) == ()


def test_with_validations(full, validation):
    report = with_validations(full, {"loss_above_variance": validation, "of another report": validation})
    assert [found.validation for found in report.findings] == [validation, validation]
    assert with_validations(full, {}) == full


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8).filter(lambda text: "$" not in text)
    | st.text("\\'\"a ", max_size=8)
    | st.sampled_from(["null", "True", "nan", "-inf", "1e3", "0x1", "", "a,b", "[1]", "a=b", "it's", "a\\'b", "\\"])
)


@given(st.recursive(scalars, lambda inner: st.lists(inner, max_size=3)) | st.dictionaries(st.just("key"), scalars))
def test_hydra_reads_override_text(value):
    """Same value and same type, quotes and backslashes included."""
    [override] = OverridesParser.create().parse_overrides([f"x={override_text(value)}"])
    read = plain(override.value())
    assert read == value
    assert repr(read) == repr(value)


def plain(value):
    """Hydra's parser keeps quoted strings as objects of its own."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return getattr(value, "text", value)
