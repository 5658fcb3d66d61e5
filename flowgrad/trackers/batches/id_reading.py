"""Computes the reported figures on ids from what was counted of them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flowgrad.measures import id_pairs, id_ties, ids
from flowgrad.measures.held_out_negatives import spared
from flowgrad.measures.ids import Agreement, OneWay
from flowgrad.trackers.batches.id_rows import RowSample, half_of, keys_of
from flowgrad.trackers.batches.id_sums import IdSums

Numbers = NDArray[np.float64]

TIED_TO = 6
"""Number of other columns, those of the most ids, that a column is compared with."""
LEAST_IDS = 50
"""Number of ids from which a column can be called unrelated to its rows."""
PLAIN = 0.02
"""Least share of a variance explained by a column's ids from which nothing else about the column is tested."""
PLAIN_AGREEMENT = 0.4
"""Upper end of an agreement from which no further one is computed: ids are numbered alike."""
SAME_NUMBERS = 0.3
"""`id_same_numbers` from which two columns are taken to hold the same things."""
LEAST_EQUAL = 100
"""Number of rows from which columns may be said to be equal."""
PER_ROW = tuple(measure.name for measure in ids.ID_MEASURES if measure.per_row)


@dataclass(frozen=True)
class Part:
    """Counts of training or of validation."""

    rows: int
    squares: float
    """Sum of the squares of the targets."""
    target: bool
    """Whether every row came with a target, and targets vary in training."""
    whole: bool = False
    """Whether these rows are those of one epoch: equal ones are then not a repeat of one row."""
    low: float = math.nan
    """Smallest target, of those whose squares are summed."""
    high: float = math.nan
    """Largest of them."""


@dataclass(frozen=True, eq=False)
class Batches:
    """Make-up of training batches, in the order in which they came; one entry a batch."""

    sizes: NDArray[np.int64]
    distinct: NDArray[np.int64]
    """Number of distinct ids of each column, shape (batches, columns)."""


def read(
    columns: Mapping[str, IdSums],
    sample: RowSample,
    trained: Part,
    validated: Part,
    equal: Collection[tuple[str, str]],
    sizes: Mapping[str, int],
    batches: Batches,
) -> tuple[dict[str, float], pd.DataFrame]:
    """Compute scalars and per-row measures of `flowgrad.measures.ids.ID_MEASURES`, each NaN where it is not known."""
    scalars = dict.fromkeys((m.name for m in ids.ID_MEASURES if not m.per_row), math.nan)
    scalars |= {
        "ids_columns": float(len(columns)),
        "ids_rows": float(trained.rows),
        "ids_validation_rows": float(validated.rows),
        "ids_batches": float(len(batches.sizes)),
    }
    table = pd.DataFrame(math.nan, index=pd.Index(list(columns), name="column"), columns=list(PER_ROW))
    if not trained.rows:
        return scalars, table
    for part in (sample.training, sample.validation):
        part.merge()
    reading = _Reading(columns, sample, trained, validated)
    scalars["ids_with_target"] = float(trained.target)
    scalars["ids_repeats"] = reading.repeats[0]
    positions = reading.positions()
    for place, name in enumerate(columns):
        figures = {"id_position": float(name in positions)}
        if name not in positions:
            figures |= reading.column(name, sizes.get(name))
            figures |= reading.make_up(name, batches.sizes, batches.distinct[:, place])
            if trained.rows >= LEAST_EQUAL:
                figures["id_equal"] = float(any(name in pair for pair in equal))
        for key, value in figures.items():
            table.loc[name, key] = value
    scalars |= reading.pairs() | reading.held_out()
    return scalars | _worst(table), table


def _worst(table: pd.DataFrame) -> dict[str, float]:
    """Figures of the column that is worst in each respect."""

    def at(column: str, *others: str, most: bool = False) -> list[float]:
        if table[column].isna().all():
            return [math.nan] * (1 + len(others))
        place = int(np.nanargmax(table[column]) if most else np.nanargmin(table[column]))
        return [float(table[key].to_numpy()[place]) for key in (column, *others)]

    names = {
        ("ids_unrelated", "ids_unrelated_f", "ids_related_other"): at("id_related_high", "id_f", "id_related_other"),
        ("ids_agreement", "ids_agreement_shared"): at("id_agreement_high", "id_shared"),
        ("ids_met_share",): at("id_met_share", most=True),
        ("ids_new_share",): at("id_new_share", most=True),
        ("ids_alike_share",): at("id_top_share", most=True),
        ("ids_used", "ids_used_count", "ids_used_size"): at("id_used", "id_count", "id_size"),
        ("ids_explained", "ids_explained_count", "ids_negatives_apart"): at(
            "id_explained", "id_count", "id_negatives_apart", most=True
        ),
        ("ids_distinct_ratio",): at("id_distinct_ratio"),
    }
    return {key: value for keys, values in names.items() for key, value in zip(keys, values, strict=True)}


