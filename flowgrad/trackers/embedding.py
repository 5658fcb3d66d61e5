"""Watches an embedding table while it trains, at a cost in proportion to the rows of each batch."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from flowgrad.measurements import Measurements
from flowgrad.measures import embedding as measures
from flowgrad.rules import RuleBook
from flowgrad.trackers.base import Tracker
from flowgrad.trackers.epochs import EpochSense
from flowgrad.trackers.naming import argument_name
from flowgrad.trackers.windows import RowWindows


class EmbeddingTracker(Tracker):
    """Watches one `nn.Embedding` or `nn.EmbeddingBag`, with dense or sparse gradients.

    Call `step()` after every `optimizer.step()`. Lookups count while the layer is in training mode and gradients are
    enabled; a `padding_idx` row is no row. Displacements are taken over windows: epochs, over which the noise of
    sampling without replacement cancels, where `end_epoch()` announces them or the batch sizes show them (the last
    one of each epoch smaller); else stretches of steps that grow with the run.

    Example::

        tracker = EmbeddingTracker(model.item_emb)
        # training loop: loss.backward(); optimizer.step(); tracker.step()
        print(tracker.to_agent_xml())
    """

    KIND = "embedding"
    MEASURES = measures.MEASURES

    def __init__(self, layer: nn.Embedding | nn.EmbeddingBag, name: str | None = None, rules: RuleBook | None = None):
        """Attach to `layer`.

        Args:
            layer: the table to watch.
            name: its name in the report; by default the last part of the expression passed (`item_emb`).
            rules: rule book to judge by; the shipped one if None.

        Raises:
            TypeError: `layer` is neither `nn.Embedding` nor `nn.EmbeddingBag`.
        """
        if not isinstance(layer, nn.Embedding | nn.EmbeddingBag):
            raise TypeError(f"EmbeddingTracker watches nn.Embedding or nn.EmbeddingBag, got {type(layer).__name__}")
        if name is None:
            frame = inspect.currentframe()
            name = argument_name(frame.f_back if frame else None, layer) or "embedding"
        super().__init__(name, rules)
        self.layer = layer
        count, device = layer.num_embeddings, layer.weight.device
        self._exposures = torch.zeros(count, dtype=torch.int64, device=device)
        self._gradient_steps = torch.zeros_like(self._exposures)
        self._move_steps = torch.zeros_like(self._exposures)
        self._lookup_steps = torch.zeros_like(self._exposures)
        self._path = torch.zeros(count, dtype=torch.float64, device=device)
        self._initial = layer.weight.detach().clone()
        self._windows = RowWindows(layer.weight.detach())
        self._epochs: EpochSense | None = EpochSense()
        self._facts: dict[str, float] = {}
        self._steps = 0
        self._pending: list[_Lookup] = []
        self._hooks = [layer.register_forward_hook(_ForwardHook(self._note_lookup), with_kwargs=True)]
        self._early_gradients: list[torch.Tensor] | None = None

    def _note_lookup(self, layer: nn.Module, ids: torch.Tensor) -> None:
        if layer is not self.layer or not (layer.training and torch.is_grad_enabled()):
            return
        rows, counts = torch.unique(ids.detach().long(), return_counts=True)
        self._pending.append(_Lookup(rows, counts, self.layer.weight.detach().index_select(0, rows), ids.numel()))

    def step(self) -> None:
        """Note what the optimizer step just taken did to the rows looked up since the last one."""
        self._steps += 1
        lookups = sum(lookup.total for lookup in self._pending)
        if self._pending:
            self._note_moves(*self._looked_up())
        self._close_window_if_due(lookups)

    def _close_window_if_due(self, lookups: int) -> None:
        weight = self.layer.weight.detach()
        if self._epochs is not None and lookups:
            if self._epochs.ends(lookups):
                self._windows.end_epoch(weight, self._initial)
            elif not self._epochs.fits:
                self._epochs = None
                self._windows.leave_epochs(self._steps)
        if self._windows.is_due(self._steps):
            self._windows.close(weight)

    def _looked_up(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Distinct rows of all lookups since the last step, with their weights before it; counts exposures."""
        for lookup in self._pending:
            self._exposures.index_add_(0, lookup.rows, lookup.counts)
        rows, before = self._pending[0].rows, self._pending[0].before
        if len(self._pending) > 1:
            stacked = torch.cat([lookup.rows for lookup in self._pending])
            rows, inverse = torch.unique(stacked, return_inverse=True)
            before = before.new_empty(len(rows), before.shape[1])
            # The lookups between two steps saw the same weights, so whichever is written last is right.
            before[inverse] = torch.cat([lookup.before for lookup in self._pending])
        self._pending.clear()
        return rows, before

    def _note_moves(self, rows: torch.Tensor, before: torch.Tensor) -> None:
        now = self.layer.weight.detach().index_select(0, rows)
        length = (now - before).double().norm(dim=1)
        one = torch.ones_like(rows)
        self._lookup_steps.index_add_(0, rows, one)
        self._move_steps.index_add_(0, rows, (length != 0).to(torch.int64))
        self._path.index_add_(0, rows, length)
        touched = self._rows_with_gradient(rows)
        self._gradient_steps.index_add_(0, touched, torch.ones_like(touched))
        if not len(touched) and (self.layer.weight.grad is None or bool((length != 0).any())):
            self._watch_gradients_early()
        self._windows.add(rows, now)

    def _rows_with_gradient(self, rows: torch.Tensor) -> torch.Tensor:
        """Which of `rows` had a gradient other than zero at the step just taken."""
        if self._early_gradients is not None:
            touched = torch.cat([*self._early_gradients, rows[:0]]).unique()
            self._early_gradients.clear()
            return touched
        gradient = self.layer.weight.grad
        return rows[:0] if gradient is None else _nonzero_rows(gradient, rows)

    def _watch_gradients_early(self) -> None:
        """For loops that clear the gradient before `step()` is called: look at it as soon as it is there."""
        if self._early_gradients is not None or not self.layer.weight.requires_grad:
            return
        self._early_gradients = early = []

        def note(weight: torch.Tensor) -> None:
            if weight.grad is not None and self._pending:
                rows = torch.cat([lookup.rows for lookup in self._pending])
                early.append(_nonzero_rows(weight.grad, rows))

        self._hooks.append(self.layer.weight.register_post_accumulate_grad_hook(note))

    def end_epoch(self) -> None:
        """Close the window: an epoch ended here. From the first call on, windows are exactly the epochs announced."""
        self._epochs = None
        self._windows.end_epoch(self.layer.weight.detach(), self._initial)

    def observe(self, **facts: float) -> None:
        """Note facts that the table cannot show: `in_batch_negatives` (0 or 1), `sampling_correction` (0..1).

        Raises:
            ValueError: a fact that no rule knows of.
        """
        known = {"in_batch_negatives", "sampling_correction"}
        if unknown := set(facts) - known:
            raise ValueError(f"unknown fact {sorted(unknown)[0]!r}; known are {sorted(known)}")
        self._facts.update({name: float(value) for name, value in facts.items()})

    def observe_residuals(self, rows: np.ndarray, residuals: np.ndarray, *, biases: bool) -> None:
        """Note the training residuals (target minus prediction), shape (n,), with the row of each, and whether the
        model has a bias for each row.
        """
        self._facts["row_effect_f"] = measures.row_effect_f(residuals, rows)
        self._facts["row_biases"] = float(biases)

    def row_table(self) -> pd.DataFrame:
        """Per-row measures, one line a row of the table (without `padding_idx`), indexed by row id.

        Columns are the `per_row` measures of `MEASURES`; NaN where a row does not tell yet.
        """
        weight, initial = _numpy(self.layer.weight), _numpy(self._initial)
        coherence, jitter = (_numpy(t) for t in self._windows.statistics())
        with np.errstate(invalid="ignore", divide="ignore"):
            velocity = _numpy(self._path) / _numpy(self._lookup_steps)
        table = pd.DataFrame(
            {
                "exposures": _numpy(self._exposures),
                "gradient_steps": _numpy(self._gradient_steps),
                "move_steps": _numpy(self._move_steps),
                "velocity": velocity,
                "coherence": coherence,
                "jitter": jitter,
                "norm": measures.row_norms(weight),
                "init_cosine": measures.row_cosines(weight, initial),
            },
            index=pd.RangeIndex(len(weight), name="row"),
        )
        padding = self.layer.padding_idx
        return table if padding is None else table.drop(index=padding)

    def measurements(self) -> Measurements:
        """Scalars over the exposed rows, and the row table."""
        rows = self.row_table()
        seen = rows[rows["exposures"] > 0]
        weight = _numpy(self.layer.weight)
        with np.errstate(invalid="ignore", divide="ignore"):
            growth = seen["norm"].to_numpy() / measures.row_norms(_numpy(self._initial))[seen.index]
        scalars = {
            "rows": float(len(rows)),
            "dim": float(weight.shape[1]),
            "steps": float(self._steps),
            "windows": float(self._windows.closed),
            "total_exposures": float(rows["exposures"].sum()),
            "exposure_gini": measures.exposure_gini(rows["exposures"]),
            "head_share": measures.head_share(rows["exposures"]),
            "median_velocity": measures.median(seen["velocity"].to_numpy()),
            "median_coherence": measures.median(seen["coherence"].to_numpy()),
            "median_jitter": measures.median(seen["jitter"].to_numpy()),
            "median_norm": measures.median(seen["norm"].to_numpy()),
            "norm_ratio": measures.median(growth),
            "init_alignment": measures.median(seen["init_cosine"].to_numpy()),
            "effective_rank_share": measures.effective_rank(weight[seen.index])
            / max(1, min(len(seen), weight.shape[1])),
            "nonfinite_rows": float((~np.isfinite(rows["norm"].to_numpy())).sum()),
            "row_effect_f": math.nan,
            "row_biases": math.nan,
            "in_batch_negatives": math.nan,
            "sampling_correction": math.nan,
            **self._facts,
        }
        return Measurements(self.KIND, self.name, scalars, {"rows": rows}, self._steps)

    def zombie_embeddings(self) -> list[int]:
        """Ids of the rows that the rule `zombie_rows` names: they move much and get nowhere."""
        return [int(row) for row in self.rule_book.select("zombie_rows", self.measurements()).index]

    def dead_embeddings(self) -> list[int]:
        """Ids of the rows that were never looked up while training."""
        rows = self.row_table()
        return [int(row) for row in rows.index[rows["exposures"] == 0]]

    def popularity_bias(self) -> dict[str, float]:
        """How unequally rows were exposed: `gini`, `head_share` (top tenth) and `coverage` (share ever exposed)."""
        exposures = self.row_table()["exposures"].to_numpy()
        return {
            "gini": measures.exposure_gini(exposures),
            "head_share": measures.head_share(exposures),
            "coverage": float((exposures > 0).mean()),
        }

    def frequency_aware_saliency(self) -> pd.Series:
        """Path length per exposure of each row: how far one more exposure moves it; NaN where never exposed.

        Unlike the distance from the start it does not cancel, and unlike the raw path it does not grow with
        popularity.
        """
        rows = self.row_table().index
        with np.errstate(invalid="ignore", divide="ignore"):
            saliency = _numpy(self._path) / _numpy(self._exposures)
        return pd.Series(saliency[rows], index=rows, name="saliency")

    def detach(self) -> None:
        """Take the hooks off the layer. What was measured stays readable."""
        for hook in self._hooks:
            hook.remove()
        self._pending.clear()


