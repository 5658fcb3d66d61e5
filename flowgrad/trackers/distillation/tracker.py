"""Watches a student learn from a teacher, and says which of its layers cannot follow, and why."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from pathlib import Path
from threading import get_ident
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.optim import Optimizer

from flowgrad.drawing import picture_path, save
from flowgrad.errors import FlowGradError
from flowgrad.measurements import Measurements
from flowgrad.measures import distillation as measures
from flowgrad.measures import representation
from flowgrad.rules import RuleBook
from flowgrad.trackers import states
from flowgrad.trackers.base import Tracker
from flowgrad.trackers.distillation import form
from flowgrad.trackers.distillation.audit import Audit
from flowgrad.trackers.distillation.comparison import Comparison, compare
from flowgrad.trackers.distillation.content import Content
from flowgrad.trackers.distillation.coverage import Sight, coverage
from flowgrad.trackers.distillation.exchange import Exchanges
from flowgrad.trackers.distillation.layers import Places, find_pairs, given_pairs, layers_of, unwrapped
from flowgrad.trackers.distillation.losses import FACTS, LOSSES, Losses
from flowgrad.trackers.distillation.motion import Motion
from flowgrad.trackers.distillation.origin import Origin
from flowgrad.trackers.distillation.plots import health_figure, similarity_figure
from flowgrad.trackers.distillation.probe import Forward, NothingShownError, Response, respond
from flowgrad.trackers.distillation.rates import flags, rate_figures, rates
from flowgrad.trackers.distillation.teaching import Calls, Teaching
from flowgrad.trackers.graph import node_of
from flowgrad.trackers.optimizers import Optimizers
from flowgrad.trackers.watching import OPTIMIZER, ArgumentError, entry, loss_of

_OUTPUTS = ("logit_kl", "agreement", "output_r2", "output_spread")
_NUMBERS = ("optimizer_steps", "told", "waiting", "passed_over", "teacher_noise")
_OF_MOTION = ("velocity", "update", "gradient_length", "gradient", "snr", "drift", "altered")
PATIENCE = 64
"""Number of calls of `step()` in a row that are passed over because the optimizer has not stepped; after so many
another optimizer is taken to train.
"""


class DistillationTracker(Tracker):
    """Watches a student's layers: how they move, and how much they hold of the teacher's.

    Call `step()` after every `optimizer.step()`, and `observe(inputs)` with a batch of inputs whenever the two are to
    be compared; the report speaks of the last such comparison. Motion is measured at every fourth step, more seldom as
    the run grows, and needs no synchronisation; a comparison costs a few passes of both models and some linear algebra.

    A layer is a module with weights of two or more dimensions of its own; embeddings are layers. Of the teacher, some
    entries of each tensor are sampled, and a hook that returns nothing counts its calls and their mode. In at most 20
    steps hooks that return nothing keep some rows of both models' inputs and outputs, and of the student's gradient.

    Example::

        tracker = DistillationTracker(teacher, student, optimizer=optimizer)
        # training loop: loss.backward(); optimizer.step(); tracker.step(loss)
        tracker.observe(inputs)
        print(tracker.to_agent_xml())
    """

    KIND = "distillation"
    MEASURES = measures.MEASURES

    def __init__(
        self,
        teacher: nn.Module,
        student: nn.Module,
        pairs: Mapping[str, str] | None = None,
        *,
        probe: Any = None,
        optimizer: Any = None,
        name: str = "student",
        rules: RuleBook | None = None,
        forward: Forward | None = None,
    ) -> None:
        """Attach to the student. Neither model is wrapped or changed.

        Args:
            teacher: the model that is imitated.
            student: the model that is trained.
            pairs: {student layer: teacher layer} by their names in `named_modules()`; found by name, kind and relative
                depth if None.
            probe: inputs that `observe()` uses where it is given none.
            optimizer: of the student: one, a wrapper of one (as Accelerate's), or several in a list. With it, gradients
                are read as it is about to use them (after clipping), and a layer that it was not given is reported;
                without it, gradients are read at `step()`, and as the backward pass left them where they are cleared by
                then.
            name: `layer` of the report.
            rules: rule book to judge by; the shipped one if None.
            forward: called as `forward(model, inputs)` for both models instead of `model(inputs)`, for models that
                take different inputs.

        Raises:
            TypeError: teacher or student is no `nn.Module`, or an optimizer has no step hooks and holds none.
            ValueError: one of them has no layer, `pairs` names a layer that is not there, no pair is found, or
                the teacher is the student.
        """
        super().__init__(name, rules)
        for whose, model in (("teacher", teacher), ("student", student)):
            if not isinstance(model, nn.Module):
                raise TypeError(f"{whose} must be an nn.Module, got {type(model).__name__}")
        self._teacher, self._student = unwrapped(teacher), unwrapped(student)
        if self._teacher is self._student:
            raise ValueError("teacher and student are the same module; give a student of its own")
        self._layers, self._teacher_layers = layers_of(self._student), layers_of(self._teacher)
        for whose, layers, model in (
            ("teacher", self._teacher_layers, teacher),
            ("student", self._layers, student),
        ):
            if not layers:
                raise ValueError(
                    f"the {whose} ({type(model).__name__}) has no layer with weights of two or more dimensions"
                )
        if pairs is None:
            self._pairs = find_pairs(self._layers, self._teacher_layers)
            if not self._pairs:
                ours, theirs = (", ".join(layer.name for layer in of) for of in (self._layers, self._teacher_layers))
                raise ValueError(
                    f"no layer of the student ({ours}) pairs with one of the teacher ({theirs}); "
                    "give pairs={student layer: teacher layer}"
                )
        else:
            self._pairs = given_pairs(pairs, self._layers, self._teacher_layers)
        self._probe, self._forward, self._optimizers = probe, forward, Optimizers(optimizer, name)
        self._steps = 0
        self._optimizer_steps = self._told = self._waiting = self._passed_over = 0
        """Number of steps of the optimizer; of those that `step()` followed; of its calls without one, in a row and in
        all.
        """
        self._teacher_noise = math.nan
        self._gaps: list[float] = []
        """Gap of each comparison."""
        self._places = Places(self._layers, name)
        self._motion = Motion(self._layers, self._failed)
        self._teaching = Teaching(self._teacher, self._student)
        self._content = Content(self._layers, self._teacher_layers)
        self._calls = Calls(self._teacher, self._failed)
        self._losses = Losses()
        self._exchanges = Exchanges(self._failed)
        self._audit = Audit(self._exchanges)
        self._origin = Origin(self._teacher, self._teacher_layers)
        self._kd_gradient: np.ndarray | None = None
        self._comparison: Comparison | None = None
        self._attached = True
        self._motion.before()
        self._exchanges.arm()
        self._handles = [one.register_step_pre_hook(self._before_step) for one in self._optimizers.all]
        self._hooks = [
            *self._motion.listen(),
            self._calls.listen(self._teacher),
            *self._exchanges.listen(self._teacher, self._student),
        ]

    @property
    def pairs(self) -> dict[str, str]:
        """Map of {student layer: teacher layer}, as given or paired here."""
        return dict(self._pairs)

    def _count(self) -> int:
        return self._steps

    def _before_step(self, _: Any, given: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        if not self._attached:
            return
        try:
            self._optimizer_steps += 1
            if self._motion.due(self._steps + 1) and not self._motion.noted and not _has_closure(given, named):
                if self._steps == 0:  # weights may have been loaded since the tracker was made
                    self._motion.before()
                    self._begin()
                self._motion.note_gradients()
        except Exception as error:
            self._failed(OPTIMIZER, error)

    def _begin(self) -> None:
        self._teaching.begin()
        self._content.keep()
        self._origin.read()

    def _waits(self) -> bool:
        """Whether the optimizer has not stepped since the last call of `step()`, as where gradients are accumulated."""
        if self._optimizer_steps != self._told or not self._told or self._waiting >= PATIENCE:
            self._told, self._waiting = self._optimizer_steps, self._waiting if self._waiting >= PATIENCE else 0
            return False
        self._waiting += 1
        self._passed_over += 1
        return True

    def step(
        self, loss: float | torch.Tensor | None = None, distillation_loss: float | torch.Tensor | None = None
    ) -> None:
        """Note what the optimizer step just taken did.

        Calls between two steps of the optimizer given are passed over, as where gradients are accumulated.

        Args:
            loss: of the batch, a number or a tensor of one element; never fetched from its device here. Of tensors with
                a graph it is read, now and then, whether the graph leads to the teacher's weights.
            distillation_loss: the part of it that compares with the teacher: the tensor that is added into `loss`, or
                `loss` itself.

        Raises:
            ValueError: a loss is not one number, at the first call. Later on, that ends the watching (see `Tracker`).
        """
        if not self._attached:
            self._take_off_late()
            return
        try:
            if (thread := get_ident()) != self._thread:
                self._turn(thread)
            self._step(loss, distillation_loss)
        except Exception as error:
            self._failed("step()", self._refusal(error))

    def _step(self, loss: float | torch.Tensor | None, distillation_loss: float | torch.Tensor | None) -> None:
        told = {kind: self._one(kind, of) for kind, of in zip(LOSSES, (loss, distillation_loss), strict=True)}
        if self._waits():
            return
        if self._steps == 0 and not self._optimizer_steps:
            self._begin()
        self._steps += 1
        if self._motion.due(self._steps):
            self._places.check()
            self._motion.after(self._steps)
            self._teaching.look()
            self._losses.note(told)
            self._exchanges.close()
            if _is_marked(self._motion.looks):  # a graph may have thousands of nodes
                asking = {id(weight) for weight in self._of_teacher_alone() if weight.requires_grad}
                self._losses.read_graphs(node_of(loss), node_of(distillation_loss), asking)
        if self._motion.due(self._steps + 1):  # from here on, so that whatever moves the weights is seen
            self._motion.before()
            self._exchanges.arm(self._is_heard())

    def _is_heard(self) -> bool:
        """Whether the next step is one of the samples 1, 2, 3, 4, 6, 8, 12, ..."""
        looks = self._motion.looks + 1
        marked = _is_marked(looks) or (looks % 3 == 0 and _is_marked(looks // 3))
        return marked and self._motion.due(self._steps + 1)

    def _one(self, kind: str, loss: float | torch.Tensor | None) -> float | torch.Tensor | None:
        """A loss as it is kept: a tensor stays on its device."""
        if loss is None:
            return None
        if not isinstance(loss, torch.Tensor):
            return loss_of(loss, self.name, kind)
        if loss.numel() != 1 or loss.is_complex():
            what = f"is complex ({loss.dtype})" if loss.is_complex() else f"has shape {tuple(loss.shape)}"
            raise ArgumentError(f"{self.name}: {kind} {what}; give the one number that backward ran on")
        return loss

    def _of_teacher_alone(self) -> list[nn.Parameter]:
        return [
            weight for weight, shared in zip(self._teaching.weights, self._teaching.shared, strict=True) if not shared
        ]

    @entry("distillation_gradients()", argued=True)
    def distillation_gradients(self, loss: torch.Tensor, *, retain_graph: bool = True) -> None:
        """Note the gradient of the distillation loss alone, where it is but a part of what is trained.

        Without it, `kd_gradient` is of the gradients that the optimizer gets. The last call counts. Gradients are
        computed on the side; `.grad` stays as it is.

        Args:
            loss: distillation loss of a batch, a tensor of one element with a graph.
            retain_graph: whether `loss` is to be used after this.
        """
        trained = [weight for weight in self._motion.weights if weight.requires_grad]
        self._exchanges.deaf = True
        try:
            gradients = torch.autograd.grad(loss, trained, retain_graph=retain_graph, allow_unused=True)
        finally:
            self._exchanges.deaf = False
        found = dict(zip(map(id, trained), gradients, strict=True))
        dense = []
        for weight in self._motion.weights:
            gradient = found.get(id(weight))
            dense.append(torch.zeros_like(weight.detach()) if gradient is None else gradient.to_dense())
        self._kd_gradient = self._motion.gradient_lengths(dense)

    @entry("observe()", argued=True)
    def observe(self, inputs: Any = None) -> None:
        """Run both models on a batch of inputs and compare them.

        Both run in evaluation mode without gradients, the student twice, which should give the same twice, and twice in
        training mode; a teacher that was seen to be called, twice in the mode in which it was. Training flags, buffers
        and random numbers are as before then. Of more than 256 examples 256 are compared, evenly spread over the batch;
        of much fewer, R2 means little. Figures of several calls compare where the inputs are the same.

        Args:
            inputs: a tensor, a tuple of arguments or a mapping of keyword arguments; `probe` if None.

        Raises:
            ValueError: neither inputs nor a probe was given.
            TypeError: a model does not take these inputs, or gives no tensor.
        """
        inputs = self._probe if inputs is None else inputs
        if inputs is None:
            raise ArgumentError(f"{self.name}: observe() needs inputs; give them here or as probe=")
        if not self._attached:
            return
        with contextlib.suppress(NothingShownError):  # an empty batch is no comparison
            self._compare(inputs)

    def _compare(self, inputs: Any) -> None:
        first, again = respond(self._student, self._layers, inputs, self._forward, "student", 2)
        trained = respond(self._student, self._layers, inputs, self._forward, "student", 2, training=True)
        theirs = self._asked(inputs)
        self._comparison = compare(
            self._layers, self._teacher_layers, self._pairs, first, theirs, [(first, again), trained]
        )
        outputs = self._comparison.outputs
        kl, r2 = outputs["logit_kl"], outputs["output_r2"]
        self._gaps.append(1 - r2 if math.isnan(kl) else kl)

    def _asked(self, inputs: Any) -> Response:
        """The teacher's response in evaluation mode; the difference of two in the mode in which it teaches is noted."""
        self._calls.deaf = self._exchanges.deaf = True
        try:
            known, training = self._calls.calls > 0, self._calls.in_training
            passes = 2 if known and not training else 1
            found = respond(self._teacher, self._teacher_layers, inputs, self._forward, "teacher", passes)
            both = found
            if known and training:
                both = respond(self._teacher, self._teacher_layers, inputs, self._forward, "teacher", 2, training=True)
            self._audit.ask(self._teacher, self._forward)
        finally:
            self._calls.deaf = self._exchanges.deaf = False
        if len(both) == 2:
            self._teacher_noise = representation.noise_share(both[0].output, both[1].output)
        return found[0]

    def layer_table(self) -> pd.DataFrame:
        """Table of per-row measures, a line a layer of the student, in the model's order; NaN where not known."""
        return self._layer_table() if self._halt is None else self.measurements().tables["rows"]

    def _layer_table(self) -> pd.DataFrame:
        motion = self._motion.table()
        if self._comparison is None:
            compared = Comparison.unknown(len(self._layers), len(self._teacher_layers))
        else:
            compared = self._comparison
        gradient = self._kd_gradient if self._kd_gradient is not None else motion["gradient"]
        held = flags(self._layers, self._optimizers, motion["velocity"])
        found = {**held, **motion, **compared.columns, "rate": rates(self._layers, self._optimizers)}
        called = ~np.isnan(found["width"]) | (self._comparison is None)
        found["unused"] = (~called & (found["gradient"] == 0) & (found["frozen"] == 0)).astype(float)
        found["copied"] = self._content.copied()
        if coverage(self._sight()).blind:
            found |= {name: np.full(len(self._layers), math.nan) for name in _OF_MOTION}
        with np.errstate(divide="ignore"):
            logarithm = np.log(gradient)
        found["kd_gradient"] = np.where(np.isfinite(logarithm), logarithm, math.nan)
        found["embeds"] = np.array([layer.embeds for layer in self._layers], dtype=float)
        found |= measures.compared(found)
        index = pd.Index([layer.name for layer in self._layers])
        return pd.DataFrame({name: found[name] for name in measures.ROW_NAMES}, index=index, dtype=float)

    def _measure(self) -> Measurements:
        """Compute scalars over the layers, and a line a layer."""
        rows, sight = self._layer_table(), self._sight()
        seen = coverage(sight)
        motion = {**self._motion.alive(), **self._motion.course()}
        if seen.blind:
            motion = dict.fromkeys(motion, math.nan)
        if self._comparison is not None:
            bad = self._comparison.nonfinite
            motion["nonfinite_layers"] = float(np.nanmax([motion["nonfinite_layers"], bad]))
        outputs = dict.fromkeys(_OUTPUTS, math.nan)
        columns = {name: rows[name].to_numpy() for name in rows.columns}
        scalars = {
            "steps": float(self._steps),
            "looks": float(self._motion.looks),
            "layers": float(len(self._layers)),
            "paired_layers": float(len(self._pairs)),
            **self._losses.figures(),
            "comparisons": float(len(self._gaps)),
            "gap": self._gaps[-1] if self._gaps else math.nan,
            "gap_rise": measures.gap_rise(np.array(self._gaps)),
            **(outputs if self._comparison is None else self._comparison.outputs),
            **motion,
            "structure": self._content.structure(),
            **self._teacher_figures(),
            **rate_figures(self._layers, self._optimizers, columns["velocity"]),
            **measures.extremes(columns),
        }
        return Measurements(
            self.KIND, self.name, scalars, {"rows": rows}, self._steps, coverage=seen, framework="torch"
        )

    def _teacher_figures(self) -> dict[str, float]:
        alone = self._of_teacher_alone()
        given = self._optimizers.rate_by_identity()
        sizes = [weight.numel() for weight in self._teaching.weights]
        shared = sum(size for size, own in zip(sizes, self._teaching.shared, strict=True) if own)
        calls = self._calls
        return {
            **self._teaching.figures(),
            "teacher_given": float(any(id(weight) in given and weight.requires_grad for weight in alone)),
            "teacher_taught": float(self._losses.taught),
            "teacher_shared": shared / sum(sizes) if sizes else 0.0,
            "teacher_training": calls.training / calls.calls if calls.calls else math.nan,
            "teacher_noise": self._teacher_noise,
            **self._origin.figures(),
            **self._audit.figures(),
        }

    def _sight(self) -> Sight:
        given = self._optimizers.rate_by_identity()
        return Sight(
            steps=self._steps,
            looks=self._motion.looks,
            comparisons=len(self._gaps),
            losses=len(self._losses.told["loss"]),
            distillation_losses=len(self._losses.told["distillation_loss"]),
            teacher_calls=self._calls.calls,
            has_optimizer=self._optimizers.known,
            optimizer_steps=self._optimizer_steps,
            held=sum(any(id(weight) in given for weight in layer.weights) for layer in self._layers),
            holds=any(id(parameter) in given for parameter in self._student.parameters()),
            moved=self._motion.moved,
            heard=self._motion.heard,
            formulas=self._audit.seen(),
            passed_over=self._passed_over,
        )

    def struggling(self) -> dict[str, list[str]]:
        """Layers that rules name, {rule: layers}, most severe first, for the rules that fire and name layers."""
        return {
            finding.rule_id: [str(row) for row in finding.rows.index]
            for finding in self.findings()
            if finding.rows is not None and len(finding.rows)
        }

    @property
    def compared(self) -> bool:
        """Whether layers have been compared, so that there is a `similarity`."""
        return self._comparison is not None

    def similarity(self) -> pd.DataFrame:
        """Debiased linear CKA of each layer of the student (lines) with each of the teacher (columns).

        Raises:
            FlowGradError: `observe` was never called.
        """
        if self._comparison is None:
            raise FlowGradError(f"tracker {self.name!r} has compared nothing yet; call observe(inputs) first")
        ours, theirs = ([layer.name for layer in layers] for layers in (self._layers, self._teacher_layers))
        return pd.DataFrame(self._comparison.cka.copy(), index=pd.Index(ours), columns=pd.Index(theirs))

    def plot_similarity(self, path: str | Path) -> None:
        """Draw `similarity` as a heat map, the pairs marked.

        Args:
            path: ends in .png, .svg or .pdf; the bytes repeat.

        Raises:
            FlowGradError: another ending, or `observe` was never called.
            ImportError: matplotlib (extra `plots`) is not installed.
        """
        path = picture_path(path)
        save(self.similarity_figure(), path)

    def similarity_figure(self) -> Any:
        """Make the picture of `plot_similarity`, a `matplotlib.figure.Figure`."""
        return similarity_figure(self.similarity(), self._pairs, self.name)

    def plot_health(self, path: str | Path) -> None:
        """Draw how each layer moves, and what it loses and lacks, one bar a layer.

        Args:
            path: ends in .png, .svg or .pdf; the bytes repeat.

        Raises:
            FlowGradError: another ending.
            ImportError: matplotlib (extra `plots`) is not installed.
        """
        path = picture_path(path)
        save(self.health_figure(), path)

    def health_figure(self) -> Any:
        """Make the picture of `plot_health`, a `matplotlib.figure.Figure`."""
        return health_figure(self.layer_table(), self.name)

    def state_dict(self) -> dict[str, Any]:
        """Everything seen so far, for a checkpoint: tensors, numbers, text, lists and dicts, which `torch.save` writes
        and `torch.load(..., weights_only=True)` reads. Take it between a `step()` and the next optimizer step.
        """
        if self._halt is not None:
            return self._state_of_halt(self._halt)
        return states.headed(
            self.KIND,
            {
                "layers": [layer.name for layer in self._layers],
                "pairs": dict(self._pairs),
                "steps": self._steps,
                "motion": self._motion.state_dict(),
                "losses": self._losses.state_dict(),
                "kd_gradient": None if self._kd_gradient is None else torch.from_numpy(self._kd_gradient.copy()),
                "comparison": None if self._comparison is None else self._comparison.state_dict(),
                "teaching": self._teaching.state_dict(),
                "content": self._content.state_dict(),
                "sight": {
                    **{key: getattr(self, f"_{key}") for key in _NUMBERS},
                    **{key: getattr(self._calls, key) for key in Calls.COUNTS},
                    **{key: getattr(self._losses, key) for key in FACTS},
                },
                "gaps": list(self._gaps),
                "audit": self._audit.state_dict(),
                "origin": self._origin.state_dict(),
            },
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken. Name, rule book and probe stay this tracker's own.

        Raises:
            ValueError: `state` is no state of such a tracker, one of another version, of a student with other layers
                or pairs, or damaged: then the message names where. Nothing has changed.
        """
        if not self._takes(state):
            return
        own = {"layers": [layer.name for layer in self._layers], "pairs": self._pairs}
        parts = form.parts(self._layers, self._teacher_layers)
        states.check(state, self.name, self.KIND, parts, own, also=form.fits)
        self._load_whole(state, self._load)

    def _load(self, state: Mapping[str, Any]) -> None:
        self._steps = state["steps"]
        self._motion.load_state_dict(state["motion"])
        self._losses.load_state_dict(state["losses"])
        self._kd_gradient = None if state["kd_gradient"] is None else state["kd_gradient"].cpu().numpy().copy()
        self._comparison = None if state["comparison"] is None else Comparison.from_state(state["comparison"])
        self._teaching.load_state_dict(state["teaching"])
        self._content.load_state_dict(state["content"])
        for key in _NUMBERS:
            setattr(self, f"_{key}", state["sight"][key])
        for key in Calls.COUNTS:
            setattr(self._calls, key, state["sight"][key])
        for key in FACTS:
            setattr(self._losses, key, state["sight"][key])
        self._gaps = list(state["gaps"])
        self._audit.load_state_dict(state["audit"])
        self._exchanges.arm(self._is_heard())
        self._origin.load_state_dict(state["origin"])

    def detach(self) -> None:
        """Take the hooks off the optimizer, the weights and the teacher. Measurements stay readable."""
        self._attached = False
        for hook in self._hooks:
            hook.remove()
        self._take_off(self._handles)


def _has_closure(given: tuple[Any, ...], named: Mapping[str, Any]) -> bool:
    """Whether a step, of these arguments, computes its gradients itself: those before it are of no use to it."""
    return named.get("closure") is not None or any(callable(one) for one in given if not isinstance(one, Optimizer))


def _is_marked(looks: int) -> bool:
    """Whether this is one of the samples 1, 2, 4, 8, ..."""
    return looks & (looks - 1) == 0
