"""What the trees of a booster are made of, read from the newest rounds alone, in either library's own format."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tree:
    """One tree."""

    features: NDArray[np.int64]
    """Column of each split."""
    gains: NDArray[np.float64]
    """Gain of each split, as the library counts it."""
    leaves: NDArray[np.float64]
    """Value of each leaf, learning rate included."""
    hessians: NDArray[np.float64]
    """Sum of hessians of each leaf, in the same order."""
    depth: int
    """Splits from the root to the deepest leaf."""


def is_xgboost(model: Any) -> bool:
    """True for a `xgboost.Booster`, told without importing the library."""
    return _comes_from(model, "xgboost")


def is_lightgbm(model: Any) -> bool:
    """True for a `lightgbm.Booster`, told without importing the library."""
    return _comes_from(model, "lightgbm")


def _comes_from(model: Any, package: str) -> bool:
    return any(
        kind.__name__ == "Booster" and kind.__module__.partition(".")[0] == package for kind in type(model).__mro__
    )


def feature_names(booster: Any) -> tuple[str, ...]:
    """Names of all columns, used or not; `f0`, `f1`, ... where XGBoost was given none."""
    if is_lightgbm(booster):
        return tuple(booster.feature_name())
    return tuple(booster.feature_names or (f"f{i}" for i in range(booster.num_features())))


def rounds_of(booster: Any) -> int:
    """Rounds that the booster holds."""
    return booster.current_iteration() if is_lightgbm(booster) else booster.num_boosted_rounds()


def has_trees(booster: Any) -> bool:
    """False for XGBoost's linear booster."""
    if is_lightgbm(booster):
        return True
    settings = json.loads(booster.save_config())
    return settings["learner"]["gradient_booster"]["name"] != "gblinear"


def read_trees(booster: Any, start: int, stop: int) -> tuple[Tree, ...]:
    """Trees of the rounds from `start` to before `stop`, in order; several a round for several classes.

    The time does not depend on how many rounds came before.
    """
    if stop <= start:
        return ()
    if is_lightgbm(booster):
        text = booster.model_to_string(num_iteration=stop - start, start_iteration=start)
        return tuple(map(_lightgbm_tree, _sections(text)))
    content = json.loads(booster[start:stop].save_raw("json"))
    model = content["learner"]["gradient_booster"]
    model = model.get("gbtree", model)["model"]  # DART wraps it
    return tuple(map(_xgboost_tree, model["trees"]))


def _xgboost_tree(tree: Mapping[str, Sequence[Any]]) -> Tree:
    left, right = np.array(tree["left_children"]), np.array(tree["right_children"])
    leaf = left == -1
    return Tree(
        features=np.array(tree["split_indices"], dtype=np.int64)[~leaf],
        gains=np.array(tree["loss_changes"], dtype=float)[~leaf],
        leaves=np.array(tree["split_conditions"], dtype=float)[leaf],
        hessians=np.array(tree["sum_hessian"], dtype=float)[leaf],
        depth=_depth(left, right, leaf),
    )


def _lightgbm_tree(section: Mapping[str, str]) -> Tree:
    def numbers(key: str, kind: type) -> NDArray:
        return np.array(section.get(key, "").split(), dtype=kind)

    splits = numbers("split_feature", np.int64)
    # A child that is a leaf is written as its number's complement, and leaves come after the splits here.
    left, right = (np.where(c < 0, len(splits) + ~c, c) for c in (numbers(k, np.int64) for k in _CHILDREN))
    leaf = np.concatenate([np.zeros(len(splits), dtype=bool), np.ones(len(splits) + 1, dtype=bool)])
    ends = np.full(len(splits) + 1, -1)
    return Tree(
        features=splits,
        gains=numbers("split_gain", float),
        leaves=numbers("leaf_value", float),
        hessians=numbers("leaf_weight", float),
        depth=_depth(np.concatenate([left, ends]), np.concatenate([right, ends]), leaf),
    )


_CHILDREN = ("left_child", "right_child")


def _sections(text: str) -> Iterator[dict[str, str]]:
    """`key=value` lines of each tree in LightGBM's model text."""
    for section in text.split("\nTree=")[1:]:
        lines = section.split("\n\n", 1)[0].splitlines()[1:]
        yield dict(line.split("=", 1) for line in lines if "=" in line)


def _depth(left: NDArray[np.int64], right: NDArray[np.int64], leaf: NDArray[np.bool_]) -> int:
    depth, level = 0, np.zeros(1, dtype=np.int64)
    while len(level := level[~leaf[level]]):
        level = np.concatenate([left[level], right[level]])
        depth += 1
    return depth
