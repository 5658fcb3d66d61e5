"""Runs the peer library `gradtracer` 0.9.0 on our runs, judged by its own trackers, thresholds and rules.

It is scored on injected faults, as FlowGrad is. Nothing of it is computed here: rows come from its methods, findings
from the text of its exports and reports. Only the credit of a finding for a fault is ours (`CREDITS`).
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flowgrad.errors import FlowGradError

EMBEDDING_SOURCES = ("embedding_export", "embedding_report")
"""JSON export and printed report of its `EmbeddingTracker`. Their thresholds differ; the report's are lower."""

RUN_SOURCES = ("run_export", "run_report")
"""JSON export and printed report of its `FlowTracker`, which watches a module layer by layer."""

SOURCES = (*EMBEDDING_SOURCES, *RUN_SOURCES)
"""Every output of the peer that holds findings."""


@dataclass(frozen=True)
class PeerAlert:
    """One rule of the peer that fired."""

    source: str
    """Name of the output, one of `SOURCES`, that holds it."""
    type: str
    """The peer's name of the finding, blanks as underscores: `ZOMBIE_EMBEDDINGS`, `HIGH_DEAD_RATE`, ..."""
    action: str
    """Prescription of the peer: a code in its exports, a sentence in its reports."""


@dataclass(frozen=True)
class PeerDiagnosis:
    """Findings of the peer on one table after training, in its own vocabulary."""

    zombie_rows: tuple[int, ...] = ()
    """Its "zombie" rows, ascending: more than 5 updates, smoothed cosine of consecutive updates below -0.3, and
    faster than half the median. It has one word for rows that circle, whether by labels or by learning rate.
    """
    dead_rows: tuple[int, ...] = ()
    """Its "dead" rows, ascending: no step after the first gave them a gradient. It has one word for rows never
    sampled and rows whose gradient is masked, and none for rows that get gradients and do not move.
    """
    oscillation: tuple[float, ...] = ()
    """Its score of each row, in [-1, 1]: the smoothed cosine, -1 for a row that goes back and forth. It ranks rows."""
    starvation: tuple[float, ...] = ()
    """Its score of each row, in [0, 1]: how far below the median velocity. It has no threshold of its own."""
    alerts: tuple[PeerAlert, ...] = ()
    """Every rule that fired, in order of `SOURCES`."""
    says_healthy: tuple[str, ...] = ()
    """Names of its outputs that call the training healthy."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Figures of its `summary()`, which its rules on embeddings compare with thresholds."""
    error: str = ""
    """Errors that the peer raised, each different exception once, one a line; empty where it ran through."""

    @property
    def findings(self) -> tuple[str, ...]:
        """Types of the alerts, each once; `("HEALTHY",)` where there is none and the peer says so."""
        types = tuple(dict.fromkeys(alert.type for alert in self.alerts))
        return types or (("HEALTHY",) if self.says_healthy else ())

    @property
    def actions(self) -> tuple[str, ...]:
        """Prescriptions of the alerts, each once."""
        return tuple(dict.fromkeys(alert.action for alert in self.alerts))


