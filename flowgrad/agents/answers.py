"""Holds the form of each answer. `schema.json` beside this file says the same as JSON Schema, which a test holds.

Names inside a finding are those of the XML (`flowgrad/report/report.xsd`). Where a number is not finite its place holds
null, and `not_finite` beside it says by name what it is: `NaN`, `INF` or `-INF`. Where a list or a text was cut,
`cut` says by name how long it was.
"""

import sys
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING or sys.version_info >= (3, 12):
    from typing import NotRequired, TypedDict
else:
    try:  # pydantic, which makes the schema, takes no other before Python 3.12
        from typing_extensions import NotRequired, TypedDict  # noqa: UP035
    except ImportError:
        from typing import NotRequired, TypedDict

Severity = Literal["info", "low", "medium", "high", "critical"]
Status = Literal["FINDINGS", "HEALTHY", "NOT_OBSERVED"]
Verdict = Literal["confirmed", "refuted", "inconclusive"]
Number = float | None
"""A number; null where it is not finite or not known."""
NotFinite = dict[str, str]
Cut = dict[str, int]


class Evidence(TypedDict):
    """A measured value behind a finding."""

    name: str
    value: Number
    threshold: NotRequired[Number]
    """Number that the rule compares it with."""
    not_finite: NotRequired[NotFinite]


class Confidence(TypedDict):
    """Posterior that the fix helps, from validated runs."""

    value: Number
    basis: Literal["measured", "prior"]
    """`prior`: no trial of this rule; the value is what the fixes of other rules reached, 0.5 where none was tried."""
    trials: int
    confirmed: int
    low: Number
    """Lower end of the 95 % credible interval."""
    high: Number
    refuted: NotRequired[int]
    tried_on: NotRequired[str]
    """Number of those runs on each model and data that are known."""
    near: NotRequired[Literal["pair", "model", "data", "neither"]]
    """The part of this run's own model and data that was tried; left out where it is not known."""
    not_finite: NotRequired[NotFinite]


class Candidate(TypedDict):
    """One of several causes that fit, and the check that tells."""

    cause: str
    check: str
    cut: NotRequired[Cut]


class Ablation(TypedDict):
    """The test of one override by runs without it, on validation data. A loss is positive where they are worse."""

    outcome: Literal["kept", "dropped"]
    """`dropped`: it is no part of the change that was proven."""
    arm: NotRequired[str]
    left_out_of: NotRequired[str]
    metric: NotRequired[str]
    n: NotRequired[int]
    loss: NotRequired[Number]
    ci_low: NotRequired[Number]
    ci_high: NotRequired[Number]
    p: NotRequired[Number]
    share: NotRequired[Number]
    """Loss over the gain of everything that was prescribed."""
    share_low: NotRequired[Number]
    share_high: NotRequired[Number]
    because: NotRequired[str]
    observations_sha256: NotRequired[str]
    not_finite: NotRequired[NotFinite]
    cut: NotRequired[Cut]


class Change(TypedDict):
    """A change: an override of a config (`path`), or the same in words of the library that trains (`framework`)."""

    path: NotRequired[str]
    value: NotRequired[str]
    was: NotRequired[str]
    scale: NotRequired[Number]
    earned: NotRequired[int]
    """Number of validated runs in which this override earned its place."""
    tried: NotRequired[int]
    """Number of validated runs in which it was left out to see."""
    ablation: NotRequired[Ablation]
    framework: NotRequired[str]
    text: NotRequired[str]
    not_finite: NotRequired[NotFinite]
    cut: NotRequired[Cut]


class RowCount(TypedDict):
    """The rows that a finding names; the verb `rows` lists them."""

    count: int
    table: NotRequired[str]
    """Name of the file beside the report that holds them all."""


class Judged(TypedDict):
    """The evaluation that a finding rests on."""

    metric: str
    direction: str
    on: NotRequired[str]
    model: NotRequired[str]


