"""Makes the watchers of a network: FlowGrad's tracker, and those of others for comparison."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from pipelines.benchmarks.overhead.watchers import has_peer

if TYPE_CHECKING:
    from flowgrad import Watch
    from pipelines.benchmarks.overhead.networks.cases import NetworkArm, NetworkCase

NONE = "none"
"""Name of a control without a watcher."""
OWN = ("flow", "flow_default", "distillation", "squares", "watch", "watch_default")
"""Names of our watchers: `FlowTracker` at every step, and by its default schedule; `DistillationTracker`, where there
is a teacher; `SquaredGradients`, of SGD, by its default schedule; `flowgrad.watch`, which has a tracker for each table,
too, at every step and by its default schedule.
"""
WATCHES = ("watch", "watch_default")
OTHERS = ("peer", "wandb")
"""Names of other watchers: the peer's `FlowTracker` and `wandb.watch(log="all")`, both at every step."""


class NetworkWatcher(Protocol):
    """Hooks on a network, and a call after each step."""

    def step(self, loss: Tensor) -> Any:
        """Note the optimizer step just taken, on a batch of this loss."""


Attach = Callable[["NetworkArm"], NetworkWatcher | None]


def suits(name: str, case: NetworkCase) -> bool:
    """Whether the watcher of this name is for such a case."""
    if case.optimizer == "sgd":
        return name == "squares"
    if case.rows is not None:
        return name in (*WATCHES, "wandb")
    return name != "squares" and (name == "distillation") == (case.teacher is not None)


def installed(name: str) -> bool:
    """Whether the package of the watcher of this name can be imported."""
    if name == "peer":
        return has_peer()
    return name != "wandb" or find_spec("wandb") is not None


@contextmanager
def attaching(name: str, folder: Path) -> Iterator[Attach]:
    """Yield the function that attaches the watcher of this name to an arm. It is imported now, before any memory is
    measured.

    Args:
        name: `none`, or one of `OWN` or `OTHERS`.
        folder: where it may keep files meanwhile.
    """
    if name == NONE:
        yield lambda arm: None
    elif name == "distillation":
        yield _distillation()
    elif name == "squares":
        yield _squares()
    elif name in WATCHES:
        yield _watch(every_step=name == "watch")
    elif name in OWN:
        yield _flow(every_step=name == "flow")
    elif name == "peer":
        from gradtracer import FlowTracker as Peer

        yield lambda arm: _ToldFloats(Peer(arm.model, optimizer=arm.optimizers[0]).step)
    else:
        with _wandb(folder) as attach:
            yield attach


def _flow(every_step: bool) -> Attach:
    from flowgrad.trackers.flow import FlowTracker
    from flowgrad.trackers.schedules import every

    return lambda arm: FlowTracker(arm.model, arm.optimizers, schedule=every() if every_step else None)


def _distillation() -> Attach:
    """Attach the steps of a distillation tracker alone: a comparison of the two models is made when the user asks for
    one.
    """
    from flowgrad.trackers.distillation import DistillationTracker

    def attach(arm: NetworkArm) -> NetworkWatcher:
        assert arm.teacher is not None
        return DistillationTracker(arm.teacher, arm.model, optimizer=arm.optimizers)

    return attach


def _squares() -> Attach:
    """Attach squared gradients, which a hook on the optimizer tells of steps."""
    from flowgrad.trackers.squared_gradients import SquaredGradients

    def attach(arm: NetworkArm) -> NetworkWatcher:
        return _ToldNothing(SquaredGradients(arm.optimizers[0]))

    return attach


def _watch(*, every_step: bool) -> Attach:
    import flowgrad
    from flowgrad.trackers.schedules import every

    def attach(arm: NetworkArm) -> NetworkWatcher:
        return _Logged(flowgrad.watch(arm.model, arm.optimizers, schedule=every() if every_step else None))

    return attach


class _Logged:
    """Gives a watch, which steps itself, the loss."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def step(self, loss: Tensor) -> None:
        """Log the loss."""
        self.watch.log(loss=loss)


class _ToldNothing:
    """Keeps a watcher that needs no call."""

    def __init__(self, watcher: object) -> None:
        self.watcher = watcher

    def step(self, loss: Tensor) -> None:
        """Do nothing."""


class _ToldFloats:
    """Gives a watcher the loss as a float."""

    def __init__(self, step: Callable[..., Any]) -> None:
        self._step = step

    def step(self, loss: Tensor) -> None:
        self._step(loss=loss.item())


@contextmanager
def _wandb(folder: Path) -> Iterator[Attach]:
    """Yield the attachment of `wandb`, offline and without its checks of the machine, the code or the console: only
    `watch` and `log` are timed.
    """
    with tempfile.TemporaryDirectory(prefix="wandb-", dir=folder) as place, _files_within(place):
        import wandb

        quiet = wandb.Settings(
            console="off", silent=True, x_disable_stats=True, x_disable_meta=True, disable_git=True, save_code=False
        )
        run = wandb.init(mode="offline", dir=place, settings=quiet)

        def attach(arm: NetworkArm) -> NetworkWatcher:
            run.watch(arm.model, log="all", log_freq=1)
            return _ToldFloats(lambda loss: run.log({"loss": loss}))

        try:
            yield attach
        finally:
            run.finish()
            wandb.teardown()


@contextmanager
def _files_within(place: str) -> Iterator[None]:
    """Set the folders where `wandb` keeps logs, caches and temporary folders. It reads some of this once, when it is
    imported: in the comparison's own process.
    """
    tempfile.tempdir = place
    for kind in ("", "CACHE_", "CONFIG_", "DATA_", "ARTIFACT_"):
        os.environ[f"WANDB_{kind}DIR"] = place
    os.environ["WANDB_ERROR_REPORTING"] = "false"
    try:
        yield
    finally:
        tempfile.tempdir = None
