"""What an experiment tracker has of a watched training, read back by its own means; nothing of it needs a network."""

from __future__ import annotations

import logging
import os
import random

import numpy as np
import pytest
import torch

import flowgrad
from flowgrad import FlowGradError
from flowgrad.trackers.schedules import every
from tests.forked import run_forked
from tests.kept_logger import Kept
from tests.watching_loops import alike, batches, criterion, data, made, train


def uncleared(writer, steps=120, epochs=True, watched=True, **settings):
    """Train with gradients that nobody clears, and send it to a writer; returns the model and the watch."""
    model = made()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    watch = flowgrad.watch(model, optimizer, looks=every(30), **settings) if watched else None
    if watched:
        watch.log_to(writer)
    ids, labels = data(rows=64, seed=1)
    for place, (rows, targets) in enumerate(batches(epochs=-(-steps // 10))[:steps]):
        loss = criterion(model(rows), targets)
        loss.backward()
        optimizer.step()
        if watched:
            watch.log(loss=loss)
        if watched and epochs and place % 10 == 9:
            with torch.no_grad():
                watch.log(val_loss=criterion(model(ids), labels), metric=0.5)
            watch.end_epoch()
    if watched:
        watch.detach()
    return model, watch


SERIES = {
    f"flowgrad/{name}"
    for name in (
        "loss", "lr", "val_loss", "metric", "findings", "findings_severe", "gradient_norm", "update_ratio",
        "dead_units", "rows_never_looked_up", "least_rank_share",
    )
}  # fmt: skip


def test_few_series_each_finding_once_and_the_report():
    kept = Kept()
    _, watch = uncleared(kept)
    assert set(kept.series) == SERIES
    assert len(SERIES) < 20
    for name, points in kept.series.items():
        steps = [step for step, _ in points]
        assert steps == sorted(steps), name
        assert all(np.isfinite(value) for _, value in points)
    assert [step for step, _ in kept.series["flowgrad/loss"]][:3] == [10, 20, 30]
    assert [step for step, _ in kept.series["flowgrad/val_loss"]] == list(range(10, 121, 10))
    assert kept.series["flowgrad/lr"][-1] == (120, 0.01)
    assert kept.series["flowgrad/findings"][-1] == (120, len(watch.findings()))
    kinds = [title.split(" on ")[0] for title, *_ in kept.alerts]
    assert len(kinds) == len(set(kinds))
    assert set(kinds) == {one.type for one in watch.findings() if not one.follows}
    assert ("GRADIENTS_NOT_CLEARED on model", "critical") in {(title, severity) for title, _, severity in kept.alerts}
    assert kept.files["flowgrad_report.xml"].encode() == flowgrad.report.to_xml(watch.to_report())
    assert kept.files["flowgrad_report.txt"] == watch.report()
    assert kept.files["flowgrad_report.html"].lower().startswith("<!doctype html>")
    assert "<svg" in kept.files["flowgrad_report.html"]
    assert kept.calls[-1] == "flush"
    assert "close" not in kept.calls  # whoever made it closes it


def test_the_loss_of_a_point_is_the_mean_since_the_one_before():
    kept, losses = Kept(), []
    model = made()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with flowgrad.watch(model, optimizer) as watch:
        watch.log_to(kept, prefix="towers/one")
        for ids, labels in batches(epochs=3)[:25]:
            optimizer.zero_grad()
            loss = criterion(model(ids), labels)
            watch.log(loss=loss)
            losses.append(loss.item())
            loss.backward()
            optimizer.step()
    points = kept.series["towers/one/loss"]
    assert [step for step, _ in points] == [10, 20, 25]
    means = [np.mean(losses[a:b]) for a, b in ((0, 10), (10, 20), (20, 25))]
    assert [value for _, value in points] == pytest.approx(means, rel=1e-5)
    assert "towers_one_report.xml" in kept.files


def test_points_grow_rarer():
    """A point every tenth step of a million is a hundred thousand."""
    from flowgrad.watching.sending import Sending

    sending, points = Sending(Kept(), "flowgrad"), 0
    for step in range(1, 100_001):
        if sending.due(step):
            sending.point(step, 0.1)
            points += 1
    assert 200 < points < 400


def test_what_is_not_known_is_not_sent_and_findings_come_while_it_trains():
    kept = Kept()
    model = made()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    watch = flowgrad.watch(model, optimizer, looks=every(10))
    watch.log_to(kept)
    for ids, labels in batches(epochs=5)[:45]:
        criterion(model(ids), labels).backward()
        optimizer.step()
    assert any(title.startswith("GRADIENTS_NOT_CLEARED") for title, *_ in kept.alerts)
    assert not kept.files
    assert "flowgrad/loss" not in kept.series
    watch.detach()
    assert "flowgrad/val_loss" not in kept.series
    watch.detach()
    assert kept.calls.count("artifact") == 3


def test_a_loss_that_is_no_number_is_shown():
    """A curve that ends where the training diverged looks like one that was cut short."""
    kept = Kept()
    model = made()
    optimizer = torch.optim.SGD(model.parameters(), 1e30)
    with flowgrad.watch(model, optimizer) as watch:
        watch.log_to(kept)
        train(model, [optimizer], watch, 40)
        watch.end_epoch(val_loss=float("nan"))
    assert not np.isfinite(kept.series["flowgrad/loss"][-1][1])
    assert not np.isfinite(kept.series["flowgrad/val_loss"][-1][1])
    assert kept.series["flowgrad/lr"][-1] == (40, 1e30)


def test_a_training_that_is_over_is_sent_at_once():
    kept = Kept()
    _, watch = uncleared(Kept())
    watch.log_to(kept)
    assert set(kept.files) == {f"flowgrad_report.{ending}" for ending in ("xml", "txt", "html")}
    assert kept.series["flowgrad/findings"] == [(120, len(watch.findings()))]
    assert {title.split(" on ")[0] for title, *_ in kept.alerts} == {
        one.type for one in watch.findings() if not one.follows
    }


def test_several_loggers_and_the_function_are_told_alike():
    one, other, told = Kept(), Kept(), []
    model = made()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    with flowgrad.watch(model, optimizer, on_finding=lambda finding: told.append(finding.type)) as watch:
        watch.log_to(one)
        watch.log_to(other)
        for ids, labels in batches(epochs=5):
            criterion(model(ids), labels).backward()
            optimizer.step()
    assert one.alerts == other.alerts
    assert [title.split(" on ")[0] for title, *_ in one.alerts] == told
    assert one.files == other.files


def test_what_the_function_raises_comes_after_the_report():
    class StopError(Exception):
        pass

    def stop(finding):
        raise StopError(finding.type)

    kept = Kept()
    model = made()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    watch = flowgrad.watch(model, optimizer, on_finding=stop, looks=every(1000))
    watch.log_to(kept)
    for ids, labels in batches(epochs=4):
        criterion(model(ids), labels).backward()
        optimizer.step()
    with pytest.raises(StopError):
        watch.detach()
    assert kept.alerts
    assert kept.files


@pytest.mark.parametrize("at", ["scalars", "alert", "artifact", "flush"])
def test_a_failing_logger_ends_nothing_and_is_told_once(at, caplog):
    kept = Kept(at)
    with caplog.at_level(logging.WARNING):
        model, watch = uncleared(kept)
    assert watch.steps == 120
    assert not watch.stopped
    assert [one.getMessage() for one in caplog.records] == [
        "logger Kept failed and gets nothing more of this run: the server is gone"
    ]
    assert kept.calls.count(at) == 1
    assert alike(model, uncleared(None, watched=False)[0])


def test_a_watch_that_stopped_sends_its_report():
    kept = Kept()
    model = made()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    watch = flowgrad.watch(model, optimizer)
    watch.log_to(kept)
    train(model, [optimizer], watch, 20)
    with pytest.warns(flowgrad.trackers.watching.TrackingStopped, match="loss has shape"):
        watch.log(loss=torch.ones(3))
    assert "NOT_OBSERVED" in kept.files["flowgrad_report.txt"]
    train(model, [optimizer], watch, 5)
    watch.detach()
    assert kept.calls.count("artifact") == 3


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"writer": object()}, "is no logger; give a SummaryWriter"),
        ({"writer": Kept(), "prefix": " / "}, "give the name that the series begin with"),
    ],
)
def test_something_else_is_refused(given, named):
    with flowgrad.watch(made()) as watch, pytest.raises(FlowGradError, match=named):
        watch.log_to(**given)


