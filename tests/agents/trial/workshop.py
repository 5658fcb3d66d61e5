"""The place that the agent works in: a training of `faults_field` that it can run, change at places, and measure."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.optim import Optimizer

from flowgrad import to_agent_xml
from pipelines.benchmarks.field.data import FieldData, Rows
from pipelines.benchmarks.field.run import Task, made
from pipelines.benchmarks.field.training import Training, fit, prepare, shuffled
from pipelines.benchmarks.field.watching import watch

Edit = Callable[[Training], None]
WATCHED = 3
"""Seed that the sick run is watched with."""


class Nobody:
    """Watches nothing."""

    def batch(self, rows: Rows) -> None:
        """Pass."""

    def step(self, loss: Tensor | float) -> None:
        """Pass."""

    def end_epoch(self, train_loss: float, validation_loss: float) -> None:
        """Pass."""


class Workshop:
    """A training, with a fault or sound, and the edits that were made to it. It does not say what the fault is."""

    def __init__(self, data: FieldData, host: str, fault: str) -> None:
        self._data, self._host, self._fault = data, host, fault
        self._edits: list[Edit] = []

    def watch(self, file: str) -> None:
        """Train with the trackers that a careful user attaches, and write their report."""
        run = self._made(WATCHED, changed=True)
        watchers = watch(run, peer=False)
        fit(run, watchers)
        Path(file).write_text(to_agent_xml(watchers.trackers()), encoding="utf-8")

    def edit(self, place: str, code: str, names: list[str]) -> None:
        """Put code into the loop."""
        self._edits.append(_EDITS[place](code, names))

    def undo(self) -> None:
        """Take all edits back."""
        self._edits.clear()

    def measure(self, folder: str, seeds: tuple[int, ...], *, changed: bool) -> None:
        """Train on each seed, unwatched, and write the cost on rows that no training saw."""
        lines = ["experiment,arm,seed,metric,value,higher_is_better"]
        for seed in seeds:
            run = self._made(seed, changed=changed)
            cost = fit(run, Nobody()).cost
            lines.append(f"trial,baseline,{seed},cost,{cost if math.isfinite(cost) else 'nan'},False")
        Path(folder, "observations.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _made(self, seed: int, *, changed: bool) -> Training:
        torch.set_num_threads(1)
        run = made(Task(self._host, seed, "fault" if self._fault else "sound", self._fault), self._data)
        assert isinstance(run, Training)
        for edit in self._edits if changed else ():
            edit(run)
        prepare(run)
        return run


def _after_optimizer(code: str, names: list[str]) -> Edit:
    def edit(run: Training) -> None:
        make = run.optimizer_of

        def optimizer_of(run: Training) -> Optimizer:
            optimizer = make(run)
            exec(code, {"optimizer": optimizer, "model": run.model, "NAMED": names})
            return optimizer

        run.optimizer_of = optimizer_of

    return edit


def _before_step(code: str, names: list[str]) -> Edit:
    def edit(run: Training) -> None:
        step = run.step

        def cleared(run: Training, rows: Rows) -> Tensor | None:
            exec(code, {"optimizer": run.optimizer})
            return step(run, rows)

        run.step = cleared

    return edit


def _step(code: str, names: list[str]) -> Edit:
    def step(run: Training, rows: Rows) -> Tensor:
        loss = run.loss(rows)
        exec(code, {"optimizer": run.optimizer, "loss": loss})
        return loss.detach()

    return lambda run: setattr(run, "step", step)


def _inputs(code: str, names: list[str]) -> Edit:
    def edit(run: Training) -> None:
        before = run.train["x"]

        def changed(rows: Rows) -> Rows:
            known = {"x": rows["x"], "x_train": before}
            exec(code, known)
            return {**rows, "x": known["x"]}

        run.train, run.validation, run.test = (changed(rows) for rows in (run.train, run.validation, run.test))

    return edit


def _sign(code: str, names: list[str]) -> Edit:
    def edit(run: Training) -> None:
        criterion = run.criterion
        run.criterion = lambda run, output, rows: -criterion(run, output, rows)

    return edit


_EDITS: dict[str, Callable[[str, list[str]], Edit]] = {
    "after the optimizer is made": _after_optimizer,
    "before the step": _before_step,
    "the step": _step,
    "the inputs": _inputs,
    "once an epoch": lambda code, names: lambda run: setattr(run, "schedule", "epoch"),
    "the loop over batches": lambda code, names: lambda run: setattr(run, "batches", shuffled),
    "the sign of the loss": _sign,
}
