"""Watches an embedding table while it trains, at a cost in proportion to the rows of each batch."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import distributed, nn

from flowgrad.measurements import Measurements
from flowgrad.measures import embedding as measures
from flowgrad.measures.labels import label_conflict
from flowgrad.rules import RuleBook
from flowgrad.trackers import ranks, states
from flowgrad.trackers.base import Tracker
from flowgrad.trackers.epochs import EpochSense
from flowgrad.trackers.guard import GradientGuard, Intervention
from flowgrad.trackers.lookups import LookupCounter
from flowgrad.trackers.naming import argument_name
from flowgrad.trackers.probes import FIRST_PROBES, Probes
from flowgrad.trackers.sampling import stratified_rows
from flowgrad.trackers.windows import RowWindows

LEAST_LOOKS = 4
"""Probed lookups from which a row's velocity is compared with that of others."""
DAMPING = 0.1
"""What `auto_fix` multiplies gradients by."""

_STATE = (
    "shape",
    "dtype",
    "sample",
    "steps",
    "lookups",
    "total_lookups",
    "lookups_before",
    "probes",
    "probing",
    "followed",
    "initial",
    "scale",
    "windows",
    "epochs",
    "facts",
    "row_loss",
    "label_conflict",
    "interventions",
)


class EmbeddingTracker(Tracker):
    """Watches one `nn.Embedding` or `nn.EmbeddingBag`, with dense or sparse gradients.

    Call `step()` after every `optimizer.step()`. Lookups count while the layer is in training mode and gradients are
    enabled; a `padding_idx` row is no row. Displacements are taken over windows: epochs, over which the noise of
    sampling without replacement cancels, where `end_epoch()` announces them or the batch sizes show them (the last
    one of each epoch smaller); else stretches of steps that grow with the run.

    In a distributed run (`DistributedDataParallel`) every rank has a tracker of its own, attached after the model was
    wrapped, and sees its own lookups; `all_reduce()` puts them together. Batches are taken to be equal on all ranks.

    Example::

        tracker = EmbeddingTracker(model.item_emb)
        # training loop: loss.backward(); optimizer.step(); tracker.step()
        print(tracker.to_agent_xml())
    """

    KIND = "embedding"
    MEASURES = measures.MEASURES

    def __init__(
        self,
        layer: nn.Embedding | nn.EmbeddingBag,
        name: str | None = None,
        rules: RuleBook | None = None,
        *,
        sample: int = 12_288,
        auto_fix: bool = False,
        log: str | Path | None = None,
    ):
        """Attach to `layer`.

        Args:
            layer: the table to watch.
            name: its name in the report; by default the last part of the expression passed (`item_emb`).
            rules: rule book to judge by; the shipped one if None.
            sample: rows whose weights are followed. Smaller tables are followed whole; of larger ones a sample,
                half of it the rows looked up most in the first steps. Lookups are counted for all rows anyhow.
            auto_fix: damp the gradients of the rows that the rule `zombie_rows` names, looking anew whenever a window
                closes. Training is no longer undisturbed then; docs/rules.md tells what came of it.
            log: CSV file for what `auto_fix` does (`step, factor, count, rows`); also kept in `interventions`.

        Raises:
            TypeError: `layer` is neither `nn.Embedding` nor `nn.EmbeddingBag`.
            ValueError: `sample` is less than 1, or `auto_fix` on a table that takes no gradient.
        """
        if not isinstance(layer, nn.Embedding | nn.EmbeddingBag):
            raise TypeError(f"EmbeddingTracker watches nn.Embedding or nn.EmbeddingBag, got {type(layer).__name__}")
        if sample < 1:
            raise ValueError(f"sample={sample} must be at least 1")
        if name is None:
            frame = inspect.currentframe()
            name = argument_name(frame.f_back if frame else None, layer) or "embedding"
        super().__init__(name, rules)
        self.layer = layer
        self._shape = tuple(layer.weight.shape)
        count, device = layer.num_embeddings, layer.weight.device
        self._lookups = LookupCounter(count, device)
        self._probes = Probes(count, device)
        self._sample = sample
        self._followed: torch.Tensor | None = None
        self._initial: torch.Tensor | None = None
        self._scale = torch.tensor(math.nan)
        self._windows: RowWindows | None = None
        if count <= sample:
            self._follow(None)
        self._epochs: EpochSense | None = EpochSense()
        self._facts: dict[str, float] = {}
        self._row_loss: np.ndarray | None = None
        self._label_conflict: np.ndarray | None = None
        self._steps = 0
        self._lookups_before = 0
        self._probing = True
        self._merged: _Seen | None = None
        self._attached = True
        self._hooks = [layer.register_forward_hook(_ForwardHook(self._note_lookup), with_kwargs=True)]
        self._watched: torch.Tensor | None = None
        self._watch_gradient()

        self._guard: GradientGuard | None = None
        if auto_fix:
            self._guard = GradientGuard(layer, DAMPING, Path(log) if log is not None else None)

    @property
    def interventions(self) -> tuple[Intervention, ...]:
        """What `auto_fix` has done so far."""
        return tuple(self._guard.interventions) if self._guard else ()

    def _follow(self, rows: torch.Tensor | None) -> None:
        """Follow the weights of these rows from here on; of all if None."""
        self._followed = rows
        self._initial = self._rows_now().clone()
        self._scale = self._initial.double().square().mean().sqrt()  # read when asked for: no synchronisation here
        self._windows = RowWindows(self._initial)

    def _rows_now(self) -> torch.Tensor:
        """Weights of the rows followed, shape (followed, dim). Of a table followed whole, not a copy."""
        weight = self._weight()
        return weight if self._followed is None else weight.index_select(0, self._followed)

    def _weight(self) -> torch.Tensor:
        """Weights of the table, shape (rows, dim). Not a copy."""
        weight = self.layer.weight.detach()
        if weight.shape != self._shape:
            raise ValueError(
                f"{self.name}: the table was {self._shape} when tracking began and is {tuple(weight.shape)} now; "
                "attach a new tracker to it"
            )
        return weight

    def _watch_gradient(self) -> None:
        """Look at the gradient of the weight as soon as it is there. The layer may be given another weight at any
        time, or its weight begin to want a gradient.
        """
        weight = self.layer.weight
        if weight is self._watched or not (weight.requires_grad and weight.is_leaf):
            return
        for hook in self._hooks[1:]:
            hook.remove()
        self._hooks[1:] = [weight.register_post_accumulate_grad_hook(self._note_gradient)]
        self._watched = weight

    def _note_lookup(self, layer: nn.Embedding | nn.EmbeddingBag, ids: torch.Tensor) -> None:
        # Runs at every step: attributes of a module are looked up where they lie, which is a third of the cost.
        if layer is not self.layer or not (layer.training and torch.is_grad_enabled()):
            return
        weight = layer._parameters.get("weight")
        weight = layer.weight if weight is None else weight
        if weight.shape != self._shape:
            return  # `step` complains
        if ids.dim() != 1:
            ids = ids.reshape(-1)
        if ids.dtype != torch.int64:
            ids = ids.long()
        if self._probing:
            self._watch_gradient()
            self._probes.open(ids, weight.detach(), self._lookups.counts(), self._steps)
        self._lookups.add(ids)

    def _note_gradient(self, weight: torch.Tensor) -> None:
        if weight.grad is not None:
            self._probes.note_gradient(weight.grad)

    def step(self) -> None:
        """Note what the optimizer step just taken did to the rows looked up since the last one.

        Raises:
            ValueError: the table was resized since tracking began.
        """
        if not self._attached:
            return
        weight = self.layer._parameters.get("weight")
        weight = self.layer.weight if weight is None else weight
        if weight.shape != self._shape:
            self._weight()  # complains
        self._merged = None
        self._steps += 1
        lookups, self._lookups_before = self._lookups.total - self._lookups_before, self._lookups.total
        if self._probing:
            self._probes.close(self.layer.weight, self._lookups.counts())
        ended = self._epoch_ends(lookups)
        if self._windows is not None:
            self._observe_rows(self._windows, lookups, ended)
        elif self._steps >= FIRST_PROBES:
            self._follow_sample()
        if ended:
            self._close_epoch()
        self._probing = self._probes.due(self._steps)

    def _epoch_ends(self, lookups: int) -> bool:
        """Whether the step was the last one of an epoch that nobody announces. Asked from the first step on, also
        while no rows are followed yet: begun in the middle of an epoch, the first one would seem shorter.
        """
        if self._epochs is None or not lookups:
            return False
        ended = self._epochs.ends(lookups)
        if not self._epochs.fits:
            self._epochs = None
            if self._windows is not None:
                self._windows.leave_epochs()
        return ended

    def _observe_rows(self, windows: RowWindows, lookups: int, ended: bool) -> None:
        due, closed = windows.step(lookups), windows.closed
        if due and not ended:
            windows.snapshot(self._rows_now())
        if windows.closed != closed:
            self._window_closed()

    def _follow_sample(self) -> None:
        """Choose the rows to follow, now that some lookups have shown which ones matter."""
        self._follow(stratified_rows(self._lookups.counts(), self._sample))

    def _start(self) -> torch.Tensor:
        assert self._initial is not None
        return self._initial

    def _window_closed(self) -> None:
        self._look_for_suspects()
        if self._guard is not None:
            self._guard.damp(self.zombie_embeddings(), self._steps)

    def _look_for_suspects(self) -> None:
        followed = slice(None) if self._followed is None else self._followed
        unmoved = ~self._moved() & (self._lookups.counts()[followed] > 0)
        padding = self.layer.padding_idx
        if padding is not None:
            unmoved[padding if self._followed is None else self._followed == padding] = False
        self._probes.suspect(unmoved, followed)

    def _moved(self) -> torch.Tensor:
        """Which of the rows followed stand elsewhere than they began, bool of shape (followed,)."""
        now, start = self._rows_now(), self._start()
        if self.layer.max_norm is None:
            return (now != start).any(dim=1)
        # The layer itself shortens the rows that it looks up; only a turn is the optimizer's doing.
        turn = nn.functional.normalize(now.double(), dim=1) - nn.functional.normalize(start.double(), dim=1)
        return ~(turn.abs().amax(dim=1) <= 8 * torch.finfo(now.dtype).eps)

    def end_epoch(self) -> None:
        """Close the window: an epoch ended here. From the first call on, windows are exactly the epochs announced."""
        if not self._attached:
            return
        self._epochs = None
        self._close_epoch()
        self._probing = self._probes.due(self._steps)

    def _close_epoch(self) -> None:
        if self._windows is None:
            self._follow_sample()
        assert self._windows is not None
        self._windows.end_epoch(self._rows_now(), self._start())
        self._window_closed()

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
        self._row_loss = measures.row_loss(residuals, rows, self.layer.num_embeddings)

    def observe_labels(self, rows: np.ndarray, others: np.ndarray, labels: np.ndarray) -> None:
        """Note the training labels, shape (n,), with the row of each, and of its counterpart in the other table (the
        item where this one holds users). Rows whose labels agree with nobody can be told then.
        """
        self._label_conflict = label_conflict(rows, others, labels, self.layer.num_embeddings)

    def row_table(self) -> pd.DataFrame:
        """Per-row measures, one line a row of the table (without `padding_idx`), indexed by row id.

        Columns are the `per_row` measures of `MEASURES`; NaN where a row does not tell yet, or is not followed.

        Raises:
            ValueError: the table was resized since tracking began.
        """
        weight = self._weight()
        probed = self._seen()
        exposures, looks, gradients, moves, path = (_numpy(tensor).astype(float) for tensor in probed[:5])
        followed = self._followed_measures()
        norm = _numpy(torch.linalg.vector_norm(weight.double(), dim=1))
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            velocity = path / looks
            score_noise = measures.score_noise(followed["jitter"], norm, self._shape[1])
        # Probes may have missed the moves of a row; that it stands elsewhere now is as good.
        moves = np.where((moves == 0) & (followed["moved"] == 1), 1.0, moves)
        # A row that is not followed may have moved at a step without a probe, unless all its lookups were probed.
        unknown = (exposures > 0) & np.where(np.isnan(followed["moved"]), looks < exposures, looks == 0)
        table = pd.DataFrame(
            {
                "exposures": exposures,
                "gradient_steps": np.where(unknown, np.nan, gradients),
                "move_steps": np.where(unknown & (followed["moved"] != 1), np.nan, moves),
                "velocity": velocity,
                "coherence": followed["coherence"],
                "jitter": followed["jitter"],
                "score_noise": score_noise,
                "norm": norm,
                "init_cosine": followed["init_cosine"],
                "row_loss": np.nan if self._row_loss is None else self._row_loss,
                "label_conflict": np.nan if self._label_conflict is None else self._label_conflict,
            },
            index=pd.RangeIndex(len(exposures), name="row"),
        )
        padding = self.layer.padding_idx
        table = table if padding is None else table.drop(index=padding)
        known = {str(name): table[name].to_numpy() for name in table.columns}
        known["velocity"] = np.where(looks[table.index] >= LEAST_LOOKS, known["velocity"], np.nan)
        return table.assign(**measures.against_alike(known))

    def _seen(self) -> _Seen:
        """What was counted: by all ranks where they have been put together since the last step, else by this one."""
        if self._merged is not None:
            return self._merged
        probes = self._probes
        return _Seen(
            self._lookups.counts(),
            probes.looks,
            probes.gradients,
            probes.moves,
            probes.path,
            probes.panel_path,
            probes.panel_idle_path,
        )

    def _followed_measures(self) -> dict[str, np.ndarray]:
        """Measures of the rows followed, each of shape (rows,) with NaN for the others."""
        found = {
            name: np.full(self._shape[0], np.nan) for name in ("coherence", "jitter", "init_cosine", "moved", "growth")
        }
        if self._windows is None:
            return found
        now, initial = self._rows_now(), self._start()
        at = slice(None) if self._followed is None else _numpy(self._followed)
        coherence, jitter = self._windows.statistics()
        found["coherence"][at], found["jitter"][at] = _numpy(coherence), _numpy(jitter)
        found["moved"][at] = _numpy(self._moved())
        now_array, initial_array = _numpy(now), _numpy(initial)
        found["init_cosine"][at] = measures.row_cosines(now_array, initial_array)
        with np.errstate(invalid="ignore", divide="ignore"):
            found["growth"][at] = measures.row_norms(now_array) / measures.row_norms(initial_array)
        return found

    def measurements(self) -> Measurements:
        """Scalars over the exposed rows, and the row table."""
        rows = self.row_table()
        seen = rows[rows["exposures"] > 0]
        followed = self._followed_measures()
        scalars = {
            "rows": float(len(rows)),
            "followed_rows": float(np.isfinite(followed["moved"][rows.index]).sum()),
            "dim": float(self._shape[1]),
            "steps": float(self._steps),
            "windows": float(self._windows.closed if self._windows is not None else 0),
            "total_exposures": float(rows["exposures"].sum()),
            "exposure_gini": measures.exposure_gini(rows["exposures"]),
            "head_share": measures.head_share(rows["exposures"]),
            "mean_exposures": float(rows["exposures"].mean()) if len(rows) else math.nan,
            "median_velocity": measures.median(seen["velocity"].to_numpy()),
            "median_coherence": measures.median(seen["coherence"].to_numpy()),
            "median_jitter": measures.median(seen["jitter"].to_numpy()),
            "median_norm": measures.median(seen["norm"].to_numpy()),
            "initial_scale": float(self._scale),
            "norm_ratio": measures.median(followed["growth"][seen.index]),
            "init_alignment": measures.median(seen["init_cosine"].to_numpy()),
            "effective_rank_share": self._effective_rank_share(seen.index.to_numpy()),
            "nonfinite_rows": float((~np.isfinite(rows["norm"].to_numpy())).sum()),
            "idle_path_share": _ratio(self._seen().panel_idle_path, self._seen().panel_path),
            "row_effect_f": math.nan,
            "row_biases": math.nan,
            "in_batch_negatives": math.nan,
            "sampling_correction": math.nan,
            **self._facts,
        }
        return Measurements(self.KIND, self.name, scalars, {"rows": rows}, self._steps)

    def _effective_rank_share(self, seen: np.ndarray) -> float:
        """Effective rank of the rows `seen`, over the most it can be."""
        weight = self.layer.weight.detach()
        rows = weight[torch.from_numpy(seen.copy()).to(weight.device)] if len(seen) < len(weight) else weight
        most = max(1, min(rows.shape))
        return measures.effective_rank_of_gram(_numpy(_gram(rows))) / most if len(rows) else math.nan

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
        """Path length per exposure of each row: how far one more exposure moves it; NaN where no probe saw one.

        Unlike the distance from the start it does not cancel, and unlike the raw path it does not grow with
        popularity.
        """
        return self.row_table()["velocity"].rename("saliency")

    def all_reduce(self, group: distributed.ProcessGroup | None = None) -> None:
        """Put together what the ranks of a distributed run saw, so that the report of each speaks of the whole run.

        Call it on every rank, for several trackers in the same order, before reading; nothing happens where
        `torch.distributed` is not initialised. Lookups and probes are summed. The next `step()` drops the sums and
        goes on with the rank's own counts, so nothing is ever counted twice. Weights are equal on all ranks, and so is
        what is seen in them (coherence, jitter, norms), given equal batches; it is not exchanged. Neither is what
        `observe`, `observe_residuals` and `observe_labels` were told: tell every rank of the whole data.

        Some things are not those of one process over the same data. Of a table larger than `sample`, each rank
        follows rows chosen from its own lookups in the first steps, and its coherence and jitter are those of its
        rows. Of batches larger than a probe, each rank probes as many lookups as one process would. A row that
        another rank looked up is told from its gradient: where the loop clears gradients before `step()`,
        `idle_path_share` is not known, and where the loss has a term over the whole table, no row counts as idle.
        And `auto_fix` damps on each rank what that rank's own lookups show.

        Args:
            group: the ranks that share the data; all if None.

        Raises:
            ValueError: the ranks watch tables of different shapes. Raised on all of them.
        """
        if ranks.world_size(group) == 1:
            return
        device = self.layer.weight.device
        if not ranks.agree(self._shape, device, group):
            raise ValueError(
                f"{self.name}: the table is {self._shape} here and has another shape on another rank; "
                "call all_reduce on the trackers of one table at a time, in the same order on every rank"
            )
        self._merged = None
        lookups = ranks.total(torch.tensor(self._lookups.total, device=device), group)
        counted = torch.int32 if int(lookups) <= torch.iinfo(torch.int32).max else torch.int64
        self._merged = _Seen(
            *(ranks.total(t.double() if t.is_floating_point() else t.to(counted), group) for t in self._seen())
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything seen so far, for a checkpoint: tensors, numbers, text, lists and dicts, which `torch.save` writes
        and `torch.load(..., weights_only=True)` reads.

        Take it between a `step()` and the next forward pass. Every rank of a distributed run has a state of its own;
        `all_reduce` leaves no trace in it.
        """
        return states.headed(
            self.KIND,
            {
                **self._table(),
                "sample": self._sample,
                "steps": self._steps,
                "lookups": self._lookups.counts().clone(),
                "total_lookups": self._lookups.total,
                "lookups_before": self._lookups_before,
                "probes": self._probes.state_dict(),
                "probing": self._probing,
                "followed": None if self._followed is None else self._followed.clone(),
                "initial": None if self._initial is None else self._initial.clone(),
                "scale": float(self._scale),
                "windows": None if self._windows is None else self._windows.state_dict(),
                "epochs": None if self._epochs is None else self._epochs.state_dict(),
                "facts": dict(self._facts),
                "row_loss": _tensor(self._row_loss),
                "label_conflict": _tensor(self._label_conflict),
                "interventions": [] if self._guard is None else self._guard.state_dict(),
            },
        )

    def _table(self) -> dict[str, Any]:
        """What a state must have in common with the tracker that loads it."""
        return {"shape": list(self._shape), "dtype": str(self.layer.weight.dtype).removeprefix("torch.")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken, whatever was seen since this tracker was attached.

        With the model and the optimizer as they were then, the report will be the one of a run that was never
        interrupted. Name, rule book, `auto_fix` and `log` stay this tracker's own; all else, `sample` included, comes
        from the state.

        Raises:
            ValueError: `state` is no state of such a tracker, one of another version, or of a table with another
                shape or dtype. Nothing has changed then.
        """
        states.check(state, self.name, self.KIND, _STATE, self._table())
        self._merged = None
        device = self.layer.weight.device
        self._sample, self._steps = state["sample"], state["steps"]
        self._lookups.load(state["lookups"], state["total_lookups"])
        self._lookups_before = state["lookups_before"]
        self._probes.load_state_dict(state["probes"])
        self._probing = state["probing"]
        self._followed = None if state["followed"] is None else state["followed"].to(device, copy=True)
        self._initial = None if state["initial"] is None else state["initial"].to(device, copy=True)
        self._scale = torch.tensor(state["scale"], dtype=torch.float64)
        self._windows = None
        if state["windows"] is not None:
            self._windows = RowWindows(self._start())
            self._windows.load_state_dict(state["windows"])
        self._epochs = None
        if state["epochs"] is not None:
            self._epochs = EpochSense()
            self._epochs.load_state_dict(state["epochs"])
        self._facts = dict(state["facts"])
        self._row_loss, self._label_conflict = _array(state["row_loss"]), _array(state["label_conflict"])
        if self._guard is not None:
            self._guard.load_state_dict(state["interventions"])

    def detach(self) -> None:
        """Take the hooks off the layer. What was measured stays readable."""
        for hook in self._hooks:
            hook.remove()
        self._attached = False
        self._probes.drop()
        if self._guard is not None:
            self._guard.remove()


class _ForwardHook:
    """The hook on the layer. A copied or pickled layer carries an inert one: the copy is not what is tracked."""

    def __init__(self, note: Callable[[Any, torch.Tensor], None] | None = None) -> None:
        self._note = note

    def __call__(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if self._note is not None:
            self._note(layer, args[0] if args else kwargs["input"])

    def __reduce__(self) -> tuple[type[_ForwardHook], tuple[()]]:
        return _ForwardHook, ()


class _Seen(NamedTuple):
    """What was counted, by row of shape (rows,) but for the last two."""

    exposures: torch.Tensor
    looks: torch.Tensor
    gradients: torch.Tensor
    moves: torch.Tensor
    path: torch.Tensor
    panel_path: torch.Tensor
    panel_idle_path: torch.Tensor


def _gram(rows: torch.Tensor) -> torch.Tensor:
    """Rows' times rows in double precision, shape (dim, dim), a piece at a time."""
    gram = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64, device=rows.device)
    for piece in rows.split(65_536):
        double = piece.double()
        gram += double.T @ double
    return gram


def _ratio(part: torch.Tensor, whole: torch.Tensor) -> float:
    return float(part) / float(whole) if float(whole) else math.nan


def _tensor(array: np.ndarray | None) -> torch.Tensor | None:
    return None if array is None else torch.from_numpy(array.copy())


def _array(tensor: torch.Tensor | None) -> np.ndarray | None:
    return None if tensor is None else tensor.cpu().numpy().copy()


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    tensor = tensor.detach().cpu()
    return tensor.double().numpy() if tensor.is_floating_point() else tensor.numpy()
