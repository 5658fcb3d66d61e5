"""A trained ranking model as it answers held-out queries."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowgrad.errors import FlowGradError
from flowgrad.measurements import Coverage, Judged, Measurements
from flowgrad.measures import ranking
from flowgrad.measures.embedding import exposure_gini
from flowgrad.rules import RuleBook
from flowgrad.subject import Subject

Floats = NDArray[np.float64]

_LOSS = ("temperature", "in_batch_negatives", "sampling_correction", "false_negative_share",
         "false_negatives_masked", "hard_negatives")  # fmt: skip
_PADDING = ("padding_shift", "padded_share", "padding_norm")
_MOST_CALIBRATED = 2048
"""Number of queries that the scores' scale is fitted on, at most: it reads every score a dozen times."""


class RankingAnalyzer(Subject):
    """Analyzes the vectors of queries and items of a model whose scores are their products.

    Example::

        analyzer = RankingAnalyzer(queries, items, exposures, targets, seen=seen)
        analyzer.observe_loss(temperature=0.05, in_batch_negatives=True, sampling_correction=0.0)
        print(analyzer.to_agent_xml())

    Queries should be held-out ones: what a model recommends where it was trained says less.
    """

    KIND = "ranking"
    MEASURES = ranking.MEASURES

    def __init__(
        self,
        queries: Any,
        items: Any,
        exposures: Any,
        targets: Any = None,
        *,
        seen: Any = None,
        cutoff: int = 10,
        judged_on: str = "validation",
        name: str = "ranking",
        rules: RuleBook | None = None,
    ) -> None:
        """Check the arrays; nothing is computed yet.

        Args:
            queries: vector of each query, shape (queries, dim), as scores are made of it: of length 1 where the model
                normalises.
            items: vector of each item, shape (items, dim).
            exposures: number of training events of each item, shape (items,).
            targets: item that followed each query, shape (queries,); None: metrics are not known.
            seen: flags of the items that are no candidates of a query, bool, shape (queries, items); None: all are.
            cutoff: length k of a list.
            judged_on: name of the set that the targets are of.
            name: of the model; `layer` of the report.
            rules: rule book to judge by; the shipped one if None.

        Raises:
            FlowGradError: shapes that do not belong together, an item that there is not, a cutoff below 1.
        """
        super().__init__(name, rules)
        self._queries, self._items = (_matrix(what, given) for what, given in (("queries", queries), ("items", items)))
        if self._queries.shape[1] != self._items.shape[1]:
            raise FlowGradError(
                f"queries have {self._queries.shape[1]} columns and items {self._items.shape[1]}; a score is their "
                "product"
            )
        self._exposures = np.asarray(exposures, dtype=float)
        if self._exposures.shape != (len(self._items),):
            raise FlowGradError(f"exposures: shape {self._exposures.shape}; give one number for each of the items")
        self._targets = None if targets is None else np.asarray(targets)
        if self._targets is not None and (
            self._targets.shape != (len(self._queries),)
            or not np.issubdtype(self._targets.dtype, np.integer)
            or self._targets.min(initial=0) < 0
            or self._targets.max(initial=0) >= len(self._items)
        ):
            raise FlowGradError(f"targets: give the number of an item, 0 to {len(self._items) - 1}, for each query")
        self._seen = None if seen is None else np.asarray(seen, dtype=bool)
        if self._seen is not None and self._seen.shape != (len(self._queries), len(self._items)):
            raise FlowGradError(f"seen: shape {self._seen.shape}; give a flag for each query and item")
        if cutoff < 1:
            raise FlowGradError(f"cutoff={cutoff}: must be 1 or more")
        self._cutoff = min(cutoff, len(self._items))
        self._judged_on = judged_on
        self._told: dict[str, float] = {}
        self._measured: Measurements | None = None

    def observe_loss(self, *, temperature: float = 1.0, **facts: float) -> None:
        """Note what the loss did with scores, which the vectors cannot show.

        Args:
            temperature: what it divided scores by.
            facts: `in_batch_negatives` (0 or 1), `sampling_correction` (0..1), `false_negative_share` (0..1),
                `false_negatives_masked` (0 or 1), `hard_negatives` (number kept of each example; 0: all).

        Raises:
            FlowGradError: a fact that no rule names, a value that is no number, a temperature that is not above 0.
        """
        if not temperature > 0:
            raise FlowGradError(f"temperature={temperature}: must be above 0")
        self._note({"temperature": temperature, **facts}, _LOSS)

    def observe_padding(self, **facts: float) -> None:
        """Note how histories that are filled up are read.

        Args:
            facts: `padding_shift`, mean of the distance between the vectors of one history, filled up and not, over the
                latter's length; `padded_share`, share of the queries that are filled up; `padding_norm`, length of the
                padding's row over the median item's.

        Raises:
            FlowGradError: a fact that no rule names, or a value that is no number.
        """
        self._note(facts, _PADDING)

    def _note(self, facts: dict[str, float], known: tuple[str, ...]) -> None:
        for name, value in facts.items():
            if name not in known:
                raise FlowGradError(f"unknown fact {name!r}; known are {', '.join(known)}")
            if not math.isfinite(value):
                raise FlowGradError(f"{name}={value}: must be a number")
        self._told |= {name: float(value) for name, value in facts.items()}
        self._measured = None

    def measurements(self) -> Measurements:
        """Everything measured; computed once."""
        if self._measured is None:
            self._measured = self._measure()
        return self._measured

    def _measure(self) -> Measurements:
        scalars = dict.fromkeys((one.name for one in self.MEASURES), math.nan) | self._told
        scalars |= {
            "queries": float(len(self._queries)),
            "items": float(len(self._items)),
            "dim": float(self._items.shape[1]),
            "cutoff": float(self._cutoff),
            "cold_share": float((self._exposures == 0).mean()),
        }
        blind = _blind(self._queries, self._items)
        if not blind:
            scalars |= self._vectors() | self._lists()
        return Measurements(
            self.KIND,
            self.name,
            scalars,
            coverage=Coverage(
                {"queries": scalars["queries"], "targets": 0.0 if self._targets is None else scalars["queries"]},
                self._unseen(),
                blind,
            ),
            judged=Judged(f"ndcg@{self._cutoff}", "higher", self._judged_on) if self._targets is not None else None,
        )

    def _unseen(self) -> dict[str, str]:
        unseen = {}
        if self._targets is None:
            unseen["targets"] = (
                "not given; RankingAnalyzer(..., targets=...) has metrics and the scale of scores judged"
            )
        if "temperature" not in self._told:
            unseen["loss"] = "not told; observe_loss(temperature=..., in_batch_negatives=...)"
        if "padding_shift" not in self._told:
            unseen["padding"] = "not told; observe_padding(padding_shift=...) where the model reads histories"
        return unseen

    def _vectors(self) -> dict[str, float]:
        """Figures of how the vectors lie."""
        trained = self._items[self._exposures > 0]
        lengths = np.linalg.norm(np.concatenate([self._queries, self._items]), axis=1)
        return {
            "query_spread": ranking.spread(self._queries),
            "item_spread": ranking.spread(trained),
            "query_rank_share": ranking.rank_share(self._queries),
            "item_rank_share": ranking.rank_share(trained),
            "duplicate_share": ranking.duplicate_share(trained),
            "normalised": float(np.abs(lengths - 1).max(initial=0) < 1e-4),
        }

    def _lists(self) -> dict[str, float]:
        """Figures of what is recommended."""
        whole = self._queries @ self._items.T
        cutoff, items = self._cutoff, len(self._items)
        unmasked = ranking.recommended(ranking.top_lists(whole, cutoff), items)
        scores = whole if self._seen is None else np.where(self._seen, -np.inf, whole)
        if self._targets is not None:  # what followed is a candidate, whether it was met before or not
            own = self._targets[:, None]
            scores = scores.copy()
            np.put_along_axis(scores, own, np.take_along_axis(whole, own, axis=1), axis=1)
        counts = ranking.recommended(ranking.top_lists(scores, cutoff), items)
        found = {
            "personal_share": ranking.personal_share(whole),
            "list_overlap": ranking.list_overlap(unmasked, len(whole), cutoff),
            "coverage": float((counts > 0).mean()),
            "recommended_gini": exposure_gini(counts),
            "cold_recommended_share": float(counts[self._exposures == 0].sum() / max(counts.sum(), 1)),
        }
        return found if self._targets is None else found | self._judged(scores, counts, self._targets)

    def _judged(self, scores: Floats, counts: NDArray[np.int64], targets: NDArray[np.int64]) -> dict[str, float]:
        """Figures of how the lists meet the targets."""
        rank = ranking.ranks(scores, targets)
        gain = ranking.gains(rank, self._cutoff)
        popular = np.where(np.isneginf(scores), -np.inf, self._exposures)
        thirds = ranking.popularity_thirds(self._exposures)[targets]
        level = np.log(np.maximum(self._exposures, 0.5))
        found = {
            "ndcg": float(gain.mean()),
            "recall": float((rank < self._cutoff).mean()),
            "popularity_ndcg": float(ranking.gains(ranking.ranks(popular, targets), self._cutoff).mean()),
            "popularity_lift": float((counts * level).sum() / max(counts.sum(), 1) - level[targets].mean()),
            **{
                f"ndcg_{name}": float(gain[thirds == third].mean()) if (thirds == third).any() else math.nan
                for third, name in enumerate(("tail", "middle", "head"))
            },
        }
        chosen = np.flatnonzero(self._exposures[targets] > 0)[:_MOST_CALIBRATED]
        trained = np.where(self._exposures > 0, scores[chosen], -np.inf) / self._told.get("temperature", 1.0)
        fitted = ranking.fit_scale_and_popularity(trained, level, targets[chosen]) if len(chosen) > 2 else None
        if fitted is not None:
            (found["fitted_scale"], found["popularity_offset"]), errors = fitted
            found["fitted_scale_se"], found["popularity_offset_se"] = errors
        return {name: float(value) for name, value in found.items()}


def _matrix(what: str, given: Any) -> Floats:
    found = np.asarray(given, dtype=float)
    if found.ndim != 2 or not found.size:
        raise FlowGradError(f"{what}: shape {found.shape}; give one vector a row")
    return found


def _blind(queries: Floats, items: Floats) -> str:
    if not (np.isfinite(queries).all() and np.isfinite(items).all()):
        return "a vector holds a NaN or an infinity, so that nothing can be ranked"
    return ""
