"""The verb `compare`: what changed from one run to another, and whether their seeds bear it out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from flowgrad.agents.answers import SCHEMA_VERSION, Comparison, Difference, Mark, Side, Test
from flowgrad.agents.findings import status_of
from flowgrad.agents.plain import plain
from flowgrad.agents.run_files import RunFiles, run_files
from flowgrad.agents.tables import OBSERVATIONS
from flowgrad.errors import EvidenceError, StatisticsError
from flowgrad.report import CausalModel, Report, RunReport
from flowgrad.rules import SEVERITIES

MOST_SHOWN = 1_000


@dataclass(frozen=True)
class _Side:
    files: RunFiles
    document: RunReport | None
    parts: tuple[Report, ...]
    arm: str

    @property
    def data_sha256(self) -> str:
        run = self.document.run if self.document is not None else self.parts[0].run
        return "" if run is None else run.data_sha256


def compare(a: str, b: str, *, limit: int = 20, arm: str = "") -> Comparison:
    """Answer what changed from A to B: findings gone, new and kept, figures before and after, and a paired test of the
    metrics over the seeds that both have.

    Args:
        a: run folder, or report as XML.
        b: the same of the other.
        limit: number of findings of each kind, and of figures, that are told.
        arm: arm of either run whose seeds are compared; empty: the one that its report is about.

    Raises:
        FlowGradError: a run is not there, or its report cannot be read.
    """
    one, other = _side(a, arm), _side(b, arm)
    before, after = _marks(one.parts), _marks(other.parts)
    most = max(0, min(limit, MOST_SHOWN))
    gone = [mark for key, mark in before.items() if key not in after]
    new = [mark for key, mark in after.items() if key not in before]
    kept = [_kept(before[key], mark) for key, mark in after.items() if key in before]
    figures = [*_figures(one.parts, other.parts)]
    tests, untested = _tested(one, other)
    answer: dict[str, Any] = {
        "answer": "compare",
        "schema_version": SCHEMA_VERSION,
        "a": _told(a, one),
        "b": _told(b, other),
        "gone": gone[:most],
        "new": new[:most],
        "kept": kept[:most],
        "figures": figures[:most],
        "tests": tests,
        "untested": untested,
        "cautions": [*_cautions(one, other)],
    }
    lengths = {"gone": len(gone), "new": len(new), "kept": len(kept), "figures": len(figures)}
    cut = {name: length for name, length in lengths.items() if length > most}
    return cast(Comparison, answer | ({"cut": cut} if cut else {}))


def _side(given: str, arm: str) -> _Side:
    files = run_files(given)
    document, parts = files.read()
    run = document.run if document is not None else parts[0].run
    return _Side(files, document, parts, arm or (run.arm if run is not None else ""))


def _told(given: str, side: _Side) -> Side:
    told = {"run": given, "report": str(side.files.report), "status": status_of(side.parts)}
    found = sum(len(part.findings) for part in side.parts)
    has = (side.files.folder / OBSERVATIONS).is_file()
    return cast(Side, told | {"findings": found} | ({"arm": side.arm} if has and side.arm else {}))


def _marks(parts: Sequence[Report]) -> dict[tuple[str, str], Mark]:
    """Findings in a line each, by place and type, the most severe first."""
    found = [(_place(part, one), one) for part in parts for one in part.findings]
    found.sort(key=lambda pair: -SEVERITIES.index(pair[1].severity))
    marks: dict[tuple[str, str], Mark] = {}
    for place, one in found:
        mark = {"layer": place, "rule": one.rule, "type": one.type, "severity": one.severity}
        marks.setdefault((place, one.type), cast(Mark, plain(mark)))
    return marks


def _place(part: Report, found: CausalModel) -> str:
    places = () if found.places is None else found.places.shown
    return places[0].layer if places else part.layer


def _kept(before: Mark, after: Mark) -> Mark:
    return after if before["severity"] == after["severity"] else cast(Mark, {**after, "was": before["severity"]})


def _figures(before: Sequence[Report], after: Sequence[Report]) -> Iterator[Difference]:
    """Figures of the same subject that differ, the largest relative change first."""
    old, new = _values(before), _values(after)
    pairs = [(key, old[key], new[key]) for key in new if key in old and not _same(old[key], new[key])]
    for (layer, name), one, other in sorted(pairs, key=lambda pair: -_change(pair[1], pair[2])):
        yield cast(Difference, plain({"layer": layer, "name": name, "before": one, "after": other}))


def _values(parts: Sequence[Report]) -> dict[tuple[str, str], float]:
    return {(part.layer, metric.name): metric.value for part in parts for metric in part.measurements}


def _same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def _change(one: float, other: float) -> float:
    """Change in units of the larger of both, in [0, 2]; that of a figure that is not finite counts most."""
    if not (math.isfinite(one) and math.isfinite(other)):
        return 3.0
    return abs(other - one) / max(abs(one), abs(other))


def _cautions(one: _Side, other: _Side) -> Iterator[str]:
    if status_of(other.parts) == "NOT_OBSERVED":
        yield "B is NOT_OBSERVED: a finding that is gone there was not looked for"
    blind = [part.layer for part in other.parts if part.coverage is not None and part.coverage.blind]
    if blind and status_of(other.parts) != "NOT_OBSERVED":
        yield f"B could not see {', '.join(blind[:5])}: a finding that is gone there was not looked for"
    if one.data_sha256 and other.data_sha256 and one.data_sha256 != other.data_sha256:
        yield "the data of A and B are not the same: figures and findings may differ for that alone"


def _tested(one: _Side, other: _Side) -> tuple[list[Test], str]:
    """Paired tests of both sides, and the reason where there is none."""
    missing = [side.files.given for side in (one, other) if not (side.files.folder / OBSERVATIONS).is_file()]
    if missing:
        return [], f"{missing[0]} holds no {OBSERVATIONS}, so there are no values by seed"
    if one.data_sha256 and other.data_sha256 and one.data_sha256 != other.data_sha256:
        return [], "the data of A and B are not the same, so their seeds are no pairs"
    from flowgrad.agents.pairing import Arm, tested  # which needs pandas and scipy

    try:
        return tested(Arm(one.files.folder, one.arm), Arm(other.files.folder, other.arm)), ""
    except (StatisticsError, EvidenceError) as error:
        return [], str(error)
