"""Holds the types of a report: the watched subject, its measurements and findings, and whether the fix was proven.

Reports and their parts are equal where they are the same once written and read (`codec.canonical`): NaN equals NaN,
numpy numbers the Python numbers they hold, a text the same text with U+FFFD for what XML cannot hold, and a mapping
one with the same items in another order. A value of the wrong type makes the comparison raise TypeError or ValueError.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flowgrad.evidence.confidence import Confidence
from flowgrad.report.codec import canonical
from flowgrad.rules.rule import Evidence

HEALTHY, FINDINGS, NOT_OBSERVED = "HEALTHY", "FINDINGS", "NOT_OBSERVED"
"""The states of a report."""
WATCH = "watch"
"""Kind of a report on several watched things; its figures and findings are those of their trackers."""


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
    """Identity of the training that a report is about."""

    id: str
    arm: str = ""
    """Name of the arm: `baseline`, `treated`, ...; empty outside a comparison."""
    round: int = 0
    """Round of diagnosis, from 1; 0 outside a prescription."""
    seed: int | None = None
    config_sha256: str = ""
    data_sha256: str = ""
    training: Mapping[str, str | float | int] = field(default_factory=dict)
    """Attributes of `<training>`: optimizer, lr, batch_size, epochs, steps, loss_first, loss_last; others are welcome.
    All of these but `optimizer` are numbers. A text that spells a number, such as `5`, equals that number."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Version of each package; names must be fit for XML attributes, such as `python` or `scikit-learn`."""


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
    """Id of the row: a number, or a name where rows have names (features, layers); the text `5` equals the number 5."""
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class RowList(Canonical):
    """The rows that a finding names: how many, the first few, and the table that holds them all."""

    count: int
    shown: tuple[RowRecord, ...] = ()
    table: str = ""
    """Name of the file next to the report; empty where none was written."""


@dataclass(frozen=True, eq=False)
class OverrideAblation(Canonical):
    """The test of one override by runs without it, on validation data and on seeds of their own. A loss is positive
    where they are worse.
    """

    outcome: str
    """Outcome: `kept` or `dropped`."""
    arm: str = ""
    """Name of the arm without it in `left_out.csv`; empty where none was trained."""
    left_out_of: str = ""
    """Name of the arm that it was left out of."""
    metric: str = ""
    n: int = 0
    """Number of seeds."""
    loss: float | None = None
    """Mean loss without it, in the metric's unit."""
    ci_low: float | None = None
    ci_high: float | None = None
    p: float | None = None
    share: float | None = None
    """Loss over the gain of everything that was prescribed."""
    share_low: float | None = None
    share_high: float | None = None
    because: str = ""
    """The reason for the outcome, where none was measured."""
    observations_sha256: str = ""
    """Hash of `left_out.csv`."""

    @property
    def dropped(self) -> bool:
        """Whether the override is no part of what was proven."""
        return self.outcome == "dropped"


@dataclass(frozen=True, eq=False)
class Override(Canonical):
    """One change of the config."""

    path: str
    value: str = ""
    """New value as Hydra reads it; empty when only `scale` is known."""
    was: str = ""
    """Former value, where a config is at hand."""
    scale: float | None = None
    """Factor to apply, for users whose config is not at hand."""
    earned: int = 0
    """Number of validated runs in which this override of this rule earned its place."""
    tried: int = 0
    """Number of validated runs in which it was left out, to see whether it does."""
    ablation: OverrideAblation | None = None
    """Test of the override in this run; None where there was none."""


@dataclass(frozen=True, eq=False)
class PlainChange(Canonical):
    """A change in the words of the library that trains, for readers without a config."""

    framework: str
    """Name of the library: `torch`, `xgboost`, `lightgbm`, `catboost` or `any`."""
    text: str


@dataclass(frozen=True, eq=False)
class OpenCause(Canonical):
    """One of several causes that would give the same measurements."""

    cause: str
    check: str
    """Check that would decide whether it is this one."""


@dataclass(frozen=True, eq=False)
class Evaluation(Canonical):
    """The evaluation that a verdict rests on."""

    metric: str
    direction: str
    """Direction of the metric: `higher` or `lower` is better, or `unknown`."""
    on: str = ""
    """Name of the evaluated set."""
    model: str = ""
    """Name of the model: `last_iteration`, or the `best_iteration` that early stopping keeps."""


@dataclass(frozen=True, eq=False)
class Seen(Canonical):
    """Something that the tracker saw, and how often."""

    name: str
    value: float


@dataclass(frozen=True, eq=False)
class Unseen(Canonical):
    """Something that the tracker did not see, the reason, and how it can be seen."""

    name: str
    because: str


@dataclass(frozen=True, eq=False)
class Unjudged(Canonical):
    """A rule that could not be judged, and the reason."""

    rule: str
    because: str


@dataclass(frozen=True, eq=False)
class CoverageReport(Canonical):
    """Record of the evidence that a report rests on, and of figures that are not known."""

    seen: tuple[Seen, ...] = ()
    unseen: tuple[Unseen, ...] = ()
    unjudged: tuple[Unjudged, ...] = ()
    unknown: str = ""
    """Names of the figures that are not known, separated by spaces."""
    blind: str = ""
    """The reason why no verdict can rest on what was seen; empty where the tracker could have seen a fault."""