class Validation(TypedDict):
    """The paired test of the fix on seeds that the diagnosis did not see."""

    verdict: Verdict
    test: str
    unit: str
    n: int
    metric: str
    baseline: Number
    treated: Number
    difference: Number
    ci_low: Number
    ci_high: Number
    effect_size: Number
    p: Number
    p_adjusted: Number
    family: str
    comparison: NotRequired[str]
    baseline_arm: NotRequired[str]
    treated_arm: NotRequired[str]
    alpha: NotRequired[Number]
    overlap: NotRequired[Number]
    margin: NotRequired[Number]
    observations_sha256: NotRequired[str]
    reason: NotRequired[str]
    """Reason why the observations are no evidence."""
    not_finite: NotRequired[NotFinite]
    cut: NotRequired[Cut]


class Place(TypedDict):
    """A place at which a finding was made."""

    layer: str
    kind: str
    rule: NotRequired[str]


class Places(TypedDict):
    """The places at which a finding was made: how many, and the first few."""

    count: int
    of: NotRequired[int]
    place: NotRequired[list[Place]]
    cut: NotRequired[Cut]


class Finding(TypedDict):
    """A finding: figures that were measured, the cause that follows, and the change to make."""

    layer: str
    """Subject of the report that holds it."""
    kind: str
    """Kind of subject: `embedding`, `flow`, `watch`, ..."""
    type: str
    rule: str
    severity: Severity
    follows: NotRequired[str]
    """Type of the finding that explains this one: treat that one."""
    deferred: NotRequired[str]
    """Reason why the fix is not prescribed now."""
    premise: str
    places: NotRequired[Places]
    implies: str
    action: str
    expected_effect: str
    risk: NotRequired[str]
    confidence: Confidence
    evidence: NotRequired[list[Evidence]]
    rows: NotRequired[RowCount]
    candidates: NotRequired[list[Candidate]]
    """Causes that fit, where the cause is open: there is no fix, and the checks come first."""
    fix: NotRequired[list[Change]]
    judged: NotRequired[Judged]
    validation: NotRequired[Validation]
    rule_sha256: NotRequired[str]
    cut: NotRequired[Cut]


class Blind(TypedDict):
    """A subject that no verdict can rest on."""

    layer: str
    kind: str
    because: str
    cut: NotRequired[Cut]


class Unseen(TypedDict):
    """Something that was not seen, and how it can be."""

    layer: str
    name: str
    because: str
    cut: NotRequired[Cut]


class Rate(TypedDict):
    """The one verdict on the learning rate."""

    verdict: str
    because: NotRequired[str]
    lr: NotRequired[Number]
    change: NotRequired[str]
    not_finite: NotRequired[NotFinite]
    cut: NotRequired[Cut]


class MadeChange(TypedDict):
    """A change that a finding made to the training while it ran."""

    step: int
    """Number of steps taken before it."""
    kind: str
    where: str
    old: str
    new: str
    finding: str
    """Type of the finding."""
    not_finite: NotRequired[NotFinite]
    cut: NotRequired[Cut]


class Findings(TypedDict):
    """Answer of `findings`: what a report says, most severe first."""

    answer: Literal["findings"]
    schema_version: str
    run: str
    """RUN as it was given."""
    report: str
    """File that was read."""
    reports: list[str]
    """Further reports of the same folder."""
    id: NotRequired[str]
    arm: NotRequired[str]
    round: NotRequired[int]
    training: NotRequired[dict[str, Any]]
    """Facts of the training, such as `lr`, `epochs` and `steps`."""
    status: Status
    """`NOT_OBSERVED` is no health: nothing could have been found."""
    severities: dict[str, int]
    """Number of findings by severity, before anything is left out."""
    total: int
    """Number of findings that were asked for."""
    findings: list[Finding]
    learning_rate: NotRequired[Rate]
    changed: NotRequired[list[MadeChange]]
    """Changes that findings made while it trained, where they did."""
    blind: list[Blind]
    unseen: list[Unseen]
    unjudged: int
    """Number of rules that could not be judged, for figures that are not known."""
    next: list[str]
    """Commands that lead on."""
    not_finite: NotRequired[NotFinite]
    cut: NotRequired[Cut]


class Earned(TypedDict):
    """How often an override earned its place."""

    earned: int
    tried: int
    """Number of validated runs in which it was left out to see."""


