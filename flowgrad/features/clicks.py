"""A trained model of clicks on held-out rows: whether its probabilities are right, and what each column adds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from flowgrad.errors import FlowGradError
from flowgrad.measurements import Coverage, Judged, Measurements
from flowgrad.measures import clicks
from flowgrad.rules import RuleBook
from flowgrad.subject import Subject

Columns = Mapping[str, NDArray[Any]]
MOST_ROWS = 50_000
"""Number of held-out rows that columns are permuted on, at most."""
_UNSEEN = {
    "training_ids": "never told; give trained={column: ids of the training rows}, and rows that it never met are seen",
    "training_level": "never told; give train_rate= and train_mean=, and a drift is told from a loss with weights",
    "values": "never told; give values={column: training values before they were ids}, and collisions are seen",
}


class ClickAnalyzer(Subject):
    """Analyzes predicted probabilities of clicks on rows that training did not see, whatever the model.

    Example::

        analyzer = ClickAnalyzer(predict, {"user": users, "hour": hours}, clicked, trained={"user": train_users})
        print(analyzer.report())

    Columns are permuted one at a time (Breiman 2001, Random Forests, section 10; Fisher et al. 2019, JMLR 20), on at
    most `MOST_ROWS` rows. A column that says what another one says, too, looks as if it added little.
    """

    KIND = "clicks"
    MEASURES = clicks.MEASURES

    def __init__(
        self,
        predict: Callable[[dict[str, NDArray[Any]]], ArrayLike],
        columns: Mapping[str, ArrayLike],
        clicked: ArrayLike,
        *,
        trained: Mapping[str, ArrayLike] | None = None,
        train_rate: float = math.nan,
        train_mean: float = math.nan,
        table_rows: Mapping[str, int] | None = None,
        values: Mapping[str, ArrayLike] | None = None,
        moved: Mapping[str, ArrayLike] | None = None,
        name: str = "clicks",
        seed: int = 0,
        rules: RuleBook | None = None,
    ) -> None:
        """Check the rows; nothing is predicted yet.

        Args:
            predict: from columns by name, shape (rows,) each, to probabilities, shape (rows,).
            columns: columns of the held-out rows as the model takes them, shape (rows,) each: ids, or amounts.
            clicked: 0 or 1, shape (rows,).
            trained: ids of the training rows by column of ids, whole numbers from 0, shape (training rows,) each.
            train_rate: share of the training rows that are clicked; NaN: not known.
            train_mean: mean of the probabilities that the trained model predicts for them; NaN: not known.
            table_rows: number of rows of the table of each column of ids.
            values: values of the training rows by column of ids, of any type, before they were mapped to ids.
            moved: whether training moved each row of a column's table, shape (table rows,); without it, a row that was
                looked up counts as moved.
            name: of the model; `layer` of the report.
            seed: of the permutations.
            rules: rule book to judge by; the shipped one if None.

        Raises:
            FlowGradError: no column, columns of different lengths, labels other than 0 and 1, ids that are none, or a
                column named that is not there.
        """
        super().__init__(name, rules)
        self._predict, self._seed = predict, seed
        self._train_rate, self._train_mean = float(train_rate), float(train_mean)
        self._columns = {key: np.asarray(held) for key, held in columns.items()}
        self._clicked = np.asarray(clicked, dtype=float)
        _check(self._columns, self._clicked)
        self._trained = {key: _ids(key, held) for key, held in (trained or {}).items()}
        self._table_rows = dict(table_rows or {})
        self._values = {
            key: np.unique(np.asarray(held), return_inverse=True)[1] for key, held in (values or {}).items()
        }
        self._moved = {key: np.asarray(held, dtype=bool) for key, held in (moved or {}).items()}
        for given in (self._trained, self._table_rows, self._values, self._moved):
            if missing := sorted(set(given) - set(self._columns)):
                raise FlowGradError(f"{missing[0]!r} is no column; they are {', '.join(self._columns)}")
        for key, held in self._values.items():
            if key not in self._trained or held.shape != self._trained[key].shape:
                raise FlowGradError(f"values of {key!r}: expected one for each of its ids in trained")

    @cached_property
    def _odds(self) -> NDArray[np.float64]:
        return self._predicted(self._columns, len(self._clicked))

    def _predicted(self, columns: Columns, rows: int) -> NDArray[np.float64]:
        found = np.asarray(self._predict(dict(columns)), dtype=float)
        if found.shape != (rows,):
            raise FlowGradError(f"predict gave an array of shape {found.shape}; expected ({rows},), one a row")
        return clicks.log_odds(found)

    @cached_property
    def _measured(self) -> Measurements:
        blind = "" if np.isfinite(self._odds).all() else "the predictions are not finite; look for NaN in the training"
        if blind:
            figures = {measure.name: math.nan for measure in self.MEASURES if not measure.per_row}
            return Measurements(self.KIND, self.name, figures, coverage=Coverage(blind=blind))
        table = self._table()
        figures = {
            **clicks.calibration_figures(self._clicked, self._odds, self._train_rate, self._train_mean),
            "id_columns": float(len(self._trained)) if self._trained else math.nan,
            "judged_columns": float(len(self._columns)),
            "known_tables": float(len(self._trained)),
            "top_column_share": float(table["column_share"].max()),
            "top_cold_share": float(table["cold_share"].max()),
        }
        judged = Judged("log-loss", "lower", "validation")
        return Measurements(self.KIND, self.name, figures, {"rows": table}, coverage=self._coverage(), judged=judged)

    def measurements(self) -> Measurements:
        """Calibration and ranking; the row table has a line a column."""
        return self._measured

    def _table(self) -> pd.DataFrame:
        random = np.random.default_rng(self._seed)
        rows = np.arange(len(self._clicked))
        if len(rows) > MOST_ROWS:
            rows = np.sort(random.choice(rows, MOST_ROWS, replace=False))
        columns = {key: held[rows] for key, held in self._columns.items()}
        found = {}
        for key in columns:
            permuted = {**columns, key: random.permutation(columns[key])}
            figures = clicks.column_figures(self._clicked[rows], self._odds[rows], self._predicted(permuted, len(rows)))
            found[key] = figures | self._use(key)
        table = pd.DataFrame.from_dict(found, orient="index")
        rises = table["loss_rise"].clip(lower=0)
        table["column_share"] = rises / rises.sum() if rises.sum() > 0 else math.nan
        return table.reindex(columns=[measure.name for measure in self.MEASURES if measure.per_row]).astype(float)

    def _use(self, key: str) -> dict[str, float]:
        if key not in self._trained:
            return {}
        return clicks.table_figures(
            self._trained[key],
            _ids(key, self._columns[key]),
            float(self._table_rows.get(key, math.nan)),
            self._values.get(key),
            self._moved.get(key),
        )

    def _coverage(self) -> Coverage:
        told = {
            "training_ids": bool(self._trained),
            "training_level": not math.isnan(self._train_rate + self._train_mean),
            "values": bool(self._values),
        }
        seen = {"rows": float(len(self._clicked)), "columns": float(len(self._columns))}
        return Coverage(seen, {name: _UNSEEN[name] for name, there in told.items() if not there})


def _check(columns: Columns, clicked: NDArray[np.float64]) -> None:
    if not columns:
        raise FlowGradError("columns is empty; give the columns that the model takes, by name")
    for key, held in columns.items():
        if held.shape != clicked.shape or held.ndim != 1:
            raise FlowGradError(
                f"column {key!r} has the shape {held.shape} and clicked {clicked.shape}; give one value a row"
            )
    if not np.isin(clicked, (0, 1)).all() or not 0 < clicked.mean() < 1:
        raise FlowGradError("clicked must hold 0 and 1, and both of them")


def _ids(key: str, held: ArrayLike) -> NDArray[np.int64]:
    ids = np.asarray(held)
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer) or (len(ids) and ids.min() < 0):
        raise FlowGradError(f"column {key!r}: expected ids, whole numbers from 0, shape (rows,)")
    return ids.astype(np.int64)
