"""Runs the peer library `gradtracer` 0.9.0 on our networks, judged by its own `FlowTracker`, thresholds and rules.

Nothing of it is computed here, as in the `embedding` module beside this one; only the credit of a finding for a fault
is ours (`CREDITS`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from flowgrad.errors import FlowGradError
from pipelines.benchmarks.gradtracer.embedding import RUN_SOURCES, PeerAlert, guarded, import_peer, printed, read_output

_NAMED = re.compile(r"^\W+(?P<type>[A-Z][A-Z_ ]*[A-Z]): '(?P<layer>.+)'\s*$", re.MULTILINE)


@dataclass(frozen=True)
class PeerFlow:
    """Findings of the peer on one network, in its own vocabulary."""

    alerts: tuple[PeerAlert, ...] = ()
    """Every rule that fired, once for each of its outputs."""
    named: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Parameters that each type of alert names, each once."""
    says_healthy: tuple[str, ...] = ()
    """Names of its outputs that call the training healthy."""
    error: str = ""
    """Errors that the peer raised, each different exception once, one a line; empty where it ran through."""


class PeerFlowTracker:
    """The peer's `FlowTracker` at every step, with its default thresholds.

    It prints nothing here, writes no file and changes no bit of the training. Its errors are kept in `PeerFlow.error`
    and never reach the loop. By its default it leaves out parameters that require no gradient or whose name contains
    "bias".

    Args:
        model: the network.
        optimizer: its learning rate is read; it may be None.
        scheduler: the same.

    Raises:
        FlowGradError: the peer is not installed.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer | None = None, scheduler: Any = None) -> None:
        self._peer = import_peer()
        self._errors: dict[str, None] = {}
        self.tracker: Any = None
        """The peer's own object; None where it could not be made."""
        # It cannot take the mean of a sparse gradient, and would lose the whole step.
        gradients = not any(getattr(module, "sparse", False) for module in model.modules())
        with self._guarded("FlowTracker"):
            self.tracker = self._peer.FlowTracker(
                model, optimizer=optimizer, scheduler=scheduler, track_gradients=gradients
            )

    @property
    def errors(self) -> tuple[str, ...]:
        """Errors that it raised so far, each different exception once."""
        return tuple(self._errors)

    def step(self, loss: float | Tensor | None = None) -> None:
        """Note the step after each `optimizer.step()`.

        Args:
            loss: of the batch. Its rules take a loss that does not fall, or is not given, as a sign of harm.
        """
        if self.tracker is not None:
            with self._guarded("FlowTracker.step"):
                self.tracker.step(loss=loss if loss is None else float(loss))

    def end_epoch(self, train_loss: float | None = None, validation_loss: float | None = None) -> None:
        """Do nothing: the peer knows no epochs."""

    def detach(self) -> None:
        """Take its hooks off. The diagnosis stays readable."""
        if self.tracker is not None:
            with self._guarded("detach"):
                self.tracker.detach()

    def diagnosis(self) -> PeerFlow:
        """Make the diagnosis so far; it may be read as often as wanted."""
        if self.tracker is None:
            return PeerFlow(error="\n".join(self._errors))
        alerts: dict[tuple[str, str], PeerAlert] = {}
        named: dict[str, dict[str, None]] = {}
        healthy = []
        for source in RUN_SOURCES:
            with self._guarded(source):
                text = self._output(source)
                fired, says_healthy = read_output(source, text)
                alerts |= {(alert.source, alert.type): alert for alert in reversed(fired)}
                healthy += [source] if says_healthy else []
                for kind, layer in _layers(source, text):
                    named.setdefault(kind, {})[layer] = None
        return PeerFlow(
            alerts=tuple(sorted(alerts.values(), key=lambda alert: (RUN_SOURCES.index(alert.source), alert.type))),
            named={kind: tuple(layers) for kind, layers in named.items()},
            says_healthy=tuple(healthy),
            error="\n".join(self._errors),
        )

    def _output(self, source: str) -> str:
        """Make its text. Without `save` and `include_history` it touches no file; its report lists five layers a rule
        by default, and is asked to list all.
        """
        tracker = self.tracker
        if source == "run_export":
            return str(tracker.export_for_agent(include_history=False, save=False))
        return printed(lambda: tracker.report(top_k=max(5, len(tracker.store.layer_names))))

    def _guarded(self, doing: str) -> AbstractContextManager[None]:
        return guarded(self._errors, doing)


