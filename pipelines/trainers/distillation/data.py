"""Holds a student's data: inputs, labels, and its teacher's outputs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipelines.trainers.networks.data import Rows


@dataclass(frozen=True)
class Taught(Rows):
    """Examples with the teacher's outputs. Inputs are features, or pairs of user and item (int64, shape (n, 2))."""

    taught: Tensor
    """Outputs of the teacher, float32, shape (n, outputs)."""

    def __getitem__(self, index: Tensor | slice) -> Taught:
        return Taught(self.inputs[index], self.target[index], self.taught[index])


@dataclass(frozen=True)
class Shapes:
    """Sizes that a network must fit."""

    inputs: int
    """Number of features; of ratings, 0."""
    outputs: int
    """Number of classes, or 1."""
    users: int = 0
    items: int = 0
    mean: float = 0.0
    """Mean of the training ratings."""


@dataclass(frozen=True)
class TaughtData:
    """One data set, split, and the teacher: the same for every arm and seed."""

    source: str
    """Origin of this copy, and how the teacher was trained."""
    sha256: str
    """SHA-256 of the content and of the teacher's weights."""
    shapes: Shapes
    teacher: nn.Module
    """Trained teacher, in evaluation mode; none of its parameters takes a gradient."""
    train: Taught
    validation: Taught
    test: Taught


def taught(teacher: nn.Module, rows: Rows) -> Taught:
    """Add the teacher's outputs to the rows."""
    with torch.no_grad():
        return Taught(rows.inputs, rows.target, teacher(rows.inputs))


def weights_sha256(network: nn.Module) -> str:
    """SHA-256 of names and values of everything that the network holds."""
    content = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        content.update(f"{name} {tuple(tensor.shape)}\n".encode())
        content.update(tensor.detach().cpu().numpy().tobytes())
    return content.hexdigest()
