"""Holds the base class of everything that measures: it evaluates the rules and reports the findings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any, ClassVar

from flowgrad.measurements import Measure, Measurements
from flowgrad.report import Report, RunReport, build_report, causal_model, fix_without_config, to_text, to_xml
from flowgrad.rules import Finding, RuleBook
from flowgrad.rules.kinds import declare


@cache
def _shipped() -> RuleBook:
    """The shipped book, read once for all subjects of a process: nothing of it can be changed."""
    return RuleBook.load()


class Subject(ABC):
    """Something with measurements: a training that is watched (`Tracker`), or data that are analyzed.

    Subclasses measure; the rule book alone interprets the figures.
    """

    KIND: ClassVar[str]
    """Subject kind: the `subject` of the rules it feeds, and the `flowgrad_{KIND}_report` it writes."""
    MEASURES: ClassVar[tuple[Measure, ...]]
    """All measures, which is everything a rule on its subject may name."""

    def __init_subclass__(cls, **given: Any) -> None:
        """Make a kind that a subclass names in its body known to rules.

        Raises:
            FlowGradError: the kind is another's, or is no name.
        """
        super().__init_subclass__(**given)
        if "KIND" in vars(cls):
            declare(cls.KIND, getattr(cls, "MEASURES", ()), f"{cls.__module__}.{cls.__qualname__}")

    def __init__(self, name: str, rules: RuleBook | None = None) -> None:
        self.name = name
        self._rules = rules

    @abstractmethod
    def measurements(self) -> Measurements:
        """Everything measured so far. Reading it changes nothing; it may be read as often as wanted."""

    @cached_property
    def rule_book(self) -> RuleBook:
        """The rules that judge the measurements: those given, else the shipped book (read when first needed)."""
        return self._rules if self._rules is not None else _shipped()

    def findings(self) -> tuple[Finding, ...]:
        """Every rule that fires on the measurements so far, most severe first."""
        return self.rule_book.evaluate(self.measurements())

    def summary(self) -> dict[str, float]:
        """Every scalar measured, and every share that the rules define, by name."""
        measured = self.measurements()
        return {**measured.scalars, **self.rule_book.shares(measured)}

    def to_report(self) -> Report:
        """Make the findings a `Report`. Without a config, a fix is worded for the library that trains; a fix that a
        rule gives by config paths alone names them, and has no former values.
        """
        measured = self.measurements()
        return self.report_of(measured, self.rule_book.evaluate(measured))

    def report_of(self, measured: Measurements, findings: Sequence[Finding]) -> Report:
        """Make the `to_report` of measurements and findings that are at hand."""
        models = [causal_model(f, fix_without_config(f)) for f in findings]
        return build_report(measured, models, book=self.rule_book)

    def report(self) -> str:
        """The report as plain text."""
        return to_text(self.to_report())

    def to_agent_xml(self) -> str:
        """The report as a whole XML document, valid against `flowgrad/report/report.xsd`.

        It is a `str` without an XML declaration, so that any parser takes it as it is.
        """
        return as_agent_xml(self.to_report())


def as_agent_xml(report: Report | RunReport) -> str:
    """The report as XML text without a declaration, which would name an encoding that a `str` does not have."""
    return to_xml(report).decode().split("?>", 1)[-1].lstrip()
