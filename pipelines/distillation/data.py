"""What a student is given: inputs, labels, and what its teacher says of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipelines.networks.data import Rows


@dataclass(frozen=True)
class Taught(Rows):
    """Examples with the teacher's outputs. Inputs are features, or pairs of user and item (int64, shape (n, 2))."""

    taught: Tensor
    """float32, shape (n, outputs)."""

    def __getitem__(self, index: Tensor | slice) -> Taught:
        return Taught(self.inputs[index], self.target[index], self.taught[index])


@dataclass(frozen=True)
class Shapes:
    """What a network must fit."""

    inputs: int
    """Features; of ratings, 0."""
    outputs: int
    """Classes, or 1."""
    users: int = 0
    items: int = 0
    mean: float = 0.0
    """Of the training ratings."""


@dataclass(frozen=True)
class TaughtData:
    """One data set, split, and the teacher: the same for every arm and seed."""

    source: str
    """Where this copy came from, and how the teacher was trained."""
    sha256: str
    """Of the content and of the teacher's weights."""
    shapes: Shapes
    teacher: nn.Module
    """Trained, in evaluation mode; nothing of it takes a gradient."""
    train: Taught
    validation: Taught
    test: Taught


def taught(teacher: nn.Module, rows: Rows) -> Taught:
    """The rows with the teacher's outputs."""
    with torch.no_grad():
        return Taught(rows.inputs, rows.target, teacher(rows.inputs))


def weights_sha256(network: nn.Module) -> str:
    """Of names and values of everything that the network holds."""
    content = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        content.update(f"{name} {tuple(tensor.shape)}\n".encode())
        content.update(tensor.detach().cpu().numpy().tobytes())
    return content.hexdigest()
