"""Makes the page of a reproduction of claims."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from flowgrad.errors import ReportError
from flowgrad.files import read_bounded
from flowgrad.html.figures import Table
from flowgrad.html.findings import number
from flowgrad.html.page import Page, Section, Verdict
from flowgrad.report import Claim, ClaimsReport, from_xml
from flowgrad.report.schema import MOST_BYTES

_ORDER = ("confirmed", "refuted", "inconclusive", "failed")
_COLUMNS = ("claim", "statement", "verdict", "test", "n", "effect", "low", "high", "p (adjusted)", "seconds", "command")


def claims_page(path: Path, file: str) -> Page:
    """Make the page of `claims.xml`: how many claims were borne out, which were not, and every one with its command.

    Raises:
        ReportError: the file is no report on claims, or cannot be read.
    """
    try:
        told = from_xml(read_bounded(path / file, MOST_BYTES))
    except OSError as error:
        raise ReportError(f"{path / file}: cannot be read: {error.strerror}") from error
    if not isinstance(told, ClaimsReport):
        raise ReportError(f"{path / file}: it is no report on claims")
    counts = Counter(one.verdict for one in told.claims)
    ordered = [*_ORDER, *(verdict for verdict in counts if verdict not in _ORDER)]
    others = [one for one in told.claims if one.verdict != "confirmed"]
    sections = [
        Section(
            "Every claim",
            "P-values are adjusted over all claims that are tests. Each command computes its claim from raw data.",
            (),
            (Table("Claims", _COLUMNS, tuple(map(_row, told.claims))),),
        )
    ]
    if others:
        rows = tuple((one.id, one.statement, one.verdict, _why(one)) for one in others)
        sections.insert(
            0, Section("Not confirmed", "", (), (Table("Claims that may not be made", (*_COLUMNS[:3], "why"), rows),))
        )
    confirmed = counts["confirmed"]
    return Page(
        title=f"claims {told.name}",
        kind="claims",
        verdict=Verdict(
            "failed" if counts["failed"] else "confirmed" if confirmed == len(told.claims) else "inconclusive",
            f"{confirmed} of {len(told.claims)} claim{'' if len(told.claims) == 1 else 's'} confirmed",
            ", ".join(f"{counts[verdict]} {verdict}" for verdict in ordered if counts[verdict]) + ".",
        ),
        sections=tuple(sections),
        facts=(("made with", ", ".join(f"{name} {version}" for name, version in told.environment.items())),),
    )


def _row(one: Claim) -> tuple:
    figures = (one.effect, one.ci_low, one.ci_high, one.p_adjusted, one.seconds)
    return (one.id, one.statement, one.verdict, one.test, one.n, *map(number, figures), one.command)


def _why(one: Claim) -> str:
    if one.reason:
        return one.reason
    p = number(one.p_adjusted)
    return "no test" if p is None else f"p {p:.2g}, adjusted"
