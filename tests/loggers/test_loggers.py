"""What each experiment tracker has afterwards, read back by its own means; nothing of it needs a network."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys

import pytest

from flowgrad import FlowGradError
from flowgrad.loggers import Guarded, Logger, LoggerMissingError, MLflowLogger, TensorBoardLogger, logger_of

REPORT = "<flowgrad><verdict>FINDINGS</verdict></flowgrad>"


@pytest.fixture
def report(tmp_path):
    path = tmp_path / "report.xml"
    path.write_text(REPORT)
    return path


def told(logger, report):
    """Everything that a run tells a logger, once."""
    logger.settings({"optimizer.lr": 0.05, "model.biases": False, "name": "small"})
    for step in range(3):
        logger.scalars({"loss": 1.0 / (step + 1), "test/mse": 2.0}, step)
    logger.alert("ZOMBIE_EMBEDDINGS on user_emb", "Rows circle.", "high")
    logger.artifact(report)


def events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder))
    read.Reload()
    return read


def test_tensorboard_has_series_findings_and_report(tmp_path, report):
    pytest.importorskip("tensorboard")
    logger = TensorBoardLogger(tmp_path / "tb")
    told(logger, report)
    logger.close()
    read = events(tmp_path / "tb")
    assert [(point.step, round(point.value, 4)) for point in read.Scalars("loss")] == [(0, 1.0), (1, 0.5), (2, 0.3333)]
    texts = {tag: read.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in read.Tags()["tensors"]}
    assert "| optimizer.lr | 0.05 |" in texts["settings/text_summary"]
    assert texts["findings/ZOMBIE_EMBEDDINGS on user_emb/text_summary"] == "**high**: Rows circle."
    assert REPORT in texts["report.xml/text_summary"]


def test_a_writer_of_the_users_own_stays_open(tmp_path, report):
    pytest.importorskip("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path / "tb")) as writer:
        logger = logger_of(writer)
        told(logger, report)
        logger.close()
        writer.add_scalar("of the user", 1.0, 0)
    assert {"loss", "of the user"} <= set(events(tmp_path / "tb").Tags()["scalars"])


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """MLflow's database, which takes seconds to set up."""
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


def test_mlflow_has_series_findings_and_report(store, report, tmp_path, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)  # where it keeps artifacts
    client = MlflowClient(store)
    place = client.create_experiment("flowgrad", artifact_location=(tmp_path / "artifacts").as_uri())
    logger = MLflowLogger(store, run_name="small")
    told(logger, report)
    logger.close()
    (run,) = client.search_runs([place])
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "small"
    assert run.data.params == {"optimizer.lr": "0.05", "model.biases": "False", "name": "small"}
    assert run.data.tags["finding.ZOMBIE_EMBEDDINGS on user_emb"] == "high: Rows circle."
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(point.step, round(point.value, 4)) for point in history] == [(0, 1.0), (1, 0.5), (2, 0.3333)]
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["report.xml"]


def test_mlflow_sends_points_in_batches(store, monkeypatch, tmp_path):
    """A call a point is a request a point, on a server."""
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    calls = []
    send = MlflowClient.log_batch

    def counted(self, run_id, metrics=(), **given):
        calls.append(len(metrics))
        return send(self, run_id, metrics=metrics, **given)

    monkeypatch.setattr(MlflowClient, "log_batch", counted)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)  # as a user sets it
    client = MlflowClient()
    run = client.create_run(client.create_experiment("batches"))
    logger = logger_of(run)
    for step in range(300):
        logger.scalars({f"series{n}": float(step) for n in range(4)}, step)
    logger.close()
    assert calls == [1000, 200]
    assert len(client.get_metric_history(run.info.run_id, "series3")) == 300
    assert client.get_run(run.info.run_id).info.status == "RUNNING"  # the user's own run is not ended


