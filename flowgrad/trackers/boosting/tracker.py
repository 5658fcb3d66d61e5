"""Tracks the rounds of a gradient booster: its evaluations, its trees, its columns."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from flowgrad.drawing import picture_path, save
from flowgrad.errors import FlowGradError
from flowgrad.measurements import Measurements
from flowgrad.measures import trees
from flowgrad.measures.row_figures import BELONGING_MEASURES
from flowgrad.rules import RuleBook
from flowgrad.trackers.base import Tracker
from flowgrad.trackers.boosting.boosted_trees import BoostedTrees, is_catboost, is_lightgbm, trees_of
from flowgrad.trackers.boosting.columns import Columns
from flowgrad.trackers.boosting.coverage import Sight, coverage
from flowgrad.trackers.boosting.evaluated_rows import FittedEstimator
from flowgrad.trackers.boosting.evaluations import Evaluations
from flowgrad.trackers.boosting.first_round import FirstRound
from flowgrad.trackers.boosting.fitted import Recorded, booster_of, check_recorded, recorded, rounds_of
from flowgrad.trackers.boosting.forest import Forest
from flowgrad.trackers.boosting.plots import Best, evaluation_figure, gain_figure
from flowgrad.trackers.boosting.told import (
    BOOSTED,
    DART,
    TRAINING_ROWS,
    Loop,
    StatedFacts,
    holds_two_values,
    starts_given,
    told_by,
)
from flowgrad.trackers.watching import entry

if TYPE_CHECKING:
    from flowgrad.trackers.boosting.catboost_callback import CatBoostCallback
    from flowgrad.trackers.boosting.lightgbm_callback import LightGBMCallback
    from flowgrad.trackers.boosting.xgboost_callback import XGBoostCallback

_logger = logging.getLogger(__name__)
_ONE_BEGINS = threading.Lock()


class BoostingTracker(Tracker):
    """Watches XGBoost, LightGBM or CatBoost train, or reads a booster that is trained already.

    Example::

        tracker = BoostingTracker()
        xgboost.train(params, data, 500, evals=[(data, "train"), (held_out, "valid")],
                      callbacks=[tracker.as_xgb_callback()])
        tracker.observe_data(X, y, X_valid, y_valid)   # what the rules on leaks and on repeated columns need
        print(tracker.to_agent_xml())

    One tracker watches one training; going on with the same booster is part of it. Trees are read in chunks of the
    newest `window` rounds, so that the cost of a round does not grow with their number. A linear booster and
    cross-validation have evaluations alone, and NaN for figures of trees. Trees that DART scales anew later are
    reported as they were when they were read. LightGBM drops the trees after the best round when early stopping ends
    the training: of these only whole windows are seen. Names of columns and the treatment of missing, infinite and
    categorical values are the library's own.

    Verdicts are on the model that is kept: where early stopping chose a round, what comes after it is not judged. They
    need the direction of the metric; it is the user's, else the library's, else that of the round that early stopping
    chose, else that of a name that is known. A user's own metric whose direction none of these gives is not judged, and
    the report says how to give it. Overfitting and stagnation are not judged for forests, DART and linear boosters,
    whose rounds do not correct those before them or do not stay as they are.
    """

    KIND = "boosting"
    UNIT = "rounds"
    MEASURES = trees.MEASURES + BELONGING_MEASURES

    def __init__(
        self,
        name: str = "booster",
        *,
        metric: str | None = None,
        validation: str | None = None,
        training: str | None = None,
        higher_is_better: Mapping[str, bool] | None = None,
        window: int = 25,
        rules: RuleBook | None = None,
    ) -> None:
        """Start with no round seen.

        Args:
            name: what is trained; `layer` of the report.
            metric: metric that is judged by; None: the one that early stopping went by, or would: XGBoost's last or
                LightGBM's first.
            validation: name of the evaluation set that is judged by; None: the one that early stopping went by, else
                the last that is not the training data.
            training: name of the evaluation set that is the training data; None: the one whose rows are those of
                training, as the callbacks of XGBoost and LightGBM see, or `observe_data` after `from_model` of an
                estimator; else one named `train`, `training`, `dtrain` or `learn`, if there is one.
            higher_is_better: direction of metrics of your own: `{"ks": True}`.
            window: rounds a window of `gain_by_window`.
            rules: rule book to judge by; the shipped one if None.

        Raises:
            ValueError: `window` is below 1.
        """
        super().__init__(name, rules)
        self._settings: dict[str, Any] = {
            "name": name, "metric": metric, "validation": validation, "training": training,
            "higher_is_better": higher_is_better, "window": window, "rules": rules,
        }  # fmt: skip
        if window < 1:
            raise ValueError(f"window={window}: must be 1 round or more")
        self._window = window
        self._evaluations = Evaluations(metric, validation, training, higher_is_better or {})
        self._columns = Columns()
        self._rounds = 0
        self._base = 0
        """Number of rounds that the booster had before."""
        self._began = 0
        """Number of rounds that were seen before the current or last training."""
        self._source: BoostedTrees | None = None
        """Reader of the rounds that are still to be read."""
        self._model: Any = None
        """Booster that is asked about the training, until the tracker lets go of it."""
        self._told = StatedFacts()
        self._loop = Loop()
        self._estimator = FittedEstimator()
        """Estimator that was read once it was trained; none where a callback watched."""
        self._others = 0
        """Number of trainings that were passed over, because one had been watched."""
        self._copies: tuple[list[int], ...] = ([0],)
        """Numbers of copies of a callback that were made, each with a tracker of its own: of this tracker's, copies of
        copies included, and of those that it is a copy of.
        """
        self._under_way: int | None = None
        """Thread of the training that is watched; None where none has begun, or it has ended."""
        self._passing: set[int] = set()
        """Threads whose present training is passed over."""
        self._names: tuple[str, ...] = ()
        self._read = 0
        self._trees: list[np.ndarray] = []
        """Figures named in `_TREE` of each chunk that was read, shape (trees, 6)."""
        self._gain: list[np.ndarray] = []
        self._splits = np.zeros(0)
        self._first = np.zeros(0)
        """Round of each column's first split; infinite where it has none."""
        self._peak = np.zeros(0)
        self._first_round = FirstRound()
        self._starts: Mapping[str, bool] = {}
        """Whether the rows of each set were given initial scores, where the library tells; see `starts_given`."""

    def as_xgb_callback(self) -> XGBoostCallback:
        """Make a callback for `xgboost.train`, `xgboost.cv` and XGBoost's scikit-learn estimators.

        Raises:
            ImportError: xgboost is not installed.
        """
        try:
            from flowgrad.trackers.boosting.xgboost_callback import XGBoostCallback
        except ModuleNotFoundError as error:
            raise _missing("as_xgb_callback", "xgboost", error) from error
        return XGBoostCallback(self)

    def as_lgb_callback(self) -> LightGBMCallback:
        """Make a callback for `lightgbm.train`, `lightgbm.cv` and LightGBM's scikit-learn estimators."""
        from flowgrad.trackers.boosting.lightgbm_callback import LightGBMCallback

        return LightGBMCallback(self)

    def as_catboost_callback(self) -> CatBoostCallback:
        """Make a callback for `fit(…, callbacks=[…])` of CatBoost's estimators, which sees evaluations alone: give the
        fitted model to `from_model` for its trees and for the metric that early stopping goes by.

        CatBoost takes callbacks for training on the CPU alone; with `task_type="GPU"` use `from_model` only.

        Raises:
            ImportError: catboost is not installed.
        """
        try:
            from flowgrad.trackers.boosting.catboost_callback import CatBoostCallback
        except ModuleNotFoundError as error:
            raise _missing("as_catboost_callback", "catboost", error) from error
        return CatBoostCallback(self)

    def from_model(self, model: Any, evals_result: Recorded | None = None) -> None:
        """Read a booster after training, all rounds at once; or only the trees of a CatBoost model that was watched.

        Args:
            model: a `Booster` of XGBoost or LightGBM, or an estimator of theirs or of CatBoost's, fitted.
            evals_result: set -> metric -> one value a round, as the libraries record it. Estimators hold their own;
                a booster without one has no evaluation, and the report says so.

        Raises:
            TypeError: `model` is no such thing.
            ValueError: the tracker has watched a training already, or the values are not one a round.
        """
        booster = booster_of(model)
        watched = self._rounds > 0
        if watched and (self._names or not is_catboost(booster)):
            raise ValueError(f"tracker {self.name!r} has seen {self._rounds} rounds already; take a new one")
        if watched and not self._evaluations.ends_as(recorded(model)):
            raise ValueError(
                f"tracker {self.name!r} has watched another training than that of this model; take a new one for it"
            )
        if not watched:
            found, rounds = recorded(model) if evals_result is None else evals_result, rounds_of(booster)
            check_recorded(found, rounds)
            own = callable(getattr(model, "objective", None))
            self._begin(booster, 0, "", Loop(own, own and getattr(model, "n_classes_", 0) == 2))
            self._estimator = FittedEstimator(model)
            self._evaluations.take(found, last=not is_lightgbm(booster))
            self._rounds = max([rounds, *(len(v) for metrics in found.values() for v in metrics.values())])
        if is_catboost(booster):
            self._model = booster
            self._complete(booster)
        self._read_all()

    def _complete(self, model: Any) -> None:
        """Take from a fitted CatBoost model what its callback does not see."""
        from flowgrad.trackers.boosting.catboost_callback import directions, eval_metric

        self._source = trees_of(model)
        self._evaluations.take_directions(directions(self._evaluations.curves(), model))
        self._evaluations.prefer(eval_metric(model))

    def observe_data(
        self,
        X: Any,
        y: Any,
        X_validation: Any,
        y_validation: Any,
        *,
        written_after: Iterable[str] = (),
        known_in_time: Iterable[str] = (),
        groups: Any = None,
        groups_validation: Any = None,
    ) -> None:
        """Measure the columns themselves: how much each explains of the target alone, which repeat each other, and how
        many validation rows are exact copies of training rows; whether like rows have like targets, within each part
        and from one to the other; and whether the columns of both parts are in one order and on one scale.

        A good prediction does not show whether a column leaks: that depends on when it is written down, which the data
        rarely show. So a strong column is a question, and these two arguments are its answer.

        Args:
            X: training rows; a data frame, an array or a sparse matrix of shape (rows, columns), in the form that the
                booster is given. Missing values are allowed, and count
                as a value of their own. Columns of text or categories are taken by their values, without order.
            y: training target, shape (rows,): numbers, or 0 and 1.
            X_validation: rows that were held out, the same columns.
            y_validation: their target.
            written_after: names of columns that are written down after the target is known: they leak.
            known_in_time: names of columns that are known when a prediction is made, such as the value of yesterday.
            groups: of a ranking, the sizes of the groups as the booster is given them, in the order of the rows; or
                what each row belongs to, shape (rows,).
            groups_validation: the same of the validation rows.

        Raises:
            ValueError: the parts do not fit together, groups do not fit to their rows, a column holds infinity, a
                target is not finite, `y` has a single value, or a name is of no column.
        """
        self._columns.observe(X, y, X_validation, y_validation, written_after, known_in_time, groups, groups_validation)
        self._look_for_training((X, y), (X_validation, y_validation))

    def _look_for_training(self, rows: tuple[Any, Any], held_out: tuple[Any, Any]) -> None:
        """Ask a fitted estimator which of its evaluation sets holds the training rows, where the names do not say."""
        kept, evaluated = self._kept(), self._evaluations.by_set()
        if self._evaluations.training is not None or not kept or not evaluated:
            return
        try:
            self._evaluations.take_training(self._estimator.sets_of(rows, held_out, evaluated, kept))
        except Exception:  # a column order, a category or a missing value that the estimator refuses
            _logger.debug("the estimator did not predict the rows that were observed", exc_info=True)

    def _measure(self) -> Measurements:
        """Measure the course of the evaluations, the trees, and a line a column, the most gain first."""
        self._read_trees(everything=True)
        self._ask_to_judge()
        table, frame, told, kept = self._table(), self._frame(), self._told, self._kept()
        gains = table["gain_share"].to_numpy(dtype=float)
        additive = told.mode in ("", BOOSTED) and not told.ranks
        scalars = {
            "rounds": float(self._rounds),
            "boosts": float(told.mode == BOOSTED) if told.mode else math.nan,
            "stopped": math.nan if kept is None else float(self._stopped),
            "kept_round": math.nan if kept is None else float(kept),
            **self._evaluations.course(kept, told.mode),
            **self._evaluations.without_model(),
            "learning_rate": told.rate if additive or told.mode == DART else math.nan,
            "trees": float(len(frame)) if self._names else math.nan,
            "late_tree_gain": trees.late_tree_gain(
                frame["gain"].to_numpy(), frame["round"].to_numpy(), self._rounds if len(frame) and additive else 0
            ),
            "tree_depth": float(frame["depth"].mean()) if len(frame) else math.nan,
            "leaf_hessian": float(frame["leaf_hessian"].median()) if len(frame) else math.nan,
            "columns": float(len(table)) if len(table) else math.nan,
            "unused_share": float((table["splits"] == 0).mean()) if self._names and len(frame) else math.nan,
            "top_gain_share": float(np.nanmax(gains)) if np.isfinite(gains).any() else math.nan,
            "tree_leaves": float(frame["leaves"].mean()) if len(frame) else math.nan,
            **self._first_round.room(told),
            "least_hessian": told.least_hessian,
            "least_rows": told.least_rows if told.framework else math.nan,
            "most_leaves": told.most_leaves,
            **trees.weighted_classes(told.positive_weight, self._columns.targets[0]),
            "order_alone": self._evaluations.order_alone,
            **self._columns.scalars(),
        }
        target, new_target = self._columns.targets
        lead = table.iloc[0] if len(table) and np.isfinite(gains).any() else pd.Series(dtype=float)
        scalars |= {
            "val_explained": self._evaluations.explained(scalars["val_best"], new_target),
            "train_explained": self._evaluations.explained(scalars["train_last"], target),
            **{f"leading_{name}": float(lead.get(name, math.nan)) for name in ("r2_loss", "shift_z")},
            "zeros_for_missing": self._columns.zeros if told.framework in ("", "xgboost") else 0.0,
        }
        if told.ranks and not scalars["groups"]:
            scalars["groups"] = math.nan
        scalars |= self._start(scalars["train_first"], scalars["val_first"], scalars["val_best"])
        scalars |= self._refused(scalars["val_best"])
        if self._base:
            scalars |= dict.fromkeys(_FROM_THE_START, math.nan)
        model = "best_iteration" if self._stopped else "last_iteration"
        judged = self._evaluations.judged("" if kept is None else model)
        sight = Sight(
            self._rounds,
            len(frame),
            bool(self._names),
            len(self._evaluations.table().columns),
            len(table),
            self._evaluations.training,
            self._evaluations.without_link,
            scalars["val_rows"],
            judged,
            told,
            kept,
            self._columns.unseen,
            scalars["groups"] > 0,
            self._base,
            self._others,
            self._copies[0][0],
        )
        return Measurements(
            self.KIND,
            self.name,
            scalars,
            {"rows": table},
            step=self._rounds,
            coverage=coverage(sight),
            judged=judged,
            framework=told.framework,
        )

    def _start(self, train: float, held: float, best: float) -> dict[str, float]:
        """Figures on where both parts start, from their values after the first round and the best validated one."""
        evaluations, told = self._evaluations, self._told
        target, new_target = self._columns.targets
        gain = self._first_round.gain(evaluations.error(train), told)
        started = math.sqrt(1 / (1 - gain))
        before = evaluations.error(train) / (1 - gain)
        held_out = evaluations.validation
        own, other = self._starts.get(TRAINING_ROWS), None if held_out is None else self._starts.get(held_out)
        return {
            "first_gain": gain,
            "train_start": started * evaluations.above_constant(train, target),
            "val_start": evaluations.above_constant(held, new_target),
            "start_ratio": trees.root_ratio(evaluations.error(held), before),
            "start_reached": trees.root_ratio(evaluations.error(best), before),
            "starts_told": float(own is not None and other is not None),
            "start_difference": math.nan if own is None or other is None else float(own) - float(other),
        }

    def _refused(self, best: float) -> dict[str, float]:
        """Figures on the gain that the settings ask of a split, of trees that are fitted to squares."""
        told, noise = self._told, self._evaluations.error(best)
        known = told.squares and noise > 0
        standardised = told.least_gain / noise if known else math.nan
        return {
            "refused_z": math.sqrt(standardised) if standardised >= 0 else math.nan,
            "refused_share": standardised / self._first_round.hessian,
        }

    def trees(self) -> pd.DataFrame:
        """Table of one line a tree: `tree`, `round` (from 1), `depth`, `leaves`, `gain` (sum over its splits),
        `leaf_size` (mean of the leaves' values in size) and `leaf_hessian` (median of their sums of hessians).
        """
        self._read_trees(everything=True)
        table = self._frame()
        table.insert(0, "tree", np.arange(len(table)))
        return table

    def gain_by_window(self) -> pd.DataFrame:
        """Gain of each column (all of them) in each window of rounds, not cumulative; the index is a window's last
        round.
        """
        self._read_trees(everything=True)
        if not self._gain:
            return pd.DataFrame(columns=pd.Index(self._names), dtype=float)
        ends = [min((i + 1) * self._window, self._read - self._base) for i in range(len(self._gain))]
        return pd.DataFrame(np.array(self._gain), index=pd.Index(ends, name="round"), columns=pd.Index(self._names))

    def evaluations(self) -> pd.DataFrame:
        """Table of every value recorded: a column `SET METRIC` each, a line a round (from 1)."""
        return self._evaluations.table()

    def evaluation_curves(self) -> dict[str, dict[str, Sequence[float]]]:
        """Every value recorded: metric -> evaluation set -> one value a round."""
        return {metric: dict(sets) for metric, sets in self._evaluations.curves().items()}

    def plot_evaluations(self, path: str | Path) -> None:
        """Draw every evaluation by round, with the best round marked.

        Args:
            path: ends in .png, .svg or .pdf; the bytes repeat.

        Raises:
            FlowGradError: another ending, or nothing was evaluated.
            ImportError: matplotlib (extra `plots`) is not installed.
        """
        path = picture_path(path)
        save(self.evaluation_figure(), path)

    def evaluation_figure(self) -> Any:
        """Make the picture of `plot_evaluations`, a `matplotlib.figure.Figure`."""
        curves = self._evaluations.curves()
        if not curves:
            raise FlowGradError(f"tracker {self.name!r} has seen no evaluation; train with evaluation sets")
        self._ask_to_judge()
        course, chosen = self._evaluations.course(self._kept(), self._told.mode), self._evaluations.chosen
        best = None
        if chosen is not None and course["best_round"] > 0:
            best = Best(chosen[1], chosen[0], int(course["best_round"]), course["val_best"])
        return evaluation_figure(curves, best, self.name)

    def plot_gain(self, path: str | Path, columns: int = 15) -> None:
        """Draw which columns bring the gain of each window of rounds, as a heat map.

        Args:
            path: ends in .png, .svg or .pdf; the bytes repeat.
            columns: those with most gain, that have a line of their own; the others stand together.

        Raises:
            FlowGradError: another ending, `columns` below 1, or no tree was seen.
            ImportError: matplotlib (extra `plots`) is not installed.
        """
        path = picture_path(path)
        save(self.gain_figure(columns), path)

    def gain_figure(self, columns: int = 15) -> Any:
        """Make the picture of `plot_gain`, a `matplotlib.figure.Figure`."""
        if columns < 1:
            raise FlowGradError(f"columns={columns}: must be at least 1")
        gain = self.gain_by_window()
        if gain.empty:
            raise FlowGradError(
                f"tracker {self.name!r} has seen no tree; a linear booster and cross-validation have none"
            )
        return gain_figure(gain, columns, self.name)

    def detach(self) -> None:
        """Let go of the booster, once its newest rounds are read."""
        try:
            self._read_all()
        except Exception as error:
            self._source = self._model = None
            self._failed("detach()", error)

    def _read_all(self) -> None:
        self._read_trees(everything=True)
        self._ask()
        self._source = self._model = None

    def _count(self) -> int:
        return self._rounds

    # The callbacks call these methods.

    @entry("the start of a training")
    def begin(self, booster: Any, round_before: int, framework: str = "", loop: Loop | None = None) -> None:
        """Note that a training begins, of a booster that has so many rounds; None where the library does not show
        it.
        """
        self._begin(booster, round_before, framework, loop or Loop())

    def _begin(self, booster: Any, round_before: int, framework: str, loop: Loop) -> None:
        thread = threading.get_ident()
        with _ONE_BEGINS:
            another = self._under_way not in (None, thread)
            if another or (self._rounds > 0 and round_before != self._base + self._rounds):
                self._passing.add(thread)
            else:
                self._under_way = thread
                self._passing.discard(thread)
        if thread in self._passing:
            self._pass_over()
            return
        if not self._rounds:
            self._base = self._read = round_before
        self._began = self._rounds
        self._model, self._told = booster, StatedFacts(framework)
        self._source = None if is_catboost(booster) else trees_of(booster)
        self._starts = starts_given(booster)
        self._loop = loop
        self._evaluations.take_training(loop.training)

    @entry("a round")
    def find_training(self, sets: Iterable[str]) -> None:
        """Note evaluation sets that were found to hold the training rows."""
        if threading.get_ident() not in self._passing:
            self._evaluations.take_training(sets)

    def anew(self) -> BoostingTracker:
        """Make a tracker of the same settings for a copy of a callback; the report tells how many there are."""
        for count in self._copies:
            count[0] += 1
        found = type(self)(**self._settings)
        found._copies += self._copies
        return found

    def _pass_over(self) -> None:
        """Note that another training begins: it is not watched, and goes on undisturbed. In the same thread, the one
        that was watched is over.
        """
        if self._under_way in (None, threading.get_ident()):
            self.detach()
        self._others += 1
        if self._others == 1:
            _logger.warning(
                "tracker %r has watched a training of %d rounds and passes over others; take a new one for each",
                self.name, self._rounds,
            )  # fmt: skip

    @entry("a round")
    def end_round(self, evaluated: Sequence[tuple[str, str, float, bool | None]], *, last: bool) -> None:
        """Note a round with its evaluations: set, metric, value and direction (None: not known).

        Args:
            evaluated: of this round.
            last: early stopping goes by the last of the metrics (XGBoost), not the first.
        """
        if threading.get_ident() in self._passing:
            return
        self._rounds += 1
        self._evaluations.end_round(evaluated, last=last)
        if self._source is not None and self._base + self._rounds - self._read >= self._window:
            self._read_trees(everything=False)

    @entry("the end of a training")
    def end(self, booster: Any) -> None:
        """Note that the training has ended with this booster, which may be another than began: early stopping may cut
        it.
        """
        if threading.get_ident() in self._passing:
            return
        if self._model is not None:
            self._model = booster
        self.detach()
        self._under_way = None

    def _ask(self) -> None:
        """Ask the booster about the training, while the tracker has it."""
        if self._model is None or not self._rounds:
            return
        told = told_by(self._model, own_objective=self._loop.own_objective)
        if told.best:
            found = self._evaluations.take_stop(told.best - self._base, told.score, self._began + 1)
            told = told if found else replace(told, best=0, cuts=True)
        self._told = told

    def _ask_to_judge(self) -> None:
        """Ask the booster, and tell the evaluations what their values are of, by the targets as well."""
        self._ask()
        told, observed = self._loop.two_values or self._told.two_classes, self._columns.observed
        two_values = told or (observed and holds_two_values(self._columns.targets[0]))
        self._evaluations.take_raw_scores(self._told.raw_scores, two_values)

    def _kept(self) -> int | None:
        """Last round of the model that is kept; None where it is not known."""
        if self._told.best is None:
            return None if self._told.framework == "catboost" else self._rounds
        return min(self._told.best - self._base, self._rounds) if self._told.best else self._rounds

    @property
    def _stopped(self) -> bool:
        kept = self._kept()
        chosen = bool(self._told.best) and self._told.framework != "catboost"
        return kept is not None and (chosen or kept < self._rounds)

    def _read_trees(self, *, everything: bool) -> None:
        source = self._source
        if source is None:
            return
        if not self._names:
            self._names = source.names
            self._splits, self._first = np.zeros(len(self._names)), np.full(len(self._names), np.inf)
            self._peak = np.zeros(len(self._names))
        # LightGBM adds no tree in a round in which it finds no split.
        available = source.rounds if everything else min(source.rounds, self._base + self._rounds)
        while self._read < available:
            window = (self._read - self._base) // self._window
            stop = min(available, self._base + (window + 1) * self._window)
            self._note(source.read(self._read, stop), window, stop - self._read)
            self._read = stop

    def _note(self, found: Forest, window: int, rounds: int) -> None:
        number = self._read - self._base + np.arange(found.trees) * rounds // found.trees + 1
        self._trees.append(
            np.column_stack(
                [number, found.depths, found.leaves(), found.gain(), found.leaf_size(), found.leaf_hessian()]
            )
        )
        if number[0] == 1:
            self._first_round = FirstRound.of(found, number)
        if window == len(self._gain):
            self._gain.append(np.zeros(len(self._names)))
        self._gain[window] += np.bincount(found.features, found.gains, len(self._names))
        self._splits += np.bincount(found.features, minlength=len(self._names))
        np.minimum.at(self._first, found.features, number[found.split_tree])
        usual = float(np.median(found.gains)) if len(found.gains) else 0.0
        if usual > 0:
            np.maximum.at(self._peak, found.features, found.gains / usual)

    def _frame(self) -> pd.DataFrame:
        """Table of one line a tree."""
        rows = np.concatenate(self._trees) if self._trees else np.empty((0, len(_TREE)))
        return pd.DataFrame(rows, columns=list(_TREE)).astype(_TREE)

    def _table(self) -> pd.DataFrame:
        seen = self._columns.table()
        names = self._names or tuple(map(str, seen.index))
        if self._names and len(seen) and list(seen.index) != list(names):
            # Arrays have no names of their own.
            if len(seen) != len(names):
                raise ValueError(f"observe_data was given {len(seen)} columns; the booster was trained on {len(names)}")
            seen.index = pd.Index(names)
        gain = np.sum(self._gain, axis=0) if self._gain else np.full(len(names), math.nan)
        total = gain.sum()
        known, categorical = bool(self._names), self._told.categorical
        table = pd.DataFrame(
            {
                "gain_share": gain / total if total > 0 else np.full(len(names), math.nan),
                "splits": self._splits if known else math.nan,
                "peak_gain": self._peak if known else math.nan,
                "first_round": np.where(np.isinf(self._first), math.nan, self._first) if known else math.nan,
                "categorical": math.nan
                if categorical is None
                else [float(i in categorical) for i in range(len(names))],
            },
            index=pd.Index(names),
            dtype=float,
        )
        table = table.join(seen.reindex(table.index))
        return table.sort_values("gain_share", ascending=False, kind="stable")


_FROM_THE_START = (
    "late_tree_gain", "late_train_gain", "late_val_gain", "val_improved", "val_first", "train_first", "val_start",
    "train_start", "start_ratio", "start_reached", "start_difference", "first_gain", "leaf_room", "leaf_limit",
    "refused_share",
)  # fmt: skip
"""Measures against the first rounds of the booster, which were not seen where it had rounds before."""
_TREE = {"round": int, "depth": int, "leaves": int, "gain": float, "leaf_size": float, "leaf_hessian": float}
"""Names and types of the figures that are kept of each tree."""


def _missing(method: str, package: str, error: ModuleNotFoundError) -> ImportError:
    if error.name != package:
        raise error
    return ImportError(f"{method} needs {package}: pip install 'flowgrad[{package}]'")
