"""The types that rules are made of, and the findings they make."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from flowgrad.evidence.confidence import Confidence
from flowgrad.measurements import Judged

if TYPE_CHECKING:
    import pandas as pd

    from flowgrad.rules.condition import Condition

SEVERITIES = ("info", "low", "medium", "high", "critical")


@dataclass(frozen=True)
class Fix:
    """Config overrides that a rule prescribes. Paths are dotted config paths such as `optimizer.lr`."""

    set: Mapping[str, Any] = field(default_factory=dict)
    """New value of each path."""
    scale: Mapping[str, float] = field(default_factory=dict)
    """Factor on the value that the config holds, by path."""
    copy: Mapping[str, str] = field(default_factory=dict)
    """Measured name whose value becomes the new value, by path."""
    rows: tuple[str, ...] = ()
    """Paths of mappings from subject to a list of row ids: the subject's entry becomes the rows that the rule names."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Every config path the fix touches, in the order written."""
        return (*self.set, *self.scale, *self.copy, *self.rows)


@dataclass(frozen=True)
class InTraining:
    """Change that a rule says is safe to make while training runs, on what is trained already."""

    learning_rate: float | None = None
    """Factor on the rate of all parameter groups."""
    clip_norm: float | None = None
    """Largest norm of the whole gradient."""
    stop: bool = False
    """Whether training is to stop, and to go back to the weights of its best epoch."""
    exclude: bool = False
    """Whether the rows that the rule names are to learn no more."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the changes that are made."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name) not in (None, False))


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
    """Format string over the subject's scalars that states the measurement."""
    implies: str
    """Conclusion from the premise."""
    action: str
    """Action, an upper snake case verb phrase, e.g. `DECREASE_LEARNING_RATE`."""
    expected_effect: str
    """Change that the action should bring."""
    severity: str = "medium"
    """Severity, one of `SEVERITIES`; within a round the most severe findings are treated first."""
    rows: Condition | None = None
    """Boolean expression over the subject's per-row measures: which rows the finding names."""
    share: str | None = None
    """Name under which the share of rows that satisfy `rows` is known to every rule of this subject
    (among the rows for which all values in `rows` are known)."""
    share_weight: str = ""
    """Per-row measure that the share counts rows by, such as `exposures`; empty: every row counts one."""
    risk: str = ""
    """Possible cost of the action."""
    fix: Fix | None = None
    """Config overrides; a rule without one informs only."""
    plain: Mapping[str, str] = field(default_factory=dict)
    """Fix in the words of each framework (`torch`, `xgboost`, `lightgbm`, `catboost`, or `any`), a format string as
    `premise` is. Readers without a config are shown this and no config path.
    """
    premises: tuple[tuple[Condition, str], ...] = ()
    """Premises that replace `premise` where a boolean expression over the subject's scalars holds, so that a condition
    of several branches shows the figures of the one that fired. The first that holds is used.
    """
    requires: Condition | None = None
    """Boolean expression over the subject's scalars that has to hold, besides `condition`, for the cause to be claimed.
    Where it does not, or is not known, the finding names the `symptom` and its `candidates`, and has no fix.
    """
    symptom: str = ""
    """The finding's name where the cause is open; upper snake case."""
    candidates: Mapping[str, str] = field(default_factory=dict)
    """Candidate causes, upper snake case, each with the check that would decide it. A rule with candidates and without
    `requires` never claims a cause.
    """
    follows: tuple[str, ...] = ()
    """Types of findings, by any rule on any subject, that explain this one: while one of them stands at `medium` or
    above in the same run, this finding is reported at `low` and prescribes nothing.
    """
    explains: bool = False
    """Whether findings follow from this one at any severity: a question whose answer they rest on."""
    in_training: InTraining | None = None
    """Change that is safe while training runs; None: its fix is for a training from the start."""
    reference: str = ""
    """Paper, document or measurement that the threshold comes from."""
    source: str = ""
    """`FILE:LINE` (or `command line`) where the rule was read."""

    def premise_of(self, measured: Mapping[str, float]) -> str:
        """The premise that these figures bear out, before it is rendered."""
        return next((text for condition, text in self.premises if condition.holds(measured)), self.premise)

    @property
    def sha256(self) -> str:
        """SHA-256 of when the rule fires, which rows it names, and what it changes: the identity that trials refer
        to.
        """
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
    """One of several causes that would give the same measurements."""

    cause: str
    """Name of the cause, upper snake case, e.g. `GRADIENTS_NOT_CLEARED`."""
    check: str
    """Check that would decide whether it is this one."""


@dataclass(frozen=True)
class Finding:
    """A rule whose condition held on some measurements."""

    rule_id: str
    type: str
    severity: str
    subject: str
    """Name of the subject, e.g. `item_emb`."""
    premise: str
    """Premise with its figures filled in."""
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
    """Hash of the rule, `Rule.sha256`."""
    plain: Mapping[str, str] = field(default_factory=dict)
    """Fix in the words of each framework, rendered; of the framework that trains alone, where that is known."""
    candidates: tuple[Candidate, ...] = ()
    """Causes that fit; not empty where the cause is open, and then there is no fix."""
    judged: Judged | None = None
    """The evaluation that the finding rests on; None where it rests on none."""
    may_follow: tuple[str, ...] = ()
    """Types of findings that may explain this one, `Rule.follows`."""
    explains: bool = False
    """Whether others follow from this one at any severity, `Rule.explains`."""
    follows: str = ""
    """Type of the finding of the same run that explains this one; empty where there is none."""
    overrides: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Number of validated runs in which an override of the fix earned its place, and of those in which it was left out
    to see, by path.
    """
    in_training: InTraining | None = None
    """Change that may be made while training runs, `Rule.in_training`; None where the cause is open."""
