"""Reads the trees of a CatBoost model, which shows them only once it is trained."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flowgrad.trackers.boosting.boosted_trees import BoostedTrees
from flowgrad.trackers.boosting.forest import Floats, Forest

_logger = logging.getLogger(__name__)


def exported(model: Any) -> CatBoostTrees | None:
    """Trees of a fitted model; None, with a warning, where CatBoost cannot export it: with text and embeddings."""
    import catboost

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        try:
            model.save_model(str(path), format="json")
        except catboost.CatBoostError as error:
            _logger.warning("the trees of this CatBoost model cannot be read: %s", error)
            return None
        return CatBoostTrees(model, json.loads(path.read_text("utf-8")))


class CatBoostTrees(BoostedTrees):
    """Trees of a fitted `catboost.CatBoost`, symmetric or not.

    CatBoost keeps no gains of its splits. In their place stands the change of the prediction by a split, c1 c2 / (c1 +
    c2) (v1 - v2)^2 for the weights c and the mean values v of its two sides: the terms of CatBoost's own feature
    importance, `PredictionValuesChange` (https://catboost.ai/docs/en/concepts/fstr#regular-feature-importance). It
    keeps the sum of the rows' weights in a leaf, which is that of hessians for squared errors alone, and the number of
    rows where none is weighted. A symmetric tree has leaves that no row reaches; they are left out.

    A split on a statistic of several columns counts for each of them, with its share of the gain.
    """

    def __init__(self, booster: Any, model: Mapping[str, Any]) -> None:
        super().__init__(booster)
        self._trees = model["oblivious_trees"] if "oblivious_trees" in model else model["trees"]
        self._columns = _Columns(model["features_info"])

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns."""
        return tuple(map(str, self._booster.feature_names_))

    @property
    def rounds(self) -> int:
        """Number of rounds that the booster holds."""
        return self._booster.tree_count_

    def read(self, start: int, stop: int) -> Forest:
        """Read the trees of some rounds; see `BoostedTrees.read`."""
        trees = [_Tree(self._columns, tree) for tree in self._trees[start:stop]]

        def of_trees(lists: Sequence[Sequence[Any]]) -> np.ndarray:
            return np.repeat(np.arange(len(lists)), list(map(len, lists)))

        splits, leaves = [tree.splits for tree in trees], [tree.leaves for tree in trees]
        flat_splits, flat_leaves = [s for own in splits for s in own], [leaf for own in leaves for leaf in own]
        return Forest(
            depths=np.array([tree.depth for tree in trees], dtype=np.int64),
            split_tree=of_trees(splits),
            features=np.array([column for column, _ in flat_splits], dtype=np.int64),
            gains=np.array([gain for _, gain in flat_splits], dtype=float),
            leaf_tree=of_trees(leaves),
            leaf_sizes=np.array([size for size, _ in flat_leaves], dtype=float),
            hessians=np.array([weight for _, weight in flat_leaves], dtype=float),
            rows=np.array([weight for _, weight in flat_leaves], dtype=float),
        )


class _Columns:
    """Finds the columns that a split is on."""

    def __init__(self, info: Mapping[str, Any]) -> None:
        floats, categories = info.get("float_features") or [], info.get("categorical_features") or []
        self._of = {"float_feature_index": _flat(floats), "cat_feature_index": _flat(categories)}
        # All splits that there could be are numbered: borders of numbers, values of categories, borders of statistics.
        self._first = sum(len(of.get("borders") or of.get("values") or []) for of in (*floats, *categories))
        self._statistics = [
            sorted({self._column(element) for element in statistic["elements"]})
            for statistic in info.get("ctrs") or []
            for _ in statistic["borders"]
        ]

    def of(self, split: Mapping[str, Any]) -> list[int]:
        """Columns of the split, by their place among all columns."""
        if split["split_type"] == "OnlineCtr":
            return self._statistics[split["split_index"] - self._first]
        return [self._column(split)]

    def _column(self, found: Mapping[str, Any]) -> int:
        key = next(key for key in self._of if key in found)
        return self._of[key][found[key]]


def _flat(features: Sequence[Mapping[str, Any]]) -> dict[int, int]:
    return {feature["feature_index"]: feature["flat_feature_index"] for feature in features}


class _Tree:
    """A tree, as the exported model has it."""

    def __init__(self, columns: _Columns, tree: Mapping[str, Any]) -> None:
        self.depth = 0
        """Number of splits from the root to the deepest leaf."""
        self.splits: list[tuple[int, float]] = []
        """Column and gain of each split."""
        self.leaves: list[tuple[float, float]] = []
        """Size of the value and weight of each leaf."""
        self._columns = columns
        if "leaf_values" in tree:
            self._read_symmetric(tree)
        else:
            self._read_node(tree, 0)

    def _read_symmetric(self, tree: Mapping[str, Any]) -> None:
        splits = tree["splits"] or []
        n = 2 ** len(splits)
        values = np.reshape(tree["leaf_values"], (n, -1))
        weights = np.asarray(tree.get("leaf_weights") or np.full(n, np.nan), dtype=float)
        self.depth = len(splits)
        for bit, split in enumerate(splits):  # which side of a split a leaf is on is a bit of its number
            right = np.arange(n) >> bit & 1 == 1
            self._add(split, _change(weights[~right], weights[right], values[~right], values[right]))
        self.leaves = [
            (float(np.abs(value).mean()), float(weight))
            for value, weight in zip(values, weights, strict=True)
            if weight != 0
        ]

    def _read_node(self, node: Mapping[str, Any], depth: int) -> tuple[float, Floats]:
        """Note the node and all below it; return its weight and mean value."""
        if "split" not in node:
            value, weight = np.atleast_1d(node["value"]).astype(float), float(node.get("weight", np.nan))
            self.depth = max(self.depth, depth)
            if weight != 0:
                self.leaves.append((float(np.abs(value).mean()), weight))
            return weight, value
        (left, low), (right, high) = (self._read_node(node[side], depth + 1) for side in ("left", "right"))
        self._add(node["split"], _change(np.array([left]), np.array([right]), low[None], high[None]))
        both = left + right
        return both, (left * low + right * high) / both if both else low

    def _add(self, split: Mapping[str, Any], gain: float) -> None:
        columns = self._columns.of(split)
        self.splits += [(column, gain / len(columns)) for column in columns]


def _change(left: Floats, right: Floats, low: Floats, high: Floats) -> float:
    """Change of the prediction by a split, summed over the pairs of sides: weights of shape (pairs,), values of shape
    (pairs, outputs).
    """
    both = left + right
    weight = np.divide(left * right, both, out=np.zeros_like(both), where=both != 0)
    return float(weight @ ((low - high) ** 2).sum(axis=1))
