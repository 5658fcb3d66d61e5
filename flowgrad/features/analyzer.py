"""A table of features, before anything is trained on it: what its columns say together, and which say the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flowgrad.drawing import picture_path
from flowgrad.errors import FlowGradError
from flowgrad.features.proof import FeatureProof, prove, serial_objection, untested
from flowgrad.features.retraining import retrain, rmse
from flowgrad.features.screening.interactions import BUDGET, leading, partial_f
from flowgrad.features.suggesting import Suggestion, additive_model, check_level, rank_pairs, suggest
from flowgrad.features.table import FeatureTable, checked_table
from flowgrad.features.terms import INTERACTIONS, KINDS, Term, check_terms
from flowgrad.gate import GateError, Objection, refuse
from flowgrad.measurements import Coverage, Measurements
from flowgrad.measures import features
from flowgrad.rules import RuleBook
from flowgrad.rules.suggestion import did_you_mean
from flowgrad.statistics import TestResult
from flowgrad.subject import Subject

Floats = NDArray[np.float64]

_LEVEL = 0.05
_GROUPS_A_TERM = 5
"""Number of groups tested on for each selected term: a fifth of their degrees of freedom goes to terms at most."""
METHODS = ("partial_f", "xgboost_shap", "fast")


class FeatureAnalyzer(Subject):
    """Analyzes a table of features and its target.

    Example::

        analyzer = FeatureAnalyzer(X, y)
        analyzer.interactions()                 # pairs, by what they say together
        proof = analyzer.prove()                # selected on one half of the rows, tested on the other
        print(proof.each)
        print(analyzer.to_agent_xml())

    An interaction is whatever no sum of curves of single columns explains of the target, least squares and the target's
    own scale taken for granted: a sum on the scale of log odds is an interaction on that of probabilities.

    Attributes:
        left_out: names of constant columns, which are not analyzed.
    """

    KIND = "feature"
    MEASURES = features.MEASURES

    def __init__(
        self,
        X: Any,
        y: Any,
        *,
        groups: Any = None,
        name: str = "features",
        seed: int = 0,
        rules: RuleBook | None = None,
    ) -> None:
        """Check the table; nothing is computed yet.

        Args:
            X: a data frame, or an array of shape (rows, columns), whose columns are called x0, x1 and so on. Numbers or
                truth values, none missing.
            y: shape (rows,): numbers or truth values, in the order of X's rows.
            groups: shape (rows,): what each row belongs to, such as a user, where rows of one are alike. A group is in
                one half whole, and p-values of `prove` are over groups, in which copies of a row count once. None:
                rows are independent.
            name: of the table; `layer` of the report.
            seed: of the halves that `prove` takes.
            rules: rule book to judge by; the shipped one if None.

        Raises:
            FlowGradError: a column of text or categories, a value that is missing, infinite or too large to be squared,
                two columns of one name, no column that varies, a target that is no number, not finite or has one value,
                that is a column, or that has the index of X in another order, groups that are missing.
        """
        super().__init__(name, rules)
        self.seed = seed
        self._table = checked_table(X, y, groups)
        self.left_out = self._table.left_out

    def interactions(self, method: str = "partial_f", top: int = 20) -> pd.DataFrame:
        """Pairs of columns, the strongest interaction first.

        Args:
            method: `partial_f`: F of the pair's product, given the curves of all columns; columns first, second, f, p,
                vif (10 at most) and inclusion, by which they stand: the probability that this pair, and no other like
                it, acts (`flowgrad.features.screening.susie`). Pairs are chosen by f, so that p says too much: see
                `prove`. `xgboost_shap` (extra `xgboost`): mean size of the SHAP interaction values; `fast` (extra
                `interpret`): FAST (Lou et al. 2013, KDD). Both have the columns first, second, score.
            top: how many pairs at most.

        Raises:
            FlowGradError: an unknown method, `top` below 1, fewer than two columns, too few rows.
            ImportError: the extra is not installed.
        """
        if method not in METHODS:
            raise FlowGradError(f"method={method!r} is unknown{did_you_mean(method, METHODS)}")
        if top < 1:
            raise FlowGradError(f"top={top}: must be 1 or more")
        self._check_pairs()
        if method != "partial_f":
            from flowgrad.features.scores import pair_scores

            return pair_scores(method, self._table, self.seed).head(top)
        pool, ranked = rank_pairs(additive_model(self._table), top)
        names, place = np.array(self._table.names, dtype=object), ranked.place
        return pd.DataFrame(
            {
                "first": names[pool.first[place]],
                "second": names[pool.second[place]],
                "f": pool.f[place],
                "p": pool.p[place],
                "vif": pool.vif[place],
                "inclusion": ranked.inclusion,
            }
        )

    def plot_interactions(self, path: str | Path, columns: int = 30) -> None:
        """Draw the share of what the curves leave unexplained that each pair's product explains, as a heat map.

        Args:
            path: ends in .png, .svg or .pdf; the bytes repeat.
            columns: how many are shown at most: those of the strongest pairs, in their own order.

        Raises:
            FlowGradError: another ending, fewer than two columns or to be shown, too few rows, or no pair whose product
                the columns do not say already.
            ImportError: matplotlib (extra `plots`) is not installed.
        """
        from flowgrad.features.plots import heat_map

        path = picture_path(path)
        if columns < 2:
            raise FlowGradError(f"columns={columns}: a pair has 2")
        self._check_pairs()
        pairs = partial_f(additive_model(self._table), BUDGET)
        if not len(pairs):
            raise FlowGradError("no product of two columns can be told from the columns themselves; nothing to draw")
        shown = np.sort(leading(pairs, columns))
        values = np.full((len(self._table.names),) * 2, np.nan)
        values[pairs.first, pairs.second] = pairs.f / (pairs.f + pairs.df)
        values = np.fmax(values, values.T)
        names = [self._table.names[place] for place in shown]
        title = f"{self.name}: interactions of {len(shown)} of {len(self._table.names)} columns"
        heat_map(values[np.ix_(shown, shown)], names, title, "partial eta squared", path)

    def suggest_features(
        self, top: int = 10, kinds: Sequence[str] = KINDS, alpha: float = 0.05
    ) -> tuple[Suggestion, ...]:
        """Terms worth trying: products, ratios and squares by falling F, then sums and differences.

        Products and ratios are judged given the curves of all columns and the terms before them, squares given the
        columns; each has a VIF of 10 at most, and passes at a false discovery rate of `alpha` over all that were
        screened. A ratio needs a divisor that keeps away from 0. Sums and differences (of the columns in their own
        units) are in every linear model already; suggested are those that alone say more of y than either column does.
        All rows suggest; what comes of it cannot be tested on the same rows. See `prove`.

        Raises:
            FlowGradError: an unknown kind, `top` below 1, an `alpha` outside (0, 1), too few rows.
        """
        return suggest(self._table, kinds, top, alpha)

    def redundant_features(self, threshold: float = features.TWINS) -> pd.DataFrame:
        """Columns that repeat an earlier one: feature, repeats, correlation (with its sign), where it exceeds
        `threshold` in size.
        """
        _check_threshold(threshold)
        place, r = features.nearest_earlier(self._correlations)
        found = np.flatnonzero(np.abs(r) > threshold)
        names = np.array(self._table.names, dtype=object)
        return pd.DataFrame({"feature": names[found], "repeats": names[place[found]], "correlation": r[found]})

    def feature_clusters(self, threshold: float = features.ALIKE) -> pd.Series:
        """Column -> number of its group, from 1: average linkage on 1 - |r|, of a mean |r| of `threshold` or more."""
        _check_threshold(threshold)
        numbers = features.clusters(self._correlations, threshold)
        return pd.Series(numbers, index=pd.Index(self._table.names, name="feature"), name="cluster")

    def prove(
        self,
        suggestions: Sequence[Term] | None = None,
        *,
        top: int = 10,
        draws: int = 20,
        alpha: float = _LEVEL,
        seed: int | None = None,
    ) -> FeatureProof:
        """Test whether terms explain what no curve of a single column does, on rows that did not suggest them.

        Args:
            suggestions: terms, tested on all rows given here; they must come of other rows. None: up to `top` products
                and ratios are selected on one random half, and tested on the other. Squares are curves of one column,
                and are tested where they are given.
            top: how many are selected at most; with groups, no more than one for every five that are tested on.
            draws: of the control.
            alpha: level of the tests, and false discovery rate of the selection.
            seed: of the halves and the control; None: the analyzer's.

        Returns:
            The proof. Where nothing passes the selection it has no suggestion, and its verdict is `inconclusive`. So is
            that of rows that may be repeats of one another: `reason` says why.

        Raises:
            GateError: rows are exact copies of others, columns and target, as after oversampling: both halves would
                hold the same row. `groups`, the original row of each, or fewer rows, is the way out. No more groups
                than terms are tested on.
            FlowGradError: too few rows, a term of a column that is not there, what is no term, an `alpha` outside
                (0, 1), or `draws` below 0.
        """
        seed = self.seed if seed is None else seed
        check_level(alpha)
        table = self._table.units
        objection = refuse(table.objection)
        given: dict[str, Any] = {"draws": draws, "alpha": alpha, "seed": seed}
        if suggestions is not None:
            check_terms(suggestions)
            found = _worse(objection, table, suggestions)
            return prove(table, suggestions, selected_here=False, objection=found, **given)
        one, other = table.halves(seed)
        if other.groups is not None:
            top = min(top, max(len(np.unique(other.groups)) // _GROUPS_A_TERM, 1))
        terms = suggest(one, INTERACTIONS, top, alpha)
        return prove(other, terms, selected_here=True, objection=_worse(objection, table, terms), **given)

    def prove_by_retraining(
        self,
        make_model: Callable[[], Any],
        suggestions: Sequence[Term],
        *,
        splits: int = 10,
        test_share: float = 0.3,
        metric: Callable[[Floats, Floats], float] = rmse,
        higher_is_better: bool = False,
        alpha: float = 0.05,
        seed: int | None = None,
    ) -> TestResult:
        """Test whether a model, such as a booster, predicts better with the terms as columns: it is trained with and
        without them on the same random splits, of groups where there are any, and the differences are tested by the
        corrected t-test (Nadeau & Bengio 2003). The verdict is `inconclusive` where rows may be repeats of one another.

        Args:
            make_model: makes a new model with `fit(X, y)` and `predict(X)`, or `predict_proba(X)` for two classes.
            suggestions: to be tried together; they must come of other rows, or the rows tested on have chosen them.
            splits: random splits, 2 or more.
            test_share: share of the rows tested on.
            metric: of the target and the predictions (probabilities of class 1 of a classifier).
            higher_is_better: the metric's direction.
            alpha: level.
            seed: of the splits; None: the analyzer's.

        Raises:
            GateError: as `prove`.
            FlowGradError: no suggestion, one that has the name of a column, too few splits or rows, or differences that
                do not vary.
        """
        return retrain(
            self._table.units,
            make_model,
            suggestions,
            splits=splits,
            test_share=test_share,
            metric=metric,
            higher_is_better=higher_is_better,
            alpha=alpha,
            seed=self.seed if seed is None else seed,
        )

    @cached_property
    def proof(self) -> FeatureProof:
        """Result of `prove()`, computed when first asked for and shown in the report. For rows that the gate refuses it
        is a proof without figures, with the reason.
        """
        try:
            return self.prove()
        except GateError as error:
            return untested(error.objection, seed=self.seed, alpha=_LEVEL, rows=len(self._table.y))

    def measurements(self) -> Measurements:
        """The proof and the correlations. The row table has a line a suggestion, then a line a column.

        Where the gate objects to the rows, no figure of a test is given, as none would hold.
        """
        proof, clusters = self.proof, self.feature_clusters()
        _, r = features.nearest_earlier(self._correlations)
        sizes = clusters.map(clusters.value_counts()).astype(float)
        joint = None if proof.blocked else proof.joint
        scalars = {
            "rows": float(len(self._table.y)),
            "features": float(len(self._table.names)),
            "left_out": float(len(self.left_out)),
            "suggested": float(len(proof.suggestions)),
            "proven": float(len(proof.proven)),
            "adjusted_r2": float("nan") if joint is None else joint.r2_adjusted_larger,
            "adjusted_r2_gain": float("nan") if joint is None else proof.gain,
            "control_gain": float("nan") if joint is None else proof.control_gain,
            "joint_f": float("nan") if joint is None else joint.f,
            "joint_p": float("nan") if joint is None else proof.p,
            **_copied(proof, len(self._table.y)),
            "clusters": float(clusters.nunique()),
            "clustered_share": float((sizes > 1).mean()),
        }
        told = proof.each.set_index("name")[["f", "p_adjusted", "partial_eta2", "vif"]]
        if proof.blocked:
            told = told * float("nan")
        columns = pd.DataFrame({"twin_correlation": np.abs(r), "cluster_size": sizes.to_numpy()}, index=sizes.index)
        names = [measure.name for measure in self.MEASURES if measure.per_row]
        table = pd.concat([told.reindex(columns=names), columns.reindex(columns=names)]).astype(float)
        return Measurements(self.KIND, self.name, scalars, {"rows": table}, coverage=self._coverage())

    def _coverage(self) -> Coverage:
        seen = {"rows": float(len(self._table.y)), "columns": float(len(self._table.names))}
        if self._table.groups is None:
            return Coverage(seen, {"groups": "never told; where rows belong together (a user, a day), give groups="})
        return Coverage(seen | {"groups": float(len(np.unique(self._table.groups)))})

    def _check_pairs(self) -> None:
        if len(self._table.names) < 2:
            raise FlowGradError(f"column {self._table.names[0]!r} alone varies; an interaction needs two")

    @cached_property
    def _correlations(self) -> Floats:
        return features.correlations(self._table.X)


def _worse(objection: Objection | None, table: FeatureTable, terms: Sequence[Term]) -> Objection | None:
    """The objection to the rows, or to their order where these terms are tested."""
    if objection is not None and objection.blocks:
        return objection
    return serial_objection(table, terms) or objection


def _copied(proof: FeatureProof, rows: int) -> dict[str, float]:
    """Rows that repeat others, and what all are worth."""
    found = proof.objection
    if found is None:
        return {"copied_rows": 0.0, "effective_rows": float(rows), "unproven": 0.0}
    return {
        "copied_rows": float(found.count),
        "effective_rows": found.effective,
        "unproven": float(found.blocks),
    }


def _check_threshold(threshold: float) -> None:
    if not 0 <= threshold <= 1:
        raise FlowGradError(f"threshold={threshold}: a correlation's size lies between 0 and 1")
