"""What a finding on a network reads like, from measurements to XML and text."""

import math
import os
from pathlib import Path

import pandas as pd

from flowgrad.evidence.ledger import Ledger
from flowgrad.measurements import Measurements
from flowgrad.report import build_report, causal_model, fix_without_config, from_xml, to_text, to_xml
from flowgrad.rules import RuleBook

GOLDEN = Path(__file__).with_name("golden") / "flow.xml"
RULES = RuleBook.from_mapping(
    {
        "left_out": {
            "subject": "flow",
            "type": "LEFT_OUT",
            "condition": "left_out > 0",
            "rows": "requires_grad == 1 and in_optimizer == 0",
            "share": "left_out_share",
            "premise": "{left_out:.0f} of {tensors:.0f} tensors, {left_out_entries:.1%} of all weights.",
            "implies": "They never change.",
            "action": "ADD_PARAMETERS_TO_OPTIMIZER",
            "expected_effect": "They learn.",
            "fix": {"set": {"training.left_out": []}},
        }
    },
    ledger=Ledger(()),
)


def report():
    """A network of two layers, the first of which was not given to the optimizer."""
    scalars = {"tensors": 2.0, "left_out": 1.0, "left_out_entries": 0.75, "gradient_depth": -math.inf, "lr": math.nan}
    rows = pd.DataFrame({"requires_grad": 1.0, "snr": math.nan}, index=["encoder.0.weight", "head.weight"])
    rows["in_optimizer"] = [0.0, 1.0]
    rows["velocity"] = [0.0, 0.0125]
    measured = Measurements("flow", "student net", scalars, {"rows": rows}, 40)
    models = [causal_model(found, fix_without_config(found)) for found in RULES.evaluate(measured)]
    return build_report(measured, models)


def test_golden():
    """After a wanted change: `FLOWGRAD_GOLDEN=1 python -m pytest tests/report`, then read the diff."""
    text = to_xml(report())
    if os.environ.get("FLOWGRAD_GOLDEN"):
        GOLDEN.write_bytes(text)
    assert text == GOLDEN.read_bytes()
    assert from_xml(text) == report()


def test_text_names_the_layers():
    text = to_text(report())
    assert text.startswith("Flow report: student net")
    assert "encoder.0.weight" in text
    assert "75.0% of all weights" in text
