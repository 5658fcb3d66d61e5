"""The verb `history`: the series of a figure that a run holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from flowgrad.agents.answers import SCHEMA_VERSION, Available, History, Series
from flowgrad.agents.plain import figure, plain, spelled
from flowgrad.agents.run_files import RunFiles, parts_of, run_files
from flowgrad.agents.tables import OBSERVATIONS, lines_of
from flowgrad.agents.thinning import LEAST_POINTS, thinned
from flowgrad.errors import EvidenceError, FlowGradError
from flowgrad.rules.suggestion import did_you_mean

MOST_POINTS = 10_000
CURVE, CURVES, TREATED = "learning_curve.csv", "curves.csv", "treated.csv"
TRAINING = "training"
"""Subject of the losses of a training."""


@dataclass(frozen=True)
class Line:
    """One series as it was read."""

    source: str
    subject: str
    figure: str
    by: str
    points: tuple[tuple[float, float], ...]
    arm: str = ""
    seed: int | None = None


def history(
    run: str, subject: str = "", figure: str = "", *, max_points: int = 100, arm: str = "", seed: int | None = None
) -> History:
    """Answer the series of a figure, or what there is where subject or figure is left out.

    Series are: figures of each report by round of diagnosis, metrics of each arm by seed, losses by epoch, and
    numbers that findings changed while it trained (`training.treat`) by step.

    Args:
        run: run folder, or report as XML.
        subject: name of a watched thing, of an arm, or `training`.
        figure: name of a figure or metric.
        max_points: number of points of all series together; extremes are kept.
        arm: name of the one arm that is wanted; empty: all.
        seed: the one seed that is wanted; None: all.

    Raises:
        FlowGradError: there is no such run, series or figure, or a file cannot be read.
    """
    if not LEAST_POINTS <= max_points <= MOST_POINTS:
        raise FlowGradError(f"max_points={max_points} must lie between {LEAST_POINTS} and {MOST_POINTS}")
    files = run_files(run)
    every = [*_lines(files)]
    own = [line for line in every if not subject or line.subject == subject]
    if subject and not own:
        raise FlowGradError(f"{run}: there is no series of {subject!r}{_hint(subject, [one.subject for one in every])}")
    found = [line for line in own if figure and line.figure == figure]
    if figure and not found:
        raise FlowGradError(f"{run}: there is no series of {figure!r}{_hint(figure, [one.figure for one in own])}")
    chosen = [one for one in found if (not arm or one.arm == arm) and (seed is None or one.seed == seed)]
    if found and not chosen:
        raise FlowGradError(f"{run}: {figure} is not told of that arm and seed; leave --arm or --seed out to see which")
    asked = bool(subject and figure)
    told = chosen[: max_points // LEAST_POINTS] if asked else []
    answer: dict[str, Any] = {
        "answer": "history",
        "schema_version": SCHEMA_VERSION,
        "run": run,
        "max_points": max_points,
        "series": [_told(line, max_points // len(told)) for line in told],
        "total": len(chosen) if asked else 0,
        "available": [] if asked else [*_available([line for line in own if not figure or line.figure == figure])],
    }
    return cast(History, answer)


def _hint(name: str, known: list[str]) -> str:
    return did_you_mean(name, known) or "; the run holds no series"


def _told(line: Line, most: int) -> Series:
    values = [value for _, value in line.points]
    kept = [line.points[place] for place in thinned(values, most)]
    odd = {f"{at:g}": spelled(value) for at, value in kept if not math.isfinite(value)}
    told: dict[str, Any] = {
        "source": line.source,
        "subject": line.subject,
        "figure": line.figure,
        "by": line.by,
        "count": len(values),
        "points": [(at, value if math.isfinite(value) else None) for at, value in kept],
    }
    told |= {"arm": line.arm} if line.arm else {}
    told |= {} if line.seed is None else {"seed": line.seed}
    return cast(Series, told | ({"not_finite": odd} if odd else {}))


def _available(lines: list[Line]) -> Iterator[Available]:
    found: dict[tuple[str, str, str], dict[str, None]] = {}
    for line in lines:
        found.setdefault((line.subject, line.source, line.by), {})[line.figure] = None
    for (subject, source, by), figures in list(found.items())[:_MOST_SUBJECTS]:
        yield plain({"subject": subject, "source": source, "by": by, "figures": list(figures)})


_MOST_SUBJECTS = 50


def _lines(files: RunFiles) -> Iterator[Line]:
    yield from _of_reports(files.reports)
    for name, read in _TABLES.items():
        path = files.folder / name
        if path.is_file():
            yield from read(path)


def _of_reports(paths: tuple[Path, ...]) -> Iterator[Line]:
    """Figures of the reports of a run, by round of diagnosis; of one report, a point each."""
    found: dict[tuple[str, str], dict[float, float]] = {}
    for place, path in enumerate(paths, start=1):
        document, parts = parts_of(path)
        for part in parts:
            run = document.run if document is not None else part.run
            at = float(run.round if run is not None and run.round else place)
            for metric in part.measurements:
                found.setdefault((part.layer, metric.name), {})[at] = metric.value
    source = paths[0].name if len(paths) == 1 else "report*.xml"
    for (layer, name), points in found.items():
        yield Line(source, layer, name, "round", tuple(sorted(points.items())))


def _observed(path: Path) -> Iterator[Line]:
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for line in lines_of(path, ("arm", "seed", "metric", "value")):
        found.setdefault((line["arm"], line["metric"]), []).append((_number(path, line["seed"]), _value(line["value"])))
    for (arm, metric), points in found.items():
        yield Line(path.name, arm, metric, "seed", tuple(points), arm)


def _curve(path: Path) -> Iterator[Line]:
    lines = lines_of(path, ("epoch",))
    for name in lines[0] if lines else ():
        if name != "epoch":
            points = tuple((_number(path, line["epoch"]), _value(line[name])) for line in lines)
            yield Line(path.name, TRAINING, name, "epoch", points)


def _curves(path: Path) -> Iterator[Line]:
    """Losses by epoch or round of each arm and seed."""
    lines = lines_of(path, ("arm", "seed"))
    by = next((name for name in ("epoch", "round") if lines and name in lines[0]), "")
    if lines and not by:
        raise EvidenceError(f"{path}:1: there is no column 'epoch' or 'round'; the file was edited")
    found: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for line in lines:
        for name in line:
            if name not in ("arm", "seed", by):
                points = found.setdefault((name, line["arm"], line["seed"]), [])
                points.append((_number(path, line[by]), _value(line[name])))
    for (name, arm, seed), values in found.items():
        yield Line(path.name, TRAINING, name, by, tuple(values), arm, int(_number(path, seed)))


def _treated(path: Path) -> Iterator[Line]:
    """Rates and norms that findings set, of each arm and seed."""
    for line in lines_of(path, ("arm", "seed", "step", "kind", "where", "new")):
        if figure(line["new"]) is not None:
            point = _number(path, line["step"]), _value(line["new"])
            yield Line(
                path.name, line["where"], line["kind"], "step", (point,), line["arm"], int(_number(path, line["seed"]))
            )


_TABLES: dict[str, Callable[[Path], Iterator[Line]]] = {
    OBSERVATIONS: _observed,
    CURVE: _curve,
    CURVES: _curves,
    TREATED: _treated,
}


def _number(path: Path, text: str) -> float:
    number = figure(text)
    if number is None or not math.isfinite(number):
        raise EvidenceError(f"{path}: {text[:40]!r} stands where a number is needed; the file was cut or edited")
    return number


def _value(text: str) -> float:
    number = figure(text)
    return math.nan if number is None else number