class PeerTracker:
    """The peer's trackers on one embedding table, at every step and with their default thresholds.

    Its `auto_fix`, which rewrites gradients, stays off: attached like this it changes no bit of the training. It prints
    nothing here, writes no file, and leaves the global random numbers as they were. Its errors are kept in
    `PeerDiagnosis.error` and never reach the loop.

    Args:
        layer: the table. A hook of the peer sees its gradient after hooks registered earlier.
        name: of the table, as it stands in the peer's outputs.
        optimizer: read by its `FlowTracker`, which runs next to its `EmbeddingTracker` where this is given. Rules on
            learning rate and weight decay are there. They judge a model parameter by parameter, so that one table
            alone gets what it would get within the model, but for the shortcut rule, which compares layers. Of a
            sparse table it sees the weights only, for it cannot take the mean of sparse gradients.

    Raises:
        FlowGradError: the peer is not installed.
    """

    def __init__(self, layer: nn.Embedding, name: str, optimizer: torch.optim.Optimizer | None = None) -> None:
        self._peer = import_peer()
        self._errors: dict[str, None] = {}
        self._embedding: Any = None
        self._run: Any = None
        with self._guarded("EmbeddingTracker"):
            self._embedding = self._peer.EmbeddingTracker(layer, name=name, auto_fix=False, track_interval=1)
            self._guard_hook(layer.weight)
        if optimizer is not None:
            with self._guarded("FlowTracker"):
                self._run = self._peer.FlowTracker(
                    layer, optimizer=optimizer, run_name=name, track_gradients=not layer.sparse
                )

    def step(self, loss: float | None = None) -> None:
        """Note the step after each `optimizer.step()`.

        Args:
            loss: of the batch. Several rules of its `FlowTracker` take a loss that does not fall, or is not given, as
                a sign of harm.
        """
        if self._embedding is not None:
            with self._guarded("EmbeddingTracker.step"):
                self._embedding.step()
        if self._run is not None:
            with self._guarded("FlowTracker.step"):
                self._run.step(loss=loss)

    def end_epoch(self) -> None:
        """Do nothing: the peer knows no epochs."""

    def detach(self) -> None:
        """Take its hooks off. The diagnosis stays readable; it reads the weights as they then are."""
        for tracker in (self._embedding, self._run):
            if tracker is not None:
                with self._guarded("detach"):
                    tracker.detach()

    def diagnosis(self) -> PeerDiagnosis:
        """Make the diagnosis so far; it may be read as often as wanted."""
        found: dict[str, Any] = {}
        alerts: list[PeerAlert] = []
        healthy = []
        with _own_random_numbers():
            for attribute, read in self._readings().items():
                with self._guarded(attribute):
                    found[attribute] = read()
            for source, call in self._outputs().items():
                with self._guarded(source):
                    fired, says_healthy = read_output(source, call())
                    alerts += fired
                    healthy += [source] if says_healthy else []
        return PeerDiagnosis(**found, alerts=tuple(alerts), says_healthy=tuple(healthy), error="\n".join(self._errors))

    def _readings(self) -> dict[str, Callable[[], Any]]:
        """Functions that ask the peer for each field of the diagnosis, by name."""
        tracker = self._embedding
        if tracker is None:
            return {}
        return {
            "zombie_rows": lambda: tuple(int(row) for row in tracker.zombie_embeddings()),
            "dead_rows": lambda: tuple(int(row) for row in tracker.dead_embeddings()),
            "oscillation": lambda: tuple(tracker.oscillation_scores.tolist()),
            "starvation": lambda: tuple(tracker.starvation_index().tolist()),
            "figures": lambda: dict(tracker.summary()),
        }

    def _outputs(self) -> dict[str, Callable[[], str]]:
        """Functions that make the text of each source, by name. Without `save` and `include_history` the peer touches
        no file.
        """
        calls: dict[str, Callable[[], str]] = {}
        embedding, run = self._embedding, self._run
        if embedding is not None:
            calls["embedding_export"] = lambda: self._peer.AgentExporter.export_embedding(embedding)
            calls["embedding_report"] = lambda: printed(embedding.report)
        if run is not None:
            calls["run_export"] = lambda: run.export_for_agent(include_history=False, save=False)
            calls["run_report"] = lambda: printed(run.report)
        return calls

    def _guard_hook(self, weight: Tensor) -> None:
        """Guard its hook, which runs inside `backward`, where an exception would end our training."""
        tracker = self._embedding

        def hook(gradient: Tensor) -> None:
            with self._guarded("EmbeddingTracker, gradient hook"):
                tracker._grad_hook(gradient)

        tracker._hook.remove()
        tracker._hook = weight.register_hook(hook)

    def _guarded(self, doing: str) -> AbstractContextManager[None]:
        return guarded(self._errors, doing)