def _layers(source: str, text: str) -> Iterator[tuple[str, str]]:
    """Yield (type of an alert, parameter that it names). Names within the prose of its exports are shortened and not
    read.
    """
    if source == "run_report":
        for match in _NAMED.finditer(text):
            yield match["type"].replace(" ", "_"), match["layer"]
        return
    (report,) = json.loads(text).values()
    diagnostics = report["diagnostics"]
    for finding in () if isinstance(diagnostics, dict) else diagnostics:
        for layer in finding.get("layers_affected", ()):
            yield finding["type"], layer


_EXPLODES = {
    "GRADIENT_EXPLOSION": "names it",
    "VELOCITY_EXPLOSION": "says that the weights move too far; prescribes a lower learning rate",
}
_HALTED = {
    "HARMFUL_STAGNATION": "says that parameters do not move",
    "SAFE_STAGNATION": "says that parameters do not move",
    "STAGNATION": "says that parameters do not move",
}
_LOWER_RATE = {
    "HARMFUL_LOW_SNR": "prescribes REDUCE_LR as one of two",
    "LOW_GRADIENT_SNR": "asks whether the learning rate is too high",
    "GRADIENT_EXPLOSION": "prescribes clipping or half the learning rate",
    "VELOCITY_EXPLOSION": "prescribes a lower learning rate",
}
_HIGHER_RATE = {
    "HARMFUL_STAGNATION": "prescribes INCREASE_LR as one of two",
    "STAGNATION": "prescribes a higher learning rate as one of two",
}

CREDITS: Mapping[str, Mapping[str, str]] = {
    "vanishing": {
        **_HALTED,
        "GRADIENT_STARVATION_SHORTCUT": "says that layers get ever less of the gradient",
    },
    "exploding": _EXPLODES,
    "dying_relu": {
        "DEAD_NEURON_COLLAPSE": "implies a dying ReLU; prescribes another activation",
        "DEAD_NEURONS": "names it; prescribes another activation",
    },
    "stagnant_layer": {**_HALTED, "INCONSISTENCY_DETECTED": "says that weights might be frozen while others learn"},
    "left_out": {**_HALTED, "INCONSISTENCY_DETECTED": "says that weights might be frozen while others learn"},
    "oscillating_loss": _LOWER_RATE,
    "rate_too_high": _LOWER_RATE,
    "slow_convergence": _HIGHER_RATE,
    "rate_too_low": _HIGHER_RATE,
    "non_finite": {
        "GRADIENT_EXPLOSION": "names what leads there",
        "VELOCITY_EXPLOSION": "asks to check for numerical instability",
    },
    "missing_normalisation": {
        "GRADIENT_EXPLOSION": "names what inputs of large values bring about",
        "VELOCITY_EXPLOSION": "names what inputs of large values bring about",
    },
}
"""The reason why a type of alert counts for a fault, in the peer's favour: it names the fault, its cause or a
consequence, or its prescription would undo the fault, even as one of several alternatives. `BENIGN_NOISE` asks for
nothing and counts for nothing.
"""


def credited(fault: str, alert: PeerAlert) -> bool:
    """Whether the alert is credited with the fault.

    Raises:
        FlowGradError: a fault that is unknown.
    """
    return alert.type in _credit(fault)


def layers_for(fault: str, diagnosis: PeerFlow) -> tuple[str, ...]:
    """Parameters that the peer names and that are credited with the fault, each once.

    Raises:
        FlowGradError: a fault that is unknown.
    """
    named = [layer for kind in _credit(fault) for layer in diagnosis.named.get(kind, ())]
    return tuple(dict.fromkeys(named))


def _credit(fault: str) -> Mapping[str, str]:
    if fault not in CREDITS:
        raise FlowGradError(f"fault {fault!r} is unknown; use one of {', '.join(CREDITS)}")
    return CREDITS[fault]
