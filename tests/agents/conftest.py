"""Run folders as the pipelines write them, made without training."""

from __future__ import annotations

import csv
import json

import pytest

from flowgrad.__main__ import main
from flowgrad.evidence.confidence import posterior
from flowgrad.report import (
    CausalModel,
    CoverageReport,
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
    write,
)
from flowgrad.rules.rule import Evidence

NAN, INF = float("nan"), float("inf")
ZOMBIE = CausalModel(
    type="ZOMBIE_EMBEDDINGS",
    rule="zombie_rows",
    severity="high",
    premise="83.0% of rows move while their displacements oppose each other.",
    implies="The learning rate is too high.",
    action="DECREASE_LEARNING_RATE",
    expected_effect="Rows settle; held-out error falls.",
    confidence=posterior(38, 40),
    risk="Slower early progress.",
    evidence=(Evidence("zombie_share", 0.83, 0.25), Evidence("step_growth", INF)),
    rows=RowList(
        4,
        (RowRecord(242, {"exposures": 117.0, "jitter": INF}), RowRecord(17, {"exposures": 3.0})),
        "rows_item_emb.csv",
    ),
    fix=(Override("optimizer.lr", "0.005", "0.05"),),
    plain=(PlainChange("torch", 'for group in optimizer.param_groups: group["lr"] *= 0.1'),),
)
OPEN = CausalModel(
    type="LOSS_RISES",
    rule="network_rate_high",
    severity="medium",
    premise="The loss rose.",
    implies="Several causes look like this.",
    action="CHECK_CANDIDATES",
    expected_effect="You know which of them it is, and what to change.",
    confidence=posterior(),
    candidates=(OpenCause("LEARNING_RATE_TOO_HIGH", "Halve the rate: does the loss still rise?"),),
)
COVERAGE = CoverageReport(
    seen=(Seen("steps", 480.0),),
    unseen=(Unseen("validation_loss", "never told; call end_epoch(train, validation)"),),
    unjudged=(Unjudged("overfitting", "val_rise is not known"),),
)
SIGNIFICANCE = [
    "experiment", "comparison", "metric", "test", "n", "baseline", "treated", "difference", "ci_low", "ci_high",
    "effect_size", "p", "p_adjusted", "wins", "gap_closed", "verdict", "reason", "family", "baseline_arm",
    "treated_arm", "unit", "alpha", "detectable", "power",
]  # fmt: skip


def identity(arm="baseline", round_=1, data="06416e"):
    training = {"optimizer": "Adam", "lr": 0.05, "steps": 480, "loss_last": INF}
    return RunIdentity("mf-3f2a9c", arm, round_, 0, "3f2a9c", data, training, {"flowgrad": "0.2.0"})


def reports(*findings, arm="baseline", round_=1, figure=0.83, data="06416e"):
    """A document on a table and on the training."""
    table = Report(
        "embedding", "item_emb", None,
        (Metric("zombie_share", figure, "share"), Metric("median_velocity", NAN)), findings, COVERAGE,
    )  # fmt: skip
    training = Report("training", "training", None, (Metric("loss_last", 0.92 * figure),), (), COVERAGE)
    return RunReport((table, training), identity(arm, round_, data))


def table(path, header, lines):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(lines)


def observed(folder, values):
    """`values`: arm -> seed -> value of the metric `mse`."""
    lines = [("mf", arm, seed, "mse", value, False) for arm, own in values.items() for seed, value in own.items()]
    table(folder / "observations.csv", ["experiment", "arm", "seed", "metric", "value", "higher_is_better"], lines)


BASELINE = {1: 1.93, 2: 1.97, 3: 1.90, 4: 1.95, 5: 1.88}
TREATED = {1: 1.01, 2: 1.03, 3: 1.00, 4: 1.04, 5: 0.97}


def proven(folder, arms=None):
    """Write observations and the significance table that follows from them."""
    import pandas as pd

    from flowgrad.statistics import rounds_from, significance

    arms = arms or {"baseline": BASELINE, "treated": TREATED}
    observed(folder, arms)
    found = pd.read_csv(folder / "observations.csv")
    made = significance(found, rounds_from(found["arm"].unique()), ["mse"])
    made.to_csv(folder / "significance.csv", index=False, lineterminator="\n")


CONFIG = "name: mf\ncomparison:\n  alpha: 0.05\n  metrics: [mse]\n  overlap: null\n"


@pytest.fixture
def run(tmp_path):
    """A whole run folder of the closed loop."""
    folder = tmp_path / "outputs" / "mf" / "one"
    folder.mkdir(parents=True)
    write(reports(ZOMBIE, OPEN), folder / "report.xml")
    write(reports(arm="treated", round_=2, figure=0.01), folder / "report_treated.xml")
    table(
        folder / "rows_item_emb.csv",
        ["rule", "id", "row", "exposures", "jitter"],
        [("zombie_rows", f"movie {n}", n, 100 - n, "" if n == 2 else n / 7) for n in range(4)],
    )
    curve = [(arm, seed, epoch, 2.0 / epoch + seed) for arm in ("baseline", "treated") for seed in (1, 2)
             for epoch in range(1, 31)]  # fmt: skip
    table(folder / "curves.csv", ["arm", "seed", "epoch", "validation_loss"], curve)
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "prescription.yaml").write_text(
        "experiment: mf\nrounds:\n- overrides: [optimizer.lr=0.005]\n  rules: [zombie_rows]\n"
        "command: python -m pipelines.run experiment=movielens_mf optimizer.lr=0.005\n"
    )
    proven(folder)
    return folder


@pytest.fixture
def answer(capsys):
    """Run a verb with --json and return its answer and exit code; `out` of a text is what it printed."""

    def call(*words, code=0):
        assert main([str(word) for word in (*words, "--json")]) == code
        printed = capsys.readouterr()
        assert printed.err == ""
        return json.loads(printed.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))

    return call


@pytest.fixture
def text(capsys):
    def call(*words, code=0):
        assert main([str(word) for word in words]) == code
        return capsys.readouterr().out

    return call


@pytest.fixture
def refused(capsys):
    """Run a verb that has to fail with one line, and return the line."""

    def call(*words):
        assert main([str(word) for word in words]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        (line,) = printed.err.splitlines()
        assert line.startswith("error: ")
        assert line.isprintable()
        return line

    return call
