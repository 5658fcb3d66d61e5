"""Trains the teacher once, from a seed of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from pipelines.trainers.distillation.data import Shapes
from pipelines.trainers.distillation.networks import TABLES, Dense, Recommender
from pipelines.trainers.networks.data import Rows
from pipelines.trainers.networks.loop import Watcher, fit
from pipelines.trainers.networks.losses import CrossEntropy, Loss, SquaredError


def trained_teacher(
    settings: DictConfig,
    shapes: Shapes,
    train: Rows,
    validation: Rows,
    threads: int,
    watch: Callable[[nn.Module, torch.optim.Optimizer], Sequence[Watcher]] = lambda *_: (),
) -> nn.Module:
    """Train a teacher with early stopping; it is then in evaluation mode and without gradients.

    Args:
        settings: `TeacherSettings`.
        shapes: sizes that it must fit.
        train: rows to train on.
        validation: rows to stop by.
        threads: CPU threads; the weights are the same bytes only for the same number.
        watch: makes watchers of the teacher and its optimizer.
    """
    torch.set_num_threads(threads)
    init, order = (torch.Generator().manual_seed(2 * settings.seed + stream) for stream in (0, 1))
    teacher = network(shapes, list(settings.widths), dict.fromkeys(TABLES, settings.dim), init)
    loss: Loss = CrossEntropy() if shapes.outputs > 1 else SquaredError()
    optimizer = torch.optim.Adam(teacher.parameters(), lr=settings.lr, fused=True)
    course = {"epochs": settings.epochs, "batch_size": settings.batch_size, "patience": settings.patience}
    loop = OmegaConf.create({**course, "early_stopping": True, "clip_norm": None})
    fit(teacher, loss, optimizer, train, validation, loop, order, watch(teacher, optimizer))
    return teacher.eval().requires_grad_(False)


def network(shapes: Shapes, widths: list[int], dims: dict[str, int], generator: torch.Generator) -> nn.Module:
    """Build a network that fits the data, its weights drawn by `generator` alone; `dims` are those of embeddings."""
    if shapes.users:
        return Recommender(shapes.users, shapes.items, dims, widths, shapes.mean, generator)
    return Dense(shapes.inputs, widths, shapes.outputs, generator)
