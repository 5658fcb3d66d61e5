"""Makes the page of a sweep: its jobs beside each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowgrad.html.figures import Figure, Interval, Intervals, Lines, Table, finite
from flowgrad.html.findings import number
from flowgrad.html.folder import Folder
from flowgrad.html.frames import table_of
from flowgrad.html.page import Page, Section, Verdict
from flowgrad.html.pictures import curves
from flowgrad.html.pictures.proofs import told_effect
from flowgrad.statistics import CONTROL

if TYPE_CHECKING:
    import pandas as pd

FILE = "sweep.csv"
MOST_JOBS = 24
"""Number of jobs whose learning curves are drawn."""
_COLUMNS = ("job", "overrides", "verdict")
_NUMBERS = ("difference", "ci_low", "ci_high", "p_sweep", "objective")
_MOST_LINES = 500


def sweep_page(path: Path) -> Page:
    """Make the page of a sweep from its table and the curves in its jobs' folders."""
    folder = Folder(path)
    table = folder.table(FILE, _COLUMNS, _NUMBERS)
    if table is None:
        return Page(
            path.resolve().name,
            "sweep",
            Verdict("failed", "The table of this sweep is not there", ""),
            missing=tuple(folder.missing),
        )
    lines = table.to_dict("records")
    jobs = {str(line["job"]): str(line["overrides"]) for line in lines}
    figures = (*_effects(table), *_objectives(lines))
    small = tuple(_small_multiples(folder, jobs))
    sections = []
    if figures:
        sections.append(Section("Jobs beside each other", "P-values are adjusted over all jobs of the sweep.", figures))
    if small:
        left = f", of {len(small)} of {len(jobs)} jobs" if len(small) < len(jobs) else ""
        sections.append(Section("Learning curves", f"All are on the same scale{left}.", small, small=True))
    sections.append(Section("Every job", "", (), (_table(table),)))
    return Page(
        title=path.resolve().name,
        kind="sweep",
        verdict=_verdict(lines, len(jobs)),
        sections=tuple(sections),
        missing=tuple(folder.missing),
    )


def _verdict(lines: list[dict[Any, Any]], jobs: int) -> Verdict:
    failed = {str(one["job"]): one for one in lines if one["verdict"] == "failed"}
    tested = [one for one in lines if one.get("family") != CONTROL and one["verdict"] not in ("failed", "done")]
    counts = Counter(str(one["verdict"]) for one in tested)
    told = [f"{count} {verdict}" for verdict, count in counts.most_common()]
    head = f"{jobs} job{'' if jobs == 1 else 's'}: {', '.join(told) or 'done'}"
    if failed:
        head += f", {len(failed)} failed"
    searched = [one for one in lines if number(one["objective"]) is not None]
    if searched:
        best = min(searched, key=lambda one: one["objective"])
        detail = f"Best: {best['overrides']} with {best['objective']:.4g}."
    else:
        changes = Counter(str(one["prescribed"]) for one in tested if isinstance(one.get("prescribed"), str))
        detail = "; ".join(
            f"{change or 'nothing'} ({count} job{'' if count == 1 else 's'})"
            for change, count in changes.most_common(3)
        )
        detail = f"Prescribed: {detail}." if detail else ""
    if failed:
        first = next(iter(failed.values()))
        detail += f" {first['overrides']} failed: {first.get('reason')}"
    state = "failed" if failed else "confirmed" if counts and set(counts) == {"confirmed"} else "done"
    if state == "done" and counts:
        state = "inconclusive" if counts["inconclusive"] else "refuted"
    return Verdict(state, head, detail.strip())


def _effects(table: pd.DataFrame) -> Iterator[Intervals]:
    if "metric" not in table:
        return
    tested = table[table["difference"].notna() & (table["family"] != CONTROL)]
    for metric, lines in list(tested.groupby("metric", sort=False))[:4]:
        rows = tuple(
            Interval(
                str(one["overrides"]),
                number(one["difference"]),
                number(one["ci_low"]),
                number(one["ci_high"]),
                str(one["verdict"]),
                number(one["p_sweep"]),
            )
            for one in lines.to_dict("records")
        )
        yield told_effect(f"Effect on {metric} by job", str(metric), rows, None, FILE)


def _objectives(lines: list[dict[Any, Any]]) -> Iterator[Intervals]:
    known = [(str(one["overrides"]), number(one["objective"])) for one in lines]
    rows = tuple(Interval(name, value, None, None, "") for name, value in known if value is not None)
    if rows:
        yield Intervals(
            "Objective by job",
            f"What the search minimises, best first: from {rows[0].value:.4g} to {rows[-1].value:.4g}.",
            (FILE,),
            "objective (lower is better)",
            rows,
            None,
        )


def _small_multiples(folder: Folder, jobs: dict[str, str]) -> Iterator[Figure]:
    """Learning curves of each job, all on the same scale."""
    drawn: list[tuple[str, Lines]] = []
    for job, overrides in jobs.items():
        if len(drawn) == MOST_JOBS or "/" in job or job.startswith("."):
            continue
        name = f"{job}/curves.csv"
        table = folder.table(name, curves.COLUMNS, ["validation_loss"])
        one = None if table is None else curves.learning_curves(table, name)
        if one is not None:
            drawn.append((overrides, one))
    ys = [v for _, one in drawn for part in one.series for v in finite((*part.y, *part.low, *part.high))]
    xs = [v for _, one in drawn for part in one.series for v in finite(part.x)]
    for overrides, one in drawn:
        yield one.within(overrides, (min(xs), max(xs)), (min(ys), max(ys)))


def _table(table: pd.DataFrame) -> Table:
    named = [str(name) for name in table.columns if table[name].notna().any()]
    ordered = [*(name for name in named if name != "job"), *(name for name in named if name == "job")]
    return table_of(table, "Jobs", ordered, _MOST_LINES, FILE)
