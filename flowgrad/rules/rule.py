"""The types that rules are made of, and the findings they make."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flowgrad.evidence import Confidence
from flowgrad.measurements import Judged

if TYPE_CHECKING:
    import pandas as pd

    from flowgrad.rules.condition import Condition

SEVERITIES = ("info", "low", "medium", "high", "critical")


@dataclass(frozen=True)
class Fix:
    """Config overrides that a rule prescribes. Paths are dotted config paths such as `optimizer.lr`."""

    set: Mapping[str, Any] = field(default_factory=dict)
    """path -> new value."""
    scale: Mapping[str, float] = field(default_factory=dict)
    """path -> factor on the value that the config holds."""
    copy: Mapping[str, str] = field(default_factory=dict)
    """path -> measured name whose value becomes the new value."""
    rows: tuple[str, ...] = ()
    """Paths of mappings from subject to a list of row ids: the subject's entry becomes the rows that the rule names."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Every config path the fix touches, in the order written."""
        return (*self.set, *self.scale, *self.copy, *self.rows)


@dataclass(frozen=True)
class Rule:
    """One entry of the rule book. The YAML keys are the field names (without `id` and `source`)."""

    id: str
    """Key of the entry."""
    subject: str
    """Kind of measurements it reads: `embedding`, `training`, ..."""
    type: str
    """The finding's name in the XML, upper snake case, e.g. `ZOMBIE_EMBEDDINGS`."""
    condition: Condition
    """Boolean expression over the subject's scalars and the shares that rules define."""
    premise: str
    """Format string over the subject's scalars: what was measured."""
    implies: str
    """What follows from the premise."""
    action: str
    """Upper snake case verb phrase, e.g. `DECREASE_LEARNING_RATE`."""
    expected_effect: str
    """What the action should change."""
    severity: str = "medium"
    """One of `SEVERITIES`; within a round the most severe findings are treated first."""
    rows: Condition | None = None
    """Boolean expression over the subject's per-row measures: which rows the finding names."""
    share: str | None = None
    """Name under which the share of rows that satisfy `rows` is known to every rule of this subject
    (among the rows for which all values in `rows` are known)."""
    share_weight: str = ""
    """Per-row measure that the share counts rows by, such as `exposures`; empty: every row counts one."""
    risk: str = ""
    """What the action may cost."""
    fix: Fix | None = None
    """Config overrides; a rule without one informs only."""
    plain: Mapping[str, str] = field(default_factory=dict)
    """framework (`torch`, `xgboost`, `lightgbm`, `catboost`, or `any`) -> the fix in the words of that library, a
    format string as `premise` is. Readers without a config are shown this and no config path."""
    premises: tuple[tuple[Condition, str], ...] = ()
    """Boolean expression over the subject's scalars -> premise that is told instead of `premise` where it holds, so
    that a condition of several branches shows the figures of the one that fired. The first that holds is told."""
    requires: Condition | None = None
    """Boolean expression over the subject's scalars that has to hold, beside `condition`, for the cause to be claimed.
    Where it does not, or is not known, the finding names the `symptom` and its `candidates`, and has no fix."""
    symptom: str = ""
    """The finding's name where the cause is open; upper snake case."""
    candidates: Mapping[str, str] = field(default_factory=dict)
    """Cause, upper snake case -> the check that would tell. A rule with candidates and without `requires` never claims
    a cause."""
    follows: tuple[str, ...] = ()
    """Types of findings, by any rule on any subject, that explain this one: while one of them stands at `medium` or
    above in the same run, this finding is told at `low` and prescribes nothing."""
    reference: str = ""
    """Paper, document or measurement that the threshold comes from."""
    source: str = ""
    """`FILE:LINE` (or `command line`) where the rule was read."""

    def premise_of(self, measured: Mapping[str, float]) -> str:
        """The premise that these figures bear out, before it is rendered."""
        return next((text for condition, text in self.premises if condition.holds(measured)), self.premise)

    @property
    def sha256(self) -> str:
        """What a trial of the rule speaks of: a hash of when it fires, which rows it names, and what it changes."""
        fix = self.fix or Fix()
        said = [
            self.subject,
            self.condition.canonical,
            "" if self.rows is None else self.rows.canonical,
            self.share_weight,
            [sorted(fix.set.items()), sorted(fix.scale.items()), sorted(fix.copy.items()), sorted(fix.rows)],
        ]
        if self.requires is not None:
            said.append(self.requires.canonical)
        return hashlib.sha256(json.dumps(said, default=str).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Evidence:
    """One measured value behind a finding."""

    name: str
    value: float
    threshold: float | None = None
    """The number that the condition compares it with, where it does so directly."""


@dataclass(frozen=True)
class Candidate:
    """One of several causes that would look as what was measured does."""

    cause: str
    """Upper snake case, e.g. `GRADIENTS_NOT_CLEARED`."""
    check: str
    """What would tell whether it is this one."""


@dataclass(frozen=True)
class Finding:
    """A rule whose condition held on some measurements."""

    rule_id: str
    type: str
    severity: str
    subject: str
    """What it was found on, e.g. `item_emb`."""
    premise: str
    """Rendered: figures filled in."""
    implies: str
    action: str
    expected_effect: str
    confidence: Confidence
    risk: str = ""
    evidence: tuple[Evidence, ...] = ()
    rows: pd.DataFrame | None = None
    """The rows that the rule names (all of them), worst first; None where the rule names no rows."""
    fix: Fix | None = None
    measured: Mapping[str, float] = field(default_factory=dict)
    """The scalars that the rule was evaluated on, for `fix.copy`."""
    rule_sha256: str = ""
    """`Rule.sha256`."""
    plain: Mapping[str, str] = field(default_factory=dict)
    """framework -> the fix in its words, rendered; of the framework that trains alone, where that is known."""
    candidates: tuple[Candidate, ...] = ()
    """Causes that fit; not empty where the cause is open, and then there is no fix."""
    judged: Judged | None = None
    """The evaluation that the finding rests on; None where it rests on none."""
    may_follow: tuple[str, ...] = ()
    """`Rule.follows`."""
    follows: str = ""
    """Type of the finding of the same run that explains this one; empty where there is none."""
