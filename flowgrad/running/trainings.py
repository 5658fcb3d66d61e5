"""Keeps the trainings of a script apart: models that are trained one after the other have a report each, those that are
trained in turns are one training.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet, ref

from flowgrad.report import Report
from flowgrad.running.losses import OneLoss
from flowgrad.running.models import count_of, parameters_of

if TYPE_CHECKING:
    from flowgrad.html import Figure
    from flowgrad.watching import Watch

LATE = 16
"""Number of steps after which a training before is over, and models that were called and not trained are let go."""
MOST = 64
"""Number of trainings that are watched."""
LARGE = 1 << 25
"""Number of bytes of models from which on their memory is given back at once: a watch that is over is in circles."""
_LOSSES = "optimizers step in turns, each with a loss of its own; watch.log(loss=...) tells the one that counts"
_TURNS = (
    "from then on it was trained in turns with another model; both are watched as one training, which is told apart"
)


class Candidate(NamedTuple):
    """A model that was called, and is watched in case that it is trained."""

    model: Any
    watch: Watch
    met: int
    """Number of trainings that had begun when it was first called."""


class Training:
    """Models that are trained together, and their watch."""

    def __init__(self, models: list[Any], watch: Watch, number: int) -> None:
        self.models, self.watch, self.number = models, watch, number
        self.loss = OneLoss()
        self.joined = False
        """Whether it was made of models that began apart."""
        self.lost = 0
        """Number of steps of one of them before the first of another, which no watch has."""

    def log(self, optimizer: Any, losses: Sequence[Any]) -> None:
        """Note the losses that backward ran on before a step of an optimizer, as far as they are one series."""
        for loss in self.loss.take(optimizer, losses):
            self.watch.log(loss=loss)

    def end(self) -> None:
        """Stop watching."""
        for loss in self.loss.rest():
            self.watch.log(loss=loss)
        if self.loss.separate:
            self.watch.unseen["loss"] = _LOSSES
        self.watch.detach()

    @property
    def name(self) -> str:
        """Classes of the models."""
        return ", ".join(type(model).__name__ for model in self.models)


class Past(NamedTuple):
    """A training that is over. Its models are not kept alive."""

    number: int
    name: str
    report: Report
    models: tuple[Any, ...]
    """Weak references of the models."""
    optimizers: tuple[Any, ...]
    """Weak references of the optimizers."""
    steps: int
    figures: tuple[Figure, ...] = ()
    """Pictures of it, where it is the one that is drawn."""


class Trainings:
    """The trainings of a script, in the order in which they began."""

    def __init__(self, watching: Callable[[Any], Watch], *, drawn: bool = False) -> None:
        """Start with none.

        Args:
            watching: makes the watch of a model, or of several by name.
            drawn: whether pictures are made: of the first training with findings, else of the first.
        """
        self._watching, self._drawn = watching, drawn
        self.candidates: dict[int, Candidate] = {}
        self.current: Training | None = None
        self._paused: Training | None = None
        """Training before the current one, as long as it may go on."""
        self._past: list[Past] = []
        self._settled = True
        self.begun = 0
        """Number of trainings that have begun."""
        self.waiting: Any = WeakSet()
        """Optimizers that have not stepped yet."""

    def wanted(self) -> set[int]:
        """Identities of the tensors that optimizers hold which have not stepped yet."""
        return parameters_of(self.waiting)

    def seeks(self) -> bool:
        """Whether models are still to be found: of an optimizer that was made and whose tensors are in none known."""
        if self.begun >= MOST:
            return False
        if self.current is None:
            return True
        known = {id(one) for model in self._known_models() for one in model.parameters()}
        return not self.wanted() <= known

    def _known_models(self) -> list[Any]:
        assert self.current is not None
        return [*self.current.models, *(one.model for one in self.candidates.values())]

    def of(self, optimizer: Any) -> Training | None:
        """Return the training that an optimizer is about to step in; None where none holds its tensors."""
        current = self.current
        if current is not None and current.watch.knows(optimizer):
            if not self._settled and current.watch.steps > LATE:
                self._settle()
            return current
        self.waiting.discard(optimizer)
        training = self._training_of(optimizer)
        return training if training is not None and training.watch.meet(optimizer) else None

    def _training_of(self, optimizer: Any) -> Training | None:
        current = self.current
        if self._paused is not None and self._paused.watch.knows(optimizer):
            assert current is not None
            return self._in_turns([self._paused, current])
        own = parameters_of([optimizer])
        held = {key: count_of(one.model, own) for key, one in self.candidates.items()}
        have = 0 if current is None else sum(count_of(model, own) for model in current.models)
        if max(held.values(), default=0) <= have:
            return current if have else self._returned(optimizer)
        keys = sorted((key for key in held if held[key]), key=lambda key: -held[key])
        found = [self.candidates.pop(key) for key in keys]
        if current is not None and current.watch.steps <= LATE and any(one.met < current.number for one in found):
            return self._in_turns([current], [one.model for one in found], [one.watch for one in found])
        return self._begin([one.model for one in found], [one.watch for one in found])

    def _begin(self, models: list[Any], watches: Sequence[Watch] = ()) -> Training:
        """Begin a training; the one before it may still turn out to go on."""
        if self._paused is not None:
            self._end(self._paused)
        self._paused, self._settled = self.current, False
        self.begun += 1
        if len(watches) == len(models) == 1:
            watch = watches[0]
        else:
            for one in watches:
                one.detach()
            watch = self._watching(_named(models) if len(models) > 1 else models[0])
        self.current = Training(models, watch, self.begun)
        return self.current

    def _in_turns(
        self, trainings: Sequence[Training], models: Iterable[Any] = (), watches: Sequence[Watch] = (), *, lost: int = 0
    ) -> Training:
        """Make one training of several and of further models; what each did alone for long is told apart."""
        parts = [*(training.models for training in trainings), list(models)]
        joined = list({id(model): model for part in parts for model in part}.values())
        inner = {id(part) for model in joined for part in model.modules() if part is not model}
        joined = [model for model in joined if id(model) not in inner]
        for one in watches:
            one.detach()
        for training in trainings:
            if training.watch.steps > LATE:
                training.watch.unseen["in_turns"] = _TURNS
                self._end(training)
            else:
                lost += training.watch.steps + training.lost
                training.watch.detach()
        self._paused = None if self._paused in trainings else self._paused
        self.current = None
        made = self._begin(joined)
        made.joined = True
        for optimizer in [one for training in trainings for one in training.watch.optimizers]:
            made.watch.meet(optimizer)
        if lost:
            made.lost = lost
            made.watch.unseen["first_steps"] = (
                f"{lost} steps at the beginning, before all models had taken one, are left out"
            )
        return made

    def _returned(self, optimizer: Any) -> Training | None:
        """Take up a training that was over, and that goes on after all."""
        for past in self._past:
            if any(one() is optimizer for one in past.optimizers):
                models = [one() for one in past.models]
                if self.current is not None and None not in models and self.begun < MOST:
                    lost = past.steps if past.steps <= LATE else 0
                    if lost:
                        self._past.remove(past)
                    return self._in_turns([self.current], models, lost=lost)
        return None

    def _settle(self) -> None:
        """Let go of the training before, and of models that were called and that no optimizer is going to train."""
        self._settled = True
        over, self._paused = self._paused, None
        if over is not None:
            self._end(over)
        wanted = self.wanted()
        for key in [key for key, one in self.candidates.items() if not count_of(one.model, wanted)]:
            self.candidates.pop(key).watch.detach()
        if over is not None:
            size = sum(one.nbytes for model in over.models for one in model.parameters())
            del over
            if size >= LARGE:
                gc.collect()

    def _end(self, training: Training) -> None:
        watch = training.watch
        training.end()
        if watch.steps or watch.skipped:
            refs = tuple(map(ref, training.models)), tuple(map(ref, watch.optimizers))
            figures = self._figures(watch)
            self._past.append(Past(training.number, training.name, watch.to_report(), *refs, watch.steps, figures))

    def _figures(self, watch: Watch) -> tuple[Figure, ...]:
        known = next((one for one in self._past if one.figures), None)
        if not self._drawn or (known is not None and (known.report.findings or not watch.findings())):
            return ()
        from flowgrad.watching.pages import pictures_of

        try:
            return tuple(pictures_of(watch))
        except Exception as error:
            watch.unseen["pictures"] = f"{type(error).__name__}: {error}"
            return ()

    def close(self) -> None:
        """End all trainings, and let go of all models."""
        for training in (self._paused, self.current):
            if training is not None:
                self._end(training)
        self.current = self._paused = None
        for one in self.candidates.values():
            one.watch.detach()
        self.candidates = {}

    def reports(self) -> tuple[Report, ...]:
        """Reports of the trainings that are over; where they are several, with their numbers and models."""
        if len(self._past) == 1:
            return (self._past[0].report,)
        return tuple(_renamed(one.report, which) for which, one in self._numbered())

    def figures(self) -> list[Figure]:
        """Pictures of one training; where there are several, their captions say of which."""
        which, chosen = next(((w, one) for w, one in reversed(self._numbered()) if one.figures), ("", None))
        if chosen is None or len(self._past) == 1:
            return [] if chosen is None else list(chosen.figures)
        return [replace(one, title=f"{one.title} {which}") for one in chosen.figures]

    def _numbered(self) -> list[tuple[str, Past]]:
        ordered = sorted(self._past, key=lambda one: one.number)
        return [(f"({place}: {one.name})", one) for place, one in enumerate(ordered, 1)]


def _renamed(report: Report, which: str) -> Report:
    """Name a report, and what it calls by its name, with the number and models of its training."""
    own, layer = report.layer, f"{report.layer} {which}"
    findings = []
    for one in report.findings:
        shown = () if one.places is None else one.places.shown
        places = tuple(replace(place, layer=layer) if place.layer == own else place for place in shown)
        findings.append(one if one.places is None else replace(one, places=replace(one.places, shown=places)))
    watched = tuple(replace(one, layers=layer) if one.layers == own else one for one in report.watched)
    return replace(report, layer=layer, findings=tuple(findings), watched=watched)


def _named(models: Iterable[Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for model in models:
        name, number = type(model).__name__, 2
        while name in named:
            name, number = f"{type(model).__name__}_{number}", number + 1
        named[name] = model
    return named
