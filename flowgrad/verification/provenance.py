"""Checks whether a report is of the run that it names, by the rules that it names, as far as its files can be
compared.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from flowgrad.bounded_yaml import load_yaml
from flowgrad.csv_tables import read_table
from flowgrad.errors import EvidenceError, RuleError
from flowgrad.evidence.confidence import Confidence, posterior
from flowgrad.evidence.ledger import Ledger
from flowgrad.files import read_text_bounded
from flowgrad.report import AnyReport, CausalModel, ClaimsReport, RunIdentity, RunReport
from flowgrad.rules import Rule, RuleBook
from flowgrad.rules.suggestion import did_you_mean
from flowgrad.verification.run_config import RunConfig

_TOLERANCE = 1e-5
"""Relative tolerance; a report holds six digits."""
_SHORT = re.compile(r"(?P<name>.+)-(?P<hash>[0-9a-f]{6})", re.DOTALL)
"""Form of a run's id: its experiment, and the first digits of its config's hash."""
_UNTREATED = ("baseline", "dense")
"""Arms whose config is in `config.yaml`."""
PRESCRIPTION = "prescription.yaml"
_MOST_BYTES = 1 << 20
"""Number of bytes that a prescription may have."""


@dataclass
class Provenance:
    """Outcome of comparing a report with the files in its folder."""

    problems: list[str] = field(default_factory=list)
    """Lines for things that contradict another, one a thing."""
    unchecked: list[str] = field(default_factory=list)
    """Lines for things that nothing could be compared with, one a thing."""
    rules_unchecked: bool = False
    """Whether a rule with a validation is among the unchecked things."""


def provenance(report: AnyReport, folder: Path, book: RuleBook | None = None) -> Provenance:
    """Compare confidences with their own counts, rules with the rule book, and the run's id with its config.

    Args:
        report: what is checked.
        folder: where it stands; the `config.yaml` of its run says by which rules it was judged.
        book: other rules than those; None: the config's, or else the shipped ones.
    """
    found = Provenance()
    if isinstance(report, ClaimsReport):
        return found
    parts = report.reports if isinstance(report, RunReport) else (report,)
    findings = [finding for part in parts for finding in part.findings]
    for finding in findings:
        found.problems += [f"{finding.rule}: {problem}" for problem in _confidence(finding.confidence)]
    if not findings:
        return found
    try:
        books = _Books(folder, book)
        _rules(findings, books, found)
        identities = [part.run for part in parts if part.run is not None] + ([report.run] if report.run else [])
        for run in identities:
            _identity(run, findings, folder, books.config, found)
    except (EvidenceError, RuleError) as error:
        found.problems.append(str(error))
    found.problems = list(dict.fromkeys(found.problems))
    found.unchecked = list(dict.fromkeys(found.unchecked))
    return found


def rule_problem(rule: str, sha256: str, book: RuleBook) -> str | None:
    """Error in a rule's id or hash; None where the book has just this rule."""
    if rule not in book:
        return f"no rule of the book has this id{did_you_mean(rule, list(book))}"
    if book[rule].sha256 != sha256:
        return f"rule_sha256 is {sha256!r}, and the rule has {book[rule].sha256}: another condition or fix"
    return None


@dataclass
class _Books:
    """Rule books that a report may rest on."""

    folder: Path
    given: RuleBook | None

    @cached_property
    def config(self) -> RunConfig | None:
        return RunConfig.beside(self.folder)

    @cached_property
    def own(self) -> RuleBook | None:
        """Rules that are known to have been the run's."""
        return self.given if self.given is not None else self.config.rule_book() if self.config else None

    @cached_property
    def shipped(self) -> RuleBook:
        return RuleBook.load(ledger=Ledger())

    @cached_property
    def prescribed(self) -> Collection[str] | None:
        """Rules behind the run's changes; None where no file says it."""
        path = self.folder / PRESCRIPTION
        if not path.exists():
            return None
        return {str(rule) for acting in rounds_of(path) for rule in acting["rules"]}


def rounds_of(path: Path) -> list[dict[str, Any]]:
    """Read the rounds of a prescription.

    Raises:
        EvidenceError: the file is none.
    """
    try:
        content: Any = load_yaml(read_text_bounded(path, _MOST_BYTES), _MOST_BYTES)
        rounds = [{**acting, "rules": list(acting["rules"])} for acting in content["rounds"]]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise EvidenceError(f"{path}: it is no prescription: {' '.join(str(error).split())[:300]}") from error
    return rounds


