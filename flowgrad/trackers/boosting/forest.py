"""Keeps trees that follow each other, as flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Forest:
    """Trees of any library. The arrays are flat, because arrays of each tree's own cost more time than a small tree
    takes to grow.
    """

    depths: Integers
    """Depth of each tree, the splits from the root to the deepest leaf; shape (trees,)."""
    split_tree: Integers
    """Tree that each split is in, from 0; shape (splits,), in no order."""
    features: Integers
    """Column of each split."""
    gains: Floats
    """Gain of each split, as the library counts it; NaN where it keeps none."""
    leaf_tree: Integers
    """Tree that each leaf is in, from 0; shape (leaves,), in no order."""
    leaf_sizes: Floats
    """Size of each leaf's value, learning rate included: the mean over the outputs where it has several."""
    hessians: Floats
    """Sum of hessians of each leaf."""
    rows: Floats
    """Number of training rows in each leaf; NaN where the library keeps none."""

    @property
    def trees(self) -> int:
        """Number of trees."""
        return len(self.depths)

    def leaves(self) -> Integers:
        """Number of leaves of each tree, shape (trees,)."""
        return np.bincount(self.leaf_tree, minlength=self.trees)

    def gain(self) -> Floats:
        """Sum of the gains of each tree."""
        return np.bincount(self.split_tree, self.gains, self.trees).astype(float)  # int where there are no splits

    def leaf_size(self) -> Floats:
        """Mean of the sizes of each tree's leaves."""
        with np.errstate(invalid="ignore"):
            return np.bincount(self.leaf_tree, self.leaf_sizes, self.trees) / self.leaves()

    def leaf_hessian(self) -> Floats:
        """Median of the sums of hessians of each tree's leaves."""
        return grouped_median(self.hessians, self.leaf_tree, self.trees)


def walk(left: Integers, right: Integers, roots: Integers) -> tuple[Integers, Integers, Integers]:
    """Find the nodes that can be reached from the roots of trees, level by level.

    Args:
        left: left child of each node; below 0 where there is none. Shape (nodes,), of all trees.
        right: as `left`.
        roots: a node of each tree.

    Returns:
        The nodes, the tree that each is in, and how many levels lie below each root, shape (trees,).

    >>> left, right = np.array([1, -1, 3, -1, -1]), np.array([2, -1, 4, -1, -1])
    >>> walk(left, right, np.array([0, 3]))
    (array([0, 3, 1, 2, 3, 4]), array([0, 1, 0, 0, 0, 0]), array([2, 0]))
    """
    nodes, trees = roots, np.arange(len(roots))
    all_nodes, all_trees = [nodes], [trees]
    levels = np.zeros(len(roots), dtype=np.int64)
    while True:
        children = np.concatenate([left[nodes], right[nodes]])
        there = children >= 0
        nodes, trees = children[there], np.concatenate([trees, trees])[there]
        if not len(nodes):
            return np.concatenate(all_nodes), np.concatenate(all_trees), levels
        levels[trees] = len(all_nodes)
        all_nodes.append(nodes)
        all_trees.append(trees)


def grouped_median(values: Floats, groups: Integers, count: int) -> Floats:
    """Median of the values of each group, from 0 to before `count`; NaN for one without values.

    >>> grouped_median(np.array([5.0, 1.0, 2.0, 9.0]), np.array([0, 0, 2, 0]), 3)
    array([ 5., nan,  2.])
    """
    sizes = np.bincount(groups, minlength=count)
    if not len(values):
        return np.full(count, np.nan)
    ordered = values[np.lexsort((values, groups))]
    start = starts(sizes)
    some = sizes > 0
    low, high = (start + (sizes - 1) // 2)[some], (start + sizes // 2)[some]
    medians = np.full(count, np.nan)
    medians[some] = (ordered[low] + ordered[high]) / 2
    return medians


def starts(sizes: Sequence[int] | Integers) -> Integers:
    """Offset of each of several arrays in their concatenation.

    >>> starts([3, 2, 4])
    array([0, 3, 5])
    """
    return np.concatenate([[0], np.cumsum(sizes[:-1], dtype=np.int64)])
