"""The rule book: rules by id, loaded from YAML or an already composed config, evaluated on measurements."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flowgrad.errors import RuleError
from flowgrad.evidence.confidence import posterior
from flowgrad.evidence.ledger import Ledger
from flowgrad.lazy import LazyModule
from flowgrad.measurements import Measurements
from flowgrad.measures import VOCABULARY
from flowgrad.rules.condition import BoolArray, Condition
from flowgrad.rules.entries import Entry, read_entries
from flowgrad.rules.following import by_severity, settled
from flowgrad.rules.premise import render_premise
from flowgrad.rules.rule import Candidate, Evidence, Finding, Rule
from flowgrad.rules.suggestion import did_you_mean
from flowgrad.rules.validation import Vocabulary, validate

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = LazyModule("pandas")  # imported where a table is made

SHIPPED = Path(__file__).parents[1] / "conf" / "rules"
"""Folder of the rules that come with the library."""
OPEN = "Several causes look like this; the figures do not tell which it is. Each candidate names the check that does."
"""Text that a finding implies whose cause is open."""
CHECK, TOLD = "CHECK_CANDIDATES", "You know which of them it is, and what to change."
"""Action of such a finding, and its expected effect."""


@cache
def _shipped_rules() -> Mapping[str, Rule]:
    """The shipped rules, read once a process: nothing of them can be changed."""
    return validate(read_entries(SHIPPED).values(), VOCABULARY)


@dataclass(frozen=True)
class RuleBook(Mapping[str, Rule]):
    """A checked set of rules; a mapping of rule id to `Rule`. Make one with `load` or `from_mapping`."""

    rules: Mapping[str, Rule]
    """Rules by id, in book order."""
    ledger: Ledger = field(default_factory=Ledger.load)
    """Trials that the findings' confidence rests on; the shipped ones, if none are given."""
    case: str = ""
    """Model and data at hand, as `DeepFM on flights`; empty where they are not known."""

    @classmethod
    def load(cls, *paths: str | Path, vocabulary: Vocabulary = VOCABULARY, ledger: Ledger | None = None) -> RuleBook:
        """Read YAML files and folders of them (every `*.yaml`, by name); without paths, the shipped rules.

        A rule in a later file replaces the one of the same id in an earlier file, as a whole. Confidence rests on
        `ledger`, on the shipped one if None.

        Raises:
            RuleError: as `FILE:LINE: rule 'id': ...`, for the first thing that is wrong.
        """
        if paths or vocabulary is not VOCABULARY:
            rules = validate(read_entries(*(paths or (SHIPPED,))).values(), vocabulary)
        else:
            rules = dict(_shipped_rules())
        return cls(rules, Ledger.load() if ledger is None else ledger)

    @classmethod
    def from_mapping(
        cls,
        mapping: Mapping[str, Any],
        vocabulary: Vocabulary = VOCABULARY,
        sources: Mapping[str, str] | None = None,
        ledger: Ledger | None = None,
    ) -> RuleBook:
        """Make a book, with the same checks, of rules that are composed already: id -> mapping of plain values (what
        Hydra gives).

        `sources` says where a rule comes from, e.g. `conf/rules/mine.yaml:12`; without it, messages say `config`.

        Raises:
            RuleError: as `SOURCE: rule 'id': ...`, for the first thing that is wrong.
        """
        origins = sources or {}
        entries = (Entry(rule_id, content, origins.get(rule_id, "config")) for rule_id, content in mapping.items())
        return cls(validate(entries, vocabulary), Ledger.load() if ledger is None else ledger)

    def __getitem__(self, rule_id: str) -> Rule:
        return self.rules[rule_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self.rules)

    def __len__(self) -> int:
        return len(self.rules)

    def without_fixes(self, lacking: Callable[[str], bool]) -> RuleBook:
        """The same book, in which a fix that changes a path that is lacking stands in plain words alone."""
        rules = {
            rule_id: replace(rule, fix=None) if rule.fix and any(map(lacking, rule.fix.paths)) else rule
            for rule_id, rule in self.rules.items()
        }
        return replace(self, rules=rules)

    def check_fix_paths(
        self, exists: Callable[[str], bool], suggest: Iterable[str] = (), subjects: Collection[str] | None = None
    ) -> None:
        """Check that every fix changes something the config has, before anything is trained.

        Args:
            exists: dotted config path -> whether the config has it.
            suggest: paths to offer for a misspelt one.
            subjects: kinds of measurements whose rules are checked; None: all.

        Raises:
            RuleError: for the first path the config lacks, with the rule and its source.
        """
        for rule in self.rules.values():
            if subjects is not None and rule.subject not in subjects:
                continue
            for path in rule.fix.paths if rule.fix else ():
                if not exists(path):
                    hint = did_you_mean(path, suggest)
                    raise RuleError(f"{rule.source}: rule {rule.id!r}: fix: the config has no {path!r}{hint}")

    def shares(self, measurements: Measurements) -> dict[str, float]:
        """Shares of rows, in [0, 1], that satisfy a rule's `rows`, by share name, for all rules on this kind of
        subject.

        Rows count one each, or by the rule's `share_weight`; among the rows for which every value named in `rows` is
        known. NaN where there is no such row.
        """
        return {
            rule.share: _share(rule.rows, rule.share_weight, measurements)
            for rule in self._on(measurements)
            if rule.share is not None and rule.rows is not None
        }

    def select(self, rule_id: str, measurements: Measurements) -> pd.DataFrame:
        """Select the rows that a rule names, all columns kept, most exposed first (then by id); none if it names no
        rows.

        Without an `exposures` column the rows keep their order.

        Raises:
            RuleError: an unknown rule id, or a rule on another kind of subject.
        """
        if rule_id not in self.rules:
            raise RuleError(f"no rule {rule_id!r}{did_you_mean(rule_id, self.rules)}")
        rule = self.rules[rule_id]
        if rule.subject != measurements.kind:
            raise RuleError(f"rule {rule_id!r} reads {rule.subject!r} measurements, got {measurements.kind!r}")
        table = _row_table(measurements)
        return table.iloc[:0] if rule.rows is None else _named_rows(rule.rows, measurements)

    def evaluate(self, measurements: Measurements) -> tuple[Finding, ...]:
        """Make the findings of all rules on this kind of subject whose condition holds, most severe first, then book
        order.

        Those that follow from another are marked so; where several trackers watch one run, `settled` marks all of their
        findings together. A tracker that stopped watching, whose figures are of a part of the run, has none.
        """
        if measurements.coverage.stopped:
            return ()
        measured = {name: float(value) for name, value in measurements.scalars.items()} | self.shares(measurements)
        fired = [rule for rule in self._on(measurements) if rule.condition.holds(measured)]
        return by_severity(settled([_finding(rule, measurements, measured, self.ledger, self.case) for rule in fired]))

    def unjudged(self, measurements: Measurements) -> dict[str, str]:
        """The figures that are not known, for each rule, by id, that could not be judged for the lack of them."""
        measured = {name: float(value) for name, value in measurements.scalars.items()} | self.shares(measurements)
        found = {}
        for rule in self._on(measurements):
            if rule.condition.truth(measured) is None:
                unknown = [name for name in rule.condition.names if math.isnan(measured.get(name, math.nan))]
                verb = "is" if len(unknown) == 1 else "are"
                found[rule.id] = f"{', '.join(unknown)} {verb} not known"
        return found

    def judges(self, measurements: Measurements) -> bool:
        """Whether some rule on this kind of subject could be judged."""
        known = {name: float(value) for name, value in measurements.scalars.items()}
        # What is true or false while shares are not known stays so when they are, and they take longest.
        return self._judges(measurements, known) or self._judges(measurements, known | self.shares(measurements))

    def _judges(self, measurements: Measurements, measured: Mapping[str, float]) -> bool:
        return any(rule.condition.truth(measured) is not None for rule in self._on(measurements))

    def _on(self, measurements: Measurements) -> Iterator[Rule]:
        return (rule for rule in self.rules.values() if rule.subject == measurements.kind)