def test_tensorboard_has_it_and_weights_and_chance_are_as_without(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    ends = []
    for watched in (False, True):
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        with SummaryWriter(str(tmp_path / "tb")) as writer:
            model, _ = uncleared(writer, watched=watched)
            ends.append((model, torch.rand(1), np.random.rand(), random.random()))  # noqa: NPY002
            writer.add_scalar("of the user", 1.0, 0)
    assert alike(ends[0][0], ends[1][0])
    assert ends[0][1:] == ends[1][1:]
    read = EventAccumulator(str(tmp_path / "tb"))
    read.Reload()
    assert set(read.Tags()["scalars"]) == SERIES | {"of the user"}
    texts = {tag: read.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in read.Tags()["tensors"]}
    assert "GRADIENTS_NOT_CLEARED" in texts["flowgrad_report.xml/text_summary"]
    assert "FINDINGS" in texts["flowgrad_report.txt/text_summary"]
    assert texts["findings/GRADIENTS_NOT_CLEARED on model/text_summary"].startswith("**critical**: ")


def test_mlflow_has_it_while_it_trains(tmp_path, monkeypatch):
    """Points waited for a batch of a thousand, which a short training never fills."""
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    client = MlflowClient()
    run = client.create_run(client.create_experiment("mine", artifact_location=(tmp_path / "files").as_uri()))
    seen = []

    def tell(finding):
        seen.append(len(client.get_metric_history(run.info.run_id, "flowgrad/loss")))

    _, watch = uncleared(run, on_finding=tell)
    assert seen[0] >= 3
    read = client.get_run(run.info.run_id)
    assert set(read.data.metrics) == SERIES
    assert read.data.metrics["flowgrad/findings"] == len(watch.findings())
    assert read.data.tags["finding.GRADIENTS_NOT_CLEARED on model"].startswith("critical: ")
    files = sorted(file.path for file in client.list_artifacts(run.info.run_id))
    assert files == ["flowgrad_report.html", "flowgrad_report.txt", "flowgrad_report.xml"]
    assert read.info.status == "RUNNING"


def sent_to_wandb(folder):
    """Collects all that a run of W&B is sent, with a home of its own: W&B writes into the user's folders."""
    os.environ |= {"HOME": str(folder), "WANDB_SILENT": "true", "XDG_CACHE_HOME": str(folder)}
    import wandb

    run = wandb.init(project="p", mode="offline", dir=str(folder))
    sent = []
    alert, log, artifact = run.alert, run.log, run.log_artifact

    def keep_artifact(held, **given):
        sent.append(["artifact", held.name.split("-")[0], list(held.manifest.entries)])
        return artifact(held, **given)

    run.alert = lambda **given: (sent.append(["alert", given["title"], given["level"].value]), alert(**given))
    run.log = lambda values, **given: (sent.append(["log", sorted(values)]), log(values, **given))
    run.log_artifact = keep_artifact
    for epoch in range(3):  # steps of the user's own, which W&B drops where they are below its counter
        if epoch == 1:
            uncleared(run)
        run.log({"mine": epoch}, step=epoch)
        assert run.step == epoch, run.step
    run.finish()
    return sent


def test_wandb_offline_has_it_and_keeps_the_users_steps(tmp_path):
    """In a process of its own: W&B starts a service."""
    pytest.importorskip("wandb")
    sent = run_forked(sent_to_wandb, tmp_path)
    assert {name for one in sent if one[0] == "log" for name in one[1]} == SERIES | {"mine", "flowgrad_step"}
    assert ["alert", "GRADIENTS_NOT_CLEARED on model", "ERROR"] in sent
    files = [one[1:] for one in sent if one[0] == "artifact"]
    assert files == [[f"flowgrad_report.{end}", [f"flowgrad_report.{end}"]] for end in ("xml", "txt", "html")]
