"""What the experiment trackers are sent of a run, and that none of them can end it."""

from __future__ import annotations

import logging

import pandas as pd
import pytest
from omegaconf import OmegaConf

from flowgrad import FlowGradError
from flowgrad.loggers import Logger
from pipelines.output import loggers

TENSORBOARD = {"tensorboard": {"_target_": "flowgrad.loggers.TensorBoardLogger", "folder": "tensorboard"}}


class Recording(Logger):
    """Keeps what it is sent."""

    def __init__(self):
        self.noted, self.series, self.alerts, self.files, self.closed = {}, {}, [], [], False

    def settings(self, values):
        self.noted |= values

    def scalars(self, values, step):
        for name, value in values.items():
            self.series.setdefault(name, {})[step] = value

    def alert(self, title, text, severity):
        self.alerts.append((title, text, severity))

    def artifact(self, path):
        self.files.append(path.name)

    def close(self):
        self.closed = True


@pytest.fixture
def sent(monkeypatch):
    """What `send` sends of a folder, without a tracker."""

    def run(config, folder):
        recording = Recording()
        monkeypatch.setattr(loggers, "_made", lambda *_: recording)
        loggers.send(config, folder)
        assert recording.closed
        return recording

    return run


def config_of(**logger):
    return OmegaConf.create(
        {"name": "small", "optimizer": {"lr": 0.05}, "model": None, "seeds": {"test": [1, 2]}, "logger": logger,
         "rules": {"a": {"condition": "x > 1"}}, "hydra": {"run": 1}}
    )  # fmt: skip


def observations(folder, arms, metrics, seeds=(1, 2)):
    lines = [
        ("small", arm, seed, metric, 10.0 * n + seed, False)
        for n, arm in enumerate(arms)
        for seed in seeds
        for metric in metrics
    ]
    columns = ["experiment", "arm", "seed", "metric", "value", "higher_is_better"]
    pd.DataFrame(lines, columns=columns).to_csv(folder / "observations.csv", index=False)


def test_every_arm_and_seed_is_sent(tmp_path, sent):
    observations(tmp_path, ["baseline", "treated", "aa"], ["mse", "mae"])
    recording = sent(config_of(**TENSORBOARD), tmp_path)
    assert recording.series["mse/treated"] == {1: 11.0, 2: 12.0}
    assert set(recording.series) == {f"{m}/{arm}" for m in ("mse", "mae") for arm in ("baseline", "treated", "aa")}
    assert recording.noted == {
        "name": "small", "optimizer.lr": 0.05, "model": "None", "seeds.test": "[1, 2]",
        "run_folder": str(tmp_path.resolve()),
    }  # fmt: skip
    assert recording.files == ["observations.csv"]


def test_a_run_of_many_arms_is_shown_by_few_series(tmp_path, sent):
    """Hundreds of series are why people turn such loggers off. The first metric has all of its arms."""
    arms = [f"round{n}" for n in range(8)]
    observations(tmp_path, arms, ["mse", "rmse", "mae"])
    recording = sent(config_of(**TENSORBOARD), tmp_path)
    assert len(recording.series) == loggers.MOST_SERIES < 20
    assert {f"mse/{arm}" for arm in arms} <= set(recording.series)


def test_a_folder_without_tables_sends_its_settings(tmp_path, sent):
    recording = sent(config_of(**TENSORBOARD), tmp_path)
    assert recording.series == {}
    assert recording.noted["optimizer.lr"] == 0.05


def test_tables_of_other_jobs_end_nothing(tmp_path, sent):
    """Benchmarks write tables of these names with other columns: a run of hours would have ended in a traceback."""
    (tmp_path / "observations.csv").write_text("trial,config,value\na,b,1\n")
    (tmp_path / "significance.csv").write_text("comparison,verdict\nx,confirmed\n")
    (tmp_path / "shares.csv").write_text("overrides,outcome\na=1,kept\n")
    recording = sent(config_of(**TENSORBOARD), tmp_path)
    assert recording.series == {}
    assert not [name for name in recording.noted if name.startswith("proof")]
    assert recording.files == ["significance.csv", "shares.csv", "observations.csv"]


