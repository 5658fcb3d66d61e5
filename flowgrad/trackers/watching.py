"""Watches a training without ever ending it: a tracker that cannot go on warns once, and watching stops.

A tracker may fail loudly where it is attached and where it is read. Within the loop of a user (hooks, `step`,
`end_epoch`, callbacks) nothing of it raises: each entry hands its error to `Watching._failed`.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Concatenate, NamedTuple, NoReturn, ParamSpec, TypeVar

from flowgrad.errors import FlowGradError

_MOST = 400
"""Number of characters of an error that are shown."""
_MIXED = 64
"""Number of steps of another thread in between, up to which two threads are taken to step at the same time."""
_ONE_AT_A_TIME = threading.RLock()
OPTIMIZER = "a step of the optimizer"
"""Place of hooks that an optimizer calls before and after its step. It goes through its hooks then, and none may be
taken off meanwhile.
"""

_WITHIN = threading.local()


@contextlib.contextmanager
def within_optimizer() -> Iterator[None]:
    """Say that an optimizer goes through its hooks meanwhile, in this thread: none is taken off then, whoever stops."""
    before = getattr(_WITHIN, "deep", False)
    _WITHIN.deep = True
    try:
        yield
    finally:
        _WITHIN.deep = before


Failed = Callable[[str, Exception], None]
"""Function that takes where something went wrong, in words, and the error."""
Self = TypeVar("Self", bound="Watching")
P = ParamSpec("P")
R = TypeVar("R")


class TrackingStopped(UserWarning):
    """A tracker met something that it cannot go on from: it watches no more, and the training goes on.

    `warnings.filterwarnings("error", category=TrackingStopped)` ends the training there instead.
    """


class ArgumentError(FlowGradError):
    """A call was given something else than it takes. It is raised by that call, after which all is as it was before."""


class ArgumentTypeError(ArgumentError, TypeError):
    """A call was given something of another type."""


class ChangedError(FlowGradError):
    """The watched object is no longer as it was when the tracker was attached."""


class Halt(NamedTuple):
    """Place and reason of a tracker's stop."""

    steps: int
    """Number of steps seen before."""
    place: str
    reason: str


