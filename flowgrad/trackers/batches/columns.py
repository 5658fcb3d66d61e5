"""Says of which kind the inputs of a batch are: numbers, columns of ids, sequences of tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowgrad.trackers.batches.rows import RowSample, are_columns
from flowgrad.trackers.watching import ArgumentError

LEAST_NUMBERED = 8
"""Number of rows of a batch from which targets that are their numbers are taken for that."""


def checked(tracker: str, inputs: Any, targets: Tensor | None) -> tuple[dict[str, Tensor], Tensor | None]:
    """Find the tensors in a model's inputs, by name or by place, and the targets of as many rows.

    Raises:
        ArgumentError: no tensor with rows, or different numbers of rows.
    """
    columns = {name: values for name, values in _tensors(inputs).items() if values.ndim}
    if not columns:
        raise ArgumentError(f"{tracker}: inputs hold no tensor with rows; give what the model was given")
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} {count}" for name, count in lengths.items())
        raise ArgumentError(f"{tracker}: inputs have different numbers of rows ({shown}); give one entry a row")
    rows = next(iter(lengths.values()))
    if targets is not None and (not isinstance(targets, Tensor) or not targets.ndim or len(targets) != rows):
        shape = tuple(targets.shape) if isinstance(targets, Tensor) else type(targets).__name__
        raise ArgumentError(f"{tracker}: targets {shape} do not belong to {rows} rows; give one a row, or None")
    return columns, targets


def _tensors(inputs: Any) -> dict[str, Tensor]:
    if isinstance(inputs, Tensor):
        return {"inputs": inputs}
    if isinstance(inputs, Mapping):
        return {str(name): values for name, values in inputs.items() if isinstance(values, Tensor)}
    if isinstance(inputs, Sequence) and not isinstance(inputs, str):
        return {str(place): values for place, values in enumerate(inputs) if isinstance(values, Tensor)}
    return {}


def ids_of(columns: Mapping[str, Tensor], targets: Tensor | None) -> dict[str, Tensor]:
    """Find columns of ids: whole numbers, one a row, or a few columns of them where the target is one a row."""
    found = {}
    for name, values in columns.items():
        if not are_columns(values):
            continue
        if values.ndim == 1:
            found[name] = values
        elif targets is not None and targets.ndim == 1:
            found |= {f"{name}[{place}]": values[:, place] for place in range(values.shape[1])}
    return found


def ids_only(columns: Mapping[str, Tensor], targets: Tensor | None) -> bool:
    """Whether all inputs are columns of ids."""
    names = {name.split("[")[0] for name in ids_of(columns, targets)}
    return names == set(columns)


def numbers_only(columns: Mapping[str, Tensor]) -> bool:
    """Whether all inputs are numbers that like rows share."""
    return all(values.is_floating_point() for values in columns.values())


def are_sequences(columns: Mapping[str, Tensor], targets: Tensor | None) -> bool:
    """Whether tokens are to be predicted from tokens: whole numbers of two dimensions, both."""
    both = [*columns.values(), *([] if targets is None else [targets])]
    return len(both) == 2 and all(part.ndim == 2 and not part.is_floating_point() for part in both)


def are_classes(targets: Tensor) -> bool:
    """Whether targets are classes: whole numbers, one a row."""
    return targets.ndim == 1 and not targets.is_floating_point() and not targets.is_complex()


def numbers_rows(targets: Tensor | None) -> bool:
    """Whether targets number the rows of their batch from 0, as those of a softmax over the batch do: they tell where
    the right score stands, and nothing of the row. Eight classes come in their order by chance once in 10^7 batches.
    """
    if targets is None or not are_classes(targets) or targets.dtype == torch.bool or len(targets) < LEAST_NUMBERED:
        return False
    return bool(torch.equal(targets, torch.arange(len(targets), dtype=targets.dtype, device=targets.device)))


def numbers_of(part: RowSample) -> tuple[np.ndarray, np.ndarray] | None:
    """Sampled rows and their targets, one a row; None where they are not known."""
    values, targets = part.rows("values"), part.rows("targets")
    if values is None or targets is None or targets.shape[1] != 1 or not len(values):
        return None
    return values.numpy(), targets[:, 0].numpy()
