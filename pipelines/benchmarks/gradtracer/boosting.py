"""Runs the peer library `gradtracer` 0.9.0 on our boosters, judged by its own trackers, thresholds and rules.

Nothing of it is computed here, as in the `embedding` module beside this one; only the credit of a finding for a fault
is ours (`CREDITS`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.benchmarks.gradtracer.embedding import PeerAlert, guarded, import_peer, printed

_OVERFITTING, _UNUSED, _DRIFT, _LEAK, _REDUNDANT = "OVERFITTING", "UNUSED", "FEATURE_DRIFT", "LEAKAGE", "REDUNDANT"
_RISING = re.compile(r"^\s+↑ (?P<name>.+?): \+", re.MULTILINE)
_LISTED = re.compile(r"^\s+- (?P<name>.+?)\s*$", re.MULTILINE)
_NAMED_LEAK = re.compile(r"^(?P<name>.+) \(Correlation: ")


@dataclass(frozen=True)
class PeerBoosting:
    """Findings of the peer on one booster, in its own vocabulary."""

    alerts: tuple[PeerAlert, ...] = ()
    """Every rule that fired."""
    named: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Columns that each type of alert names."""
    error: str = ""
    """Errors that the peer raised, each different exception once, one a line."""


class PeerBoostingTracker:
    """The peer's `BoostingTracker` at every round, its `FeatureAdvisor.detect_leakage` and its
    `FeatureAnalyzer.redundant_features`, with their default thresholds.

    Raises:
        FlowGradError: the peer is not installed.
    """

    def __init__(self) -> None:
        import_peer()
        from gradtracer import BoostingTracker

        self._errors: dict[str, None] = {}
        self._tracker = BoostingTracker()
        self._columns: dict[str, tuple[str, ...]] = {}

    def as_xgb_callback(self) -> Any:
        """Make the peer's callback for XGBoost."""
        return self._tracker.as_xgb_callback()

    def as_lgb_callback(self) -> Any:
        """Make the peer's callback for LightGBM."""
        return self._tracker.as_lgb_callback()

    def observe_data(self, X: Any, y: Any, X_validation: Any, y_validation: Any) -> None:
        """Run the peer's two analyses of columns; it is given the training rows, and has no use for others."""
        from gradtracer.analyzers.features import FeatureAnalyzer
        from gradtracer.analyzers.trees import FeatureAdvisor

        names = list(X.columns)
        with guarded(self._errors, "detect_leakage"):
            found = FeatureAdvisor.detect_leakage(X.to_numpy(), y, names)
            matches = [_NAMED_LEAK.match(text) for text in found]
            self._columns[_LEAK] = tuple(match["name"] for match in matches if match)
        with guarded(self._errors, "redundant_features"):
            pairs = FeatureAnalyzer(None, X, y).redundant_features()
            self._columns[_REDUNDANT] = tuple(dict.fromkeys(pair["drop"] for pair in pairs))

    def diagnosis(self) -> PeerBoosting:
        """Make the diagnosis."""
        report = ""
        with guarded(self._errors, "report"):
            report = printed(self._tracker.report)
        named: dict[str, tuple[str, ...]] = {_OVERFITTING: ()} if "OVERFITTING DETECTED" in report else {}
        named |= _sections(report)
        named |= {kind: columns for kind, columns in self._columns.items() if columns}
        alerts = tuple(PeerAlert("boosting_report", kind, "") for kind in named)
        return PeerBoosting(alerts, named, "\n".join(self._errors))


def _sections(report: str) -> dict[str, tuple[str, ...]]:
    """Columns that its report lists as rising in importance (a list without a threshold) and as unused."""
    found = {}
    if rising := tuple(match["name"] for match in _RISING.finditer(report)):
        found[_DRIFT] = rising
    _, heading, unused = report.partition("Potentially unused features")
    if heading:
        found[_UNUSED] = tuple(match["name"] for match in _LISTED.finditer(unused))
    return found


CREDITS: Mapping[str, Mapping[str, str]] = {
    "overfitting": {_OVERFITTING: "names it"},
    "stagnation": {},
    "leak": {_LEAK: "names the column"},
    "leak_proxy": {_LEAK: "names the column"},
    "target_encoding": {_LEAK: "names the column"},
    "smoothed_encoding": {_LEAK: "names the column"},
    "ids_in_order": {_LEAK: "names the column"},
    "batch_codes": {_LEAK: "names the column"},
    "dominant_column": {_DRIFT: "lists columns whose importance rises"},
    "copied_columns": {_REDUNDANT: "names the column"},
    "constant_columns": {_UNUSED: "names the column"},
    "noise_columns": {_UNUSED: "names the column", _DRIFT: "lists columns whose importance rises"},
}
"""The reason why a type of alert counts for a fault, in the peer's favour. A training-only leak that it would call
overfitting is not credited: the column is not named.
"""


def credited(fault: str, alert: PeerAlert) -> bool:
    """Whether the alert is credited with the fault; one that is not in `CREDITS` has no credit."""
    return alert.type in CREDITS.get(fault, {})


def columns_for(fault: str, diagnosis: PeerBoosting) -> tuple[str, ...]:
    """Columns that the peer names and that are credited with the fault."""
    named = [column for kind in CREDITS.get(fault, {}) for column in diagnosis.named.get(kind, ())]
    return tuple(dict.fromkeys(named))
