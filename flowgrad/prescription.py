"""Turns findings, and the config they were made under, into config overrides that paste into a shell."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig, OmegaConf

from flowgrad.errors import RuleError
from flowgrad.report import Override, override_text
from flowgrad.rules import SEVERITIES, Finding
from flowgrad.rules.rule import Fix

INEFFECTIVE = "changes nothing: the config holds these values already, which speaks against this cause"
"""The reason why a fix is left out that would set what is set."""
_DIGITS = 12
"""Number of significant digits of a scaled value: 0.05 * 0.1 shall read 0.005."""


@dataclass(frozen=True)
class Prescription:
    """One round's change of the config."""

    overrides: tuple[str, ...]
    """Overrides `path=value` as Hydra reads them, one a path."""
    rules: tuple[str, ...]
    """Ids of the rules whose fixes are in it."""
    was: Mapping[str, Any]
    """Former value of each path that is changed."""
    by_rule: Mapping[str, tuple[Override, ...]] = field(default_factory=dict)
    """Overrides of each rule, by its id, for the report."""
    overruled: Mapping[str, str] = field(default_factory=dict)
    """The reason why the fix of a rule is not part of this round, by rule id."""

    def __bool__(self) -> bool:
        return bool(self.overrides)

    @property
    def shell(self) -> str:
        """The overrides as one pasteable piece of a shell command."""
        return " ".join(shlex.quote(override) for override in self.overrides)


def prescribe(findings: Sequence[Finding], config: DictConfig, *, refuted: bool = False) -> Prescription:
    """Make the change that the most severe findings with a fix agree on.

    Less severe findings wait for the next round: a learning rate that is too high resembles many other faults. Where
    two findings set one path to different values, the one with more confidence wins (the more severe, then the earlier,
    on a tie), and the other's whole fix waits. A fix that would change nothing is left out, and `overruled` says that
    this speaks against its cause. A fix that validated runs have refuted (`Confidence.refutes`) is left out, unless
    `refuted` asks for it.

    Raises:
        RuleError: a fix names a path that the config lacks, or scales a value that is no number.
    """
    values: dict[str, Any] = {}
    owner: dict[str, str] = {}
    was: dict[str, Any] = {}
    by_rule: dict[str, tuple[Override, ...]] = {}
    overruled: dict[str, str] = {}
    acting: str | None = None
    for finding, change in _effective(findings, config):
        if finding.confidence.refutes and not refuted:
            known = finding.confidence
            overruled[finding.rule_id] = (
                f"refuted: worse in {known.refuted} of {known.trials} validated runs, better in {known.confirmed}"
            )
            continue
        acting = acting or finding.severity
        if finding.severity != acting:
            overruled[finding.rule_id] = f"waits for the next round: {acting} findings are treated first"
            continue
        clash = next((path for path, value in change.items() if path in values and values[path] != value), None)
        if clash is not None:
            overruled[finding.rule_id] = (
                f"{clash}={change_text(values[clash])} of {owner[clash]} has at least its confidence"
            )
            continue
        for path, value in change.items():
            values[path], was[path] = value, plain_value(config, path)
            owner.setdefault(path, finding.rule_id)
        by_rule[finding.rule_id] = by_rule.get(finding.rule_id, ()) + tuple(
            Override(path, change_text(value), change_text(was[path])) for path, value in change.items()
        )
    for finding in findings:
        if finding.fix is not None and finding.rule_id not in by_rule:
            overruled.setdefault(finding.rule_id, INEFFECTIVE)
    overrides = tuple(f"{path}={change_text(value)}" for path, value in values.items())
    return Prescription(overrides, tuple(by_rule), was, by_rule, overruled)


def _effective(findings: Sequence[Finding], config: DictConfig) -> list[tuple[Finding, dict[str, Any]]]:
    """Findings whose fix changes something, the most severe and then the surest first. Each rule counts once; for rules
    that name rows, once for each subject.
    """
    changes: list[tuple[Finding, dict[str, Any]]] = []
    seen: set[str] = set()
    for finding in findings:
        if finding.fix is None or (finding.rule_id in seen and not finding.fix.rows):
            continue
        change = _resolve(finding, config)
        if change:
            seen.add(finding.rule_id)
            changes.append((finding, change))
    changes.sort(key=lambda pair: (-SEVERITIES.index(pair[0].severity), -pair[0].confidence.value))
    return changes


def _resolve(finding: Finding, config: DictConfig) -> dict[str, Any]:
    """New value of each path where it differs from the config's."""
    assert finding.fix is not None
    try:
        return changed(finding.fix, config, finding.measured) | _rows_of(finding, config)
    except RuleError as error:
        raise RuleError(f"rule {finding.rule_id!r}: its fix {error}") from error


def changed(fix: Fix, config: DictConfig, measured: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Find the new value, by path, for those paths of `set`, `scale` and `copy` where it differs from the config's.

    Raises:
        RuleError: the fix names a path that the config lacks, or scales a value that is no number.
    """
    change = {}
    for path in (*fix.set, *fix.scale, *fix.copy):
        if not has_path(config, path):
            raise RuleError(f"names {path!r}, which the config lacks")
        old = OmegaConf.select(config, path)
        if path in fix.set:
            new = fix.set[path]
        elif path in fix.scale:
            new = _scaled(path, old, fix.scale[path])
        else:
            new = _copied((measured or {})[fix.copy[path]], old)
        if new != old:
            change[path] = new
    return change


def _rows_of(finding: Finding, config: DictConfig) -> dict[str, Any]:
    """Rows named by a finding for each `PATH.SUBJECT`, with those that were listed there before."""
    assert finding.fix is not None
    change: dict[str, Any] = {}
    if finding.rows is None:
        return change
    for parent in finding.fix.rows:
        path = f"{parent}.{finding.subject}"
        if not has_path(config, path):
            raise RuleError(f"lists rows in {path!r}, which the config lacks")
        old = list(OmegaConf.select(config, path) or [])
        # Rows are numbers, or have names (columns, layers).
        new = sorted({*old, *finding.rows.index.tolist()})
        if new != old:
            change[path] = new
    return change


def plain_value(config: DictConfig, path: str) -> Any:
    """Value that the config holds at `path`, lists and mappings as Python's own."""
    value = OmegaConf.select(config, path)
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def has_path(config: DictConfig, path: str) -> bool:
    """True where the config has a node at the dotted `path` (its value may be null)."""
    parent, _, key = path.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    return isinstance(node, DictConfig) and key in node


def _scaled(path: str, old: Any, factor: float) -> Any:
    if isinstance(old, bool) or not isinstance(old, int | float):
        raise RuleError(f"scales {path!r}, which is {old!r} and no number")
    new = old * factor
    if isinstance(old, float):
        return _rounded(new)
    return max(1, round(new)) if old > 0 else round(new)


def _copied(value: float, old: Any) -> Any:
    """Fit a measured value to the config node: values are floats, a count must fit a node that takes an int, and NaN is
    no value to set.
    """
    if not math.isfinite(value):
        return old
    return int(value) if isinstance(old, int) and float(value).is_integer() else _rounded(value)


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else value


def change_text(value: Any) -> str:
    """Write a value in Hydra's override grammar."""
    return override_text(value)