def _rules(findings: list[CausalModel], books: _Books, found: Provenance) -> None:
    for finding in findings:
        proven = finding.validation is not None
        if proven and books.prescribed is not None and finding.rule not in books.prescribed:
            found.problems.append(f"{finding.rule}: it has a validation, and {PRESCRIPTION} does not name it")
        if not finding.rule_sha256:
            found.unchecked.append(f"{finding.rule}: the rule (it has no rule_sha256)")
            found.rules_unchecked |= proven
            continue
        known = books.own is not None
        book = books.own if books.own is not None else books.shipped
        problem = rule_problem(finding.rule, finding.rule_sha256, book)
        if problem is None:
            if finding.type not in _types(book[finding.rule]):
                types = " or ".join(_types(book[finding.rule]))
                found.problems.append(f"{finding.rule}: type is {finding.type!r}; this rule finds {types}")
        elif known or (proven and finding.rule in book):
            way_out = "" if known else "; where the run had rules of its own, name them: --rules FILE"
            found.problems.append(f"{finding.rule}: {problem}{way_out}")
        else:
            found.unchecked.append(f"{finding.rule}: the rule ({problem}; name the run's rules: --rules FILE)")
            found.rules_unchecked |= proven


def _types(rule: Rule) -> tuple[str, ...]:
    return tuple(name for name in (rule.type, rule.symptom) if name)


def _confidence(told: Confidence) -> Iterator[str]:
    try:
        right = posterior(told.confirmed, told.trials, told.refuted)
    except ValueError as error:
        yield f"confidence: {error}"
        return
    if not told.low <= told.value <= told.high:
        yield f"confidence: value is {told.value}, outside of its interval, from {told.low} to {told.high}"
    counts = [one.rpartition(": ")[2] for one in told.tried_on.split("; ")] if told.tried_on else []
    if not all(count.isdecimal() for count in counts) or sum(map(int, counts)) > told.trials:
        yield f"confidence: tried_on is {told.tried_on[:80]!r}, which are not counts of {told.trials} trials"
    if told.basis != right.basis:
        yield f"confidence: basis is {told.basis!r}; {told.trials} trials make it {right.basis!r}"


def _identity(
    run: RunIdentity, findings: list[CausalModel], folder: Path, config: RunConfig | None, found: Provenance
) -> None:
    """Check that the id is the experiment and its config's hash, as the observations and the config have them."""
    proven = any(finding.validation is not None for finding in findings)
    short = _SHORT.fullmatch(run.id)
    if config is None and not proven:
        return
    if (short is None or not run.config_sha256) and config is not None and config.of_this_library:
        found.problems.append(
            f"run id is {run.id!r} and config_sha256 {run.config_sha256!r}; a run of {config.path.name} has the id "
            f"{config.name}-HASH, of the first digits of that hash"
        )
    elif short is None or not run.config_sha256:
        found.unchecked.append(f"run {run.id!r}: nothing in it tells of a config")
    elif not run.config_sha256.startswith(short["hash"]):
        found.problems.append(f"run id is {run.id!r}, and config_sha256 begins with {run.config_sha256[:6]!r}")
    if config is None:
        found.unchecked.append(f"run {run.id!r}: its config (config.yaml is not beside the report)")
    elif short is not None and config.name and short["name"] != config.name:
        found.problems.append(f"run id is {run.id!r}, and {config.path.name} is of {config.name!r}")
    elif (
        run.arm in _UNTREATED
        and run.config_sha256
        and config.path.parent == folder
        and not config.has_sha256(run.config_sha256)
    ):
        found.problems.append(f"config_sha256 is {run.config_sha256!r}, and {config.path.name} has another")
    if proven and short is not None and (folder / "observations.csv").is_file():
        observed = read_table(folder / "observations.csv", ["experiment", "arm"]).astype(str)
        names, arms = list(observed["experiment"].unique()), list(observed["arm"].unique())
        if names != [short["name"]]:
            found.problems.append(f"run id is {run.id!r}, and observations.csv is of {', '.join(names)[:200]!r}")
        if run.arm not in arms:
            found.problems.append(f"arm is {run.arm!r}, and observations.csv has {', '.join(arms)[:200]}")