@contextmanager
def guarded(errors: dict[str, None], doing: str) -> Iterator[None]:
    """Let the peer neither print, nor warn, nor raise; note what it raises in `errors`."""
    with (
        redirect_stdout(StringIO()),
        redirect_stderr(StringIO()),
        warnings.catch_warnings(),
        np.errstate(all="ignore"),
    ):
        warnings.simplefilter("ignore")
        try:
            yield
        except Exception as error:
            message = (str(error).splitlines() or [""])[0]
            errors[f"{doing}: {type(error).__name__}: {message}"] = None


def peer_available() -> bool:
    """Whether the peer can be imported. The first call imports it, which takes seconds."""
    try:
        import_peer()
    except FlowGradError:
        return False
    return True


def import_peer() -> Any:
    """Import the peer's module.

    Raises:
        FlowGradError: it is not installed.
    """
    try:
        with redirect_stdout(StringIO()):
            import gradtracer
    except ImportError as error:
        raise FlowGradError(f"the peer library cannot be imported ({error}): pip install 'flowgrad[bench]'") from error
    return gradtracer


# --- reading its outputs -----------------------------------------------------------------------------------------

_ALERT = re.compile(r"^\W+(?P<type>[A-Z][A-Z_ ]*[A-Z])(?: \(|: ')")
_ACTION = re.compile(r"^\W+(?:Recommendation|Prescription): (?P<action>.+?)\s*$")
_HEALTHY = re.compile(r"\[OK\]|No critical issues detected")


def read_output(source: str, text: str) -> tuple[list[PeerAlert], bool]:
    """Read the alerts in an output of the peer, and whether it says that all is healthy."""
    return _read_export(source, text) if source.endswith("export") else _read_report(source, text)


def _read_export(source: str, text: str) -> tuple[list[PeerAlert], bool]:
    """Read JSON of one object; its `diagnostics` are a list of findings, or a status where there is none."""
    (report,) = json.loads(text).values()
    diagnostics = report["diagnostics"]
    if isinstance(diagnostics, dict):
        return [], diagnostics["status"].startswith("HEALTHY")
    return [PeerAlert(source, finding["type"], finding["action"]) for finding in diagnostics], False


def _read_report(source: str, text: str) -> tuple[list[PeerAlert], bool]:
    """Read lines; an alert is a heading in capitals, followed by the recommendation."""
    alerts: list[PeerAlert] = []
    for line in text.splitlines():
        if heading := _ALERT.match(line):
            alerts.append(PeerAlert(source, heading["type"].replace(" ", "_"), ""))
        elif alerts and (advice := _ACTION.match(line)):
            alerts[-1] = PeerAlert(source, alerts[-1].type, advice["action"])
    return alerts, not alerts and _HEALTHY.search(text) is not None


def printed(call: Callable[[], object]) -> str:
    """Text that the call prints."""
    buffer = StringIO()
    with redirect_stdout(buffer):
        call()
    return buffer.getvalue()


