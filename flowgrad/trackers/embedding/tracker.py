"""Watches an embedding table while it trains, at a cost in proportion to the rows of each batch."""

from __future__ import annotations

import inspect
import math
import operator
import warnings
from collections.abc import Iterable
from threading import get_ident
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import distributed, nn

from flowgrad.errors import FlowGradError
from flowgrad.lazy import LazyModule
from flowgrad.measurements import Coverage, Measurements
from flowgrad.measures import embedding as measures
from flowgrad.measures.labels import label_conflict
from flowgrad.measures.lookups import lookup_figures
from flowgrad.rules import RuleBook
from flowgrad.trackers import states
from flowgrad.trackers.base import Tracker
from flowgrad.trackers.embedding import form, ranks, sight
from flowgrad.trackers.embedding.compiled import ATTACHED, note_lookup
from flowgrad.trackers.embedding.epochs import EpochSense
from flowgrad.trackers.embedding.followed import FollowedRows
from flowgrad.trackers.embedding.lookups import FieldBounds, LookupCounter
from flowgrad.trackers.embedding.naming import default_name
from flowgrad.trackers.embedding.padding import PaddingPlaces
from flowgrad.trackers.embedding.pairs import PairedLookups
from flowgrad.trackers.embedding.probes import FIRST_PROBES, Probes, StepCourse
from flowgrad.trackers.embedding.rates import UNKNOWN, rate_of
from flowgrad.trackers.embedding.row_readings import ROW_MEASURES, Counted, read_rows, scalars_of
from flowgrad.trackers.embedding.sampling import stratified_rows
from flowgrad.trackers.embedding.starts import EpochStarts
from flowgrad.trackers.embedding.table import check_size, gone, parameter_of
from flowgrad.trackers.hooks import TAKEN_OFF
from flowgrad.trackers.watching import ArgumentError, ChangedError, entry

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = LazyModule("pandas")  # imported where a table is made

_is_compiling = torch.compiler.is_compiling
_is_exporting = getattr(torch.compiler, "is_exporting", lambda: False)
_is_tracing = torch._C._is_tracing
_grad_enabled = torch.is_grad_enabled
_transforms = torch._C._functorch.peek_interpreter_stack
_backward_task = torch._C._current_graph_task_id

_STARTS = ("compared_starts", "rewritten_starts", "repeated_starts", "rewrite_cosine")
"""Scalars of other writes to the table, which are not known where `step` is misplaced."""