def _finding(
    rule: Rule, measurements: Measurements, measured: Mapping[str, float], ledger: Ledger, case: str
) -> Finding:
    claimed = not rule.candidates or (rule.requires is not None and rule.requires.holds(measured))
    rows = None
    if rule.rows is not None and "rows" in measurements.tables:
        rows = _named_rows(rule.rows, measurements)
    shown = (rule.condition,) if rule.requires is None else (rule.condition, rule.requires)
    names = dict.fromkeys(name for condition in shown for name in condition.names)
    thresholds: dict[str, float] = {}
    for condition in reversed(shown):
        thresholds |= condition.thresholds(measured)
    return Finding(
        rule_id=rule.id,
        type=rule.type if claimed or not rule.symptom else rule.symptom,
        severity=rule.severity,
        subject=measurements.subject,
        premise=render_premise(rule.premise_of(measured), measured, measurements.judged),
        implies=rule.implies if claimed or rule.requires is None else OPEN,
        action=rule.action if claimed or rule.requires is None else CHECK,
        expected_effect=rule.expected_effect if claimed or rule.requires is None else TOLD,
        confidence=ledger.confidence(rule.id, rule.sha256, case) if claimed and rule.fix else posterior(),
        risk=rule.risk if claimed or rule.requires is None else "",
        evidence=tuple(
            Evidence(name, measured[name], thresholds.get(name))
            for name in names
            if not math.isnan(measured.get(name, math.nan))
        ),
        rows=rows,
        fix=rule.fix if claimed else None,
        measured=measured,
        rule_sha256=rule.sha256,
        plain=_plain(rule, measurements, measured) if claimed else {},
        candidates=() if claimed else tuple(Candidate(cause, check) for cause, check in rule.candidates.items()),
        judged=measurements.judged if _on_evaluation(names, measurements.kind) else None,
        may_follow=rule.follows,
        explains=rule.explains,
        overrides=ledger.overrides(rule.id, rule.sha256) if claimed else {},
        in_training=rule.in_training if claimed else None,
    )