@contextmanager
def _own_random_numbers() -> Iterator[None]:
    """Keep the global random numbers as they are: its effective rank of a table of more than 2000 rows is that of rows
    drawn by torch's global generator.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


# --- what is credited with which fault ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Credit:
    """Outputs of the peer that count as detecting a fault."""

    rows: str = ""
    """Field of `PeerDiagnosis` with the rows that count as named; empty where it names none."""
    alerts: Mapping[str, str] = field(default_factory=dict)
    """The reason why an alert counts, by its type."""


_OSCILLATES = {
    "ZOMBIE_EMBEDDINGS": "implies an oscillating optimizer and conflicting gradients; prescribes DECREASE_LR",
    "ZOMBIE_COLLAPSE": "the same finding at a lower threshold; prescribes a lower learning rate or larger batches",
}
_DEAD = {
    "DEAD_EMBEDDINGS": "says that rows never received a gradient update",
    "HIGH_DEAD_RATE": "the same finding at a lower threshold",
}
_HALTED = {
    "HARMFUL_STAGNATION": "says that the table does not move",
    "SAFE_STAGNATION": "says that the table does not move",
    "STAGNATION": "says that the table does not move",
    "INCONSISTENCY_DETECTED": "says that weights might be frozen while others learn",
}
_POPULARITY = {
    "POPULARITY_BIAS": "says that the exposure is skewed; prescribes log-Q correction",
    "EXTREME_POPULARITY_BIAS": "the same finding at a lower threshold; prescribes log-Q correction",
}

CREDITS: Mapping[str, Credit] = {
    "conflict_random": Credit("zombie_rows", _OSCILLATES),
    "conflict_flipped": Credit("zombie_rows", _OSCILLATES),
    "hot": Credit("zombie_rows", _OSCILLATES),
    "dead": Credit("dead_rows", _DEAD),
    "frozen": Credit("dead_rows", {**_DEAD, **_HALTED}),
    "stuck": Credit("dead_rows", {**_DEAD, **_HALTED}),
    "skew": Credit("", _POPULARITY),
    "lr_too_high": Credit(
        "",
        {
            **_OSCILLATES,
            "HARMFUL_LOW_SNR": "prescribes REDUCE_LR as one of two",
            "LOW_GRADIENT_SNR": "asks whether the learning rate is too high",
            "GRADIENT_EXPLOSION": "prescribes clipping or half the learning rate",
            "VELOCITY_EXPLOSION": "prescribes a lower learning rate",
        },
    ),
    "lr_too_low": Credit(
        "",
        {
            "HARMFUL_STAGNATION": "prescribes INCREASE_LR as one of two",
            "STAGNATION": "prescribes a higher learning rate as one of two",
        },
    ),
    "overfitting": Credit(
        "",
        {
            "REPRESENTATION_COLLAPSE": "prescribes fewer dimensions as one of two",
            "GRADIENT_STARVATION_SHORTCUT": "implies a spurious feature; prescribes AUGMENT_DATA as one of two",
        },
    ),
    "collapse": Credit(
        "",
        {
            "REPRESENTATION_COLLAPSE": "names it",
            "DEAD_NEURON_COLLAPSE": "says that most weights are near zero",
            "DEAD_NEURONS": "says that most weights are near zero",
            "HARMFUL_STAGNATION": "implies excessive regularization; prescribes REMOVE_WEIGHT_DECAY as one of two",
            "STAGNATION": "prescribes no weight decay as one of two",
        },
    ),
    "initialisation": Credit("", {"DEAD_NEURONS": "asks to check the initialization"}),
    "uncorrected_negatives": Credit("", _POPULARITY),
    "stale_momentum": Credit(
        "",
        {
            "ZOMBIE_EMBEDDINGS": "prescribes DECREASE_BETA or SPARSE_ADAM",
            "ZOMBIE_COLLAPSE": "the same finding at a lower threshold",
        },
    ),
}
"""Outputs of the peer that count as detecting each fault, in its favour.

An alert counts where it names the fault or its cause, or where its prescription would undo the fault, even as one of
several alternatives. Rows count by their class alone, whether or not a rule fires. No rule of the peer reads a
validation loss, the initial weights or the kind of loss.
"""


def detects(fault: str, diagnosis: PeerDiagnosis, sources: Collection[str] = SOURCES) -> bool:
    """Whether an alert is credited with the fault.

    Args:
        fault: a key of `CREDITS`.
        diagnosis: of the table where the fault is.
        sources: outputs that count. Those of a looser threshold detect more and raise more false alarms.

    Raises:
        FlowGradError: a fault or source that is unknown.
    """
    if unknown := set(sources) - set(SOURCES):
        raise FlowGradError(f"the peer has no output {min(unknown)!r}; it has {', '.join(SOURCES)}")
    credited = _credit(fault).alerts
    return any(alert.type in credited for alert in diagnosis.alerts if alert.source in sources)


def rows_for(fault: str, diagnosis: PeerDiagnosis) -> tuple[int, ...]:
    """The rows that the peer names and that are credited with the fault; none where it names no rows for it.

    Raises:
        FlowGradError: a fault that is unknown.
    """
    rows = _credit(fault).rows
    return getattr(diagnosis, rows) if rows else ()


def _credit(fault: str) -> Credit:
    if fault not in CREDITS:
        raise FlowGradError(f"fault {fault!r} is unknown; use one of {', '.join(CREDITS)}")
    return CREDITS[fault]
