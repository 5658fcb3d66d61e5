"""Tests whether suggested terms hold on rows that did not suggest them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flowgrad.errors import FlowGradError, StatisticsError
from flowgrad.features.screening.additive import Curves, Floats
from flowgrad.features.suggesting import check_level
from flowgrad.features.table import FeatureTable
from flowgrad.features.terms import LINEAR, Term, check_terms, compute
from flowgrad.gate import Objection
from flowgrad.rules.suggestion import did_you_mean
from flowgrad.statistics import NestedResult, holm
from flowgrad.statistics.nested_f_test import AddedColumns, SmallerModel

EACH = ("name", "f", "p", "p_adjusted", "partial_eta2", "vif", "verdict")


@dataclass(frozen=True, eq=False)
class FeatureProof:
    """A test of terms, and the same of terms that nobody suggested."""

    seed: int
    """Seed of the halves and of the control."""
    suggestions: tuple[Term, ...]
    """Terms that are tested."""
    selected_here: bool
    """True where they were selected on the one half of the rows and tested on the other; false where they were given,
    and tested on all rows: they must come from others, or the test says nothing."""
    rows: int
    """Rows tested on."""
    alpha: float
    joint: NestedResult | None
    """F-test of all terms together, given the curves of all columns (and 1/b, a curve too, where a ratio divides by b);
    None where nothing could be tested.
    """
    p_robust: float
    """P-value of `joint` by HC3, which holds under unequal variance, or by the jackknife over groups; NaN without
    `joint`.
    """
    each: pd.DataFrame
    """A line a term: name, f, p (the larger of F's and the robust test's), p_adjusted (Holm), partial_eta2, vif (these
    given the curves and the other terms), verdict. NaN for a term that adds nothing on these rows.
    """
    control: tuple[NestedResult, ...] = field(repr=False)
    """The same for as many products of pairs drawn at random from those not suggested, as far as there are."""
    untested: tuple[Term, ...] = field(default=())
    """Sums and differences: a linear model has them, so that F has no degree of freedom. Prove them by retraining."""
    objection: Objection | None = field(default=None)
    """The gate's objection to the rows (`flowgrad.gate`). Where it blocks, nothing is confirmed: the figures are as if
    all rows were independent, or NaN where nothing was tested.
    """

    @property
    def reason(self) -> str:
        """The objection in one line; empty where there is none."""
        return "" if self.objection is None else str(self.objection)

    @property
    def blocked(self) -> bool:
        """Whether the gate lets nothing be confirmed."""
        return self.objection is not None and self.objection.blocks

    @property
    def p(self) -> float:
        """P-value, the larger of `joint.p` and `p_robust`; NaN where nothing was tested."""
        return float("nan") if self.joint is None else max(self.joint.p, self.p_robust)

    @property
    def gain(self) -> float:
        """Rise of adjusted R2 by the terms, in units of R2; NaN where nothing was tested."""
        return float("nan") if self.joint is None else _gain(self.joint)

    @property
    def control_gain(self) -> float:
        """Median gain of the control's draws, in units of R2; 0, as by chance, where no pair is left to draw; NaN where
        nothing was tested.
        """
        if self.joint is None:
            return float("nan")
        return float(np.median([_gain(result) for result in self.control])) if self.control else 0.0

    @property
    def proven(self) -> tuple[Term, ...]:
        """Terms that hold one by one."""
        held = set(self.each.loc[self.each["verdict"] == "confirmed", "name"])
        return tuple(suggestion for suggestion in self.suggestions if suggestion.name in held)

    @property
    def verdict(self) -> str:
        """`confirmed` where p < alpha and the gain exceeds the control's, else `inconclusive`, as it is where the gate
        objects (`reason`).
        """
        if self.blocked:
            return "inconclusive"
        return "confirmed" if self.p < self.alpha and self.gain > self.control_gain else "inconclusive"


def untested(objection: Objection, *, seed: int, alpha: float, rows: int) -> FeatureProof:
    """The proof of rows that the gate refuses: no term, no figure."""
    return FeatureProof(
        seed=seed,
        suggestions=(),
        selected_here=True,
        rows=rows,
        alpha=alpha,
        joint=None,
        p_robust=float("nan"),
        each=_lines(()),
        control=(),
        objection=objection,
    )


def _lines(terms: Sequence[Term]) -> pd.DataFrame:
    each = pd.DataFrame({"name": [term.name for term in terms]}, columns=list(EACH))
    each = each.astype(dict.fromkeys(EACH[1:-1], float))
    each["verdict"] = "inconclusive"
    return each


def _gain(result: NestedResult) -> float:
    return result.r2_adjusted_larger - result.r2_adjusted_smaller


def prove(
    table: FeatureTable,
    suggestions: Sequence[Term],
    *,
    draws: int,
    alpha: float,
    seed: int,
    selected_here: bool,
    objection: Objection | None = None,
) -> FeatureProof:
    """Test terms on rows that did not suggest them: an OLS model of the columns' curves against one with the terms too.

    A column whose square is among the terms has no curve but a line in the smaller model. A column that a ratio divides
    by has its reciprocal there: the ratio carries that curve of one column, which is no interaction.

    Raises:
        FlowGradError: a term of a column that is not there, too few rows, an alpha outside (0, 1), or draws below 0.
    """
    check_level(alpha)
    check_terms(suggestions)
    if draws < 0:
        raise FlowGradError(f"draws={draws}: must be 0 or more")
    places = {name: place for place, name in enumerate(table.names)}
    tested = tuple(suggestion for suggestion in suggestions if suggestion.kind not in LINEAR)
    linear = tuple(suggestion for suggestion in suggestions if suggestion.kind in LINEAR)
    for suggestion in suggestions:
        for name in (suggestion.first, suggestion.second):
            if name is not None and name not in places and name not in table.left_out:
                raise FlowGradError(
                    f"{suggestion.name!r}: there is no column {name!r}{did_you_mean(name, table.names)}"
                )
    each = _lines(tested)
    values = [_values(suggestion, table, places) for suggestion in tested]
    finite = [place for place, column in enumerate(values) if np.isfinite(column).all()]
    found: AddedColumns | None = None
    control: tuple[NestedResult, ...] = ()
    if finite:
        smaller = _smaller_model(table, [tested[place] for place in finite])
        added = np.column_stack([values[place] for place in finite])
        usable = smaller.independent(added)
        finite = [place for place, used in zip(finite, usable, strict=True) if used]
        if finite:
            found = smaller.test(added[:, usable], alpha)
            _fill(each, finite, found, alpha)
            control = _control(smaller, table, tested, len(finite), draws, alpha, seed)
    if objection is not None and objection.blocks:
        each["verdict"] = "inconclusive"
    return FeatureProof(
        seed=seed,
        suggestions=tested,
        selected_here=selected_here,
        rows=len(table.y),
        alpha=alpha,
        joint=None if found is None else found.nested,
        p_robust=float("nan") if found is None else found.p_robust,
        each=each,
        control=control,
        untested=linear,
        objection=objection,
    )


def serial_objection(table: FeatureTable, terms: Sequence[Term]) -> Objection | None:
    """The gate's objection to the order of the table's rows where these terms are tested; see `SmallerModel.in_order`.
    None also where rows are too few to tell.
    """
    places = {name: place for place, name in enumerate(table.names)}
    tested = [term for term in terms if term.kind not in LINEAR]
    values = [_values(term, table, places) for term in tested]
    finite = [place for place, column in enumerate(values) if np.isfinite(column).all()]
    if not finite:
        return None
    try:
        smaller = _smaller_model(table, [tested[place] for place in finite])
    except FlowGradError:
        return None
    return smaller.in_order(np.column_stack([values[place] for place in finite]))


def _smaller_model(table: FeatureTable, tested: Sequence[Term]) -> SmallerModel:
    """The model of the columns' curves beside which terms are tested."""
    places = {name: place for place, name in enumerate(table.names)}
    straight = [places[term.first] for term in tested if term.kind == "square" and term.first in places]
    divisors = sorted({places[t.second] for t in tested if t.kind == "ratio" and t.second in places})
    curves = Curves(table.X, straight)
    terms = curves.terms(curves.standardise(table.X))[:, 1:]
    if divisors:
        terms = np.column_stack([terms, compute("ratio", curves.scale[divisors], table.X[:, divisors])])
    try:
        return SmallerModel(terms, table.y, table.groups)
    except StatisticsError as error:
        raise FlowGradError(f"the columns' curves cannot be tested against: {error}") from error


