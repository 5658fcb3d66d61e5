"""Loads the ratings in the form of the loops: index tensors, split."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from omegaconf import DictConfig
from pandas import DataFrame
from torch import Tensor

from datasets.ratings import Ratings, leave_one_out, random_split
from flowgrad.errors import FlowGradError
from pipelines.config.schema.data import RatingsSettings
from pipelines.config.targets import called, target


@dataclass(frozen=True)
class Examples:
    """Ratings as tensors of one length."""

    users: Tensor
    """Codes of users, int64, shape (n,)."""
    items: Tensor
    """Codes of items, int64, shape (n,)."""
    ratings: Tensor
    """Ratings, float32, shape (n,)."""

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, index: Any) -> Examples:
        return Examples(self.users[index], self.items[index], self.ratings[index])


@dataclass(frozen=True)
class OfRatings:
    """Ratings that are split, with the facts of the whole."""

    ratings: Ratings

    @property
    def source(self) -> str:
        """Origin of this copy."""
        return self.ratings.source

    @property
    def sha256(self) -> str:
        """SHA-256 of the ratings."""
        return self.ratings.sha256

    @property
    def n_users(self) -> int:
        """Number of users of the whole data set."""
        return self.ratings.n_users

    @property
    def n_items(self) -> int:
        """Number of items of the whole data set."""
        return self.ratings.n_items


@dataclass(frozen=True)
class Data(OfRatings):
    """One data set, split. Only `Comparison` reads `test`."""

    train: Examples
    validation: Examples
    test: Examples


def load(config: DictConfig) -> Data:
    """Load and split the data that the `dataset` node of the config names.

    Raises:
        FlowGradError: no such split, a loss of ratings where there are none, or any error of the loader.
    """
    own = {field.name for field in fields(RatingsSettings)}
    settings = config.dataset
    ratings = called(config, "dataset", {key: value for key, value in settings.items() if key not in own})
    if not isinstance(ratings, Ratings):
        raise FlowGradError(f"dataset._target_={settings._target_} gives no ratings; use dataset=movielens_100k")
    if not ratings.rated and getattr(target(config, "loss"), "of_ratings", True):
        raise FlowGradError(
            f"dataset.columns.rating=null leaves no ratings, which loss._target_={config.loss._target_} fits; "
            "use experiment=movielens_implicit, or loss=in_batch_softmax training=ranking"
        )
    if settings.split == "leave_one_out":
        split = leave_one_out(ratings)
    elif settings.split == "random":
        split = random_split(ratings, settings.test_share, settings.validation_share, settings.split_seed)
    else:
        raise FlowGradError(f"dataset.split={settings.split!r} is unknown; use leave_one_out or random")
    return Data(ratings, _examples(split.train), _examples(split.validation), _examples(split.test))


def _examples(frame: DataFrame) -> Examples:
    return Examples(
        torch.tensor(frame["user"].to_numpy()),
        torch.tensor(frame["item"].to_numpy()),
        torch.tensor(frame["rating"].to_numpy(), dtype=torch.float32),
    )
