"""Makes tables whose interactions are known, because they were put in.

An interaction is the part of a term of two columns that no sum of functions of single columns explains (`own_part`;
Hooker 2007): the product of two columns also moves with each of them, and with columns like them. Its strength is the
partial R^2 of that part: its variance over that variance and the noise's. A method is scored by the pairs that it
names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame
from scipy.stats import rankdata

from flowgrad.errors import FlowGradError

Floats = NDArray[np.float64]

FINE, COARSE = 20, 4
"""Number of levels of the step functions in `own_part`: of the two columns, and of the others, whose lines are there
too.
"""
LEAST_OWN = 0.05
"""Share of a term's variance that its own part has at least; a pair with less has nothing of its own to find."""
MOST_ALIKE = 0.9
"""Absolute correlation up to which two columns of one table count as different: of two equal columns, it is undefined
with which of them a third one interacts.
"""
_TRIES = 300
"""Number of pairs drawn before a table is reported to have none that will do."""


def _spread(z: Floats) -> Floats:
    """Ranks of the values, evenly from .1 to 1.1."""
    return 0.1 + (rankdata(z) - 0.5) / len(z)


def _is_high(z: Floats) -> NDArray[np.bool_]:
    return z > np.median(z)


SHAPES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "product": lambda a, b: a * b,
    "ratio": lambda a, b: _spread(a) / _spread(b),
    "difference": lambda a, b: np.abs(a - b),
    "both_high": lambda a, b: (_is_high(a) & _is_high(b)).astype(float),
    "maximum": np.maximum,
    "sign_xor": lambda a, b: (_is_high(a) ^ _is_high(b)).astype(float),
}
"""Terms of two standardised columns, by name. `ratio` is one of ranks, which spread over a factor of 11; `both_high` is
whether both are above their medians, `sign_xor` whether one alone is.
"""


@dataclass(frozen=True)
class Interaction:
    """Two columns that act together."""

    first: str
    second: str
    shape: str
    """Shape of the term, a key of `SHAPES`."""

    @property
    def pair(self) -> frozenset[str]:
        """Names of the two columns, in no order."""
        return frozenset((self.first, self.second))

    def term(self, features: DataFrame) -> Floats:
        """Values of the term, shape (rows,)."""
        first, second = (standardised(features[name].to_numpy()) for name in (self.first, self.second))
        return SHAPES[self.shape](first, second)


@dataclass(frozen=True, eq=False)
class Planted:
    """Features, a target, and its true interactions."""

    features: DataFrame
    """Features, float64, one row an example, finite."""
    target: Floats
    """Target, shape (rows,)."""
    truth: tuple[Interaction, ...] = ()
    """Every interaction that the target has; none in a null table."""


def synthetic_features(rows: int, columns: int, seed: int, correlation: float = 0.0) -> DataFrame:
    """Make normal, uniform and log-normal columns in turns, each of variance 1.

    Args:
        rows: how many.
        columns: how many.
        seed: of the draws.
        correlation: of any two of the normal variables that the columns are made from, in 0..1.

    Raises:
        FlowGradError: fewer than 2 rows or columns, or a correlation outside [0, 1).
    """
    if rows < 2 or columns < 2:
        raise FlowGradError(f"rows={rows}, columns={columns}: must be at least 2 each")
    if not 0 <= correlation < 1:
        raise FlowGradError(f"correlation={correlation}: must be at least 0 and below 1")
    rng = random_of(seed, 0)
    shared = rng.standard_normal((rows, 1))
    normal = math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * rng.standard_normal((rows, columns))
    makers: tuple[Callable[[Floats], Floats], ...] = (lambda z: z, rankdata, lambda z: np.exp(z / 2))
    made = [standardised(makers[place % len(makers)](normal[:, place])) for place in range(columns)]
    return DataFrame({f"x{place}": values for place, values in enumerate(made)})


def real_features(table: DataFrame, rows: int, columns: int, seed: int) -> DataFrame:
    """Draw rows and columns of a table by the seed, in its order and with its index; no column is constant or nearly
    another one (`MOST_ALIKE`).

    Args:
        table: numbers; rows with a NaN are left out.
        rows: at most.
        columns: at most; fewer where there are not as many that differ.
        seed: of the draws.

    Raises:
        FlowGradError: fewer than two columns differ, or no row is whole.
    """
    rng = random_of(seed, 1)
    whole = table.dropna()
    chosen = whole.iloc[np.sort(rng.permutation(len(whole))[:rows])]
    kept: dict[str, Floats] = {}
    for place in rng.permutation(table.shape[1]):
        if len(kept) == columns or len(chosen) < 2:
            break
        values = chosen.iloc[:, place].to_numpy(dtype=float)
        z = standardised(values)
        if z.any() and all(abs(z @ standardised(other)) <= MOST_ALIKE * len(z) for other in kept.values()):
            kept[str(table.columns[place])] = values
    if len(kept) < 2:
        raise FlowGradError(
            f"of {table.shape[1]} columns and {len(whole)} rows without NaN, fewer than 2 columns differ"
        )
    return DataFrame({name: kept[name] for name in map(str, table.columns) if name in kept}, index=chosen.index)