def test_a_whole_run_is_sent(command, monkeypatch):
    """Findings, proof and tables of a real run, while its own files stay what they are."""
    recording = Recording()
    monkeypatch.setattr(loggers, "_made", lambda *_: recording)
    code, folder, error = command("experiment=movielens_mf", "dataset=synthetic", "seeds.test=[1,2,3]", "workers=1",
                                  "rounds=1", "training.epochs=4", "logger=tensorboard",
                                  "pruning.enabled=false")  # fmt: skip
    assert (code, error.strip()) == (0, "")
    assert recording.files == [
        "report.xml", "report_treated.xml", "significance.csv", "observations.csv", "prescription.yaml"
    ]  # fmt: skip
    line = pd.read_csv(folder / "significance.csv").iloc[0]
    assert recording.noted["proof.verdict"] == line["verdict"]
    assert recording.noted["proof.p_adjusted"] == line["p_adjusted"]
    assert set(recording.series["mse/treated"]) == {1, 2, 3}
    titles = [title for title, _, _ in recording.alerts]
    assert titles
    assert len(titles) == len(set(titles))
    assert all(" on " in title for title in titles)


def test_tensorboard_writes_into_the_run_folder(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    observations(tmp_path, ["baseline", "treated"], ["mse"])
    for _ in range(2):  # a run that is done again takes the place of the first
        loggers.send(config_of(**TENSORBOARD), tmp_path)
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1
    read = EventAccumulator(str(tmp_path / "tensorboard"))
    read.Reload()
    assert [(point.step, point.value) for point in read.Scalars("mse/treated")] == [(1, 11.0), (2, 12.0)]


def test_mlflow_writes_into_the_run_folder(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    from mlflow import MlflowClient

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    folder = tmp_path / "run"
    folder.mkdir()
    observations(folder, ["baseline"], ["mse"])
    made = {"_target_": "flowgrad.loggers.MLflowLogger", "tracking_uri": None, "experiment": "flowgrad"}
    loggers.send(config_of(mlflow=made), folder)
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("flowgrad").experiment_id])
    assert run.info.run_name == "small-run"
    assert run.data.metrics == {"mse/baseline": 2.0}
    assert run.data.params["optimizer.lr"] == "0.05"
    assert list((folder / "mlflow").rglob("observations.csv"))
    assert list(elsewhere.iterdir()) == []


def test_a_logger_that_cannot_be_made_ends_nothing(tmp_path, caplog):
    pytest.importorskip("mlflow")
    made = {"_target_": "flowgrad.loggers.MLflowLogger", "tracking_uri": "nonsense://nowhere", "experiment": "x"}
    observations(tmp_path, ["baseline"], ["mse"])
    with caplog.at_level(logging.WARNING):
        loggers.send(config_of(mlflow=made), tmp_path)
    (line,) = [one.getMessage() for one in caplog.records if one.name.startswith("flowgrad")]
    assert line.startswith("logger mlflow failed and gets nothing more of this run: ")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"_target_": "pathlib.Path"}, r"logger.x._target_=pathlib.Path is no flowgrad.loggers.Logger"),
        ({"_target_": "no.such.thing"}, "logger.x._target_=no.such.thing cannot be imported"),
        ({"folder": "a"}, "logger.x has no _target_; choose logger=tensorboard"),
        ({"_target_": 5}, "logger.x has no _target_"),
        ("text", "logger.x has no _target_"),
    ],
)
def test_what_is_no_logger_is_refused(settings, message):
    with pytest.raises(FlowGradError, match=message):
        loggers.check_loggers(config_of(x=settings))


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_an_extra_that_is_missing_is_named_before_anything_is_trained(name, composed, monkeypatch):
    monkeypatch.setattr(loggers, "find_spec", lambda package: None)
    config = composed(f"logger={name}", rules=False)
    with pytest.raises(FlowGradError, match=rf"logger={name} needs .*pip install 'flowgrad\[{name}\]'"):
        loggers.check_loggers(config)


def test_several_are_chosen_at_once(composed):
    assert list(composed("logger=[tensorboard,mlflow,wandb]", rules=False).logger) == ["tensorboard", "mlflow", "wandb"]
    assert composed(rules=False).logger == {}