class _Lookup(NamedTuple):
    """One forward pass through the layer."""

    rows: torch.Tensor
    """Distinct rows, shape (n,)."""
    counts: torch.Tensor
    """How often each was looked up, shape (n,)."""
    before: torch.Tensor
    """Their weights, shape (n, dim)."""
    total: int
    """Lookups, repeats counted."""


class _ForwardHook:
    """The hook on the layer. A copied or pickled layer carries an inert one: the copy is not what is tracked."""

    def __init__(self, note: Callable[[nn.Module, torch.Tensor], None] | None = None) -> None:
        self._note = note

    def __call__(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if self._note is not None:
            self._note(layer, (args[0] if args else kwargs["input"]).reshape(-1))

    def __reduce__(self) -> tuple[type[_ForwardHook], tuple[()]]:
        return _ForwardHook, ()


def _nonzero_rows(gradient: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Those of `rows`, each once, whose gradient is not zero."""
    rows = rows.unique()
    if gradient.is_sparse:
        # A gradient that is never cleared still holds the rows of earlier batches.
        return rows[torch.isin(rows, gradient._indices()[0][(gradient._values() != 0).any(dim=1)])]
    return rows[(gradient.index_select(0, rows) != 0).any(dim=1)]


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    tensor = tensor.detach().cpu()
    return tensor.double().numpy() if tensor.is_floating_point() else tensor.numpy()