class _Reading:
    """Computes figures of columns; intermediate results that several rest on are computed once."""

    def __init__(self, columns: Mapping[str, IdSums], sample: RowSample, trained: Part, validated: Part) -> None:
        self.columns, self.sample, self.trained, self.validated = columns, sample, trained, validated
        self.names = list(columns)
        self.repeats = _kish(sample.training.times.sum(axis=0)), _kish(sample.validation.times.sum(axis=0))
        self.counts = {name: column.counts for name, column in columns.items()}
        self.met = {name: int((counts > 0).sum()) for name, counts in self.counts.items()}
        self.target = {name: self._target(column) for name, column in columns.items()}
        self.target_in_use = {name: self._target_in_use(column) for name, column in columns.items()}
        self._coded: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        self._tied: dict[tuple[str, str], tuple[OneWay, ...]] = {}
        self.times = sample.training.times.sum(axis=0), sample.validation.times.sum(axis=0)
        self.halves = sample.training.times
        if not trained.whole:
            half = half_of(sample.training.keys)
            self.halves = np.stack([half == 0, half == 1]).astype(float)

    def positions(self) -> set[str]:
        """Columns that are positions of a sequence; those of one tensor are named after it, `tokens[3]`. A tensor as
        wide as one of positions that holds one number everywhere goes with it, as segments of a text do.
        """
        tensors: dict[str, list[str]] = {}
        for name in self.names:
            if name.endswith("]"):
                tensors.setdefault(name.rpartition("[")[0], []).append(name)
        found = {key for key, names in tensors.items() if ids.are_positions([self.counts[name] for name in names])}
        widths = {len(tensors[key]) for key in found}
        for key, names in tensors.items():
            if len(names) in widths and all(self.met[name] == 1 for name in names):
                found.add(key)
        return {name for key in found for name in tensors[key]}

    def _target(self, column: IdSums, *, whole: bool = False) -> OneWay:
        """Analysis of the target in training; where `whole`, each row counts as one although others equal it."""
        if not self.trained.target:
            return OneWay()
        met = 1.0 if whole else self.repeats[0]
        return ids.one_way(column.counts, column.sums, self.trained.squares, met)

    def _target_in_use(self, column: IdSums) -> OneWay:
        if not self.validated.target or not self.trained.target or not self.validated.rows:
            return OneWay()
        return ids.one_way(column.valid_counts, column.valid_sums, self.validated.squares, self.repeats[1])

    def column(self, name: str, size: int | None) -> dict[str, float]:
        """Per-row measures of one column, but for its batches."""
        target = self._target(self.columns[name], whole=self.trained.whole)
        return {
            **self._numbers(name, size),
            "id_f": target.f,
            "id_icc": target.icc,
            "id_icc_low": target.low,
            "id_icc_high": target.high,
            "id_explained": self.target[name].explained,
            "id_negatives_apart": self._negatives_apart(self.columns[name]),
            **self._related(name),
            **self._agreement(name),
        }

    def _negatives_apart(self, column: IdSums) -> float:
        if not self.trained.target or column.folded:
            return math.nan
        return ids.negatives_apart(column.counts, column.sums, self.trained.squares, self._bounds())

    def _bounds(self) -> tuple[float, float]:
        return self.trained.low, self.trained.high

    def _numbers(self, name: str, size: int | None) -> dict[str, float]:
        counts = self.counts[name]
        found = np.flatnonzero(counts)
        if not len(found):  # of a damaged state
            return dict.fromkeys(("id_rows_per_id", "id_top_share", "id_top_ratio", "id_spread"), math.nan)
        rows = counts[found] / self.repeats[0]
        order = np.sort(counts[found])[::-1]
        figures = {
            "id_rows_per_id": float(rows.mean()),
            "id_top_share": float(order[0] / order.sum()),
            "id_top_ratio": float(order[0] / order[1]) if len(order) > 1 else math.inf,
            "id_spread": float(rows.var() / rows.mean()),
        }
        if self.columns[name].folded:
            return figures
        figures["id_count"] = float(len(found))
        step = int(np.gcd.reduce(np.diff(found))) if len(found) > 1 else 1
        figures["id_used_bound"] = ((found[-1] - found[0]) / step + 1) / len(found)
        if size:
            figures["id_size"] = float(size)
            figures["id_used"] = len(found) / size
            figures["id_rows_per_size"] = float(rows.sum()) / size
        return figures

    def _codes(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ids of a column in the sample of training, and the number of each row's."""
        if name not in self._coded:
            found = np.unique(self.sample.training.ids[self.names.index(name)], return_inverse=True)
            self._coded[name] = found[0], found[1].astype(np.int64)
        return self._coded[name]

    def _ties(self, first: str, second: str) -> tuple[OneWay, ...]:
        if (first, second) not in self._tied:
            (some, one), (others, other) = self._codes(first), self._codes(second)
            self._tied[first, second] = id_ties.ties(one, other, self.halves, (len(some), len(others)))
        return self._tied[first, second]

    def _others(self, *names: str) -> list[str]:
        """Names of the columns other than these, those of the most ids first."""
        left = [name for name in self.names if name not in names and self.met[name] > 1]
        return sorted(left, key=lambda name: -self.met[name])[:TIED_TO]

    def _related(self, name: str) -> dict[str, float]:
        """Figures that say whether the column's ids depend on the target or on any other column."""
        if self.met[name] < LEAST_IDS:
            return {}
        others = self._others(name)
        found = [self._target(self.columns[name], whole=self.trained.whole)] if self.trained.target else []
        for other in others:
            if any(one.low > PLAIN for one in found):
                break
            found += self._ties(name, other) + self._ties(other, name)
        known = [one for one in found if not math.isnan(one.icc)]
        if not known:
            return {}
        figures = {
            "id_related_high": max(one.high for one in known),
            "id_related_z": max(abs(one.z) for one in known),
        }
        if figures["id_related_high"] > PLAIN:
            return figures
        figures["id_related_z"] = max([figures["id_related_z"], *self._interplay(name, others)])
        elsewhere = [self.target[other].low for other in others]
        for one, other in combinations(others, 2):
            if not any(low > PLAIN for low in elsewhere):
                elsewhere += [tie.low for tie in self._ties(one, other) + self._ties(other, one)]
        elsewhere = [low for low in elsewhere if not math.isnan(low)]
        figures["id_related_other"] = max(elsewhere, default=math.nan)
        alike = {other: ids.same_numbers(self.counts[name], self.counts[other]) for other in others}
        figures["id_same_numbers"] = max(alike.values(), default=math.nan)
        if figures["id_same_numbers"] >= SAME_NUMBERS:
            figures["id_met_share"] = self._met_elsewhere(name, max(alike, key=alike.__getitem__))
        return figures

    def _met_elsewhere(self, name: str, of_same: str) -> float:
        """`id_met_share` of a column, whose numbers are those of another."""
        part, shares = self.sample.training, [math.nan]
        for third in self._others(name, of_same):
            key, own, other = (part.ids[self.names.index(column)] for column in (third, name, of_same))
            met = np.isin(keys_of(np.stack([key, own])), keys_of(np.stack([key, other])))
            shares.append(float(self.times[0][met].sum() / self.times[0].sum()))
        return float(np.nanmax(shares)) if len(shares) > 1 else math.nan

    def _interplay(self, name: str, others: list[str]) -> list[float]:
        """Z-scores of the target's dependence on pairs of the column's ids with another column's, as far as they are
        known.
        """
        if not self.trained.target:
            return []
        found = []
        for other in others:
            (some, one), (rest, two) = self._codes(name), self._codes(other)
            targets = self.sample.training.targets
            found.append(id_ties.interplay(one, two, targets, self.halves, (len(some), len(rest))))
        return [z for z in found if not math.isnan(z)]

    def _agreement(self, name: str) -> dict[str, float]:
        """Figures that say whether validation numbers the ids as training does."""
        column, counts = self.columns[name], self.counts[name]
        if not self.validated.rows:
            return {}
        valid = column.valid_counts
        figures = {
            "id_shared": float(((counts > 0) & (valid > 0)).sum()),
            "id_new_share": float(valid[counts == 0].sum() / valid.sum()),
        }
        if column.folded:
            figures.pop("id_shared")
        by_mean = ids.mean_agreement(
            (counts, column.sums, self.target[name]),
            (valid, column.valid_sums, self.target_in_use[name]),
            self.repeats,
        )
        by_count = ids.count_agreement(counts, valid, self.repeats)
        known = [one for one in (by_mean, by_count) if not math.isnan(one.high)]
        by_pair = Agreement()
        if known and max(one.high for one in known) < PLAIN_AGREEMENT:
            by_pair = self._pair_agreement(name)
            known += [by_pair] if not math.isnan(by_pair.high) else []
        figures["id_mean_agreement"] = by_mean.value
        figures["id_count_agreement"] = by_count.value
        figures["id_pair_agreement"] = by_pair.value
        figures["id_agreement_high"] = max((one.high for one in known), default=math.nan)
        figures["id_agreement_kinds"] = float(len(known))
        return figures

    def _pair_agreement(self, name: str) -> Agreement:
        """The best agreement of the column's pairs with another one's."""
        best = Agreement()
        for other in self._others(name):
            (some, one), (others, two) = self._codes(name), self._codes(other)
            own, own_known = _numbered(self.sample.validation.ids[self.names.index(name)], some)
            its, its_known = _numbered(self.sample.validation.ids[self.names.index(other)], others)
            both = own_known & its_known
            found = id_ties.pair_agreement((one, two), self.halves, (own[both], its[both]), (len(some), len(others)))
            if math.isnan(best.high) or found.high > best.high:
                best = found
        return best

    def make_up(self, name: str, sizes: NDArray[np.int64], distinct: NDArray[np.int64]) -> dict[str, float]:
        """Distinct ids of batches, relative to those of rows in random order."""
        if self.columns[name].folded or not len(sizes):
            return {}
        met = 1.0 if self.trained.whole else float(self.times[0].mean())
        ratio, few, batches = ids.make_up(self.counts[name] / met, sizes, distinct)
        return {"id_distinct_ratio": ratio, "id_few_share": few, "id_batches": batches}

    def pairs(self) -> dict[str, float]:
        """Figures on rows whose ids, all columns together, recur."""
        part, other = self.sample.training, self.sample.validation
        times, other_times = self.times
        if len(self.names) < 2 or not len(part.keys):
            return {}
        found = {
            "ids_repeated_share": id_pairs.repeated(part.keys, times),
            "ids_repeat_chance": id_pairs.met_by_chance(self._shares(part.ids), self.trained.rows, times),
        }
        if self.trained.target:
            found |= id_pairs.conflicts(part.keys, part.targets, times)
        if len(other.keys):
            both = self.trained.target and self.validated.target
            trained, validated = (part.keys, part.targets, times), (other.keys, other.targets, other_times)
            found |= id_pairs.seen(trained, validated, target=both)
            shares = self._shares(other.ids)
            found["ids_seen_chance"] = id_pairs.met_by_chance(shares, self.trained.rows, other_times)
        return found

    def held_out(self) -> dict[str, float]:
        """Figures on pairs of validation with the higher of two targets among the training rows of the lower one. Not
        known where the rows are not those of one epoch, of which rows come again anyhow.
        """
        part, other = self.sample.training, self.sample.validation
        columns = list(self.columns.values())
        told = self.trained.target and self.validated.target and self.trained.whole
        if len(columns) != 2 or not told or not len(other.keys) or any(column.folded for column in columns):
            return {}
        lower = {}
        for name, column in self.columns.items():
            higher = ids.of_higher_target(column.counts, column.sums, self.trained.squares, self._bounds())
            if higher is None:
                return {}
            lower[name] = column.counts - higher
        top = part.targets.max(initial=-math.inf)
        low, high, asked = part.targets < top, part.targets == top, other.targets == top
        if not low.any() or not asked.any():
            return {}
        shares = self._shares(part.ids[:, low], lower), self._shares(other.ids[:, asked], lower)
        return spared(
            (part.keys[low], self.times[0][low], shares[0]),
            (part.keys[high], self.times[0][high]),
            (other.keys[asked], shares[1]),
            float(lower[self.names[0]].sum()),
        )

    def _shares(self, rows: NDArray[np.int64], of: Mapping[str, Numbers] | None = None) -> Numbers:
        """Product over columns of the share that each row's id has in training, or in these counts by id."""
        product = np.ones(rows.shape[1])
        for name, ids_of in zip(self.names, rows, strict=True):
            column, counts = self.columns[name], (of or self.counts)[name]
            place = column.places(ids_of)
            product *= np.where(place < len(counts), counts[np.minimum(place, len(counts) - 1)], 0.0) / counts.sum()
        return product


def _kish(times: Numbers) -> float:
    """Design effect of rows that were met so many times."""
    return float((times**2).sum() / times.sum()) if len(times) else 1.0


def _numbered(values: NDArray[np.int64], known: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Index of each value among those known, and whether it is known."""
    place = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return place, known[place] == values
