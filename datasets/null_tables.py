"""Makes tables without interactions: any that is found in them is a false alarm."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from pandas import DataFrame

from datasets.planted import Floats, Planted, main_effects, random_of, standardised
from flowgrad.errors import FlowGradError


def _linear(features: DataFrame, rng: np.random.Generator) -> Floats:
    return standardised(main_effects(features, rng, curved=False)) + rng.standard_normal(len(features))


def _curved(features: DataFrame, rng: np.random.Generator) -> Floats:
    return standardised(main_effects(features, rng, curved=True)) + rng.standard_normal(len(features))


def _uneven_noise(features: DataFrame, rng: np.random.Generator) -> Floats:
    """Noise whose standard deviation moves with the first two columns, by a factor of about two each way."""
    mean = standardised(main_effects(features, rng, curved=False))
    first, second = (standardised(features.iloc[:, place].to_numpy()) for place in range(2))
    return mean + np.exp((first + second) / 4) * rng.standard_normal(len(features))


def _heavy_noise(features: DataFrame, rng: np.random.Generator) -> Floats:
    """Noise by Student's t of 3 degrees of freedom, of variance 1: outliers."""
    mean = standardised(main_effects(features, rng, curved=False))
    return mean + rng.standard_t(3, len(features)) / math.sqrt(3)


def _binary(features: DataFrame, rng: np.random.Generator) -> Floats:
    """Target that is 1 with a probability linear in the columns: a linear logit would have interactions on this
    scale.
    """
    probability = 0.5 + 0.12 * standardised(main_effects(features, rng, curved=False))
    return (rng.random(len(features)) < probability).astype(float)


NULLS: dict[str, Callable[[DataFrame, np.random.Generator], Floats]] = {
    "linear": _linear,
    "curved": _curved,
    "uneven_noise": _uneven_noise,
    "heavy_noise": _heavy_noise,
    "binary": _binary,
}
"""Targets, by name, that are a sum of functions of single columns, and noise."""


def make_null(features: DataFrame, kind: str, seed: int) -> Planted:
    """Make a target without interactions, of a kind in `NULLS`.

    Raises:
        FlowGradError: no such kind.
    """
    if kind not in NULLS:
        raise FlowGradError(f"null kind {kind!r} is unknown; use {', '.join(NULLS)}")
    return Planted(features, NULLS[kind](features, random_of(seed, 3)))


def permute(features: DataFrame, target: Floats, seed: int) -> Planted:
    """Permute the target over the rows: nothing explains it, and its distribution is the real one."""
    return Planted(features, random_of(seed, 4).permutation(target))