def _plain(rule: Rule, measurements: Measurements, measured: Mapping[str, float]) -> dict[str, str]:
    """The fix in the words of the library that trains, where that is known; else of all that the rule knows."""
    known = measurements.framework
    wanted = [name for name in (known, "any") if name in rule.plain][:1] if known else list(rule.plain)
    return {name: render_premise(rule.plain[name], measured, measurements.judged) for name in wanted}


def _on_evaluation(names: Iterable[str], kind: str) -> bool:
    marked = {measure.name for measure in VOCABULARY.get(kind, ()) if measure.on_evaluation}
    return any(name in marked for name in names)


def _row_table(measurements: Measurements) -> pd.DataFrame:
    table = measurements.tables.get("rows")
    return pd.DataFrame() if table is None else table


def _row_columns(names: Iterable[str], measurements: Measurements) -> dict[str, Any]:
    """Values of the names that a `rows` condition uses: scalars, and columns of the row table."""
    table, scalars = _row_table(measurements), measurements.scalars
    return {
        name: table[name].to_numpy() if name in table.columns else scalars[name]
        for name in names
        if name in table.columns or name in scalars
    }


def _over_rows(mask: BoolArray, measurements: Measurements) -> BoolArray:
    """`mask` with one entry a row, also where the condition named scalars alone."""
    return np.broadcast_to(mask, len(_row_table(measurements)))


def _share(rows: Condition, weight: str, measurements: Measurements) -> float:
    columns = _row_columns(rows.names, measurements)
    known, selected = (_over_rows(mask, measurements) for mask in (rows.known(columns), rows.select(columns)))
    weights = np.ones(len(known))
    if weight:
        weights = np.nan_to_num(np.asarray(_row_columns([weight], measurements)[weight], dtype=float))
    total = weights[known].sum()
    return float(weights[known & selected].sum() / total) if total else math.nan


def _named_rows(rows: Condition, measurements: Measurements) -> pd.DataFrame:
    table = _row_table(measurements)
    named = table[_over_rows(rows.select(_row_columns(rows.names, measurements)), measurements)]
    if "exposures" not in named.columns:
        return named
    return named.sort_index(kind="stable").sort_values("exposures", ascending=False, kind="stable")
