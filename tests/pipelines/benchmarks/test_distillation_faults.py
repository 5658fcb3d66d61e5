"""The benchmark of damaged layers: its table by hand, a small run from end to end, and the peer beside it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from flowgrad.rules import RuleBook
from pipelines.benchmarks.faults.cases import FaultCase
from pipelines.benchmarks.faults.layers import layer_table
from pipelines.benchmarks.faults.observation import DiagnosedRun
from pipelines.benchmarks.faults.students import Students
from pipelines.trainers.trainer import trainer_of

SMALL = ["experiment=distillation_digits_tuned", "teacher.widths=[32,32]", "teacher.epochs=4", "model.widths=[16,16]",
         "training.epochs=8"]  # fmt: skip
PERCEPTRON = OmegaConf.create({"model": {"dim": None, "widths": [8, 8, 8]}})


def case(kind, fault="", place="", rules=()):
    return FaultCase(kind, fault, fault, "a", "student" if kind == "row" else "", 1, PERCEPTRON, (), (), tuple(rules),
                place=place)  # fmt: skip


def seen(named, alerts=(), peer=None, gap=None):
    told = SimpleNamespace(alerts=alerts, named=peer, largest_gap=gap)
    return DiagnosedRun(
        (), {(rule, "student"): rows for rule, rows in named.items()}, (), (), 1, peer={"student": told}
    )


def test_the_first_layer_of_the_first_finding_that_names_one_counts():
    cases = [
        case("row", "frozen", "fc2", ["layer_frozen"]),
        case("row", "frozen", "fc2", ["layer_frozen"]),
        case("row", "frozen", "fc1", ["layer_frozen"]),
        case("row", "frozen", "out", ["layer_frozen"]),
        case("control"),
        case("control"),
        case("run", "dead", rules=["student_dead"]),
    ]
    found = [
        seen({"student_dead": (), "layer_frozen": ("fc2", "fc1")}, gap="fc2"),
        seen({"layer_slow": ("fc2",), "layer_frozen": ("fc1",)}, ("NOISY",), "fc2", "fc1"),
        seen({"layer_frozen": ("fc2",)}),
        seen({}),
        seen({"hint_weight": ("fc1",)}),
        seen({"layer_slow": ("fc1",)}, ("NOISY",), "fc1"),
        seen({"student_dead": ()}),
    ]
    table = layer_table(cases, found, RuleBook.load()).set_index(["method", "damage"])
    assert table.loc[("flowgrad", "frozen"), ["runs", "top1", "cause"]].tolist() == [4, 0.5, 0.25]
    assert table.loc[("flowgrad", "all"), "top1"] == 0.5
    assert table.loc[("flowgrad", "all, at fc2"), "top1"] == 1
    assert table.loc[("flowgrad", "none"), ["runs", "healthy"]].tolist() == [2, 0.5]
    assert table.loc[("peer", "all"), "top1"] == 0.25
    assert table.loc[("peer, largest gap", "all"), "top1"] == 0.25
    assert table.loc[("peer", "none"), "healthy"] == 0.5
    assert set(table["chance"].dropna()) == {0.25}
    assert np.isnan(table.loc[("flowgrad", "none"), "top1"])


def test_damage_is_laid_into_every_layer_that_can_have_it(composed):
    base = composed(*SMALL)
    ground = Students()
    assert list(ground.places(base, "frozen_layer")) == ["fc1", "fc2", "out"]
    assert list(ground.places(base, "narrow_layer")) == ["fc1", "fc2"]
    config = composed(*SMALL, *ground.row_overrides("slow_layer", "student"), "fault.layer=fc2")
    assert ground.truth(config, None) == ("fc2",)
    assert ("model.widened_layers.student=[fc2]",) in ground.other_fixes(config, None)


def test_a_small_benchmark_from_end_to_end(command):
    code, folder, err = command(
        "experiment=faults_distillation", "+job.settings.small=[" + ",".join(f"'{o}'" for o in SMALL) + "]",
        "job.only=[small]", "job.seeds=[1]", "job.peer=false", "job.only_controls=[as_is]",
        "job.repair_faults=[frozen]", "job.repair_settings=null",
        "job.only_faults=[frozen,slow_x0.05,narrow_2]", "seeds.test=[2,3]",
        "workers=1",
    )  # fmt: skip
    assert code == 0, err
    layers = pd.read_csv(folder / "layers.csv").set_index("damage")
    assert layers.loc["all", ["runs", "top1", "cause"]].tolist() == [8, 1, 1]
    assert layers.loc["none", "healthy"] == 1
    repairs = pd.read_csv(folder / "repairs.csv")
    assert repairs["place"].tolist() == ["fc1", "fc2", "out"]
    assert repairs["prescription"].str.startswith("training.unfrozen_layers.student=").all()
    # What was frozen is trained from the start again: the fixed student is the healthy one.
    assert np.allclose(repairs["treated"], repairs["healthy"])


def test_the_peer_watches_teacher_and_student_and_changes_nothing(composed):
    pytest.importorskip("gradtracer")
    config = composed(*SMALL, "fault=frozen_layer", "fault.layer=fc2")
    trainer = trainer_of(config)
    data = trainer.load()
    observers, peers = Students().peers(config)
    bare = trainer.train(data, 0)
    watched = trainer.train(data, 0, observers=observers)
    assert watched.validation_losses == bare.validation_losses
    told = peers["student"].diagnosis()
    assert told.largest_gap in {"fc1", "fc2", "out"}
