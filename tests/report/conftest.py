"""Reports that several tests look at."""

from dataclasses import replace

import pytest

from flowgrad.evidence.confidence import Confidence
from flowgrad.report import (
    CausalModel,
    Metric,
    Override,
    OverrideAblation,
    Report,
    RowList,
    RowRecord,
    RunIdentity,
    RunReport,
    Validation,
)
from flowgrad.rules.rule import Evidence


@pytest.fixture
def run() -> RunIdentity:
    return RunIdentity(
        id="movielens_mf-3f2a9c",
        arm="baseline",
        round=1,
        seed=0,
        config_sha256="3f2a9c",
        data_sha256="06416e",
        training={
            "optimizer": "Adam",
            "lr": 0.05,
            "batch_size": 1024,
            "epochs": 5,
            "steps": 475,
            "loss_first": 13.2,
            "loss_last": 0.92,
        },
        environment={"flowgrad": "0.1.0", "torch": "2.13.0", "scikit-learn": "1.7", "python": "3.11.7"},
    )


@pytest.fixture
def validation() -> Validation:
    return Validation(
        verdict="confirmed",
        test="paired_t",
        unit="seed",
        n=10,
        metric="mse",
        baseline=1.884,
        treated=1.11,
        difference=-0.774,
        ci_low=-0.81,
        ci_high=-0.74,
        effect_size=-12.1,
        p=2e-10,
        p_adjusted=6e-10,
        family="rounds of this run",
        comparison="baseline vs treated",
        observations_sha256="9b1d",
    )


@pytest.fixture
def zombie(validation) -> CausalModel:
    return CausalModel(
        type="ZOMBIE_EMBEDDINGS",
        rule="zombie_rows",
        severity="high",
        premise="83.0% of rows move at 0.21 per step while their displacements oppose each other.",
        implies="The learning rate is too high for these rows; conflicting gradients pull them back & forth.",
        action="DECREASE_LEARNING_RATE",
        expected_effect="Rows settle; held-out error falls.",
        confidence=Confidence(0.94, "measured", 40, 38, 0.84, 0.99),
        risk="Slower early progress; allow more epochs.",
        evidence=(Evidence("zombie_share", 0.83, 0.25), Evidence("median_velocity", 0.21)),
        rows=RowList(
            1390,
            (
                RowRecord(242, {"exposures": 117.0, "coherence": -0.31, "jitter": 0.08}),
                RowRecord(17, {"exposures": 3.0, "coherence": float("nan"), "jitter": float("inf")}),
            ),
            "rows_item_emb.csv",
        ),
        fix=(Override("optimizer.lr", "0.005", "0.05"), Override("training.epochs", scale=2.0)),
        validation=validation,
    )


@pytest.fixture
def plain() -> CausalModel:
    """A finding with nothing optional."""
    return CausalModel(
        type="LOSS_ABOVE_VARIANCE",
        rule="loss_above_variance",
        severity="critical",
        premise="The loss is above the variance of the targets.",
        implies="The mean predicts better.",
        action="LOOK",
        expected_effect="The loss falls.",
        confidence=Confidence(0.5, "prior", 0, 0, 0.00154, 0.99846),
    )


@pytest.fixture
def full(run, zombie, plain) -> Report:
    """An embedding report with every optional part."""
    metrics = (
        Metric("zombie_share", 0.83, "share"),
        Metric("median_velocity", float("-inf"), "norm"),
        Metric("dead_share", float("nan")),
    )
    return Report("embedding", "item_emb", run, metrics, (zombie, plain))


@pytest.fixture
def healthy() -> Report:
    return Report("embedding", "user_emb", measurements=(Metric("zombie_share", 0.0, "share"),))


@pytest.fixture
def composite(run, full, healthy, plain) -> RunReport:
    return RunReport((replace(full, run=None), healthy, Report("training", "run", findings=(plain,))), run)


@pytest.fixture
def feature() -> Report:
    """On a table of features, whose rows are terms and columns, named with spaces and signs."""
    synergy = CausalModel(
        type="FEATURE_SYNERGY",
        rule="feature_synergy",
        severity="medium",
        premise="What one half of the rows suggested raises adjusted R2 by 0.0045 on the other half.",
        implies="Some columns say together what no curve of one of them says alone.",
        action="ADD_COLUMNS",
        expected_effect="A linear model explains more of held-out rows.",
        confidence=Confidence(0.5, "prior", 0, 0, 0.00154, 0.99846),
        evidence=(Evidence("joint_p", 1.3e-62, 0.05), Evidence("adjusted_r2_gain", 0.0045)),
        rows=RowList(
            2,
            (
                RowRecord("user_mean * item_mean", {"f": 67.3, "p_adjusted": 2.4e-15, "vif": 1.2}),
                RowRecord("age / user days", {"f": 35.8, "p_adjusted": 2.9e-08, "vif": float("nan")}),
            ),
        ),
        fix=(Override("training.added_columns.features", '["user_mean * item_mean","age / user days"]', "[]"),),
    )
    metrics = (Metric("features", 41.0, "count"), Metric("joint_p", 1.3e-62, "p"), Metric("control_gain", 0.0003, "r2"))
    return Report("feature", "features", None, metrics, (synergy,))


@pytest.fixture
def distillation() -> Report:
    """On a student, whose rows are layers, named as modules are."""
    narrow = CausalModel(
        type="LAYER_TOO_NARROW",
        rule="layer_narrow",
        severity="high",
        premise="One layer has 0.062 of the width of the others beside the teacher's.",
        implies="What it cannot hold is lost for the layers after it.",
        action="WIDEN_LAYER",
        expected_effect="The student comes nearer to the teacher.",
        confidence=Confidence(0.5, "prior", 0, 0, 0.00154, 0.99846),
        risk="A larger student.",
        evidence=(Evidence("least_width", 0.062, 0.35), Evidence("most_lost", 0.585, 0.1)),
        rows=RowList(1, (RowRecord("encoder.2", {"width": 2.0, "lost": 0.585, "snr": float("nan")}),)),
        fix=(
            Override(
                "model.widened_layers.student",
                '["encoder.2"]',
                "[]",
                earned=2,
                tried=3,
                ablation=OverrideAblation(
                    "kept",
                    "without model.widened_layers.student",
                    "stacked",
                    "kl",
                    5,
                    0.61,
                    0.55,
                    0.67,
                    2e-6,
                    0.98,
                    0.89,
                    1.08,
                    observations_sha256="7f3a",
                ),
            ),
            Override(
                "training.epochs",
                "60",
                "30",
                ablation=OverrideAblation(
                    "dropped",
                    "without training.epochs",
                    "stacked",
                    "kl",
                    5,
                    -0.002,
                    -0.011,
                    0.007,
                    0.6,
                    -0.003,
                    -0.018,
                    0.011,
                    observations_sha256="7f3a",
                ),
            ),
        ),
    )
    metrics = (Metric("layers", 4.0, "count"), Metric("logit_kl", 1.3055, "nats"), Metric("output_r2", -0.2, "r2"))
    return Report("distillation", "student", measurements=metrics, findings=(narrow,))