@dataclass(frozen=True, eq=False)
class Validation(Canonical):
    """The paired test of a finding's fix on seeds that the diagnosis did not see."""

    verdict: str
    """Verdict: `confirmed`, `refuted` or `inconclusive`."""
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
    """Name of the family of comparisons that the adjustment covers."""
    comparison: str = ""
    """Name of the comparison in `significance.csv`."""
    observations_sha256: str = ""
    """Hash of the file of observations that the test was computed from."""
    baseline_arm: str = ""
    """Name of the arm, as `observations.csv` has it."""
    treated_arm: str = ""
    alpha: float | None = None
    """Level of the verdict."""
    overlap: float | None = None
    """Ratio of test to training rows of splits that share rows, where the unit is a split: see
    `flowgrad.statistics.corrected_t`.
    """
    margin: float | None = None
    """Margin of `no_worse`, as a share of the baseline's mean; see `flowgrad.statistics.margin_table`."""
    reason: str = ""
    """The reason why the observations or the data are no evidence, where the gate objects (`flowgrad.gate`): the
    verdict is then `inconclusive`, and there is no p.
    """


@dataclass(frozen=True, eq=False)
class Place(Canonical):
    """One of the places at which a finding was made."""

    layer: str
    """Name of the watched thing, such as a table."""
    kind: str
    """Kind of subject: `embedding`, `flow`, `training` or `batches`."""
    rule: str = ""
    """Rule that fired there; empty where it is the finding's own."""


@dataclass(frozen=True, eq=False)
class PlaceList(Canonical):
    """The places at which a finding was made: how many, and the first few; the finding's figures are of the first."""

    count: int
    of: int = 0
    """Number of watched things of that kind; 0 where it is not told."""
    shown: tuple[Place, ...] = ()


@dataclass(frozen=True, eq=False)
class Group(Canonical):
    """Watched things that are alike."""

    kind: str
    """Kind of subject: `embedding`, `flow`, `training` or `batches`."""
    layers: str
    """Names, the first and the last of many."""
    count: int
    status: str
    """Status of all of them together, one of the states of a report."""
    content: str = ""
    """Content in words: number of rows and width of tables, number of tensors."""


@dataclass(frozen=True, eq=False)
class RateVerdict(Canonical):
    """The one verdict of a report on the learning rate."""

    verdict: str
    """Verdict: `too_high`, `too_low`, `badly_scheduled`, `contradictory`, `open`, `no_objection` or `not_judged`."""
    because: str = ""
    """Types of the findings behind it, separated by spaces, or the reason why there is none."""
    lr: float | None = None
    """Learning rate now, the median over tensors; None where it is not known."""
    change: str = ""
    """Change in the words of the library that trains; empty where none is prescribed."""


@dataclass(frozen=True, eq=False)
class Treated(Canonical):
    """A change that a finding made to the training while it ran."""

    step: int
    """Number of steps taken before it."""
    kind: str
    """Kind of change: `learning_rate`, `clip_norm`, `stop` or `exclude`."""
    where: str
    """Name of the watched thing that the finding is about."""
    old: str
    """Value before, such as the learning rates of all groups."""
    new: str
    """Value from this step on."""
    finding: str
    """Type of the finding."""


@dataclass(frozen=True, eq=False)
class CausalModel(Canonical):
    """A finding in its form in the report: premise, implication, action, expected effect, confidence."""

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
    """Overrides of the fix; empty for findings that inform only, and where no config is at hand."""
    deferred: str = ""
    """The reason why the fix is not part of this round's prescription; empty where it is, and where no config is at
    hand.
    """
    validation: Validation | None = None
    rule_sha256: str = ""
    """Hash of the rule, `Rule.sha256`: it says which condition and fix a validation is about."""
    plain: tuple[PlainChange, ...] = ()
    """The fix in the words of the library that trains."""
    candidates: tuple[OpenCause, ...] = ()
    """Causes that fit, where the cause is open; there is no fix then."""
    judged: Evaluation | None = None
    """The evaluation that the finding rests on."""
    follows: str = ""
    """Type of the finding of the same run that explains this one; empty where it stands by itself."""
    places: PlaceList | None = None
    """Places at which it was made, in a report on several watched things; None in a report on one."""


@dataclass(frozen=True, eq=False)
class Report(Canonical):
    """Report of one tracker on one subject."""

    kind: str
    """Kind of subject, `embedding`, `training`, `flow`, `boosting`, ...: the root element is
    `flowgrad_{kind}_report`.
    """
    layer: str
    run: RunIdentity | None = None
    measurements: tuple[Metric, ...] = ()
    findings: tuple[CausalModel, ...] = ()
    coverage: CoverageReport | None = None
    """Evidence that the report rests on; None in reports of earlier versions."""
    watched: tuple[Group, ...] = ()
    """Content of a report on several watched things, in groups; empty in a report on one."""
    learning_rate: RateVerdict | None = None
    """Verdict on the learning rate, in a report on several watched things."""
    treated: tuple[Treated, ...] = ()
    """Changes that findings made to the training while it ran, in order."""

    @property
    def status(self) -> str:
        """Status of the report: `FINDINGS` where a rule fired, `NOT_OBSERVED` where none could have, else `HEALTHY`."""
        if self.findings:
            return FINDINGS
        return NOT_OBSERVED if self.coverage is not None and self.coverage.blind else HEALTHY

    @property
    def healthy(self) -> bool:
        """Whether faults could have been seen and no rule fired."""
        return self.status == HEALTHY


@dataclass(frozen=True, eq=False)
class RunReport(Canonical):
    """Several reports of one run in one document (`flowgrad_report`)."""

    reports: tuple[Report, ...]
    run: RunIdentity | None = None
