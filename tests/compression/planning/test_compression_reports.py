"""The two reports on compression, to the byte, of figures that are given."""

import os
from pathlib import Path

import pandas as pd
import pytest

from flowgrad.evidence.ledger import Ledger
from flowgrad.measurements import Measurements
from flowgrad.measures import VOCABULARY
from flowgrad.report import build_report, causal_model, fix_without_config, from_xml, to_text, to_xml, validate
from flowgrad.rules import RuleBook

GOLDEN = Path(__file__).with_name("golden")
GIVEN = {
    "saliency": {
        "layers": 3, "weights": 17024, "left_out": 1, "removable_share": 0.45, "magnitude_agreement": 0.77,
        "calibrated": 1, "calibration_loss": 0.151, "rise_50": -0.002, "rise_70": 0.006, "rise_80": 0.03,
        "rise_90": 2.13, "magnitude_rise_70": 0.09, "nonfinite_layers": 0,
    },
    "quantization": {
        "layers": 3, "weights": 17024, "size": 68904, "size_8": 18248, "size_4": 9736, "size_3": 7608, "calibrated": 1,
        "calibration_loss": 0.151, "uniform_8": -0.002, "uniform_4": 0.025, "uniform_3": 0.11, "uniform_2": 2.1,
        "mixed_4": 0.004, "mixed_3": 0.05, "mixed_2": 2.0, "second_moment_agreement": 0.78, "nonfinite_layers": 0,
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(GIVEN))
def test_golden(kind):
    """After a wanted change of the rules: `FLOWGRAD_GOLDEN=1 python -m pytest tests/compression`, and read the diff."""
    names = [measure.name for measure in VOCABULARY[kind] if measure.per_row]
    rows = pd.DataFrame({name: [float(place)] for place, name in enumerate(names)}, index=["fc.weight"])
    measured = Measurements(kind, "net", GIVEN[kind], {"rows": rows})
    found = RuleBook.load(ledger=Ledger()).evaluate(measured)
    report = build_report(measured, [causal_model(one, fix_without_config(one)) for one in found])
    xml = to_xml(report)
    validate(xml)
    path = GOLDEN / f"{kind}.xml"
    if os.environ.get("FLOWGRAD_GOLDEN"):
        path.write_bytes(xml)
    assert xml == path.read_bytes()
    assert from_xml(xml) == report
    assert to_text(report).startswith(f"{kind.capitalize()} report: net")
