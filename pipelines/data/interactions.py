"""Loads interactions in the form of the ranking models: events in order of time, and what each user did before."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

import torch
from omegaconf import DictConfig
from torch import Tensor

from datasets.events import split_events
from datasets.ratings import Ratings
from datasets.tables import TEST, TRAIN, VALIDATION
from flowgrad.errors import FlowGradError
from pipelines.config.schema.data import RatingsSettings
from pipelines.config.targets import called
from pipelines.data.ratings import OfRatings

PADDING = 0
"""Number that fills up a history that is shorter than others; item i stands in it as i + 1."""


@dataclass(frozen=True)
class Interactions(OfRatings):
    """One data set, split by time. Only `Ranking.evaluate` reads the events of the test part."""

    users: Tensor
    """Codes of users, int64, shape (events,), ascending."""
    items: Tensor
    """Codes of items, int64, shape (events,), in order of time within a user."""
    parts: Tensor
    """`datasets.tables.TRAIN`, `VALIDATION` or `TEST`, int64, shape (events,)."""

    @cached_property
    def train(self) -> Tensor:
        """Places of the training events, int64, ascending."""
        return torch.nonzero(self.parts == TRAIN)[:, 0]

    @cached_property
    def exposures(self) -> Tensor:
        """Number of training events of each item, int64, shape (n_items,)."""
        return torch.bincount(self.items[self.train], minlength=self.n_items)

    @cached_property
    def first(self) -> Tensor:
        """Place of the first event of each event's user, int64, shape (events,)."""
        counts = torch.bincount(self.users, minlength=self.n_users)
        return (counts.cumsum(0) - counts)[self.users]

    def held_out(self, part: int) -> Tensor:
        """Places of the events of `VALIDATION` or `TEST` whose user has training events, int64; nobody else is known
        to a model.
        """
        known = torch.zeros(self.n_users, dtype=torch.bool)
        known[self.users[self.train]] = True
        return torch.nonzero((self.parts == part) & known[self.users])[:, 0]

    def histories(self, places: Tensor, length: int) -> Tensor:
        """The last `length` items before each of these events, each as its code + 1, the latest on the right.

        Shape (n, length), int64; `PADDING` on the left of shorter ones.
        """
        before = places[:, None] + torch.arange(-length, 0)
        there = before >= self.first[places][:, None]
        return torch.where(there, self.items[before.clamp(min=0)] + 1, PADDING)

    def seen(self, places: Tensor) -> Tensor:
        """Flags of the items that the user had met before each of these events, bool, shape (n, n_items)."""
        counts = places - self.first[places]
        rows = torch.repeat_interleave(torch.arange(len(places)), counts)
        starts = torch.repeat_interleave(counts.cumsum(0) - counts, counts)
        before = torch.arange(len(rows)) - starts + torch.repeat_interleave(self.first[places], counts)
        flags = torch.zeros(len(places), self.n_items, dtype=torch.bool)
        flags[rows, self.items[before]] = True
        return flags


def load_interactions(config: DictConfig) -> Interactions:
    """Load and split the data that the `dataset` node of the config names.

    Raises:
        FlowGradError: no ratings, no such split, or any error of the loader.
    """
    own = {field.name for field in fields(RatingsSettings)}
    settings = config.dataset
    ratings = called(config, "dataset", {key: value for key, value in settings.items() if key not in own})
    if not isinstance(ratings, Ratings):
        raise FlowGradError(f"dataset._target_={settings._target_} gives no interactions; use dataset=movielens_100k")
    events = split_events(
        ratings, settings.split, validation_share=settings.validation_share, test_share=settings.test_share
    )
    held = Interactions(ratings, *(torch.tensor(part) for part in (events.users, events.items, events.parts)))
    for name, part in (("validation", VALIDATION), ("test", TEST)):
        if not len(held.held_out(part)):
            raise FlowGradError(
                f"dataset.split={settings.split}: no user of the {name} part has training events; use leave_one_out"
            )
    return held
