"""Says which weights of a trained model matter, and which may be removed."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn
from torch.optim import SparseAdam

from flowgrad.compression.planning.calibration import (
    Bench,
    Calibration,
    clearly_lower,
    coverage_of,
    doubt_of,
    highest_rise,
    relative_rise,
    unsound,
)
from flowgrad.compression.planning.pruning_units import (
    floor,
    has_neurons,
    masked_values,
    unit_masks,
    unit_scores,
    weight_mask,
    weight_scores,
)
from flowgrad.compression.planning.reading import Layer, ModelSnapshot, name_of, read_model
from flowgrad.compression.planning.table_rows import ROW_SCORES, exposures_of, row_scores, zeroed_values
from flowgrad.compression.planning.weight_scores import SCORES, WeightScores
from flowgrad.compression.plans import PruningPlan, RowPlan, TableRows
from flowgrad.drawing import picture_path, save
from flowgrad.errors import FlowGradError
from flowgrad.measurements import Measurements
from flowgrad.measures import saliency as measures
from flowgrad.rules import RuleBook
from flowgrad.rules.suggestion import did_you_mean
from flowgrad.subject import Subject
from flowgrad.trackers.embedding import EmbeddingTracker
from flowgrad.trackers.squared_gradients import SquaredGradients

STRUCTURES = ("rows", "neurons")
_ON_BATCHES = ("gauss_newton", "measured")
_CANDIDATES = ("second_moment", "layer_adaptive", "obd", "magnitude")
"""Scores that are tried where a calibration chooses; the first wins unless another is clearly better."""


class SaliencyAnalyzer(Subject):
    """Says which weights of a trained model matter, by what its optimizer knows of them, and plans which may be
    removed.

    Example::

        tracker = FlowTracker(model, optimizer)
        # ... training ...
        analyzer = SaliencyAnalyzer(tracker)
        plan = analyzer.pruning_plan(0.8)
        smaller = apply_recipe(model, plan).model
        print(analyzer.to_agent_xml())

    Weights and moments are read when it is made: make it after training. It changes neither model nor optimizer. With a
    calibration, scores are compared by the loss itself; without, w^2 sqrt(v) is taken, where v is the mean squared
    gradient that Adam and its like keep. What happens to SGD, shared, frozen and broken weights: docs/compression.md.

    Attributes:
        left_out: weight tensors that no plan touches, with the reason of each.
    """

    KIND = "saliency"
    MEASURES = measures.MEASURES

    def __init__(
        self,
        source: Any,
        optimizer: Any = None,
        *,
        calibration: Calibration | None = None,
        squares: SquaredGradients | None = None,
        name: str | None = None,
        rules: RuleBook | None = None,
    ) -> None:
        """Read the weights and their moments.

        Args:
            source: a `FlowTracker`, or the model itself.
            optimizer: that trained it, where `source` is a model.
            calibration: batches that plans are chosen and measured on.
            squares: second moments, for an optimizer that keeps none.
            name: of the model in the report; the tracker's, or `model`.
            rules: rule book to judge by; the shipped one if None.

        Raises:
            TypeError: `source` is neither tracker nor model.
            FlowGradError: the model has no weight tensors or is under masks of `torch.nn.utils.prune`; no second moment
                is known (not trained, SGD) and there is no calibration.
        """
        super().__init__(name or name_of(source), rules)
        self._reading = read_model(source, optimizer, squares, self.name, need=calibration is None)
        self._calibration = calibration
        self._orders: dict[tuple[Any, ...], measures.Order] = {}
        self._moved, self.left_out = _sorted_out(self._reading, needs_moments=self._reading.known)

    @cached_property
    def _bench(self) -> Bench:
        if self._calibration is None:
            raise FlowGradError(f"{self.name}: no calibration was given; SaliencyAnalyzer(..., calibration=...)")
        return Bench(self._reading.model, self._calibration)

    @cached_property
    def _losses(self) -> np.ndarray:
        return self._bench.losses()

    @cached_property
    def _fisher(self) -> dict[str, np.ndarray]:
        return self._bench.squared_gradients([layer.name for layer in self._moved])

    @cached_property
    def _scores(self) -> WeightScores:
        fisher = None if self._calibration is None else lambda: self._fisher
        return WeightScores(self._moved, self._reading.tracker, fisher, moments=self._reading.known)

    def weight_saliency(self, score: str = "second_moment") -> dict[str, np.ndarray]:
        """Saliency of every weight, by tensor, of its shape; 0 in a padding row.

        Args:
            score: `second_moment` w^2 sqrt(v); `layer_adaptive` the same over its sum over the weights of the layer
                that have no less of it; `obd` v w^2 / 2; `taylor` |g w|, g the mean gradient of the optimizer;
                `fisher` g^2 w^2 / 2 with g of the calibration batches; `magnitude` |w|; `motion` magnitude in its
                layer, times the layer's motion (velocity and momentum).

        Raises:
            FlowGradError: an unknown score, or one that needs a calibration, moments or a tracker that were not given.
        """
        return dict(zip([layer.name for layer in self._moved], self._scores.of(score), strict=True))

    def layer_saliency(self) -> pd.DataFrame:
        """A line a tensor: its weights, and the mean of each score that is at hand over them."""
        scores = {name: self._scores.of(name) for name in SCORES if self._scores.at_hand(name)}
        columns = {
            "entries": [layer.entries for layer in self._moved],
            **{
                name: [float(v.sum(dtype=np.float64)) / n.entries for v, n in zip(values, self._moved, strict=True)]
                for name, values in scores.items()
            },
        }
        return pd.DataFrame(columns, index=pd.Index([layer.name for layer in self._moved], name="layer"))

    def pruning_plan(
        self,
        sparsity: float,
        structured: str | None = None,
        *,
        score: str | None = None,
        least_kept: float = 0.02,
        exclude: Collection[str] = (),
        loss: float | None = None,
    ) -> PruningPlan:
        """Choose the weights to set to 0, those of least saliency first, over all layers together.

        Args:
            sparsity: share of the weights that goes, from 0 to below 1.
            structured: None: single weights. `rows`: whole outputs of a layer and rows of a table. `neurons`: outputs
                of linear and convolutional layers, with their biases. The outputs of the last layer are the model's own
                and stay, and so do gates of recurrent layers, which are no units of their own.
            score: as of `weight_saliency`; of a unit, the mean over its weights. None: w^2 sqrt(v), or with a
                calibration the one of `second_moment`, `layer_adaptive`, `obd` and `magnitude` whose plan has the
                lowest loss there.
            least_kept: share of each tensor's weights or units that stays at least, and at least one, so that no layer
                is cut through.
            exclude: names of tensors that are left as they are.
            loss: rise of the calibration loss at most, over the loss (.01: one percent), at the upper end of the 95 %
                interval over the batches. `sparsity` is then the most that is tried; less goes where it does not hold
                the loss (90, 80, 70, 50 %), and nothing where none of these does.

        Raises:
            FlowGradError: a share outside [0, 1), an unknown structure, score or tensor, weights that are not finite,
                nothing that could be pruned, or a loss that is negative or has no calibration.
        """
        _check_share("sparsity", sparsity)
        _check_share("least_kept", least_kept)
        if structured is not None and structured not in STRUCTURES:
            raise FlowGradError(
                f"structured={structured!r} must be null, rows or neurons{did_you_mean(structured, STRUCTURES)}"
            )
        self._reading.check_finite("a pruning plan")
        chosen = self._prunable(structured, exclude)
        make = partial(self._plan, chosen=chosen, sparsity=sparsity, structured=structured, least_kept=least_kept)
        values = masked_values(self._moved)
        if loss is None:
            return self._best(make, score, _CANDIDATES, values)
        if self._calibration is None or not loss >= 0:
            raise FlowGradError(f"loss={loss}: a rise over the calibration loss, 0 or more; it needs calibration=...")
        for share in (sparsity, *(s / 100 for s in reversed(measures.SPARSITIES) if s / 100 < sparsity)):
            plan: PruningPlan = self._best(partial(make, sparsity=share), score, _CANDIDATES, values)
            if self._high(plan, values) <= loss:
                return plan
        return self._best(partial(make, sparsity=0), score, _CANDIDATES, values)

    def _high(self, plan: PruningPlan, values: Callable[[Any], dict[str, np.ndarray]]) -> float:
        return highest_rise(self._bench.losses(values(plan)), self._losses)

    def pruning_sensitivity(
        self, score: str = "obd", *, shares: Sequence[float] = (0.5, 0.8, 0.9), by: str = "magnitude"
    ) -> pd.DataFrame:
        """Rise of the loss when each tensor alone is pruned, by a score: a line a tensor, a column a share.

        Args:
            score: as of `weight_saliency`: the sum over the weights that go, which predicts the rise of the loss
                (`obd`, `fisher`: in its units but for a factor; others by rank). `gauss_newton`: the quadratic form of
                the change, and `measured`: the rise of the loss, both on the calibration batches.
            shares: of the tensor's weights that go, from 0 to below 1.
            by: the score whose least weights go.

        Raises:
            FlowGradError: a share outside [0, 1), an unknown score, one that needs what was not given, or weights that
                are not finite.
        """
        for share in shares:
            _check_share("shares", share)
        self._reading.check_finite("the sensitivity")
        if score not in (*SCORES, *_ON_BATCHES):
            raise FlowGradError(f"score={score!r} is unknown{did_you_mean(score, (*SCORES, *_ON_BATCHES))}")
        lines = []
        for i, layer in enumerate(self._moved):
            order = self._order(by, [i], None, 0.0)
            gone = [
                ~weight_mask(layer, *measures.keep_after(order, round(share * layer.entries))).keep for share in shares
            ]
            lines.append([self._pruned_alone(score, i, mask) for mask in gone])
        names = pd.Index([layer.name for layer in self._moved], name="layer")
        return pd.DataFrame(lines, index=names, columns=pd.Index(shares, name="share"), dtype=float)

    def _pruned_alone(self, score: str, place: int, gone: np.ndarray) -> float:
        layer = self._moved[place]
        if score == "measured":
            after = self._bench.losses({layer.name: np.where(gone, np.float32(0), layer.data)})
            return float(np.mean(after) - np.mean(self._losses))
        if score == "gauss_newton":
            return self._bench.gauss_newton(layer.name, np.where(gone, -layer.data, np.float32(0)))
        return float(self._scores.of(score)[place][gone].sum(dtype=np.float64))

    def _plan(
        self, score: str, chosen: Sequence[int], sparsity: float, structured: str | None, least_kept: float
    ) -> PruningPlan:
        layers = [self._moved[i] for i in chosen]
        entries = sum(layer.entries for layer in layers)
        kept = measures.keep_after(self._order(score, chosen, structured, least_kept), round(sparsity * entries))
        if structured is None:
            masks = [weight_mask(layer, keep) for layer, keep in zip(layers, kept, strict=True)]
        else:
            masks = unit_masks(layers, kept, biases=structured == "neurons")
        return PruningPlan(sparsity, score, structured, tuple(m for m in masks if m.pruned), entries)

    def _order(self, score: str, chosen: Sequence[int], structured: str | None, least_kept: float) -> measures.Order:
        """Order in which weights or units go; kept, for plans of several shares."""
        key = (score, tuple(chosen), structured is None, least_kept)
        if key not in self._orders:
            layers, scores = [self._moved[i] for i in chosen], [self._scores.of(score)[i] for i in chosen]
            make = weight_scores if structured is None else unit_scores
            values = [make(layer, one) for layer, one in zip(layers, scores, strict=True)]
            floors = [floor(least_kept, len(one)) for one in values]
            sizes = None if structured is None else [layer.data.size // layer.weight.units for layer in layers]
            self._orders[key] = measures.global_order(values, floors, sizes)
        return self._orders[key]

    def _prunable(self, structured: str | None, exclude: Collection[str]) -> list[int]:
        names = [layer.name for layer in self._moved]
        for name in exclude:
            if name not in {*names, *self.left_out}:
                raise FlowGradError(f"exclude: there is no {name!r}{did_you_mean(name, names)}")
        skipped = set(exclude)
        if structured is not None:
            skipped |= {layer.name for layer in self._moved if isinstance(layer.weight.owner, nn.RNNBase)}
            skipped |= {layer.name for layer in self._moved if structured == "neurons" and not has_neurons(layer)}
            if last := self._last_layer():
                skipped.add(last)
        chosen = [i for i, name in enumerate(names) if name not in skipped]
        if not chosen:
            raise FlowGradError(
                f"{self.name}: no tensor can be pruned"
                + (f" by {structured}" if structured else "")
                + (
                    f"; left out: {', '.join(f'{n} ({why})' for n, why in self.left_out.items())}"
                    if self.left_out
                    else ""
                )
            )
        return chosen

    def _last_layer(self) -> str | None:
        """Name of the weight whose outputs are the model's: that of the last layer used, where a tracker saw it."""
        names = [layer.name for layer in self._reading.layers if not layer.weight.is_table]
        if self._reading.tracker is not None:
            depth = self._reading.tracker.measurements().tables["rows"]["depth"].reindex(names)
            names = [str(name) for name in depth.sort_values(kind="stable").index]
        return names[-1] if names else None

    def row_plan(
        self,
        budget: float,
        *,
        tables: Collection[str] | None = None,
        trackers: Iterable[EmbeddingTracker] = (),
        score: str | None = None,
    ) -> RowPlan:
        """Choose the rows of embedding tables to set to 0, those of least saliency first, over all tables together.

        Args:
            budget: share of the rows that stays, above 0 and up to 1. A padding row is no row.
            tables: names of the tables; None: all.
            trackers: of the tables; their exposures make `frequency` known, say what v rows seen as often have (a row
                counts by no less), and put right what SparseAdam keeps, whose v is over the steps that looked a row up
                and not over all.
            score: `second_moment`: sum over the row of v w^2, which falls with the row's frequency, for v is a mean
                over all batches; `frequency`: exposures; `norm`. None: `second_moment`, or with a calibration the one
                whose plan has the lowest loss there (in an overfitted model, frequency may be better).

        Raises:
            FlowGradError: a budget outside (0, 1], an unknown score or table, no table, `frequency` without a tracker
                of each table, or weights that are not finite.
        """
        if not 0 < budget <= 1:
            raise FlowGradError(f"budget={budget}: the share of rows that stays must lie above 0 and be 1 at most")
        self._reading.check_finite("a row plan")
        chosen = self._tables(tables)
        exposures = exposures_of(chosen, trackers)
        candidates = [one for one in ROW_SCORES if one != "frequency" or len(exposures) == len(chosen)]
        if score is not None and score not in ROW_SCORES:
            raise FlowGradError(f"score={score!r} is unknown{did_you_mean(score, ROW_SCORES)}")
        if score == "frequency" and "frequency" not in candidates:
            missing = next(layer.name for layer in chosen if layer.name not in exposures)
            raise FlowGradError(f"score='frequency' needs an EmbeddingTracker of {missing} among trackers")
        make = partial(self._row_plan, chosen=chosen, budget=budget, exposures=exposures)
        return self._best(make, score, candidates, zeroed_values(self._moved))

    def _row_plan(
        self, score: str, chosen: Sequence[Layer], budget: float, exposures: Mapping[str, pd.DataFrame]
    ) -> RowPlan:
        real = [layer.weight.counted()[:, 0] for layer in chosen]
        values = [self._of_rows(score, layer, exposures.get(layer.name)) for layer in chosen]
        rows = int(sum(part.sum() for part in real))
        order = measures.global_order(
            [one[there] for one, there in zip(values, real, strict=True)],
            [min(1, int(there.sum())) for there in real],
        )
        kept = measures.keep_after(order, rows - math.ceil(budget * rows - 1e-9))
        tables = []
        for layer, there, keep in zip(chosen, real, kept, strict=True):
            gone = np.flatnonzero(there)[~keep]
            if len(gone):
                tables.append(TableRows(layer.name, layer.data.shape, tuple(int(row) for row in gone)))
        return RowPlan(budget, score, tuple(tables), rows)

    def _of_rows(self, score: str, layer: Layer, exposures: pd.DataFrame | None) -> np.ndarray:
        v = self._scores.second_moment(layer) if score == "second_moment" else None
        return row_scores(score, layer, v, exposures, lazy=isinstance(self._reading.optimizer, SparseAdam))

    def _tables(self, names: Collection[str] | None) -> list[Layer]:
        tables = {layer.name: layer for layer in self._moved if layer.weight.is_table}
        if not tables:
            raise FlowGradError(f"{self.name}: there is no table of embeddings that was trained")
        if names is None:
            return list(tables.values())
        for name in names:
            if name not in tables:
                raise FlowGradError(f"tables: there is no {name!r}{did_you_mean(name, tables)}")
        return [tables[name] for name in tables if name in set(names)]

    def _best(
        self,
        make: Callable[[str], Any],
        score: str | None,
        candidates: Sequence[str],
        values: Callable[[Any], dict[str, np.ndarray]],
    ) -> Any:
        """The plan of the score, or of the candidate with the lowest loss; with what it does to that."""
        if score is not None or self._calibration is None:
            plan = make(score or candidates[0])
            told = "asked for" if score is not None else "no calibration chose"
            if self._calibration is None:
                return replace(plan, reason=told)
            rise = self._bench.rise(values(plan), self._losses)
            return replace(plan, calibration_rise=rise, reason=told + doubt_of(self._bench.objection))
        plans = {name: make(name) for name in candidates}
        losses = {name: self._bench.losses(values(plan)) for name, plan in plans.items()}
        best = candidates[0]
        for name in candidates[1:]:
            if clearly_lower(losses[name], losses[best]):
                best = name
        told = ", ".join(f"{name} {np.mean(loss):.4g}" for name, loss in losses.items())
        rise = relative_rise(losses[best], self._losses)
        reason = f"lowest calibration loss of {told}{doubt_of(self._bench.objection)}"
        return replace(plans[best], calibration_rise=rise, reason=reason)

    def measurements(self) -> Measurements:
        """Scalars of the whole model, and a line a tensor. With a calibration, plans are tried at several shares."""
        rows = self._rows()
        broken = float(len(self._reading.nonfinite))
        scalars: dict[str, float] = {
            "steps": float(self._reading.steps),
            "layers": float(len(self._moved)),
            "weights": float(rows["entries"].sum()),
            "left_out": float(len(self.left_out)),
            "shared": float(self._reading.shared),
            "nonfinite_layers": broken,
            "zero_share": float((rows["zeros"] * rows["entries"]).sum() / rows["entries"].sum())
            if len(rows)
            else math.nan,
            **self._whole(rows),
            "calibrated": float(self._calibration is not None),
            "calibration_loss": math.nan,
            "calibration_unsound": unsound(self._calibration),
            **{f"rise_{share}": math.nan for share in measures.SPARSITIES},
            **{f"rise_{share}_high": math.nan for share in measures.SPARSITIES},
            **{f"magnitude_rise_{share}": math.nan for share in measures.SPARSITIES},
        }
        if self._calibration is not None and not broken and len(self._moved):
            scalars["calibration_loss"] = float(np.mean(self._losses))
            scalars["calibration_unsound"] = unsound(self._bench)
            for share in measures.SPARSITIES:
                plan = self.pruning_plan(share / 100)
                scalars[f"rise_{share}"] = plan.calibration_rise
                if not scalars["calibration_unsound"]:
                    scalars[f"rise_{share}_high"] = self._high(plan, masked_values(self._moved))
                scalars[f"magnitude_rise_{share}"] = self.pruning_plan(
                    share / 100, score="magnitude", least_kept=0
                ).calibration_rise
        table = rows[measures.ROW_MEASURES]
        seen = coverage_of(self._calibration, self._reading.steps)
        return Measurements(self.KIND, self.name, scalars, {"rows": table}, self._reading.steps, seen)

    def _whole(self, rows: pd.DataFrame) -> dict[str, float]:
        whole = _joined(self._counted_scores)
        magnitudes = _joined([np.abs(layer.data[layer.weight.counted()]) for layer in self._moved])
        return {
            "removable_share": self._removable[0],
            "concentration": measures.concentration(whole),
            "magnitude_agreement": measures.rank_agreement(*_sampled(whole, magnitudes)),
            "motion_agreement": measures.rank_agreement(rows["saliency"], rows["motion"]),
        }

    @cached_property
    def _counted_scores(self) -> list[np.ndarray]:
        """Saliency of the weights of each tensor, those of a padding row left out, flat."""
        values = self._scores.of("second_moment") if len(self._moved) else []
        return [v[layer.weight.counted()] for v, layer in zip(values, self._moved, strict=True)]

    @cached_property
    def _removable(self) -> tuple[float, float]:
        """Share of the weights that hold little of the saliency, and the least saliency of the others."""
        whole = _joined(self._counted_scores)
        share = measures.removable_share(whole)
        if math.isnan(share):
            return share, math.nan
        return share, float(np.sort(whole)[min(round(share * len(whole)), len(whole) - 1)])

    def _rows(self) -> pd.DataFrame:
        scores = self._counted_scores
        total = float(sum(score.sum(dtype=np.float64) for score in scores))
        bound = self._removable[1]
        lines = []
        for layer, score in zip(self._moved, scores, strict=True):
            w = layer.data[layer.weight.counted()]
            lines.append(
                {
                    "entries": float(layer.entries),
                    "saliency": float(score.mean(dtype=np.float64)) if len(score) else math.nan,
                    "saliency_share": float(score.sum(dtype=np.float64)) / total if total > 0 else math.nan,
                    "removable": float((score < bound).mean()) if len(score) else math.nan,
                    "zeros": float((w == 0).mean()) if len(w) else math.nan,
                    "weight_size": float(np.abs(w).mean()) if len(w) else math.nan,
                    "gradient_size": float(np.sqrt(self._scores.second_moment(layer).mean(dtype=np.float64))),
                    "is_table": float(layer.weight.is_table),
                }
            )
        index = pd.Index([layer.name for layer in self._moved])
        table = pd.DataFrame(lines, index=index, columns=measures.ROW_MEASURES, dtype=float)
        return table.assign(motion=self._scores.motion() if len(lines) else [])

    def plot_saliency(self, path: str | Path) -> None:
        """Draw each layer's part of all weights and of all saliency, and how much of it may go.

        Args:
            path: ends in .png, .svg or .pdf; the bytes repeat.

        Raises:
            FlowGradError: another ending, or nothing to draw.
            ImportError: matplotlib (extra `plots`) is not installed.
        """
        path = picture_path(path)
        save(self.saliency_figure(), path)

    def saliency_figure(self) -> Any:
        """Make the picture of `plot_saliency`, a `matplotlib.figure.Figure`."""
        from flowgrad.compression.planning.plots import saliency_figure

        rows = self._rows()
        if not len(rows):
            raise FlowGradError(f"{self.name}: no tensor that a plan may prune; nothing to draw")
        return saliency_figure(rows, self.name)


def _sorted_out(reading: ModelSnapshot, *, needs_moments: bool) -> tuple[list[Layer], dict[str, str]]:
    """Layers that may be pruned, and why the others are not."""
    moved, left_out = [], {one.name: one.reason for one in reading.left_out}
    left_out |= dict.fromkeys(reading.nonfinite, "NaN or infinite weights")
    for layer in reading.layers:
        if not layer.weight.parameter.requires_grad:
            left_out[layer.name] = "frozen: it requires no gradient, so that nothing is known of its saliency"
        elif needs_moments and layer.moments is None:
            left_out[layer.name] = "no second moment: it had no gradient, or the optimizer does not hold it"
        else:
            moved.append(layer)
    return moved, left_out


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0)


def _sampled(one: np.ndarray, other: np.ndarray, most: int = 200_000) -> tuple[np.ndarray, np.ndarray]:
    """Evenly spaced pairs: ranks of millions take seconds."""
    stride = -(-len(one) // most) or 1
    return one[::stride], other[::stride]


def _check_share(name: str, value: Any) -> None:
    known = isinstance(value, Real) and not (value is True or value is False)
    if not known or not 0 <= value < 1:
        raise FlowGradError(f"{name}={str(value)[:80]}: a share from 0 to below 1")