def plant(features: DataFrame, shapes: Sequence[str], strength: float, main: float, seed: int) -> Planted:
    """Make a target with an interaction of each shape between pairs of columns drawn by the seed, no pair twice.

    target = main effects of every column + a term for each shape + standard normal noise.

    Args:
        features: finite numbers.
        shapes: keys of `SHAPES`; one may occur several times.
        strength: partial R^2 of each term's own part, in (0, 1).
        main: standard deviation of the sum of the main effects, in those of the noise; every other one is curved.
        seed: of pairs, effects and noise.

    Raises:
        FlowGradError: an unknown shape, a strength outside (0, 1), or a table without enough pairs that can interact.
    """
    if unknown := set(shapes) - set(SHAPES):
        raise FlowGradError(f"shape {min(unknown)!r} is unknown; use {', '.join(SHAPES)}")
    if not 0 < strength < 1:
        raise FlowGradError(f"strength={strength}: must lie between 0 and 1")
    rng = random_of(seed, 2)
    truth = _drawn(features, shapes, rng)
    target = main * standardised(main_effects(features, rng, curved=True)) + rng.standard_normal(len(features))
    for interaction in truth:
        term, own = interaction.term(features), own_part(interaction, features)
        target += rng.choice((-1, 1)) * math.sqrt(strength / (1 - strength)) / own.std() * (term - term.mean())
    return Planted(features, target, truth)


def _drawn(features: DataFrame, shapes: Sequence[str], rng: np.random.Generator) -> tuple[Interaction, ...]:
    names = [str(name) for name in features.columns]
    found: dict[frozenset[str], Interaction] = {}
    for shape in shapes:
        for _ in range(_TRIES):
            first, second = (names[place] for place in rng.choice(len(names), 2, replace=False))
            one = Interaction(first, second, shape)
            if one.pair not in found and _own_share(one, features) >= LEAST_OWN:
                found[one.pair] = one
                break
        else:
            raise FlowGradError(f"the table has no {len(shapes)} pairs of columns that could interact by {shape!r}")
    return tuple(found.values())


def _own_share(interaction: Interaction, features: DataFrame) -> float:
    spread = interaction.term(features).var()
    return float(own_part(interaction, features).var() / spread) if spread > 0 else 0.0


def own_part(interaction: Interaction, features: DataFrame) -> Floats:
    """Part of the term that no sum of functions of single columns explains: the residuals of OLS on every column's line
    and on step functions, whose steps lie at quantiles: `FINE` levels of the two columns, `COARSE` of the others. Shape
    (rows,), mean 0.

    Raises:
        FlowGradError: too few rows for so many columns.
    """
    parts = [np.ones((len(features), 1))]
    for name in map(str, features.columns):
        values = features[name].to_numpy()
        parts += [standardised(values)[:, None], _steps(values, FINE if name in interaction.pair else COARSE)]
    design = np.concatenate(parts, axis=1)
    if len(design) <= 2 * design.shape[1]:
        raise FlowGradError(f"{len(features)} rows are too few to plant in {features.shape[1]} columns")
    term = interaction.term(features)
    return term - design @ np.linalg.lstsq(design, term, rcond=None)[0]


def _steps(values: Floats, levels: int) -> Floats:
    edges = np.unique(np.quantile(values, np.arange(1, levels) / levels))
    return (values[:, None] > edges).astype(float)


def main_effects(features: DataFrame, rng: np.random.Generator, *, curved: bool) -> Floats:
    """Sum over all columns of a function of each, with normal weights; if curved, every other function is no line."""
    total = np.zeros(len(features))
    for place, name in enumerate(features.columns):
        z = standardised(features[name].to_numpy())
        effect = _CURVES[place // 2 % len(_CURVES)](z) if curved and place % 2 else z
        total += rng.standard_normal() * effect
    return total


_CURVES: tuple[Callable[[Floats], Floats], ...] = (
    np.tanh,
    lambda z: z**2 / math.sqrt(2),
    lambda z: np.sin(2 * z),
    lambda z: (z > 0.5).astype(float),
)


def random_of(seed: int, use: int) -> np.random.Generator:
    """Make the generator of one of the uses of a seed: features, pairs and noise of one seed are independent."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(use,)))


def standardised(values: Floats) -> Floats:
    """Values scaled to mean 0 and variance 1; zeros where all are the same."""
    centred = values - values.mean()
    deviation = centred.std()
    if deviation <= 1e-12 * np.abs(values).max(initial=0):
        return np.zeros(len(values))
    return centred / deviation
