"""The verb `rows`: ids that findings name, with their figures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from flowgrad.agents.answers import SCHEMA_VERSION, Row, RowGroup, Rows
from flowgrad.agents.findings import places_of
from flowgrad.agents.plain import MOST_ITEMS, figure, plain
from flowgrad.agents.run_files import RunFiles, run_files
from flowgrad.agents.tables import lines_of
from flowgrad.errors import EvidenceError, FlowGradError
from flowgrad.report import CausalModel, Report
from flowgrad.rules.suggestion import did_you_mean

MOST_ROWS = 10_000


def rows(run: str, subject: str, *, rule: str = "", limit: int = 20) -> Rows:
    """Answer which rows the findings at a subject name, worst first.

    All rows stand in a table beside the report (`rows_SUBJECT.csv`), where the run wrote one; the report itself holds
    the first few.

    Args:
        run: run folder, or report as XML.
        subject: name of a table, a network, or a place of a finding.
        rule: id of a rule, or a type; empty: every.
        limit: number of rows told, of all findings together.

    Raises:
        FlowGradError: there is no such run or subject.
    """
    files = run_files(run)
    _, parts = files.read()
    named = [(part, found) for part in parts for found in part.findings if found.rows is not None]
    own = [(part, found) for part, found in named if subject in places_of(part, found)]
    known = {name for part in parts for name in (part.layer, *(n for f in part.findings for n in places_of(part, f)))}
    if not own and subject not in known:
        raise FlowGradError(f"{run}: no report on {subject!r} in it{did_you_mean(subject, sorted(known))}")
    own = [(part, found) for part, found in own if not rule or rule in (found.rule, found.type)]
    groups: list[RowGroup] = []
    tables = _Tables(files)
    left = max(0, min(limit, MOST_ROWS))
    for part, found in own[:MOST_ITEMS]:
        group = _group(tables, part, found, left)
        left -= len(group["rows"])
        groups.append(group)
    answer: dict[str, Any] = {
        "answer": "rows",
        "schema_version": SCHEMA_VERSION,
        "run": run,
        "subject": subject,
        "limit": limit,
        "groups": groups,
        "problems": list(tables.problems),
    }
    return cast(Rows, answer | ({"cut": {"groups": len(own)}} if len(own) > MOST_ITEMS else {}))


class _Tables:
    """The tables beside a report, each read once."""

    def __init__(self, files: RunFiles) -> None:
        self.files = files
        self.problems: dict[str, None] = {}
        self._lines: dict[str, list[dict[str, str]]] = {}

    def lines(self, name: str) -> list[dict[str, str]] | None:
        """Lines of a table; None where it cannot be read."""
        if name not in self._lines:
            try:
                self._lines[name] = lines_of(self.files.table(name), ("rule", "id"))
            except EvidenceError as error:
                self.problems[str(error)] = None
                return None
        return self._lines[name]


def _group(tables: _Tables, part: Report, found: CausalModel, left: int) -> RowGroup:
    assert found.rows is not None
    lines = tables.lines(found.rows.table) if found.rows.table else None
    if lines is None:
        source = str(tables.files.report)
        told = [_row({"id": row.id, "figures": dict(row.values)}) for row in found.rows.shown[:left]]
    else:
        source = str(tables.files.folder / found.rows.table)
        told = [*_of_table(lines, found.rule, left)]
    group = {"rule": found.rule, "type": found.type, "layer": part.layer, "count": found.rows.count}
    return cast(RowGroup, group | {"source": source, "rows": told})


def _of_table(lines: list[dict[str, str]], rule: str, left: int) -> Iterator[Row]:
    own = [line for line in lines if line["rule"] == rule]
    for line in own[:left]:
        figures = {name: figure(text) for name, text in line.items() if name not in ("rule", "id", "row")}
        known = {name: value for name, value in figures.items() if value is not None}
        told = {"id": _id(line["id"]), "figures": known}
        yield _row(told | ({"row": _id(line["row"])} if line.get("row", line["id"]) != line["id"] else {}))


def _row(told: dict[str, Any]) -> Row:
    row = plain(told)
    odd = row["figures"].pop("not_finite", None)
    row["figures"].pop("cut", None)
    return cast(Row, row | ({"not_finite": odd} if odd else {}))


def _id(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 and str(int(text)) == text else text
