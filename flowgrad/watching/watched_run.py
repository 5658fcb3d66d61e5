"""Watches a whole training by one line: every table, every layer, the losses and the batches."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from weakref import ref

import torch
from torch import distributed, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from flowgrad.measurements import Measurements
from flowgrad.report import Report, RunReport, Treated, to_mapping, to_short_text
from flowgrad.rules import Finding, RuleBook
from flowgrad.subject import as_agent_xml
from flowgrad.trackers import Tracker, run_report
from flowgrad.trackers.batches import BatchTracker
from flowgrad.trackers.embedding import EmbeddingTracker
from flowgrad.trackers.flow import FlowTracker
from flowgrad.trackers.optimizers import Optimizers, is_skipped
from flowgrad.trackers.schedules import Schedule
from flowgrad.trackers.watching import OPTIMIZER, ArgumentError, Watching, entry, within_optimizer
from flowgrad.watching.attached import Attached, Settings
from flowgrad.watching.building import build
from flowgrad.watching.coverage import OUTSIDE, OWN, Counts
from flowgrad.watching.discovery import as_model, signature
from flowgrad.watching.looks import Looks
from flowgrad.watching.losses import Logged
from flowgrad.watching.merging import merged
from flowgrad.watching.reading import Reading, read
from flowgrad.watching.rounds import Round
from flowgrad.watching.sending import Sending
from flowgrad.watching.treatment import Treatment

_PARTS = frozenset(
    {"steps", "skipped", "epochs", "batches", "told", "stopped", "logged", "tables", "network", "course", "rows"}
)
"""Parts of a state."""
_LOOSE = 16
"""Number of tensors that no known optimizer holds whose gradients are looked at after a step, at most."""
_NOTHING = (
    "no step of the optimizer was seen: call optimizer.step() of the very optimizer that was given; a step that was "
    "compiled, or written by hand, calls no hooks"
)
_NOTHING_AT_ALL = (
    "no optimizer that holds a parameter of this model stepped; a step that was compiled, or written by hand, calls no "
    "hooks"
)


class Watch(Watching):
    """A watched training. `watch` makes one; see there."""

    def __init__(
        self,
        model: Any,
        optimizer: Any,
        settings: Settings,
        looks: Looks | None = None,
        *,
        applied: bool = False,
        outside: bool = False,
    ) -> None:
        """Attach to a model; arguments and errors are those of `watch`.

        Args:
            model: that is trained.
            optimizer: that trains it.
            settings: all other arguments of the trackers.
            looks: that tell findings while it trains.
            applied: whether findings change the training, as far as their rules call that safe.
            outside: whether the loop knows nothing of it, and somebody else calls `meet` before each step.
        """
        self._outside = outside
        self._looks = Looks(None, None) if looks is None else looks
        self._news: list[Finding] = []
        """Findings that are to be told as soon as nothing else is under way."""
        self._sent: list[Sending] = []
        """Loggers that figures, findings and the report are sent to."""
        self.name = settings.name
        self._model = as_model(model, self.name)
        self._settings = settings
        self._treatment = Treatment(self._model, self._rows_of) if applied else None
        self._given = optimizer is not None
        self._optimizers = Optimizers(optimizer, self.name)
        self._round = Round()
        self._round.expect(self._optimizers.all)
        self._behind = False
        """Whether the optimizer in its step takes part in the step of the training that is over."""
        self._logged = Logged()
        self._steps = self._skipped = self._epochs = self._batches = 0
        self._reduced = -1
        """Number of steps after which counts of the ranks were summed last."""
        self._ranks = 0
        """Number of ranks at the first step, where there was another one: a loop may end them before it reads."""
        self._left_out: set[int] = set()
        """Optimizers that were left out of a step that counts as skipped, as long as none has stepped since."""
        self._far: torch.Tensor | None = None
        """Number of steps that a gradient scaler made void, counted on its device."""
        self._unknown: dict[str, int] = {}
        """Number of steps of optimizers that hold parameters of the model and were not given, by their class."""
        self._handles: list[Any] = []
        self.unseen: dict[str, str] = {}
        """Further things that were not seen, by name, with the reason: integrations add theirs."""
        self._fresh: list[Any] = []
        """Handles of hooks that look, until the first step, whether the weights are still those attached to."""
        self._state: Mapping[str, Any] | None = None
        """State that was loaded before the first step."""
        self._open = True
        self._attach()
        self._look_out()

    # What the training calls

    def _attach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._signature = signature(self._model)
        # Before those of the trackers, for a step may be over only when the next one begins.
        self._handles = [one.register_step_pre_hook(self._before_step) for one in self._optimizers.all]
        self._attached = Attached(self._model, self._optimizers.all, self._settings)
        self._handles += [one.register_step_post_hook(self._after_step) for one in self._optimizers.all]
        if not self._outside:
            self._handles.append(register_optimizer_step_pre_hook(_AnyStep(self)))

    def _look_out(self) -> None:
        hook = _FreshHook(self)
        roots = {id(one): one for one in (self._model, *self._attached_layers())}
        self._fresh = [one.register_forward_pre_hook(hook) for one in roots.values()]

    def _attached_layers(self) -> list[nn.Module]:
        return [tracker.layer for tracker in self._attached.tables.values()]

    def _look_again(self) -> None:
        """Attach anew where the model was moved, converted or written to since, before its first step."""
        if self._steps or self._skipped or self._round.open or self._halt is not None:
            return
        try:
            if signature(self._model) == self._signature:
                return
            self._attached.detach()
            self._attach()
            if self._state is not None:
                self._load(self._state)
        except Exception as error:
            self._failed("a forward pass", error)

    def knows(self, optimizer: Any) -> bool:
        """Whether an optimizer is watched."""
        return any(optimizer is one for one in self._optimizers.all)

    def meet(self, optimizer: Any) -> bool:
        """Note that an optimizer, whosoever, is about to step: one that holds parameters of the model joins, or is told
        of where others were given. Returns whether it is one of this training.
        """
        if self.knows(optimizer):
            return True
        if not self._open or self._halt is not None:
            return False
        with within_optimizer():
            try:
                own = {id(one) for one in self._model.parameters()}
                if not any(id(one) in own for group in optimizer.param_groups for one in group["params"]):
                    return False
                if self._given:
                    kind = type(optimizer).__name__
                    self._unknown[kind] = self._unknown.get(kind, 0) + 1
                else:
                    self._join(optimizer)
            except Exception as error:
                self._failed(OPTIMIZER, error)
        return True

    def _join(self, optimizer: Any) -> None:
        """Watch an optimizer that is about to take its first step; hooks put on it now are called at that step."""
        fresh = self._optimizers.add(optimizer, self.name)
        self._handles += [one.register_step_pre_hook(self._before_step) for one in fresh]
        self._attached.add_optimizer(optimizer)
        self._note_loose()
        self._handles += [one.register_step_post_hook(self._after_step) for one in fresh]

    def _note_loose(self) -> None:
        held = {id(one) for group in self._optimizers.groups() for one in group["params"]}
        loose = [one for one in self._model.parameters() if id(one) not in held and one.requires_grad]
        self._round.loose = loose[:: -(-len(loose) // _LOOSE)] if loose else []

    def _before_step(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self._open or self._halt is not None:
            return
        with within_optimizer():
            try:
                if self._fresh:
                    for handle in self._fresh:
                        handle.remove()
                    self._fresh = []
                if self._round.begins_anew(optimizer):
                    self._end_step()
                self._behind = self._round.belongs_to_last(optimizer)
                if self._treatment is not None:
                    self._treatment.before(optimizer)
            except Exception as error:
                self._failed(OPTIMIZER, error)
        if self._news:
            self._tell()

    def _after_step(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            self._note_step(optimizer)
        finally:
            if self._treatment is not None:
                self._treatment.after(optimizer)
        if self._news:
            self._tell()

    def _note_step(self, optimizer: Any) -> None:
        if not self._open or self._halt is not None:
            return
        with within_optimizer():
            try:
                if (thread := threading.get_ident()) != self._thread:
                    self._turn(thread)
                if is_skipped(optimizer):
                    self._skip(optimizer)
                    return
                self._left_out.clear()
                self._note_far(optimizer)
                self._attached.stepped(optimizer)
                if self._behind:
                    self._round.join_last(optimizer)
                elif self._round.note(optimizer):
                    self._end_step()
            except Exception as error:
                self._failed(OPTIMIZER, error)

    def _skip(self, optimizer: Any) -> None:
        """Count a step that is left out, once for all optimizers that would have taken it."""
        if self._round.open or (self._left_out and id(optimizer) not in self._left_out):
            self._left_out.add(id(optimizer))
            return
        self._left_out = {id(optimizer)}
        self._skipped += 1
        network, loss = self._attached.network, self._logged.step.take()
        if network is not None:
            network.step(loss)

    def _note_far(self, optimizer: Any) -> None:
        found = getattr(optimizer, "found_inf", None)
        if isinstance(found, torch.Tensor) and found.device.type != "cpu":
            void = (found.detach() != 0).double().reshape(())
            self._far = void if self._far is None else self._far.to(void.device) + void

    def _end_step(self) -> None:
        self._round.end(self._optimizers.all)
        self._steps += 1
        if self._steps == 1:
            self._ranks = _other_ranks()
        self._attached.end_step(self._optimizers.all, self._logged.step.take())
        for one in self._sent:
            if one.due(self._steps):
                one.point(self._steps, self._optimizers.top_rates()[0])
        if self._looks.due(self._steps):
            self._looks.timed(self._steps, self._look)

    def _look(self, *, ended: bool = False) -> None:
        """Look for findings that were not told yet."""
        readings = self._readings()
        found = merged(readings)
        news = self._looks.news(found, ended=ended)
        self._news += [one.lead for one in news]
        if self._treatment is not None and news and not ended:
            self._treat([one.lead for one in news])
        for one in self._sent:
            one.look(self._steps, readings, found, self.skipped)
            one.alert(news)

    def _treat(self, news: Sequence[Finding]) -> None:
        """Change the training; not where other ranks train along, whose findings need not be those of this one."""
        assert self._treatment is not None
        if _other_ranks():
            self.unseen["treatment"] = "findings change nothing where several ranks train: they might differ on each"
            return
        anneals = self._optimizers.facts()["optimizer_anneals"] == 1
        for one in news:
            if not self._treatment.treat(one, self._steps, self._optimizers.raw_rates(), anneals=anneals):
                self._looks.told.discard(one.type)

    def _rows_of(self, finding: Finding) -> tuple[torch.Tensor, list[int]] | None:
        """Weight of the table that a finding is about, and the rows that it names."""
        tracker = self._attached.tables.get(finding.subject)
        if tracker is None:
            return None
        return tracker.layer.weight, list(tracker.rule_book.select(finding.rule_id, tracker.measurements()).index)

    def _tell(self) -> None:
        """Tell findings; what the function that was given raises is the loop's own."""
        news, self._news = self._news, []
        for finding in news:
            self._looks.tell(finding)

    # What the loop calls

    @entry("log()")
    def log(
        self,
        *,
        loss: Any = None,
        val_loss: Any = None,
        metric: Any = None,
        inputs: Any = None,
        targets: Any = None,
        outputs: Any = None,
    ) -> None:
        """Note figures of the loop, before or after the step that they belong to.

        Args:
            loss: training loss of a batch, a number or a tensor of one. Of several in one step (gradient accumulation)
                the mean counts.
            val_loss: validation loss, lower is better; of several in one epoch (one a batch) the mean counts.
            metric: validated figure that is better when higher, such as an accuracy or an NDCG; as `val_loss`.
            inputs: inputs of the model for the same batch: a tensor of shape (rows, ...), or a mapping or a sequence of
                such. Given with `val_loss`, the batch is one of the validation.
            targets: what the loss compares outputs with, shape (rows, ...).
            outputs: outputs of the model as the loss was given them; with `loss` or `val_loss` it is recomputed.

        Raises:
            ValueError: a figure is not one number, at the first call. Later on, that ends the watching.
        """
        if not self._open:
            return
        self._logged.add(loss, val_loss, metric, self.name)
        if self._attached.network is not None:
            self._attached.network.note_graph(loss)
        if inputs is None:
            return
        self._batches += 1
        batches = self._attached.batches
        try:
            if val_loss is not None:
                batches.validate(inputs, targets, outputs=outputs, loss=val_loss)
            else:
                batches.step(inputs, targets, outputs=outputs, loss=loss)
        except ArgumentError as error:
            if not self._begun():
                raise
            batches.give_up(error)  # the rest goes on

    @entry("skip()")
    def skip(self, optimizer: Any = None) -> None:
        """Note that a gradient scaler left a step out, as infinite gradients make it do. It calls a fused optimizer all
        the same, which is seen; any other it does not call, and only the loop knows: `scaler.get_scale()` is lower
        after `scaler.update()`.

        Args:
            optimizer: that would have stepped; of several in one step, the step is counted once.
        """
        if self._open:
            self._skip(optimizer)

    @entry("stop_early()")
    def stop_early(self) -> None:
        """Note that early stopping ended the training and the best weights are kept: nothing is cut short then, and a
        validation loss that rises at the end is not called overfitting.
        """
        if self._open:
            self._attached.course.stop_early()

    @entry("end_epoch()")
    def end_epoch(self, *, loss: Any = None, val_loss: Any = None, metric: Any = None) -> None:
        """Note that an epoch and its validation are over.

        Args:
            loss: mean training loss; None: that of the losses logged since the last epoch.
            val_loss: validation loss; None: the mean of those logged since the last epoch.
            metric: validated figure that is better when higher; None: the mean of those logged.

        Raises:
            ValueError: a figure is not one number, at the first call. Later on, that ends the watching.
        """
        if not self._open:
            return
        known = (self._logged.train.take(), self._logged.validation.take(), self._logged.metric.take())
        told = Logged()
        told.add(loss, val_loss, metric, self.name)
        own = (told.train.take(), told.validation.take(), told.metric.take())
        train, validation, figure = (a if b is None else b for a, b in zip(known, own, strict=True))
        self._logged.losses += told.losses
        self._logged.validations += told.validations
        self._finish_step()
        self._epochs += 1
        self._attached.end_epoch(train, validation, figure, batches=self._batches > 0)
        for one in self._sent:
            one.epoch(self._steps, {"val_loss": validation, "metric": figure})
        if self._treatment is not None:
            best = None if validation is None else float(validation)
            self._treatment.note_epoch(self._epochs, self._steps, best)
        if self._looks.due_at_epoch(self._steps):
            self._looks.timed(self._steps, self._look)
            self._tell()

    def log_to(self, writer: Any, *, prefix: str = "flowgrad") -> None:
        """Send figures, findings and the report to an experiment tracker, while it trains and at its end.

        A dozen series at most: loss and learning rate at ever larger distances, validations at the end of an epoch, and
        at the looks (see `looks` of `watch`) number of findings, gradient norm, update ratio, dead units, rows never
        looked up, least effective rank. Each finding is an alert, once. The report follows as XML, text and HTML at
        the end (`detach`, the end of a `with`), or now where that was before. A logger that fails is named in a warning
        and ends nothing; nothing is closed.

        Args:
            writer: a `SummaryWriter`, the run of `wandb.init` or of `mlflow.start_run`, or a `flowgrad.loggers.Logger`.
            prefix: what names of series and files begin with.

        Raises:
            FlowGradError: `writer` is something else.
        """
        sending = Sending(writer, prefix)
        if not self._open:
            readings = read(self._attached.all())
            found = merged(readings) if self._steps else []
            sending.look(self._steps, readings, found, self.skipped)
            sending.alert([one for one in found if not one.lead.follows])
            sending.report(self)
            return
        self._sent.append(sending)
        self._logged.also.append(sending.losses)
        self._looks.sent = True

    def _finish_step(self) -> None:
        """Close a step that no further optimizer takes part in, and hand over the loss that was told after it."""
        if self._round.open:
            self._end_step()
        if self._steps:
            self._attached.note_last(self._logged.step.take())
        self._attached.settle()

    def _count(self) -> int:
        return self._steps

    def _begun(self) -> bool:
        return self._logged.losses + self._logged.validations + self._batches + self._epochs > 0

    # What is read

    @property
    def steps(self) -> int:
        """Number of steps of the training that were seen, each counted once."""
        return self._steps

    @property
    def skipped(self) -> int:
        """Number of steps that a gradient scaler left out, as far as they were seen."""
        return self._counts().skipped

    @property
    def treated(self) -> tuple[Treated, ...]:
        """Changes that findings made to the training, in order; none without `on_finding="apply"`."""
        return () if self._treatment is None else tuple(self._treatment.done)

    @property
    def should_stop(self) -> bool:
        """Whether a finding asks for the end of the training (`on_finding="apply"`): leave the loop then, and `detach`
        puts the weights of the epoch with the lowest `val_loss` back.
        """
        return self._treatment is not None and self._treatment.should_stop

    @property
    def optimizers(self) -> tuple[torch.optim.Optimizer, ...]:
        """The optimizers that are known, without their wrappers."""
        return self._optimizers.all

    @property
    def tables(self) -> Mapping[str, EmbeddingTracker]:
        """The tracker of each table, by its path in the model."""
        return self._attached.tables

    @property
    def network(self) -> FlowTracker | None:
        """The tracker of the network; None where it cannot be watched."""
        return self._attached.network

    @property
    def batches(self) -> BatchTracker:
        """The tracker of the batches that were logged."""
        return self._attached.batches

    def measurements(self) -> tuple[Measurements, ...]:
        """Everything that each tracker measured so far; of batches nothing, where none was logged."""
        return tuple(one.measurements() for one in self._told())

    def to_report(self) -> Report:
        """Make the one report of the training, as objects. Reading it changes nothing."""
        readings = self._read()
        return build(
            self.name,
            readings,
            self._counts(),
            optimizers=self._optimizers.all,
            extra=self._extra(),
            blind=self.stopped,
            nothing=_NOTHING if self._given else _NOTHING_AT_ALL,
            words=OUTSIDE if self._outside else OWN,
            treated=self.treated,
        )

    def _read(self) -> list[Reading]:
        with contextlib.suppress(Exception):
            if self._open and self._halt is None:
                self._finish_step()
        self._take_off_late()
        for tracker in self._attached.all():
            tracker._take_off_late()
        return self._readings()

    def _readings(self) -> list[Reading]:
        self._attached.share()
        if self._treatment is None:
            return read(self._attached.all())
        with self._treatment.in_force(self._optimizers.all):
            return read(self._attached.all())

    def _counts(self) -> Counts:
        void = 0 if self._far is None else int(self._far)
        return Counts(
            self._steps - void,
            self._skipped + void,
            self._logged.losses,
            self._logged.validations,
            self._epochs,
            self._batches,
        )

    def _extra(self) -> dict[str, str]:
        found = dict(self.unseen)
        if self._batches:
            found.pop("batches", None)
        for name, because in self._attached.refused.items():
            found["network" if name == self.name else f"table {name}"] = because
        if self._attached.batches.stopped:
            found["batches"] = self._attached.batches.stopped
        for kind, count in self._unknown.items():
            found[f"optimizer {kind}"] = (
                f"it holds parameters of the model, was not given and took {count} steps; give all: "
                "watch(model, [one, other])"
            )
        if count := _overlapping(self._optimizers.all):
            found["optimizers"] = (
                f"{count} optimizers have stepped the same tensors: where each was made anew, the moments of the one "
                "before were lost; make one, before the loop"
            )
        if (world := _other_ranks() or self._ranks) and self._reduced != self._steps:
            way = "" if self._outside else "; call watch.all_reduce() on all of them before reading"
            found["ranks"] = f"figures are of this rank, one of {world}{way}"
        return found

    def findings(self) -> tuple[Finding, ...]:
        """Every finding once, most severe first, as it is at the place that bears it out best, with the first of its
        rows; those of `tables[NAME]` have all.
        """
        return tuple(one.lead for one in merged(self._read())) if self._steps else ()

    def report(self) -> str:
        """The report as text of at most 60 lines."""
        return to_short_text(self.to_report())

    def to_agent_xml(self) -> str:
        """The report as XML without a declaration (`flowgrad_watch_report`), valid by `flowgrad/report/report.xsd`."""
        return as_agent_xml(self.to_report())

    def to_dict(self) -> dict[str, Any]:
        """The report as plain dicts, lists, texts and numbers, with the names of the XML."""
        return to_mapping(self.to_report())

    def to_json(self) -> str:
        """The report as JSON text, with the names of the XML."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)

    def to_html(self, path: str | Path, *, twin: str | Path | None = None) -> None:
        """Write the report as one file of HTML that people open: verdict, findings, pictures, what was not seen.

        Args:
            path: file to write.
            twin: file for the same content as JSON; None: none is written.

        Raises:
            OSError: nothing can be written there.
            FlowGradError: jinja2 is not installed.
        """
        from flowgrad.watching.pages import write_pages

        write_pages(self, path, twin)

    def __repr__(self) -> str:
        return f"<Watch of {self.name}: {self._steps:,} steps>"

    def _repr_html_(self) -> str:
        from flowgrad.html import report_page, to_fragment

        return to_fragment(report_page(self.to_report()))

    def details(self) -> RunReport:
        """Make the whole reports of all trackers in one document (`flowgrad_report`): every figure, every rule."""
        return run_report(self._told())

    def _told(self) -> list[Tracker]:
        """Trackers with something to tell."""
        self._read()
        return [one for one in self._attached.all() if one is not self._attached.batches or self._batches]

    # A checkpoint, several ranks, and the end

    def state_dict(self) -> dict[str, Any]:
        """Everything seen so far, for a checkpoint; `torch.load(weights_only=True)` reads what `torch.save` wrote.

        Take it between a step and the next forward pass.
        """
        if self._round.open:
            self._end_step()
        self._attached.settle()
        network = self._attached.network
        return {
            "flowgrad_watch": 1,
            "steps": self._steps,
            "skipped": self._skipped,
            "epochs": self._epochs,
            "batches": self._batches,
            "told": sorted(self._looks.told),
            "looks": self._looks.state_dict(),
            "stopped": self.stopped,
            "logged": self._logged.state(),
            "tables": {name: tracker.state_dict() for name, tracker in self._attached.tables.items()},
            "network": None if network is None else network.state_dict(),
            "course": self._attached.course.state_dict(),
            "rows": self._attached.batches.state_dict(),
            "treatment": None if self._treatment is None else self._treatment.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was taken, before the first step of this run.

        Raises:
            ValueError: `state` is none, or of a model with other tables.
        """
        if not isinstance(state, Mapping) or state.get("flowgrad_watch") != 1:
            raise ValueError(f"{self.name}: this is no state of a watch; give what `state_dict()` of one returned")
        if missing := _PARTS - set(state):
            raise ValueError(
                f"{self.name}: the state lacks {sorted(missing)[0]!r}; save the whole of what `state_dict()` returned"
            )
        if set(state["tables"]) != set(self._attached.tables):
            odd = sorted(set(state["tables"]) ^ set(self._attached.tables))[0]
            raise ValueError(
                f"{self.name}: the state and the model differ in the table {odd!r}; load it for that model"
            )
        self._load(state)
        self._state = state

    def _load(self, state: Mapping[str, Any]) -> None:
        for name, tracker in self._attached.tables.items():
            tracker.load_state_dict(state["tables"][name])
        if self._attached.network is not None and state["network"] is not None:
            self._attached.network.load_state_dict(state["network"])
        self._attached.course.load_state_dict(state["course"])
        self._attached.batches.load_state_dict(state["rows"])
        self._attached.share()
        self._logged.load(state["logged"])
        self._steps, self._skipped = state["steps"], state["skipped"]
        self._epochs, self._batches = state["epochs"], state["batches"]
        self._looks.told = set(state["told"])
        if "looks" in state:  # states of before it was noted lack it, and the treatment
            self._looks.load_state_dict(state["looks"])
        if state["stopped"]:
            self.unseen["before_the_checkpoint"] = state["stopped"]
        treatment = state.get("treatment")
        if treatment is None:
            return
        if self._treatment is not None:
            tables = {name: tracker.layer.weight for name, tracker in self._attached.tables.items()}
            self._treatment.load_state_dict(treatment, tables)
        elif treatment["done"]:
            self.unseen["treatment"] = (
                f"{len(treatment['done'])} changes that findings made before the checkpoint are made no more; give "
                "on_finding='apply'"
            )

    def all_reduce(self, group: Any = None) -> None:
        """Sum the counts of tables over the ranks of a distributed run; call it on every rank, before reading."""
        if self._round.open:
            self._end_step()
        for tracker in self._attached.tables.values():
            tracker.all_reduce(group)
        self._reduced = self._steps

    def detach(self) -> None:
        """Take all hooks off. The report stays readable."""
        if not self._open:
            return
        if self._halt is None:
            with contextlib.suppress(Exception):
                self._finish_step()
                for one in self._sent:
                    one.point(self._steps, self._optimizers.top_rates()[0])
                if self._looks.wanted and self._steps:
                    self._look(ended=True)
        self._open = False
        if self._treatment is not None and not self._halting:
            self._treatment.end()
        for handle in self._fresh:
            handle.remove()
        self._fresh = []
        self._take_off(self._handles)
        self._handles = []
        self._attached.detach()
        sent, self._sent = self._sent, []
        for one in sent:
            one.report(self)
        if self._news:
            self._tell()


