"""Faults of recommenders: negatives, popularity, ids."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.benchmarks.field.data import Rows
from pipelines.benchmarks.field.registry import fault
from pipelines.benchmarks.field.training import Training

RECOMMENDERS = ["factorisation", "two_tower", "deepfm"]
COLUMNS = {"user": 0, "item": 1}
"""Place of each id among the fields of DeepFM."""


def ids(rows: Rows, name: str) -> Tensor:
    """Ids of users or items, wherever the host keeps them."""
    return rows["fields"][:, COLUMNS[name]] if "fields" in rows else rows[name]


def with_ids(rows: Rows, name: str, values: Tensor) -> Rows:
    """Replace the ids in the rows."""
    if "fields" not in rows:
        return {**rows, name: values}
    fields = rows["fields"].clone()
    fields[:, COLUMNS[name]] = values
    return {**rows, "fields": fields}


def _each(run: Training, name: str, change: object, parts: tuple[str, ...] = ("train", "validation", "test")) -> None:
    for part in parts:
        rows = getattr(run, part)
        setattr(run, part, with_ids(rows, name, change(ids(rows, name))))  # type: ignore[operator]


@fault(RECOMMENDERS)
def ids_collide(run: Training) -> None:
    """Users are hashed into a few buckets of a table that has a row for each."""
    _each(run, "user", lambda user: user * 7919 % 31)


@fault(RECOMMENDERS)
def ids_mixed_in_use(run: Training) -> None:
    """Validation and use number the items in another order than training did."""
    order = torch.randperm(1682, generator=torch.Generator().manual_seed(3))
    _each(run, "item", lambda item: order[item], ("validation", "test"))


@fault(RECOMMENDERS)
def ids_mixed_in_training(run: Training) -> None:
    """A wrong join gives each training row the user of another."""
    shuffled = torch.Generator().manual_seed(run.seed)
    _each(run, "user", lambda user: user[torch.randperm(len(user), generator=shuffled)], ("train", "validation"))


@fault(RECOMMENDERS)
def ids_all_unknown(run: Training) -> None:
    """Ids were read as text and all map to the row of the unknown."""
    _each(run, "user", torch.zeros_like)


@fault(["factorisation", "deepfm"])
def negatives_are_positives(run: Training) -> None:
    """Half of the liked items stand among the negatives too."""
    name = "rating" if "rating" in run.train else "y"
    low, high = float(run.train[name].min()), float(run.train[name].quantile(0.6))
    liked = torch.nonzero(run.train[name] >= high).flatten()
    liked = liked[torch.rand(len(liked), generator=torch.Generator().manual_seed(run.seed)) < 0.5]
    again = {key: column[liked] for key, column in run.train.items()}
    again[name] = torch.full_like(again[name], low)
    run.train = {key: torch.cat([column, again[key]]) for key, column in run.train.items()}


@fault(["two_tower"])
def negatives_of_the_same_user(run: Training) -> None:
    """Batches hold few users, so that an item that a user liked is a negative of the same user."""
    order = torch.argsort(run.train["user"], stable=True)

    def batches(run: Training, epoch: int):  # type: ignore[no-untyped-def]
        blocks = order.split(run.batch)
        for block in torch.randperm(len(blocks), generator=run.generator).tolist():
            yield blocks[block]

    run.batches = batches


@fault(["two_tower"])
def popularity_not_corrected(run: Training) -> None:
    """Negatives of the batch are drawn by popularity, and nothing corrects for it."""
    run.criterion = lambda run, output, rows: F.cross_entropy(output, torch.arange(len(output)))


@fault(RECOMMENDERS)
def tables_of_unit_scale(run: Training) -> None:
    """Tables are left as `nn.Embedding` draws them, far from what the model is made for."""
    for table in run.tables().values():
        nn.init.normal_(table.weight, std=1.0)


@fault(["two_tower", "factorisation"])
def tables_all_alike(run: Training) -> None:
    """Tables start at one constant, so that every dimension learns the same."""
    for table in run.tables().values():
        nn.init.constant_(table.weight, 0.01)


@fault(["two_tower"])
def temperature_tiny(run: Training) -> None:
    """Scores are divided by a temperature that leaves no gradient to any but the first."""
    forward = run.forward
    run.forward = lambda run, rows: forward(run, rows) * 30


@fault(["factorisation", "deepfm"])
def wrong_column(run: Training) -> None:
    """Items are looked up by the ids of the users."""
    for part in ("train", "validation", "test"):
        rows = getattr(run, part)
        setattr(run, part, with_ids(rows, "item", ids(rows, "user")))
