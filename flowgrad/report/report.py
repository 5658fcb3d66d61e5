"""A report: what was watched, what was measured, what was found, and whether the fix was proven.

Reports and their parts are equal where they are the same once written and read (`codec.canonical`): NaN equals NaN,
numpy numbers the Python numbers they hold, a text the same text with U+FFFD for what XML cannot hold, and a mapping
one with the same items in another order. A value of the wrong type makes the comparison raise TypeError or ValueError.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flowgrad.evidence import Confidence
from flowgrad.report.codec import canonical
from flowgrad.rules.rule import Evidence

HEALTHY, FINDINGS, NOT_OBSERVED = "HEALTHY", "FINDINGS", "NOT_OBSERVED"
"""The states of a report."""


class Canonical:
    """Equality and hash by canonical form."""

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return canonical(self) == canonical(other)

    def __hash__(self) -> int:
        return hash(canonical(self))


@dataclass(frozen=True, eq=False)
class RunIdentity(Canonical):
    """Which training a report speaks of."""

    id: str
    arm: str = ""
    """`baseline`, `treated`, ...; empty outside a comparison."""
    round: int = 0
    """Round of diagnosis, from 1; 0 outside a prescription."""
    seed: int | None = None
    config_sha256: str = ""
    data_sha256: str = ""
    training: Mapping[str, str | float | int] = field(default_factory=dict)
    """Attributes of `<training>`: optimizer, lr, batch_size, epochs, steps, loss_first, loss_last; others are welcome.
    All of these but `optimizer` are numbers. A text that spells a number, such as `5`, equals that number."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Package -> version; names must be fit for XML attributes, such as `python` or `scikit-learn`."""


@dataclass(frozen=True, eq=False)
class Metric(Canonical):
    """One measured scalar."""

    name: str
    value: float
    unit: str = ""


@dataclass(frozen=True, eq=False)
class RowRecord(Canonical):
    """One row that a finding names: its id and the per-row measures behind it."""

    id: int | str
    """A number, or a name where rows have names (features, layers); the text `5` equals the number 5."""
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class RowList(Canonical):
    """The rows that a finding names: how many, the first few, and the table that holds them all."""

    count: int
    shown: tuple[RowRecord, ...] = ()
    table: str = ""
    """File name beside the report; empty where none was written."""


@dataclass(frozen=True, eq=False)
class Override(Canonical):
    """One change of the config."""

    path: str
    value: str = ""
    """New value as Hydra reads it; empty when only `scale` is known."""
    was: str = ""
    """The value replaced, where a config is at hand."""
    scale: float | None = None
    """Factor to apply, for users whose config is not at hand."""


@dataclass(frozen=True, eq=False)
class PlainChange(Canonical):
    """A change in the words of the library that trains, for readers without a config."""

    framework: str
    """`torch`, `xgboost`, `lightgbm`, `catboost` or `any`."""
    text: str


@dataclass(frozen=True, eq=False)
class OpenCause(Canonical):
    """One of several causes that would look as what was measured does."""

    cause: str
    check: str
    """What would tell whether it is this one."""


@dataclass(frozen=True, eq=False)
class Evaluation(Canonical):
    """The evaluation that a verdict rests on."""

    metric: str
    direction: str
    """`higher` or `lower` is better, or `unknown`."""
    on: str = ""
    """Name of the evaluated set."""
    model: str = ""
    """`last_iteration`, or the `best_iteration` that early stopping keeps."""


@dataclass(frozen=True, eq=False)
class Seen(Canonical):
    """Something that the tracker saw, and how often."""

    name: str
    value: float


@dataclass(frozen=True, eq=False)
class Unseen(Canonical):
    """Something that the tracker did not see, why, and how it can be seen."""

    name: str
    because: str


@dataclass(frozen=True, eq=False)
class Unjudged(Canonical):
    """A rule that could not be judged, and why."""

    rule: str
    because: str


