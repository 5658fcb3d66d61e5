"""Faults of the data: copies, leaks, scales, constants, gaps, mixed ids."""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.benchmarks.field.data import Rows, length, take
from pipelines.benchmarks.field.registry import fault
from pipelines.benchmarks.field.training import Training


def _joined(one: Rows, other: Rows) -> Rows:
    return {name: torch.cat([one[name], other[name]]) for name in one}


@fault(["perceptron", "cnn", "deepfm", "factorisation"])
def copies_across_the_split(run: Training) -> None:
    """Rows were copied before they were split, and each set holds copies of the other's rows; few rows, many epochs."""
    few = take(run.train, torch.arange(length(run.train) // 6))
    run.train = _joined(few, few)
    run.validation = take(few, torch.randperm(length(few), generator=torch.Generator().manual_seed(run.seed)))
    run.epochs *= 4


@fault(["perceptron", "cnn", "recurrent"])
def label_leaks_into_inputs(run: Training) -> None:
    """One input is the target, written down after it; in use it is not known."""

    def leaking(rows: Rows) -> Rows:
        x = rows["x"].clone()
        y = rows["y"].float()
        x.reshape(len(x), -1)[:, 0] = (y - y.mean()) / y.std()
        return {**rows, "x": x}

    run.train, run.validation = leaking(run.train), leaking(run.validation)
    x = run.test["x"].clone()
    x.reshape(len(x), -1)[:, 0] = 0.0
    run.test = {**run.test, "x": x}


@fault(["deepfm"])
def label_leaks_into_a_field(run: Training) -> None:
    """One field holds what was clicked; in use it is not known."""

    def leaking(rows: Rows) -> Rows:
        fields = rows["fields"].clone()
        fields[:, 3] = rows["y"].long()
        return {**rows, "fields": fields}

    run.train, run.validation = leaking(run.train), leaking(run.validation)
    fields = run.test["fields"].clone()
    fields[:, 3] = 0
    run.test = {**run.test, "fields": fields}


def _inputs(run: Training, change: object) -> None:
    for part in ("train", "validation", "test"):
        rows = getattr(run, part)
        setattr(run, part, {**rows, "x": change(rows["x"])})  # type: ignore[operator]


@fault(["perceptron", "cnn", "recurrent"])
def inputs_not_normalised(run: Training) -> None:
    """Inputs stay as in the file: years next to shares, or pixels up to 255."""

    def raw(x: Tensor) -> Tensor:
        if run.host == "perceptron":
            scale = torch.logspace(0, 3, x.shape[1])
            return x * scale + 2 * scale
        return (x + 0.8) * 100

    _inputs(run, raw)


@fault(["perceptron", "cnn", "recurrent"])
def inputs_constant(run: Training) -> None:
    """Preprocessing gives the same for every row."""
    constant = run.train["x"].mean(0, keepdim=True)
    _inputs(run, lambda x: constant.expand_as(x).clone())


@fault(["perceptron", "cnn", "recurrent"])
def inputs_vanish(run: Training) -> None:
    """Inputs are divided by 255 twice, and by their deviation nowhere."""
    _inputs(run, lambda x: x / 255 / 20)


@fault(["perceptron", "cnn", "recurrent"])
def rows_with_nan(run: Training) -> None:
    """A few training rows hold a NaN."""
    x = run.train["x"].clone()
    x.reshape(len(x), -1)[::97, 3] = float("nan")
    run.train = {**run.train, "x": x}


@fault(["perceptron", "cnn", "recurrent"])
def inputs_shuffled_in_use(run: Training) -> None:
    """Validation and use have their columns in another order than training had."""

    def mixed(rows: Rows) -> Rows:
        flat = rows["x"].reshape(len(rows["x"]), -1)
        order = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(5))
        return {**rows, "x": flat[:, order].reshape(rows["x"].shape)}

    run.validation, run.test = mixed(run.validation), mixed(run.test)


@fault(["perceptron", "cnn", "transformer", "factorisation"])
def tiny_training_set(run: Training) -> None:
    """A filter left a fiftieth of the rows, and the loop goes over them many times."""
    run.train = take(run.train, torch.arange(max(24, length(run.train) // 50)))
    run.batch = min(run.batch, 64)
    run.epochs = min(60, run.epochs * 6)
