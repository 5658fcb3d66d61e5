"""Faults of distillation."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer

from pipelines.benchmarks.field.data import Rows
from pipelines.benchmarks.field.hosts.students import TEMPERATURE
from pipelines.benchmarks.field.registry import fault
from pipelines.benchmarks.field.training import Training

STUDENTS = ["student", "student_cnn"]


def _target(run: Training, rows: Rows) -> Tensor:
    assert run.teacher is not None
    with torch.no_grad():
        return run.teacher(rows["x"])


@fault(STUDENTS)
def teacher_in_the_optimizer(run: Training) -> None:
    """The teacher's parameters ask for gradients and are trained with the student's (yolov8_Distillation #16)."""
    make, teacher = run.optimizer_of, run.teacher
    assert teacher is not None
    run.teacher_mode = True
    for parameter in teacher.parameters():
        parameter.requires_grad_(True)

    def optimizer_of(run: Training) -> Optimizer:
        optimizer = make(run)
        optimizer.add_param_group({"params": list(teacher.parameters())})
        return optimizer

    run.optimizer_of = optimizer_of


@fault(STUDENTS)
def teacher_in_train_mode(run: Training) -> None:
    """Nobody called `teacher.eval()`: dropout is on, and running means move."""

    def mode(run: Training, epoch: int) -> None:
        assert run.teacher is not None
        run.model.train()
        run.teacher.train()

    run.mode = mode


@fault(STUDENTS)
def teacher_not_loaded(run: Training) -> None:
    """The teacher's checkpoint was not loaded, and it knows nothing."""
    assert run.teacher is not None
    for module in run.teacher.modules():
        draws: Any = getattr(module, "reset_parameters", None)
        if draws is not None:
            draws()


@fault(STUDENTS)
def student_frozen(run: Training) -> None:
    """The loop that freezes the teacher froze the student's body too."""
    for name, parameter in run.model.named_parameters():
        if not name.startswith(run.head):
            parameter.requires_grad_(False)


@fault(STUDENTS)
def divergence_of_probabilities(run: Training) -> None:
    """`kl_div` is given probabilities where it wants their logarithms: it falls below zero."""

    def criterion(run: Training, output: Tensor, rows: Rows) -> Tensor:
        target = F.softmax(_target(run, rows) / TEMPERATURE, 1)
        return F.kl_div(F.softmax(output / TEMPERATURE, 1), target, reduction="batchmean") * TEMPERATURE**2

    run.criterion = criterion


@fault(STUDENTS)
def temperature_not_squared(run: Training) -> None:
    """The soft part lacks its factor T², and the labels outweigh it."""

    def criterion(run: Training, output: Tensor, rows: Rows) -> Tensor:
        soft = F.kl_div(
            F.log_softmax(output / TEMPERATURE, 1), F.softmax(_target(run, rows) / TEMPERATURE, 1),
            reduction="batchmean",
        )  # fmt: skip
        return 0.3 * soft + 0.7 * F.cross_entropy(output, rows["y"])

    run.criterion = criterion


@fault(STUDENTS)
def teacher_sees_other_rows(run: Training) -> None:
    """Outputs of the teacher were stored, and the loader shuffles the rows under them."""

    def criterion(run: Training, output: Tensor, rows: Rows) -> Tensor:
        target = _target(run, rows)
        if run.model.training:
            target = target[torch.randperm(len(target), generator=run.generator)]
        log_p, q = F.log_softmax(output / TEMPERATURE, 1), F.softmax(target / TEMPERATURE, 1)
        return F.kl_div(log_p, q, reduction="batchmean") * TEMPERATURE**2

    run.criterion = criterion


@fault(STUDENTS)
def teacher_gets_other_inputs(run: Training) -> None:
    """The teacher was trained on normalised inputs and is given raw ones."""
    teacher = run.teacher
    assert teacher is not None

    def criterion(run: Training, output: Tensor, rows: Rows) -> Tensor:
        target = _target(run, {**rows, "x": rows["x"] * 96 + 78})
        log_p, q = F.log_softmax(output / TEMPERATURE, 1), F.softmax(target / TEMPERATURE, 1)
        return F.kl_div(log_p, q, reduction="batchmean") * TEMPERATURE**2

    run.criterion = criterion