@dataclass(frozen=True, eq=False)
class CoverageReport(Canonical):
    """What a report rests on, and what it cannot tell."""

    seen: tuple[Seen, ...] = ()
    unseen: tuple[Unseen, ...] = ()
    unjudged: tuple[Unjudged, ...] = ()
    unknown: str = ""
    """Names of the figures that are not known, separated by spaces."""
    blind: str = ""
    """Why no verdict can rest on what was seen; empty where the tracker could have seen a fault."""


@dataclass(frozen=True, eq=False)
class Validation(Canonical):
    """The paired test of a finding's fix on seeds that the diagnosis did not see."""

    verdict: str
    """`confirmed`, `refuted` or `inconclusive`."""
    test: str
    unit: str
    n: int
    metric: str
    baseline: float
    treated: float
    difference: float
    ci_low: float
    ci_high: float
    effect_size: float
    p: float
    p_adjusted: float
    family: str
    """Which comparisons the adjustment covers."""
    comparison: str = ""
    """Name of the comparison in `significance.csv`."""
    observations_sha256: str = ""
    """Hash of the file of observations that the test was computed from."""
    baseline_arm: str = ""
    """Arms as `observations.csv` names them."""
    treated_arm: str = ""
    alpha: float | None = None
    """Level of the verdict."""
    overlap: float | None = None
    """Of splits that share rows, where the unit is a split: see `flowgrad.statistics.corrected_t`."""
    margin: float | None = None
    """Of `no_worse`: over the baseline's mean; see `flowgrad.statistics.margin_table`."""
    reason: str = ""
    """Why the observations or the data are no evidence, where the gate objects (`flowgrad.gate`): the verdict is then
    `inconclusive`, and there is no p."""


@dataclass(frozen=True, eq=False)
class CausalModel(Canonical):
    """A finding as the report tells it: premise, implication, action, expected effect, confidence."""

    type: str
    rule: str
    severity: str
    premise: str
    implies: str
    action: str
    expected_effect: str
    confidence: Confidence
    risk: str = ""
    evidence: tuple[Evidence, ...] = ()
    rows: RowList | None = None
    fix: tuple[Override, ...] = ()
    """Empty for findings that inform only, and where no config is at hand."""
    deferred: str = ""
    """Why the fix is not part of this round's prescription; empty where it is, and where no config is at hand."""
    validation: Validation | None = None
    rule_sha256: str = ""
    """`Rule.sha256`: which condition and fix a validation speaks of."""
    plain: tuple[PlainChange, ...] = ()
    """The fix in the words of the library that trains."""
    candidates: tuple[OpenCause, ...] = ()
    """Causes that fit, where the cause is open; there is no fix then."""
    judged: Evaluation | None = None
    """The evaluation that the finding rests on."""
    follows: str = ""
    """Type of the finding of the same run that explains this one; empty where it stands by itself."""


@dataclass(frozen=True, eq=False)
class Report(Canonical):
    """Everything one tracker has to say about one subject."""

    kind: str
    """`embedding`, `training`, `flow`, `boosting`, ...: the root element is `flowgrad_{kind}_report`."""
    layer: str
    run: RunIdentity | None = None
    measurements: tuple[Metric, ...] = ()
    findings: tuple[CausalModel, ...] = ()
    coverage: CoverageReport | None = None
    """What the report rests on; None in reports of earlier versions."""

    @property
    def status(self) -> str:
        """`FINDINGS` where a rule fired, `NOT_OBSERVED` where none could have, else `HEALTHY`."""
        if self.findings:
            return FINDINGS
        return NOT_OBSERVED if self.coverage is not None and self.coverage.blind else HEALTHY

    @property
    def healthy(self) -> bool:
        """True where faults could have been seen and no rule fired."""
        return self.status == HEALTHY


@dataclass(frozen=True, eq=False)
class RunReport(Canonical):
    """Several reports of one run in one document (`flowgrad_report`)."""

    reports: tuple[Report, ...]
    run: RunIdentity | None = None
