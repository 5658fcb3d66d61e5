"""The `fault` node of a config: a known fault, put into the training ratings or into the training itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from omegaconf import DictConfig

from datasets import faults
from flowgrad.errors import FlowGradError
from pipelines.data.ratings import Data, Examples
from pipelines.trainers.factorization.interference import FrozenRows, HotRows, StuckRows, TrainingHook
from pipelines.trainers.factorization.models.factorization import MatrixFactorization

SIDES = {"user_emb": "users", "item_emb": "items"}
"""Side of an example that looks up each table of the model."""
MLP = "mlp_"
"""Prefix of the names of a perceptron's own tables."""
OF_LABELS = ("conflict_random", "conflict_flipped")
OF_SAMPLING = ("dead", "skew")
OF_UPDATES = ("hot", "frozen", "stuck")
_MOST_TIMES = 10_000
KINDS = ("none", *OF_LABELS, *OF_SAMPLING, *OF_UPDATES)


def side_of(table: str) -> str | None:
    """Side of an example that looks a table up; None for anything but a table of users or items."""
    return SIDES.get(table.removeprefix(MLP))


@dataclass(frozen=True)
class Injected:
    """Data with the fault in them, and the hook that injects the rest of it."""

    data: Data
    rows: np.ndarray
    """Ids of the rows that have the fault, ascending: the truth that a diagnosis is scored against."""
    interfere: Callable[[MatrixFactorization], TrainingHook] | None = None
    """Function that puts the fault into the training of a model, where it is not in the data."""


def check_fault(config: DictConfig) -> None:
    """Refuse an unknown fault.

    Raises:
        FlowGradError: names the key and what would be right.
    """
    fault = config.fault
    if fault.kind not in KINDS:
        raise FlowGradError(f"fault.kind={fault.kind!r} is unknown; use one of {', '.join(KINDS)}")
    if fault.table not in SIDES:
        raise FlowGradError(f"fault.table={fault.table!r}; the model's tables are {', '.join(SIDES)}")
    if fault.kind == "conflict_flipped" and not 0 < fault.strength <= 1:
        raise FlowGradError(f"fault.strength={fault.strength}: {fault.kind} takes a share, above 0 and at most 1")
    if fault.kind == "skew" and not (2 <= fault.strength <= _MOST_TIMES and fault.strength == round(fault.strength)):
        raise FlowGradError(
            f"fault.strength={fault.strength}: {fault.kind} takes how often a rating is there, 2 to {_MOST_TIMES}"
        )
    if fault.kind == "hot" and not (fault.strength > 0 and fault.strength != 1):
        raise FlowGradError(f"fault.strength={fault.strength}: {fault.kind} takes a factor above 0 and other than 1")


def inject(config: DictConfig, data: Data) -> Injected:
    """Inject the fault that the config names into these data. It depends on `fault.seed` and on no other seed.

    Raises:
        FlowGradError: as `check_fault`, or a share that cannot be had.
    """
    check_fault(config)
    fault = config.fault
    if fault.kind == "none":
        return Injected(data, np.array([], dtype=np.int64))
    side, rng = SIDES[fault.table], np.random.default_rng(fault.seed)
    train = data.train
    ratings = faults.TrainingRatings(train.users.numpy(), train.items.numpy(), train.ratings.numpy())
    count = data.n_users if side == "users" else data.n_items
    try:
        rows = faults.choose_rows(np.bincount(ratings.side(side), minlength=count), fault.share, fault.least, rng)
    except FlowGradError as error:
        raise FlowGradError(f"fault.{error}") from error
    if fault.kind in OF_UPDATES:
        return Injected(data, rows, _interference(fault.kind, fault.table, rows, fault.strength))
    spoiled = {
        "conflict_random": lambda: faults.random_labels(ratings, side, rows, rng),
        "conflict_flipped": lambda: faults.flipped_labels(ratings, side, rows, rng, fault.strength),
        "dead": lambda: faults.never_sampled(ratings, side, rows),
        "skew": lambda: faults.oversampled(ratings, side, rows, round(fault.strength)),
    }[fault.kind]()
    if fault.kind == "dead":
        rows = np.flatnonzero(np.bincount(spoiled.side(side), minlength=count) == 0)  # some were dead before
    examples = Examples(
        torch.tensor(spoiled.users), torch.tensor(spoiled.items), torch.tensor(spoiled.ratings, dtype=torch.float32)
    )
    return Injected(replace(data, train=examples), rows)


def _interference(
    kind: str, table: str, rows: np.ndarray, strength: float
) -> Callable[[MatrixFactorization], TrainingHook]:
    def make(model: MatrixFactorization) -> TrainingHook:
        layer, ids = getattr(model, table), torch.tensor(rows)
        if kind == "hot":
            return HotRows(layer, ids, strength)
        return FrozenRows(layer, ids) if kind == "frozen" else StuckRows(layer, ids)

    return make