class Rule(TypedDict):
    """A rule of the book, in words."""

    rule: str
    subject: str
    type: str
    symptom: NotRequired[str]
    """Type of the finding where the cause is open."""
    severity: Severity
    condition: str
    requires: NotRequired[str]
    """Condition that has to hold too for the cause to be claimed."""
    rows: NotRequired[str]
    """Condition that says which rows it names."""
    premise: str
    implies: str
    action: str
    expected_effect: str
    risk: NotRequired[str]
    set: NotRequired[dict[str, Any]]
    """New value of each config path."""
    scale: NotRequired[dict[str, Number]]
    """Factor on the value of each config path."""
    copy: NotRequired[dict[str, str]]
    """Measured figure that becomes the value of each config path."""
    lists_rows: NotRequired[list[str]]
    """Config paths that become the list of rows found."""
    plain: NotRequired[dict[str, str]]
    """The change in words, by library that trains."""
    in_training: NotRequired[dict[str, Any]]
    """The part of it that is safe while training runs."""
    candidates: NotRequired[list[Candidate]]
    follows: NotRequired[list[str]]
    explains: NotRequired[bool]
    """Whether findings follow from it at any severity; left out where they do from medium on."""
    reference: NotRequired[str]
    rule_sha256: str
    confidence: NotRequired[Confidence]
    """Confidence in its config change; left out where it has none."""
    overrides: NotRequired[dict[str, Earned]]
    """How often single overrides of it earned their place, by config path."""
    prescribed: NotRequired[bool]
    """Whether its config change is prescribed by default: false where trials refute it."""
    not_finite: NotRequired[NotFinite]
    cut: NotRequired[Cut]


class Explained(TypedDict):
    """Answer of `explain`: each rule of that id or type."""

    answer: Literal["explain"]
    schema_version: str
    asked: str
    rules: list[Rule]
    next: list[str]
    cut: NotRequired[Cut]


class Series(TypedDict):
    """One series of a figure."""

    source: str
    """File that holds it."""
    subject: str
    figure: str
    by: str
    """Meaning of the first number of each point: `epoch`, `seed`, `round` or `step`."""
    arm: NotRequired[str]
    seed: NotRequired[int]
    count: int
    """Number of points before thinning."""
    points: list[tuple[float, Number]]
    """[`by`, value]; lowest, highest, first and last values are kept, and the first that is not finite."""
    not_finite: NotRequired[NotFinite]
    """Value of the points that hold null, by the first number."""


class Available(TypedDict):
    """Figures of one subject that there are series of."""

    subject: str
    source: str
    by: str
    figures: list[str]
    cut: NotRequired[Cut]


class History(TypedDict):
    """Answer of `history`: the series of a figure, or what there is where none was named."""

    answer: Literal["history"]
    schema_version: str
    run: str
    max_points: int
    series: list[Series]
    total: int
    """Number of series that match."""
    available: list[Available]
    """Series that there are, where SUBJECT or FIGURE was left out."""
    cut: NotRequired[Cut]


class Row(TypedDict):
    """A row that a finding names."""

    id: int | str
    row: NotRequired[int | str]
    """Number of the row in its table, where `id` is the data's own."""
    figures: dict[str, Number]
    not_finite: NotRequired[NotFinite]
    cut: NotRequired[Cut]


class RowGroup(TypedDict):
    """The rows of one finding."""

    rule: str
    type: str
    layer: str
    count: int
    """Number of rows that it names."""
    source: str
    """File that the rows were read from; a report holds the first few."""
    rows: list[Row]


class Rows(TypedDict):
    """Answer of `rows`: ids that findings name, worst first."""

    answer: Literal["rows"]
    schema_version: str
    run: str
    subject: str
    limit: int
    groups: list[RowGroup]
    problems: list[str]
    """Tables that could not be read; the report's own rows stand in."""
    cut: NotRequired[Cut]


class Mark(TypedDict):
    """A finding in one line."""

    layer: str
    rule: str
    type: str
    severity: Severity
    was: NotRequired[Severity]
    """Severity before, where it is another."""