class EmbeddingTracker(Tracker):
    """Watches one `nn.Embedding` or `nn.EmbeddingBag`, with dense or sparse gradients.

    Call `step()` after every `optimizer.step()`. Lookups count while the layer is in training mode and gradients are
    enabled; a `padding_idx` row is no row. Displacements are taken over windows: epochs, over which the noise of
    sampling without replacement cancels, where `end_epoch()` announces them or the batch sizes show them (the last
    one of each epoch smaller); else stretches of steps that grow with the run.

    In a distributed run (`DistributedDataParallel`) every rank has a tracker of its own, attached after the model was
    wrapped, and sees its own lookups; `all_reduce()` puts them together. Batches are taken to be equal on all ranks.

    Lookups of this layer are counted. Lookups past it (`F.embedding` or indexing with its weight, another layer that
    shares the parameter), within `torch.func` transforms, and in a model that was compiled, or shares its class with
    one that was, before the tracker was attached are not seen. Attach before the first forward pass of what
    `torch.compile` gave; `fullgraph=True` is fine. Where nothing was seen, the report says so under `Coverage`, its
    status is `NOT_OBSERVED`, and methods that count lookups raise an error instead of naming every row dead.

    `torch.export` and `torch.jit.trace` leave the tracker out of their result. `torch.jit.script` compiles hooks as
    well: call `detach()` first, and attach a new tracker after it.

    Example::

        tracker = EmbeddingTracker(model.item_emb, optimizer=optimizer)
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
        optimizer: torch.optim.Optimizer | Iterable[torch.optim.Optimizer] | None = None,
        sample: int = 12_288,
        auto_fix: bool = False,
        log: Any = None,
    ):
        """Attach to `layer`.

        Args:
            layer: the table to watch.
            name: its name in the report; by default the last part of the expression passed (`item_emb`), or where the
                layer stands in a model, list or dict of the caller (`embs.0`).
            rules: rule book to judge by; the shipped one if None.
            optimizer: the one that holds the table, or all there are. Its learning rate, weight decay and momentum are
                read and never written; causes that rest on them can only be claimed where it is given.
            sample: rows whose weights are followed. Smaller tables are followed whole; of larger ones a sample, half of
                it the rows looked up most in the first steps. Lookups are counted for all rows in any case.
            auto_fix: had the gradients of some rows damped, which did not help. It warns now, and does nothing;
                `flowgrad.watch(..., on_finding="apply")` changes a training that runs.
            log: was the file for what `auto_fix` did; it warns as well.

        Raises:
            TypeError: `layer` is neither `nn.Embedding` nor `nn.EmbeddingBag`, its weight is computed and no parameter,
                or its class overrides the lookup; `sample` is no whole number; `optimizer`
                holds no parameter groups.
            ValueError: `sample` is less than 1.
        """
        _check_layer(layer)
        sample = operator.index(sample)
        if sample < 1:
            raise ValueError(f"sample={sample} must be at least 1")
        if auto_fix or log is not None:
            warnings.warn(
                "auto_fix and its log are gone, for damping gradients did not help; leave them out: flowgrad.watch("
                "model, optimizer, on_finding='apply') changes a training that runs",
                DeprecationWarning,
                stacklevel=2,
            )
        if name is None:
            frame = inspect.currentframe()
            name = default_name(frame.f_back if frame else None, layer, {tracker.name for tracker in ATTACHED})
        super().__init__(name, rules)
        check_size(layer, self.name)
        self._rate = rate_of(optimizer, self.name)
        self.layer = layer
        self._shape, self._dtype = tuple(layer.weight.shape), layer.weight.dtype
        count, device = layer.num_embeddings, layer.weight.device
        self._lookups = LookupCounter(count, device)
        self._probes = Probes(count, device, self._failed, sample)
        self._sample = sample
        self._followed = FollowedRows(self._weight(), self._lookups.counts) if count <= sample else None
        self._epochs: EpochSense | None = EpochSense()
        self._starts = EpochStarts()
        self._facts: dict[str, float] = {}
        self._told: dict[str, np.ndarray] = {}
        self._merged: Counted | None = None
        self._merged_course: StepCourse | None = None
        self._probing = True
        self._steps = 0
        # Most steps are like the last one and are only counted: see `step`.
        self._next_look = 0
        """Number of the step that is to be read next, whatever it is like."""
        self._looked = 0
        """Number of the last step that was read."""
        self._usual = 0
        """Number of lookups of that step."""
        self._expected = 0
        """Number of lookups in all at the end of the next step, if it is like that one."""
        self._forward_step = -1
        """Number of steps taken at the last forward pass outside of a backward pass."""
        self._uncounted: dict[str, int] = {}
        """Number of forward passes that were not counted, by reason."""
        self._eval_step, self._eval_steps = -1, 0
        """Number of the last step with a forward pass in eval mode and gradients enabled; number of such steps."""
        self._fields = FieldBounds()
        self._pairs = PairedLookups(count, layer.padding_idx)
        self._padding = PaddingPlaces(layer.padding_idx, bags=isinstance(layer, nn.EmbeddingBag))
        self._busy = 0
        """Number of steps with lookups."""
        self._last_busy = 0
        """Number of the last of them that was read."""
        self._epochs_told = 0
        """Number of epochs that the loop announced."""
        self._attached = True
        self.place = sum(isinstance(hook, _ForwardHook) for hook in layer._forward_hooks.values())
        """Number of hooks of trackers that the layer had before."""
        ATTACHED.add(self)
        self._hook = layer.register_forward_hook(_ForwardHook(self), with_kwargs=True)

    def add_optimizer(self, optimizer: Any) -> None:
        """Read a further optimizer, too; one that is known is passed over.

        Raises:
            TypeError: it holds no parameter groups.
        """
        if self._rate is None:
            self._rate = rate_of(optimizer, self.name)
        else:
            self._rate.add(optimizer, self.name)

    def share_probes(self, place: int, tables: int) -> None:
        """Take turns with so many tables of a model, of which this one has that place, in the probes of its start."""
        self._probes.share(place, tables)

    def _weight(self) -> torch.Tensor:
        """Weights of the table, shape (rows, dim), not a copy.

        Raises:
            ChangedError: the table was resized, converted or moved since tracking began.
        """
        weight = self._parameter.detach()
        began = (self._shape, self._dtype, self._lookups.device)
        now = (tuple(weight.shape), weight.dtype, weight.device)
        if now != began:
            was, is_now = (f"{shape} of {dtype} on {device}" for shape, dtype, device in (began, now))
            raise ChangedError(
                f"{self.name}: the table was {was} when tracking began and is {is_now} now; attach a new tracker to it"
            )
        return weight

    @property
    def _parameter(self) -> torch.Tensor:
        """The tensor that is trained."""
        return parameter_of(self.layer, self.name)

    def _count(self) -> int:
        return self._steps

    def _note_lookup(self, layer: nn.Module, ids: torch.Tensor) -> None:
        # This is one piece, with functions by their own names: each call and attribute access adds to the cost.
        if layer is not self.layer or not (layer.training and _grad_enabled()) or _transforms() is not None:
            self._pass_by(layer)
            return
        # Activation checkpointing looks everything up again in the backward pass.
        if _backward_task() == -1:
            self._forward_step = self._steps
        elif self._forward_step == self._steps:
            return
        # Looked up where it lies, which is a third of the cost; the layer may have been given another one.
        try:
            weight = layer._parameters["weight"]
        except KeyError:
            raise gone(self.name) from None
        if weight is None:
            raise gone(self.name)
        if weight.size(0) != self._shape[0] or ids.device != self._lookups.device:
            return  # `step` complains
        if self._probing:
            self._fields.note(ids)
            self._padding.note(ids)
        if ids.dim() != 1:
            ids = ids.reshape(-1)
        if ids.dtype != torch.int64:
            ids = ids.long()
        if self._probing:
            self._pairs.note(ids, self._steps)
            if self._starts.waiting:
                self._starts.begins(weight)
            if self._probes.due(self._steps):
                self._probes.open(ids, weight, self._lookups.counts, self._steps)
        self._lookups.add(ids)

    def _pass_by(self, layer: nn.Module) -> None:
        """Note why a forward pass is not counted. Evaluation with gradients disabled is regular."""
        if layer is not self.layer:
            why = "copies"
        elif _transforms() is not None:  # `torch.func` lets nobody count inside
            why = "transforms"
        elif layer.training:
            why = "no_grad"
        elif _grad_enabled():
            why = "eval"
            if self._eval_step != self._steps:
                self._eval_step = self._steps
                self._eval_steps += 1
        else:
            return
        self._uncounted[why] = self._uncounted.get(why, 0) + 1

    def note_compiled(self, ids: torch.Tensor) -> None:
        """Count lookups of `ids` in a graph that is running, compiled in training mode with gradients enabled."""
        try:
            with torch.enable_grad():
                self._note_lookup(self.layer, ids)
        except Exception as error:
            self._failed("a compiled forward pass", error)

    def step(self) -> None:
        """Note how the optimizer step just taken moved the rows looked up since the last one.

        Where the table was resized, converted, moved, pruned or parametrised since tracking began, the tracker warns
        and stops (see `Tracker`), within 64 steps of that.
        """
        if not self._attached:
            return
        try:
            self._steps += 1
            if self._steps < self._next_look and self._lookups.total == self._expected:
                self._expected += self._usual
            else:
                self._look()
        except Exception as error:
            self._failed("step()", error)

    def _look(self) -> None:
        """Read the step just taken."""
        if (thread := get_ident()) != self._thread:
            self._turn(thread)
        if not isinstance(self.layer._parameters.get("weight"), nn.Parameter):
            raise gone(self.name)
        weight = self._weight()
        self._merged = None
        self._pass_over(self._steps - 1)
        lookups = self._lookups.total - (self._expected - self._usual)
        if self._probes.pending:
            table = self._parameter
            rate = math.nan if self._rate is None else self._rate.now(table)
            self._probes.close(table, self._lookups.counts, self._steps, rate)
        ended = self._epoch_ends(lookups)
        if self._followed is not None:
            self._observe_rows(self._followed, weight, lookups, ended)
        elif self._steps >= FIRST_PROBES:
            self._follow_sample(weight)
        if ended:
            self._close_epoch()
        if self._rate is not None:
            self._rate.note(self._parameter, self._steps)
        self._busy += lookups > 0
        self._last_busy = self._steps if lookups else self._last_busy
        self._looked, self._usual = self._steps, lookups
        self._expected = self._lookups.total + lookups
        self._plan()

    def _pass_over(self, step: int) -> None:
        """Account for the steps up to this one that were only counted."""
        passed = step - self._looked
        if passed <= 0:
            return
        if self._epochs is not None and self._usual:
            self._epochs.pass_over(passed)
        if self._followed is not None:
            self._followed.windows.pass_over(passed, self._usual)
        self._busy += passed if self._usual else 0
        self._last_busy = step if self._usual else self._last_busy
        self._looked = step

    def _plan(self) -> None:
        """Choose the step that is to be read next. All up to now are read or passed over."""
        self._probing = self._probes.due(self._steps) or self._starts.waiting
        if self._probing or self._followed is None or self._merged is not None:
            self._next_look = self._steps + 1
            return
        epoch = self._epochs.steps_left(self._usual) if self._epochs is not None and self._usual else math.inf
        ahead = min(self._probes.next_due(self._steps) - self._steps, self._followed.windows.steps_left, epoch)
        self._next_look = self._steps + int(ahead)

    def _epoch_ends(self, lookups: int) -> bool:
        """Whether the step was the last one of an epoch that nobody announces. It is asked from the first step on, also
        while no rows are followed yet: begun in the middle of an epoch, the first one would seem shorter.
        """
        if self._epochs is None or not lookups:
            return False
        ended = self._epochs.ends(lookups)
        if not self._epochs.fits:
            self._epochs = None
            if self._followed is not None:
                self._followed.windows.leave_epochs()
        return ended

    def _observe_rows(self, followed: FollowedRows, weight: torch.Tensor, lookups: int, ended: bool) -> None:
        windows = followed.windows
        closed = windows.closed
        if windows.step(lookups) and not ended:
            windows.snapshot(followed.of(weight))
        if windows.closed != closed:
            self._window_closed(weight)

    def _follow_sample(self, weight: torch.Tensor) -> None:
        """Choose the rows to follow, now that some lookups have shown which ones matter."""
        counts = self._lookups.counts
        with torch.inference_mode(False):  # tensors made in that mode could not be written to later
            self._followed = FollowedRows(weight, counts, stratified_rows(counts, self._sample))

    def _window_closed(self, weight: torch.Tensor) -> None:
        self._look_for_suspects(weight)

    def _look_for_suspects(self, weight: torch.Tensor) -> None:
        assert self._followed is not None
        at, padding = self._followed.at, self.layer.padding_idx
        if not self._parameter.requires_grad:
            self._probes.suspicious = False  # rows of a frozen table stand still for a good reason
            return
        unmoved = self._followed.unmoved(weight, self._lookups.counts, self._renormed)
        if padding is not None:
            unmoved[padding if isinstance(at, slice) else at == padding] = False
        self._probes.suspect(unmoved, at)

    @property
    def _renormed(self) -> bool:
        return self.layer.max_norm is not None

    @entry("end_epoch()")
    def end_epoch(self) -> None:
        """Close the window: an epoch ended here. From the first call on, windows are exactly the epochs announced."""
        if not self._attached:
            return
        self._pass_over(self._steps)
        self._epochs = None
        self._epochs_told += 1
        self._close_epoch()
        self._plan()

    def _close_epoch(self) -> None:
        weight = self._weight()
        if self._followed is None:
            self._follow_sample(weight)
        assert self._followed is not None
        self._followed.end_epoch(weight)
        if not self._renormed:  # such a layer writes to its rows at every lookup
            self._starts.ended(weight, self._probes.panel)
        self._window_closed(weight)

    @entry("observe()", argued=True)
    def observe(self, **facts: float) -> None:
        """Note facts that the table cannot show: `in_batch_negatives` (0 or 1), `sampling_correction` (0..1),
        `multiplied` (0 or 1: the model multiplies its rows by others, as in inner products and cross layers).

        Raises:
            ValueError: a fact that no rule names.
        """
        known = {"in_batch_negatives", "sampling_correction", "multiplied"}
        if unknown := set(facts) - known:
            raise ArgumentError(f"unknown fact {sorted(unknown)[0]!r}; known are {sorted(known)}")
        found = {name: fact_of(name, value, self.name) for name, value in facts.items()}
        self._facts.update(found)

    @entry("observe_residuals()", argued=True)
    def observe_residuals(self, rows: np.ndarray, residuals: np.ndarray, *, biases: bool) -> None:
        """Note the training residuals (target minus prediction), shape (n,), with the row of each, and whether the
        model has a bias for each row.

        Raises:
            ValueError: not one row a residual, or a row that the table does not have.
        """
        self._check_rows(rows, residuals, "residuals")
        self._facts["row_effect_f"] = measures.row_effect_f(residuals, rows)
        self._facts["row_biases"] = float(biases)
        self._told["row_loss"] = measures.row_loss(residuals, rows, self.layer.num_embeddings)

    @entry("observe_labels()", argued=True)
    def observe_labels(self, rows: np.ndarray, others: np.ndarray, labels: np.ndarray) -> None:
        """Note the training labels, shape (n,), with the row of each, and of its counterpart in the other table (the
        item where this one holds users). Rows whose labels agree with nobody's can be named then.

        Raises:
            ValueError: not one row and one counterpart a label, or a row that the table does not have.
        """
        self._check_rows(rows, labels, "labels")
        self._check_rows(rows, others, "counterparts")
        self._told["label_conflict"] = label_conflict(rows, others, labels, self.layer.num_embeddings)

    def _check_rows(self, rows: np.ndarray, values: np.ndarray, what: str) -> None:
        rows = np.asarray(rows)
        if len(rows) != len(values):
            raise ArgumentError(f"{self.name}: {len(rows)} rows and {len(values)} {what}; give one of each an example")
        wrong = rows[(rows < 0) | (rows >= self._shape[0])]
        if len(wrong):
            raise ArgumentError(
                f"{self.name}: there is no row {wrong[0]}; the table has rows 0 to {self._shape[0] - 1}"
            )

    def row_table(self) -> pd.DataFrame:
        """Table of per-row measures, one line a row of the table (without `padding_idx`), indexed by row id.

        Columns are the `per_row` measures of `MEASURES`; NaN where a row's figure is not known yet, or the row is not
        followed.

        Raises:
            ValueError: the table was resized, converted or moved since tracking began.
        """
        if self._halt is not None:
            return self.measurements().tables["rows"]
        return self._read(self._weight(), self._counted())[ROW_MEASURES]

    def _read(self, weight: torch.Tensor, counted: Counted) -> pd.DataFrame:
        return read_rows(
            weight,
            counted,
            self._followed,
            self._told,
            renormed=self._renormed,
            padding=self.layer.padding_idx,
            blind=bool(sight.blindness(self._sight(weight, counted))),
        )

    def _sight(self, weight: torch.Tensor, counted: Counted) -> sight.SeenLookups:
        """Events as far as they were seen."""
        probes, followed = self._probes, self._followed
        return sight.SeenLookups(
            steps=self._steps,
            lookups=self._lookups.total if self._merged is None else int(counted.exposures.sum()),
            uncounted=self._uncounted,
            eval_steps=self._eval_steps,
            training=self.layer.training,
            trainable=self._trainable,
            moved=None if followed is None else bool(followed.moved(weight, self._renormed).any()),
            moved_within=probes.moved_within,
            moved_outside=probes.moved_outside,
        )

    @property
    def _trainable(self) -> bool:
        return self._probes.asked or self._parameter.requires_grad

    def _coverage(self, seen: sight.SeenLookups, rows: pd.DataFrame) -> Coverage:
        """The coverage of a report: what was seen, and what could not be."""
        windows = self._followed.windows if self._followed else None
        counts = {
            "steps": self._steps,
            "steps_with_lookups": self._busy + (self._steps - self._looked if self._usual else 0),
            "lookups": seen.lookups,
            "probed_steps": self._probes.probed,
            "windows": windows.closed if windows else 0,
            "followed_rows": int(np.isfinite(rows["moved"]).sum()),
        }
        if self._epochs_told:
            counts["epochs"] = self._epochs_told
        unseen = {name: why for name, why in sight.UNTOLD.items() if name not in self._facts}
        if "label_conflict" not in self._told:
            unseen["labels"] = sight.LABELS
        if self._rate is None:
            unseen["optimizer"] = sight.OPTIMIZER
        if not self._trainable:
            unseen["gradient"] = sight.MOVED_FROZEN if seen.moved else sight.FROZEN
        blind = sight.blindness(seen)
        if not blind:
            moved = int(((rows["exposures"] == 0) & (rows["moved"] == 1)).sum())
            decay = self._optimizer_figures()["weight_decay"]
            others = 1 if self._merged is not None else ranks.world_size()
            unseen |= sight.partly_unseen(seen, moved, bool(self._probes.elsewhere), decay, others)
        return Coverage({name: float(count) for name, count in counts.items()}, unseen, blind)

    def _optimizer_figures(self) -> dict[str, float]:
        return UNKNOWN if self._rate is None else self._rate.figures(self._parameter)

    def _refuse_if_blind(self, what: str) -> None:
        """Refuse to answer where the tracker is blind: a count that was not made is not a zero."""
        if self._halt is not None:
            raise FlowGradError(f"{self.name}: {what} cannot be told: {self.stopped}")
        blind = sight.blindness(self._sight(self._weight(), self._counted()))
        if blind:
            raise FlowGradError(f"{self.name}: {what} cannot be told: {blind}")

    def _course(self) -> StepCourse:
        """Longest moves of the probed steps: of all ranks where they have been put together, else of this one."""
        return self._probes.course if self._merged is None or self._merged_course is None else self._merged_course

    def _counted(self) -> Counted:
        """Counts by all ranks where they have been put together since the last step, else by this one."""
        if self._merged is not None:
            return self._merged
        probes = self._probes
        return Counted(
            self._lookups.counts,
            probes.looks,
            probes.gradients,
            probes.moves,
            probes.path,
            probes.panel_path,
            probes.panel_idle_path,
        )

    def _measure(self) -> Measurements:
        """Compute scalars over the exposed rows, and the row table."""
        weight, counted = self._weight(), self._counted()
        rows = self._read(weight, counted)
        scalars = {
            "steps": float(self._steps),
            **scalars_of(rows, weight, counted, self._followed, self._course()),
            **self._course_of_lookups(rows),
            "trainable": float(self._trainable),
            **self._optimizer_figures(),
            "decay_share": math.nan,
            **dict.fromkeys(form.FACTS, math.nan),
            **self._facts,
        }
        if self._rate is not None:
            pulls = float(self._probes.panel_square), float(self._probes.panel_pull)
            scalars["decay_share"] = self._rate.decay_share(self._parameter, scalars["norm_ratio"], *pulls)
        scalars["norm_to_cap"] = scalars["median_norm"] / self.layer.max_norm if self.layer.max_norm else 0.0
        scalars["decay_known"] = float(math.isfinite(scalars["decay_share"]))
        if scalars["nonfinite_rows"] and math.isnan(scalars["first_nonfinite"]):
            scalars["first_nonfinite"] = float(self._steps)  # no probe saw them; this reading is the first that does
        seen = self._sight(weight, counted)
        if sight.is_misplaced(seen):
            scalars |= dict.fromkeys(_STARTS, math.nan)
        return Measurements(
            self.KIND,
            self.name,
            scalars,
            {"rows": rows[ROW_MEASURES]},
            self._steps,
            self._coverage(seen, rows),
            framework="torch",
        )

    def _course_of_lookups(self, rows: pd.DataFrame) -> dict[str, float]:
        """Figures of batches and epochs as such."""
        windows = self._followed.windows if self._followed else None
        epochs = float(windows.epochs) if windows else 0.0
        exposures = rows["exposures"].to_numpy()
        known = bool(np.isfinite(exposures).all())
        starts = self._starts
        whole = known and self._merged is None  # batches are those of a rank, and exposures may be those of all
        return {
            "epochs": epochs,
            **lookup_figures(exposures if known else np.zeros(0), epochs),
            "spread_over_batches": self._probes.spread_over_batches(exposures) if whole else math.nan,
            "lost_gradient_share": self._probes.lost_gradient_share,
            "fields_share": self._fields.rows() / self._shape[0],
            **self._pairs.figures(),
            **self._padding.figures(),
            "compared_starts": float(starts.compared),
            "rewritten_starts": float(starts.rewritten),
            "repeated_starts": float(starts.repeated),
            "rewrite_cosine": starts.cosine,
            "steps_since_lookup": float(self._since_lookup()),
        }

    def _since_lookup(self) -> int:
        """Number of steps at the end of the run that had no lookup."""
        last = self._steps if self._usual and self._steps > self._looked else self._last_busy
        return self._steps - last

    def zombie_embeddings(self) -> list[int]:
        """Ids of the rows that the rule `zombie_rows` names: they move much and get nowhere.

        Raises:
            FlowGradError: the tracker is blind, as its report says; the message gives the reason and the way out.
        """
        self._refuse_if_blind("which rows circle")
        return [int(row) for row in self.rule_book.select("zombie_rows", self.measurements()).index]

    def dead_embeddings(self) -> list[int]:
        """Ids of the rows that were never looked up while training, and stand where they began.

        Raises:
            FlowGradError: as for `zombie_embeddings`.
        """
        self._refuse_if_blind("which rows are dead")
        rows = self.row_table()
        return [int(row) for row in rows.index[rows["untouched"] == 1]]

    def popularity_bias(self) -> dict[str, float]:
        """Figures of how unequally rows were exposed, in [0, 1]: `gini`, `head_share` (top tenth) and `coverage` (share
        ever exposed).

        Raises:
            FlowGradError: as for `zombie_embeddings`.
        """
        self._refuse_if_blind("how often rows were looked up")
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

        Raises:
            FlowGradError: as for `zombie_embeddings`.
        """
        self._refuse_if_blind("how far rows move")
        return self.row_table()["velocity"].rename("saliency")

    def all_reduce(self, group: distributed.ProcessGroup | None = None) -> None:
        """Sum the counts of the ranks of a distributed run, so that the report of each speaks of the whole run.

        Call it on every rank, for several trackers in the same order, before reading; nothing happens where
        `torch.distributed` is not initialised. Lookups and probes are summed. The next `step()` drops the sums and goes
        on with the rank's own counts, so nothing is ever counted twice. Weights are equal on all ranks, and so are
        their figures (coherence, jitter, norms), given equal batches; they are not exchanged. Neither are the arguments
        of `observe`, `observe_residuals` and `observe_labels`: give every rank the whole data.

        Some things are not those of one process over the same data. Of a table larger than `sample`, each rank follows
        rows chosen from its own lookups in the first steps, and its coherence and jitter are those of its rows. Of
        batches larger than a probe, each rank probes as many lookups as one process would. A row that another rank
        looked up is recognised by its gradient: where the loop clears gradients before `step()`, `idle_path_share` is
        not known, and where the loss has a term over the whole table, no row counts as idle.

        Args:
            group: the ranks that share the data; all if None.

        Raises:
            ValueError: the ranks watch tables of different shapes. Raised on all of them.
        """
        if ranks.world_size(group) == 1:
            return
        device = self._lookups.device
        if not ranks.agree(self._shape, device, group):
            raise ValueError(
                f"{self.name}: the table is {self._shape} here and has another shape on another rank; "
                "call all_reduce on the trackers of one table at a time, in the same order on every rank"
            )
        self._merged = None
        self._next_look = 0  # the next step drops the sums
        lookups = ranks.total(torch.tensor(self._lookups.total, device=device), group)
        counted = torch.int32 if int(lookups) <= torch.iinfo(torch.int32).max else torch.int64
        self._merged = Counted(
            *(ranks.total(t.double() if t.is_floating_point() else t.to(counted), group) for t in self._counted())
        )
        own = self._probes.course
        never = torch.iinfo(torch.int64).max
        first = -ranks.highest(-torch.where(own.first_nonfinite < 0, never, own.first_nonfinite), group)
        self._merged_course = StepCourse(
            ranks.highest(own.longest, group),
            ranks.highest(own.recent, group),
            torch.where(first == never, -1, first),
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything seen so far, for a checkpoint: tensors, numbers, text, lists and dicts, which `torch.save` writes
        and `torch.load(..., weights_only=True)` reads.

        Take it between a `step()` and the next forward pass. Every rank of a distributed run has a state of its own;
        `all_reduce` leaves no trace in it.
        """
        if self._halt is not None:
            return self._state_of_halt(self._halt)
        self._pass_over(self._steps)
        return states.headed(
            self.KIND,
            {
                **self._table(),
                "sample": self._sample,
                "steps": self._steps,
                "lookups": self._lookups.counts.clone(),
                "total_lookups": self._lookups.total,
                "probes": self._probes.state_dict(),
                "followed": None if self._followed is None else self._followed.state_dict(),
                "epochs": None if self._epochs is None else self._epochs.state_dict(),
                "usual": self._usual,
                "expected": self._expected,
                "facts": dict(self._facts),
                "told": {name: torch.from_numpy(values.copy()) for name, values in self._told.items()},
                "uncounted": dict(self._uncounted),
                "eval_steps": self._eval_steps,
                "busy": self._busy,
                "last_busy": self._last_busy,
                "starts": self._starts.state_dict(),
                "fields": self._fields.state_dict(),
                "pairs": self._pairs.state_dict(),
                "padding": self._padding.state_dict(),
                "epochs_told": self._epochs_told,
                "rate": None if self._rate is None else self._rate.state_dict(),
            },
        )

    def _table(self) -> dict[str, Any]:
        """Entries that a state must have in common with the tracker that loads it."""
        return {"shape": list(self._shape), "dtype": str(self._dtype).removeprefix("torch.")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken, whatever was seen since this tracker was attached.

        With the model and the optimizer as they were then, the report will be the one of a run that was never
        interrupted. Name and rule book stay this tracker's own; all else, `sample` included, comes from the state.

        Raises:
            ValueError: `state` is no state of such a tracker, one of another version, of a table with another shape
                or dtype, or damaged: then the message names where. Nothing has changed.
        """
        if not self._takes(state):
            return
        own = self._table()
        like = self._shape, own["dtype"]
        states.check(state, self.name, self.KIND, form.parts(*like), own, form.later(*like), form.fits)
        with torch.inference_mode(False):  # tensors made in that mode could not be written to later
            self._load(state)

    def _load(self, state: dict[str, Any]) -> None:
        device = self._lookups.device
        self._merged = None
        self._sample = state["sample"]
        self._lookups.load(state["lookups"], state["total_lookups"])
        self._probes.load_state_dict(state["probes"])
        self._followed = None if state["followed"] is None else FollowedRows.from_state(state["followed"], device)
        self._epochs = None
        if state["epochs"] is not None:
            self._epochs = EpochSense()
            self._epochs.load_state_dict(state["epochs"])
        self._facts = dict(state["facts"])
        self._told = {name: values.cpu().numpy().copy() for name, values in state["told"].items()}
        self._steps = self._looked = state["steps"]
        self._forward_step = self._eval_step = -1
        self._uncounted, self._eval_steps = dict(state["uncounted"]), state["eval_steps"]
        self._busy, self._epochs_told = state["busy"], state["epochs_told"]
        # States of before these were noted lack them.
        self._last_busy = state.get("last_busy", self._steps)
        self._starts = EpochStarts()
        if "starts" in state:
            self._starts.load_state_dict(state["starts"], device)
        self._fields = FieldBounds()
        if "fields" in state:
            self._fields.load_state_dict(state["fields"], device)
        if "pairs" in state:
            self._pairs.load_state_dict(state["pairs"], device)
        if "padding" in state:
            self._padding.load_state_dict(state["padding"])
        if self._rate is not None and state["rate"] is not None:
            self._rate.load_state_dict(state["rate"])
        self._usual, self._expected = state["usual"], state["expected"]
        self._plan()

    def detach(self) -> None:
        """Take the hooks off the layer. Measurements stay readable."""
        self._attached = False
        self._hook.remove()
        ATTACHED.discard(self)
        self._probes.drop()


class _ForwardHook:
    """The hook on the layer. A copied or pickled layer carries an inert one: the copy is not tracked."""

    def __init__(self, tracker: EmbeddingTracker | None = None) -> None:
        self._tracker = tracker
        if tracker is not None:
            self._place = tracker.place
            self._marker = torch.zeros((), device=tracker.layer.weight.device)

    def __call__(
        self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any = TAKEN_OFF
    ) -> None:
        if self._tracker is None:
            return
        if _is_compiling():
            # An exported model is to run without the tracker.
            if layer.training and _grad_enabled() and not _is_exporting():
                weight = layer._parameters.get("weight")
                if weight is not None:
                    note_lookup(self._marker, args[0] if args else kwargs["input"], weight.detach(), self._place)
            return
        if output is TAKEN_OFF or _is_tracing():
            return
        try:
            self._tracker._note_lookup(layer, args[0] if args else kwargs["input"])
        except Exception as error:
            self._tracker._failed("a forward pass", error)

    @property
    def __name__(self) -> str:
        """Refusal for `torch.jit.script`, which asks hooks for this name to compile them."""
        raise AttributeError(
            "an EmbeddingTracker is attached, and torch.jit.script cannot compile its hook; call detach() of the "
            "tracker first, and attach a new one after it"
        )

    def __reduce__(self) -> tuple[type[_ForwardHook], tuple[()]]:
        return _ForwardHook, ()


def fact_of(name: str, value: float, tracker: str) -> float:
    """Convert a fact to a number, in its own unit.

    Raises:
        ArgumentError: it is no number.
    """
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ArgumentError(f"{tracker}: {name} is {type(value).__name__}; give a number") from error


def _way_out(given: Any) -> str:
    """Advice on what to pass instead of something that is no table."""
    if isinstance(given, torch.Tensor):
        return "; give the layer that holds the weight, such as model.item_emb"
    if not isinstance(given, nn.Module):
        return ""
    tables = [path for path, one in given.named_modules() if isinstance(one, nn.Embedding | nn.EmbeddingBag)]
    shown = ", ".join(f".{path}" for path in tables[:3]) + (", ..." if len(tables) > 3 else "")
    return f"; give one of its tables, each to a tracker of its own: {shown}" if tables else "; it holds no such table"


def _check_layer(layer: nn.Embedding | nn.EmbeddingBag) -> None:
    kind = type(layer).__name__
    if not isinstance(layer, nn.Embedding | nn.EmbeddingBag):
        raise TypeError(f"EmbeddingTracker watches nn.Embedding or nn.EmbeddingBag, got {kind}{_way_out(layer)}")
    if not isinstance(layer._parameters.get("weight"), nn.Parameter):
        raise TypeError(
            f"the weight of this {kind} is computed (parametrize, weight_norm, spectral_norm), and to read it would "
            "run that computation once more; EmbeddingTracker watches tables whose weight is a parameter"
        )
    first = next(iter(inspect.signature(layer.forward).parameters), None)
    if first != "input":
        raise TypeError(
            f"{kind}.forward takes {first!r} first and may look up something else; EmbeddingTracker counts what "
            "nn.Embedding is given as `input`. Keep the table in a plain nn.Embedding inside it and watch that"
        )
