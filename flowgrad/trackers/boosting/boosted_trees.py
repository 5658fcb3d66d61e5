"""Reads the trees of a booster, the newest rounds alone, from either library's own format."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from flowgrad.trackers.boosting.forest import Forest, Integers, starts, walk
from flowgrad.trackers.boosting.ubjson import loads


class BoostedTrees(ABC):
    """A booster of any library, as the tracker reads it."""

    def __init__(self, booster: Any) -> None:
        self._booster = booster

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Names of all columns, used or not."""

    @property
    @abstractmethod
    def rounds(self) -> int:
        """Number of rounds that the booster holds."""

    @abstractmethod
    def read(self, start: int, stop: int) -> Forest:
        """Read the trees of the rounds from `start` to before `stop`, at least one, in order; several a round for
        several classes. The time does not depend on how many rounds came before.
        """


class XGBoostTrees(BoostedTrees):
    """Trees of an `xgboost.Booster`."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns; `f0`, `f1`, ... where XGBoost was given none."""
        return tuple(self._booster.feature_names or (f"f{i}" for i in range(self._booster.num_features())))

    @property
    def rounds(self) -> int:
        """Number of rounds that the booster holds."""
        return self._booster.num_boosted_rounds()

    def read(self, start: int, stop: int) -> Forest:
        """Read the trees of some rounds; see `BoostedTrees.read`."""
        content = loads(bytes(self._booster[start:stop].save_raw("ubj")))
        model = content["learner"]["gradient_booster"]
        model = model.get("gbtree", model)["model"]  # DART wraps it
        trees = model["trees"]

        def all_of(key: str) -> np.ndarray:
            return np.concatenate([tree[key] for tree in trees])

        sizes = [len(tree["left_children"]) for tree in trees]
        roots = starts(sizes)
        first = np.repeat(roots, sizes)
        left, right = all_of("left_children"), all_of("right_children")
        # Nodes that were pruned stay in the arrays: what counts is what can be reached.
        nodes, tree_of, depths = walk(
            np.where(left < 0, -1, left + first), np.where(left < 0, -1, right + first), roots
        )
        inner = left[nodes] >= 0
        splits, leaves = nodes[inner], nodes[~inner]
        return Forest(
            depths=depths,
            split_tree=tree_of[inner],
            features=all_of("split_indices")[splits].astype(np.int64),
            gains=all_of("loss_changes")[splits].astype(float),
            leaf_tree=tree_of[~inner],
            leaf_sizes=_leaf_sizes(trees, sizes, all_of)[leaves],
            hessians=all_of("sum_hessian")[leaves].astype(float),
            rows=np.full(len(leaves), np.nan),
        )


def _leaf_sizes(trees: list[dict], sizes: list[int], all_of: Any) -> np.ndarray:
    """Size of the value of each node that is a leaf; arbitrary for the others."""
    if "leaf_weights" not in trees[0]:
        return np.abs(all_of("split_conditions"), dtype=float)
    # Trees of several outputs number their leaves; the right child of a leaf is its number.
    found = []
    for tree, size in zip(trees, sizes, strict=True):
        values = np.abs(np.reshape(tree["leaf_weights"], (-1, int(tree["tree_param"]["size_leaf_vector"])))).mean(
            axis=1
        )
        leaf = np.asarray(tree["left_children"]) < 0
        own = np.zeros(size)
        own[leaf] = values[np.asarray(tree["right_children"])[leaf]]
        found.append(own)
    return np.concatenate(found)