class Difference(TypedDict):
    """A figure before and after."""

    layer: str
    name: str
    before: Number
    after: Number
    not_finite: NotRequired[NotFinite]


class Test(TypedDict):
    """One paired test over the seeds that both have."""

    metric: str
    test: str
    n: int
    seeds: list[int]
    before: Number
    after: Number
    difference: Number
    ci_low: Number
    ci_high: Number
    p: Number
    p_adjusted: Number
    wins: int
    higher_is_better: bool
    verdict: Verdict
    """`confirmed`: B is better. `refuted`: B is worse."""
    reason: NotRequired[str]
    not_finite: NotRequired[NotFinite]


class Side(TypedDict):
    """One of two reports."""

    run: str
    report: str
    status: Status
    findings: int
    arm: NotRequired[str]


class Comparison(TypedDict):
    """Answer of `compare`: what changed from A to B."""

    answer: Literal["compare"]
    schema_version: str
    a: Side
    b: Side
    gone: list[Mark]
    new: list[Mark]
    kept: list[Mark]
    figures: list[Difference]
    """Figures that differ, the largest relative change first."""
    tests: list[Test]
    untested: str
    """Reason why there is no test; empty where there is one."""
    cautions: list[str]
    cut: NotRequired[Cut]


class Proof(TypedDict):
    """One line of a significance table."""

    comparison: str
    metric: str
    test: str
    n: int
    baseline: Number
    treated: Number
    difference: Number
    ci_low: Number
    ci_high: Number
    effect_size: Number
    p_adjusted: Number
    wins: Number
    detectable: NotRequired[Number]
    """Smallest difference that this many pairs could have found."""
    margin: NotRequired[Number]
    """Largest difference that does not matter."""
    p_equivalent: NotRequired[Number]
    """P-value of "they differ by the margin or more" (TOST), adjusted after Holm."""
    v_ratio: NotRequired[Number]
    """Factor by which a test over the users of one seed underestimates the variance."""
    p_new_users: NotRequired[Number]
    verdict_new_users: NotRequired[str]
    """Verdict for users that the table does not hold."""
    verdict: str
    reason: NotRequired[str]
    control: bool
    """Whether it compares an arm with itself, which should find nothing."""
    not_finite: NotRequired[NotFinite]
    cut: NotRequired[Cut]


class Proven(TypedDict):
    """Answer of `prove`, and of `compare` on one table: whether the change helped."""

    answer: Literal["prove"]
    schema_version: str
    run: str
    table: str
    verdict: Verdict
    """Verdict on the first metric of the whole change."""
    checked: bool
    """Whether every figure was computed anew from the observations."""
    unchecked: NotRequired[str]
    proofs: list[Proof]
    overrides: list[list[str]]
    """Overrides of each round that were proven together."""
    dropped: NotRequired[list[str]]
    """Overrides that were prescribed and left out again, for they do not earn their place on validation data."""
    command: NotRequired[str]
    """Command that trains with the change."""
    cautions: NotRequired[list[str]]
    """Things that the verdicts do not speak of."""
    cut: NotRequired[Cut]


class RunLine(TypedDict):
    """A run folder in one line."""

    path: str
    experiment: str
    when: str
    """Time of the last change, UTC."""
    status: NotRequired[Status]
    findings: NotRequired[int]
    severities: NotRequired[dict[str, int]]
    verdict: NotRequired[str]
    metric: NotRequired[str]
    problem: NotRequired[str]
    """Reason why a file of it cannot be read."""


class RunList(TypedDict):
    """Answer of `runs`: run folders, the newest first."""

    answer: Literal["runs"]
    schema_version: str
    folder: str
    total: int
    runs: list[RunLine]
    incomplete: bool
    """Whether the folder holds more than was looked through."""


SCHEMA_VERSION = "1.0"
ANSWERS: dict[str, Any] = {
    "findings": Findings,
    "explain": Explained,
    "history": History,
    "rows": Rows,
    "compare": Comparison,
    "prove": Proven,
    "runs": RunList,
}
"""Form of each verb's answer."""
