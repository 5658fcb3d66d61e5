"""Students of a teacher that was trained before, in this process and once a seed."""

from __future__ import annotations

import copy
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.benchmarks.field.data import FieldData, Rows, split
from pipelines.benchmarks.field.hosts.networks import SmallCNN, pixels
from pipelines.benchmarks.field.registry import host
from pipelines.benchmarks.field.training import Training

TEMPERATURE = 4.0
_given: dict[int, FieldData] = {}


def dense(width: int) -> nn.Module:
    """A perceptron on pixels with dropout."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(width, width), nn.ReLU(),
        nn.Dropout(0.2), nn.Linear(width, 10),
    )  # fmt: skip


def divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Distillation loss of Hinton et al. 2015, with the square of the temperature."""
    log_p, q = F.log_softmax(student / TEMPERATURE, 1), F.softmax(teacher / TEMPERATURE, 1)
    return F.kl_div(log_p, q, reduction="batchmean") * TEMPERATURE**2


def soft_loss(run: Training, output: Tensor, rows: Rows) -> Tensor:
    """Loss with most of its weight on the teacher, a tenth on the labels."""
    assert run.teacher is not None
    with torch.set_grad_enabled(run.teacher_mode and torch.is_grad_enabled()):
        target = run.teacher(rows["x"])
    return 0.9 * divergence(output, target) + 0.1 * F.cross_entropy(output, rows["y"])


def _cost(run: Training, rows: Rows) -> float:
    """Divergence from the teacher as it was."""
    assert run.original is not None
    run.original.eval()
    return divergence(run.forward(run, rows), run.original(rows["x"])).item()


@cache
def _teacher(kind: str, seed: int) -> nn.Module:
    data = _given[seed]
    train, _, _ = split({"x": pixels(data), "y": data.digits}, seed)
    torch.manual_seed(seed + 500)
    model = SmallCNN(24) if kind == "cnn" else dense(128)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    model.train()
    for _ in range(12):
        for index in torch.randperm(len(train["y"])).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(train["x"][index]), train["y"][index]).backward()
            optimizer.step()
    return model.eval()


def _student(name: str, kind: str, data: FieldData, seed: int) -> Training:
    _given[seed] = data
    teacher = copy.deepcopy(_teacher(kind, seed))
    for parameter in teacher.parameters():
        parameter.requires_grad_(False)
    torch.manual_seed(seed)
    train, validation, test = split({"x": pixels(data), "y": data.digits}, seed)
    model = SmallCNN(12) if kind == "cnn" else dense(48)
    names = ("conv1", "fc") if kind == "cnn" else ("1", "7")
    return Training(
        name, seed, model, train, validation, test,
        forward=lambda run, rows: run.model(rows["x"]), criterion=soft_loss, cost=_cost,
        optimizer_of=lambda run: torch.optim.Adam(run.model.parameters(), lr=2e-3), null=3.0, sgd=0.05,
        epochs=20, batch=64, inputs="x", teacher=teacher, original=copy.deepcopy(teacher),
        encoder=names[0], head=names[1],
    )  # fmt: skip


@host("student", "student")
def student(data: FieldData, seed: int) -> Training:
    """A perceptron taught by a wider one."""
    return _student("student", "dense", data, seed)


@host("student_cnn", "student")
def student_cnn(data: FieldData, seed: int) -> Training:
    """A convolutional network taught by a wider one."""
    return _student("student_cnn", "cnn", data, seed)