WANDB = """
import json, sys
from pathlib import Path
import wandb
from flowgrad.loggers import WandbLogger, logger_of

report = Path(sys.argv[1])
run = wandb.init(project="p", mode="offline", dir=str(report.parent))
sent = []
alert, log, artifact = run.alert, run.log, run.log_artifact
run.alert = lambda **given: (sent.append(["alert", given["title"], given["text"], given["level"].value]),
                             alert(**given))
run.log = lambda values, **given: (sent.append(["log", values]), log(values, **given))
run.log_artifact = lambda held, **given: (sent.append(["artifact", held.type, list(held.manifest.entries)]),
                                           artifact(held, **given))
logger = logger_of(run)
logger.settings({"optimizer.lr": 0.05, "model.biases": False, "name": "small"})
for step in range(3):
    logger.scalars({"loss": 1.0 / (step + 1), "test/mse": 2.0}, step)
logger.alert("ZOMBIE_EMBEDDINGS on user_emb", "Rows circle.", "high")
logger.artifact(report)
logger.close()
run.log({"of the user": 1})  # the run is still open
print("SENT", json.dumps([sent, dict(run.config)]))
run.finish()
own = WandbLogger(project="p", mode="offline", dir=str(report.parent))
own.scalars({"loss": 1.0}, 0)
own.close()
assert wandb.run is None
"""


def test_wandb_offline_has_series_findings_and_report(tmp_path, report):
    """In a process of its own, with a home of its own: W&B starts a service, and writes into the user's folders."""
    pytest.importorskip("wandb")
    done = subprocess.run(
        [sys.executable, "-c", WANDB, str(report)], capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "HOME": str(tmp_path), "WANDB_SILENT": "true", "XDG_CACHE_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (line,) = [one for one in done.stdout.splitlines() if one.startswith("SENT ")]
    sent, config = json.loads(line.removeprefix("SENT "))
    assert config == {"optimizer.lr": 0.05, "model.biases": False, "name": "small"}
    assert [one[1]["loss"] for one in sent if one[0] == "log" and "loss" in one[1]] == pytest.approx([1, 1 / 2, 1 / 3])
    assert [one[1]["flowgrad_step"] for one in sent if one[0] == "log" and "loss" in one[1]] == [0, 1, 2]
    assert ["alert", "ZOMBIE_EMBEDDINGS on user_emb", "Rows circle.", "ERROR"] in sent
    assert ["artifact", "flowgrad", ["report.xml"]] in sent
    runs = sorted((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(runs) == 2
    assert all(path.stat().st_size for path in runs)


@pytest.mark.parametrize(
    ("made", "blocked", "extra"),
    [("TensorBoardLogger", "torch.utils.tensorboard", "tensorboard"), ("MLflowLogger", "mlflow", "mlflow"),
     ("WandbLogger", "wandb", "wandb")],
)  # fmt: skip
def test_a_package_that_is_missing_is_named_by_its_extra(monkeypatch, made, blocked, extra):
    import flowgrad.loggers

    monkeypatch.setitem(sys.modules, blocked, None)
    with pytest.raises(LoggerMissingError, match=rf"pip install 'flowgrad\[{extra}\]'"):
        getattr(flowgrad.loggers, made)()


@pytest.mark.parametrize("other", [object(), print, {"a": 1}, None])
def test_something_else_is_refused(other):
    with pytest.raises(FlowGradError, match="is no logger; give a SummaryWriter"):
        logger_of(other)


class Failing(Logger):
    """Fails at one of its calls, and counts all."""

    def __init__(self, at):
        self.at, self.calls = at, []

    def _called(self, name):
        self.calls.append(name)
        if name == self.at:
            raise ConnectionError("the server\nis gone")

    def settings(self, values):
        self._called("settings")

    def scalars(self, values, step):
        self._called("scalars")

    def alert(self, title, text, severity):
        self._called("alert")

    def artifact(self, path):
        self._called("artifact")

    def close(self):
        self._called("close")


@pytest.mark.parametrize("at", ["settings", "scalars", "alert", "artifact", "close"])
def test_a_failing_logger_ends_nothing_and_is_told_once(at, report, caplog):
    failing = Failing(at)
    guarded = Guarded("mlflow", lambda: failing)
    with caplog.at_level(logging.WARNING):
        told(guarded, report)
        guarded.close()
    assert guarded.failed
    assert [one.getMessage() for one in caplog.records] == [
        "logger mlflow failed and gets nothing more of this run: the server is gone"
    ]
    assert failing.calls.count(at) == 1
    assert failing.calls[-1] == "close"  # what it took before may still arrive
    assert failing.calls[:-1] == failing.calls[: failing.calls.index(at) + 1][: len(failing.calls) - 1]


def test_a_sound_logger_gets_everything(report, caplog):
    sound = Failing("never")
    guarded = Guarded("mlflow", lambda: sound)
    told(guarded, report)
    guarded.close()
    assert sound.calls == ["settings", "scalars", "scalars", "scalars", "alert", "artifact", "close"]
    assert not guarded.failed
    assert not caplog.records