class LightGBMTrees(BoostedTrees):
    """Trees of a `lightgbm.Booster`."""

    KEYS: ClassVar = (
        "split_feature", "split_gain", "left_child", "right_child", "leaf_value", "leaf_weight", "leaf_count",
    )  # fmt: skip
    _LINES: ClassVar = re.compile(rf"^({'|'.join(KEYS)})=(.*)$", re.MULTILINE)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns."""
        return tuple(self._booster.feature_name())

    @property
    def rounds(self) -> int:
        """Number of rounds that the booster holds, fewer than were trained where LightGBM found no split."""
        return self._booster.current_iteration()

    def read(self, start: int, stop: int) -> Forest:
        """Read the trees of some rounds; see `BoostedTrees.read`."""
        text = self._booster.model_to_string(num_iteration=stop - start, start_iteration=start)
        begin, end = text.find("\nTree="), text.rfind("\nend of trees")
        lines: dict[str, list[str]] = {key: [] for key in self.KEYS}
        for key, values in self._LINES.findall(text, begin, end):
            lines[key].append(values)
        n_splits = [values.count(" ") + bool(values) for values in lines["split_feature"]]
        splits, left, right = (_numbers(lines[key]).astype(np.int64) for key in ("split_feature", *self.KEYS[2:4]))
        first = np.repeat(starts(n_splits), n_splits)
        some = np.flatnonzero(n_splits)
        # A child that is a leaf is written as its number's complement.
        left, right = (np.where(child < 0, -1, child + first) for child in (left, right))
        _, _, levels = walk(left, right, starts(n_splits)[some])
        depths = np.zeros(len(n_splits), dtype=np.int64)
        depths[some] = levels + 1
        n_leaves = np.array([values.count(" ") + 1 for values in lines["leaf_value"]])
        return Forest(
            depths=depths,
            split_tree=_repeated(n_splits),
            features=splits,
            gains=_numbers(lines["split_gain"]),
            leaf_tree=_repeated(n_leaves),
            leaf_sizes=np.abs(_numbers(lines["leaf_value"])),
            hessians=_of_leaves(lines["leaf_weight"], n_leaves),
            rows=_of_leaves(lines["leaf_count"], n_leaves),
        )


def _of_leaves(lines: list[str], n_leaves: np.ndarray) -> np.ndarray:
    """Figures of all leaves; NaN for a tree of one leaf, of which LightGBM writes none."""
    found = np.full(n_leaves.sum(), np.nan)
    found[np.repeat([bool(values) for values in lines], n_leaves)] = _numbers(lines)
    return found


def _numbers(lines: list[str]) -> np.ndarray:
    return np.array(" ".join(lines).split(), dtype=float)


def _repeated(counts: Any) -> Integers:
    return np.repeat(np.arange(len(counts)), counts)


def is_xgboost(model: Any) -> bool:
    """Whether the model is an `xgboost.Booster`, recognised without importing the library."""
    return comes_from(model, "xgboost", "Booster")


def is_lightgbm(model: Any) -> bool:
    """Whether the model is a `lightgbm.Booster`, recognised without importing the library."""
    return comes_from(model, "lightgbm", "Booster")


def is_catboost(model: Any) -> bool:
    """Whether the model is a `catboost.CatBoost` or one of its estimators, recognised without importing the library."""
    return comes_from(model, "catboost", "CatBoost")


def trees_of(booster: Any) -> BoostedTrees | None:
    """Make the reader of this booster's trees; None where it has no readable trees: XGBoost's linear booster, the
    boosters of a cross-validation, of which there are several, and CatBoost's with text or embeddings, which it does
    not export.
    """
    if is_catboost(booster):
        from flowgrad.trackers.boosting.catboost_trees import exported

        return exported(booster)
    if is_lightgbm(booster):
        return LightGBMTrees(booster)
    if is_xgboost(booster):
        settings = json.loads(booster.save_config())
        if settings["learner"]["gradient_booster"]["name"] != "gblinear":
            return XGBoostTrees(booster)
    return None


def comes_from(model: Any, package: str, *names: str) -> bool:
    """Whether the model's class, or one that it is made of, has one of these names in this package."""
    return any(kind.__name__ in names and kind.__module__.partition(".")[0] == package for kind in type(model).__mro__)
