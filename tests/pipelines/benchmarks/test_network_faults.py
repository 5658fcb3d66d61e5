"""The networks in the closed loop and in the fault benchmark, from end to end on digits."""

from __future__ import annotations

import pandas as pd
import pytest

from flowgrad.__main__ import main as reports
from flowgrad.errors import FlowGradError
from flowgrad.report import read
from pipelines.benchmarks.faults.cases import cases
from pipelines.benchmarks.faults.networks import Layers
from pipelines.trainers.trainer import trainer_of

FEWER_EPOCHS = [
    "experiment=layers_digits_tuned", "model.width=48", "optimizer=sgd", "optimizer.lr=0.05", "optimizer.momentum=0.9",
    "training.batch_size=64", "training.epochs=10",
]  # fmt: skip
BENCHMARK = [
    "experiment=faults_layers", "job.only=[mlp_d2_sgd]", "job.only_controls=[as_is]", "workers=1",
    f"job.settings.mlp_d2_sgd={FEWER_EPOCHS}",
]  # fmt: skip


@pytest.mark.usefixtures("drawn")
def test_a_sick_perceptron_is_told_why_and_gets_better(command):
    code, folder, err = command(
        "experiment=layers_digits",
        "training.epochs=10",
        "seeds.test=[1,2,3]",
        "seeds.control=false",
        "workers=1",
        "tuned=null",
        "rounds=2",
        "pruning.enabled=false",
    )
    assert code == 0, err
    report = read(folder / "report.xml")
    found = {model.rule for one in report.reports for model in one.findings}
    assert {"vanishing_gradients", "unnormalised_inputs"} <= found
    assert reports(["validate", str(folder / "report.xml")]) == 0
    assert {"flow_velocity.png", "flow_gradients.png", "flow_health.png"} <= {path.name for path in folder.iterdir()}
    table = pd.read_csv(folder / "significance.csv")
    primary = table[(table["comparison"] == "treated_vs_baseline") & (table["test"] == "paired_t")].iloc[0]
    assert primary["verdict"] == "confirmed"


def test_a_perceptron_that_is_well_gets_no_fix(command):
    code, folder, err = command("experiment=layers_digits_tuned", "training.epochs=10", "seeds.test=[1,2]", "workers=1")
    assert code == 0, err
    (found,) = [one.findings for one in read(folder / "report.xml").reports]
    assert [model.rule for model in found if model.fix] == []


def test_a_small_benchmark_from_end_to_end(command):
    code, folder, err = command(
        *BENCHMARK, "job.seeds=[11]", "job.peer=false", "seeds.test=[1,2,3]",
        "job.only_faults=[vanishing_sigmoid,left_out_hidden_layers,dying_relu]",
    )  # fmt: skip
    assert code == 0, err
    table = pd.read_csv(folder / "cases.csv")
    assert (table["hits"] == table["true"]).all()
    assert (table["found"] == table["true"]).all()
    repairs = pd.read_csv(folder / "repairs.csv").set_index("fault")
    assert repairs["harmful"].all()
    assert (repairs["treated_verdict"] == "confirmed").all()
    assert repairs.loc["left_out_hidden_layers", "prescription"].startswith("training.full_rate.model=[layers.0.bias")


def test_every_fault_of_the_benchmark_fits_its_network(composed):
    """Faults name parts of networks; a name that one lacks is refused before anything is trained."""
    task = [
        "experiment=faults_layers",
        "job.seeds=[1]",
        "job.only=[cnn_d3_adam,rnn_d2_adamw]",
        "job.only_controls=[as_is]",
    ]
    planned = cases(composed(*task), task, Layers())
    assert {case.kind for case in planned} == {"control", "run"}
    for case in planned:
        if case.config.dataset._target_.endswith("load_small_table"):
            trainer_of(case.config).load()


def test_faults_of_rows_are_refused(composed):
    with pytest.raises(FlowGradError, match=r"job\.row_faults names 'leak'"):
        Layers().row_overrides("leak", "model")


def test_the_peer_watches_the_same_run(composed):
    pytest.importorskip("gradtracer")
    config = composed("experiment=layers_digits_tuned", "training.epochs=2", "model.width=8")
    trainer = trainer_of(config)
    data = trainer.load()
    observers, peers = Layers().peers(config)
    runs = [trainer.train(data, 0, watched=True, observers=others) for others in (None, observers)]
    assert runs[0].validation_losses == runs[1].validation_losses
    diagnosis = peers["model"].diagnosis()
    assert diagnosis.error == ""
    assert all(isinstance(Layers().credited("vanishing", alert), bool) for alert in diagnosis.alerts)