class Watching:
    """Something with hooks in a training that is not its own."""

    name: str
    UNIT = "steps"
    """Unit that the tracker counts its time in."""
    _halt: Halt | None = None
    _thread = 0
    """Thread that stepped last."""
    _threads: frozenset[int] = frozenset()
    _turned = 0
    """Number of steps taken when the thread last changed."""
    _late: tuple[Any, ...] = ()
    """Hooks on optimizers that are still to be taken off. They do nothing once it has stopped."""
    _halting = False
    """Whether the tracker is stopping now."""

    @property
    def stopped(self) -> str:
        """The reason why it watches no more, and since when; empty as long as it does."""
        halt = self._halt
        if halt is None:
            return ""
        return (
            f"the tracker stopped watching at {halt.place}, after {halt.steps} {self.UNIT}: {halt.reason}; figures are "
            f"of the first {halt.steps} {self.UNIT} alone"
        )

    def _count(self) -> int:
        """Number of steps seen so far."""
        raise NotImplementedError

    def detach(self) -> None:
        """Take the hooks off. Measurements stay readable."""

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()

    def _keep(self) -> None:
        """Keep what was seen so far, as it will be reported from now on."""

    def _failed(self, place: str, error: Exception) -> None:
        """Handle the error of an entry that the loop called. Called while the error is handled.

        Raises:
            ArgumentError: the error is one, and the fault of that very call.
        """
        if isinstance(error, ArgumentError):
            raise error
        with _ONE_AT_A_TIME:
            if self._halt is not None:
                return
            self._halt = Halt(self._count(), place, told(error))
            if place == OPTIMIZER and self._threads:
                self._threads |= {threading.get_ident()}
        self._halting = True
        with contextlib.suppress(Exception):
            self.detach()
        self._halting = False
        with contextlib.suppress(Exception):
            self._keep()
        warnings.warn(self._warning(error), TrackingStopped, stacklevel=3)

    def _take_off(self, handles: Iterable[Any]) -> None:
        """Take hooks off optimizers; where that might be while one goes through them, later."""
        halting = self._halting and self._halt is not None
        if getattr(_WITHIN, "deep", False) or (
            halting and (self._halt.place == OPTIMIZER or len(self._threads) > 1)  # type: ignore[union-attr]
        ):
            self._late = (*self._late, *handles)
            return
        for handle in handles:
            handle.remove()

    def _take_off_late(self) -> None:
        """Take off the hooks that were left on an optimizer within its step; not where several threads step."""
        if len(self._threads) > 1 or getattr(_WITHIN, "deep", False):
            return
        late, self._late = self._late, ()
        for handle in late:
            handle.remove()

    def _begun(self) -> bool:
        """Whether anything was noted yet."""
        return self._count() > 0

    def _refusal(self, error: Exception) -> Exception:
        """The error to raise for an argument: its own at the first call, where it is a mistake in the loop; later on,
        the loop is right and its data have changed.
        """
        return ChangedError(str(error)) if isinstance(error, ArgumentError) and self._begun() else error

    def _warning(self, error: Exception) -> str:
        assert self._halt is not None
        steps, place, reason = self._halt
        text = f"{self.name}: {type(self).__name__} stopped watching at {place}, after {steps} {self.UNIT}: {reason}"
        text += ". Training goes on undisturbed, and the report says NOT_OBSERVED"
        if isinstance(error, FlowGradError):
            return text
        return f"{text}. Where this model and its data are as they should be, report this line as a fault of FlowGrad"

    def _turn(self, thread: int) -> None:
        """Note that another thread steps than the one before.

        Raises:
            ChangedError: two threads step in turns.
        """
        count, known = self._count(), self._threads
        mixed = thread in known and count - self._turned < _MIXED
        self._thread, self._threads, self._turned = thread, known | {thread}, count
        if mixed:
            raise ChangedError(
                f"{self.name}: {len(self._threads)} threads take steps in turns, and what each did cannot be told "
                "apart; step from one thread, or give each a model and a tracker of its own"
            )


def entry(
    place: str, *, argued: bool = False
) -> Callable[[Callable[Concatenate[Self, P], R]], Callable[Concatenate[Self, P], R | None]]:
    """Makes a method one that the loop of a user may call: see `Watching._failed`. It does nothing where watching has
    stopped.

    Args:
        place: where it is called, in words.
        argued: whether arguments that are none are an error at every call, not at the first one only.
    """

    def guarding(method: Callable[Concatenate[Self, P], R]) -> Callable[Concatenate[Self, P], R | None]:
        @functools.wraps(method)
        def guarded(self: Self, *args: P.args, **kwargs: P.kwargs) -> R | None:
            if self._halt is not None:
                return None
            try:
                return method(self, *args, **kwargs)
            except Exception as error:
                self._failed(place, error if argued else self._refusal(error))
                return None

        return guarded

    return guarding


def raising(place: str, error: Exception) -> NoReturn:
    """Raise the error; parts of a tracker do this where they are used without one."""
    raise error


def told(error: Exception) -> str:
    """Write an error in one line of printable characters."""
    text = str(error) if isinstance(error, FlowGradError) else f"{type(error).__name__}: {error}"
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= _MOST else f"{line[: _MOST - 3]}..."


def loss_of(loss: Any, tracker: str, kind: str = "loss") -> float:
    """Convert a loss to a number, in its own unit.

    Raises:
        ArgumentError: it is not one number.
        ArgumentTypeError: it is of a type that has none.
    """
    try:
        return float(loss.item() if hasattr(loss, "item") else loss)
    except TypeError as error:
        raise ArgumentTypeError(
            f"{tracker}: {kind} is {type(loss).__name__}; give the one number that backward ran on"
        ) from error
    except (ValueError, RuntimeError, OverflowError, AttributeError) as error:
        shape = getattr(loss, "shape", None)
        what = f"has shape {tuple(shape)}" if shape else f"is a {type(loss).__name__}: {told_value(loss)}"
        raise ArgumentError(f"{tracker}: {kind} {what}; give the one number that backward ran on") from error


def told_value(value: Any) -> str:
    """Write a value in one short line."""
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