def _values(suggestion: Term, table: FeatureTable, places: dict[str, int]) -> Floats:
    """Values of the term, a product of centred columns; given the columns themselves that is the same term."""
    names = [name for name in (suggestion.first, suggestion.second) if name is not None]
    if any(name not in places for name in names):
        return np.zeros(len(table.y))  # a column that is constant on these rows
    columns = [table.X[:, places[name]] for name in names]
    if suggestion.kind != "ratio":
        columns = [(column - column.mean()) / column.std() for column in columns]
    return compute(suggestion.kind, columns[0], columns[-1])


def _fill(each: pd.DataFrame, lines: Sequence[int], found: AddedColumns, alpha: float) -> None:
    for line, column in zip(lines, found.each, strict=True):
        figures = {"f": column.f, "p": column.p, "partial_eta2": column.partial_eta2, "vif": column.vif}
        for name, figure in figures.items():
            each.loc[line, name] = figure
    each["p_adjusted"] = holm(each["p"].tolist())
    each["verdict"] = np.where(each["p_adjusted"] < alpha, "confirmed", "inconclusive")


def _control(
    smaller: SmallerModel,
    table: FeatureTable,
    suggestions: Sequence[Term],
    count: int,
    draws: int,
    alpha: float,
    seed: int,
) -> tuple[NestedResult, ...]:
    suggested = {frozenset((s.first, s.second)) for s in suggestions}
    places = range(len(table.names))
    pairs = np.array([p for p in combinations(places, 2) if {table.names[p[0]], table.names[p[1]]} not in suggested])
    if not len(pairs):
        return ()
    z = (table.X - table.X.mean(axis=0)) / table.X.std(axis=0)
    rng = np.random.default_rng(seed)
    results = []
    for _ in range(draws):
        columns = _drawn(smaller, z, pairs, count, rng)
        if columns.shape[1]:
            results.append(smaller.nested(columns, alpha))
    return tuple(results)


def _drawn(smaller: SmallerModel, z: Floats, pairs: NDArray[np.intp], count: int, rng: np.random.Generator) -> Floats:
    """Products of `count` random pairs, fewer where not as many say anything."""
    order = pairs[rng.permutation(len(pairs))]
    taken = count
    while True:
        columns = z[:, order[:taken, 0]] * z[:, order[:taken, 1]]
        usable = np.flatnonzero(smaller.independent(columns))[:count]
        if len(usable) == count or taken >= len(order):
            return columns[:, usable]
        taken = min(2 * taken, len(order))