class _AnyStep:
    """The hook on all optimizers of the process. It does not keep a watch alive whose model is gone."""

    def __init__(self, watch: Watch) -> None:
        self._watch = ref(watch)

    def __call__(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        watch = self._watch()
        if watch is not None:
            watch.meet(optimizer)


class _FreshHook:
    """The hook that looks whether weights are still as they were; inert in copies of the model."""

    def __init__(self, watch: Watch | None = None) -> None:
        self._watch = watch

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if self._watch is not None and not torch.compiler.is_compiling() and not torch.jit.is_tracing():
            self._watch._look_again()

    def __reduce__(self) -> tuple[type[_FreshHook], tuple[()]]:
        return _FreshHook, ()


def _overlapping(optimizers: Sequence[Any]) -> int:
    """Number of optimizers that hold a tensor which another one holds."""
    held = [{id(p) for group in one.param_groups for p in group["params"]} for one in optimizers]
    times = Counter(tensor for own in held for tensor in own)
    return sum(any(times[tensor] > 1 for tensor in own) for own in held)


def _other_ranks() -> int:
    """Number of ranks of a distributed run; 0 where there is none other."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0
    size = distributed.get_world_size()
    return size if size > 1 else 0


def watch(
    model: Any,
    optimizer: Any = None,
    *,
    name: str = "model",
    scheduler: Any = None,
    rules: RuleBook | None = None,
    schedule: Schedule | None = None,
    sample: int | None = None,
    target_variance: float | None = None,
    loss_at_least: float | None = None,
    on_finding: Callable[[Finding], Any] | Literal["apply"] | None = None,
    looks: Schedule | None = None,
) -> Watch:
    """Watch a whole training: every table of embeddings, every layer, the losses, and the batches where they are told.

    It steps itself by hooks of the optimizers and changes no bit of the training. Weights may still be moved, converted
    or loaded before the first forward pass.

    Example::

        watch = flowgrad.watch(model, optimizer)
        # any training loop, unchanged; where a loss is at hand: watch.log(loss=loss)
        print(watch.report())

    Args:
        model: that is trained, wrapped or not; or a list or dict of several.
        optimizer: that trains it, wrapped or not, or a list of all. None: every optimizer that holds a parameter of the
            model, from its first step on.
        name: what is trained, for the report.
        scheduler: of the learning rate; its optimizer is taken where none is given.
        rules: rule book to judge by; the shipped one if None.
        schedule: number of a step (from 1) -> whether all layers are looked at; see `flowgrad.trackers.schedules`.
            None: the first 20 steps, then two in a row of every 41.
        sample: rows of a table whose weights are followed. None: 12,288, or fewer where that takes much memory.
        target_variance: variance of the training targets, where the loss is a squared error.
        loss_at_least: bound that the loss cannot fall below: 0 of squared errors and of cross-entropies.
        on_finding: called with each finding once, while it trains and when it ends (`detach`, the end of a `with`): as
            soon as two looks in a row make it, a critical one at once. What it raises ends the training. "apply":
            findings of a certain cause change the training, once each, where their rules call that safe
            (`in_training`): the rate of all groups, the norm of the gradient, rows that learn no more, the end
            (`Watch.should_stop`). It is looked after each epoch as well; the changes are told in the report, and end
            with the watching.
        looks: number of a step (from 1) -> whether it is looked for findings; one look costs about as much as a report.
            None: twice in each doubling of the steps, in at most a fiftieth of the time (in any time with "apply").

    Raises:
        TypeError: `model` is no module, or `optimizer` has no step hooks.
        ValueError: a setting is out of range.
    """
    if optimizer is None:
        optimizer = getattr(scheduler, "optimizer", None)
    settings = Settings(name, rules, schedule, sample, target_variance, loss_at_least)
    applied = on_finding == "apply"
    told: Any = None if applied else on_finding
    return Watch(model, optimizer, settings, Looks(told, looks, applied=applied), applied=applied)
