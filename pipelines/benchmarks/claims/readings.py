"""From what a run left in its folder to the figures of a claim. Each function is a `_target_` in conf/claims/."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml
from statsmodels.stats.proportion import proportion_confint

from flowgrad.bounded_yaml import load_yaml
from flowgrad.csv_tables import read_table
from flowgrad.errors import FlowGradError, StatisticsError
from flowgrad.files import read_bounded
from flowgrad.statistics import NO_WORSE, PRIMARY, PROVEN, pair, variance_test
from flowgrad.verification.recomputation import observations_of
from pipelines.benchmarks.claims.verification import tested_line

NAN = float("nan")
_MOST_BYTES = 1 << 20
"""A prescription may have so many bytes."""


@dataclass(frozen=True)
class ClaimResult:
    """Result that decides a claim; fields as in `flowgrad.report.Claim`."""

    verdict: str
    test: str
    n: int
    effect: float
    ci_low: float = NAN
    ci_high: float = NAN
    p: float = NAN


def difference(folders: Sequence[Path], comparison: str, metric: str, table: str = "significance.csv") -> ClaimResult:
    """The primary test of a comparison of arms."""
    line = _tested(folders, table, comparison, metric, PRIMARY)
    return _of(line, str(line["verdict"]), str(line["test"]))


def no_worse(folders: Sequence[Path], comparison: str, metric: str, table: str = "significance.csv") -> ClaimResult:
    """Make the test that the treated arm got no worse by the margin that the run was given."""
    line = _tested(folders, table, comparison, metric, (NO_WORSE,))
    verdict = str(line["verdict"])
    return _of(line, PROVEN.get(verdict, verdict), f"{NO_WORSE}, margin {_figure(line, 'margin', table):.3g}")


def _tested(folders: Sequence[Path], table: str, comparison: str, metric: str, tests: tuple[str, ...]) -> pd.Series:
    """Find the one line among all these tables, computed anew from the observations in its folder."""
    lines = _table(folders, table, ["comparison", "metric", "test"])
    chosen = lines[(lines["comparison"] == comparison) & (lines["metric"] == metric) & lines["test"].isin(tests)]
    _one(chosen, f"{comparison}, {metric}", folders)
    return tested_line(Path(chosen["folder"].iloc[0]), table, comparison, metric, tests)


def _of(line: pd.Series, verdict: str, test: str) -> ClaimResult:
    return ClaimResult(
        verdict=verdict,
        test=f"{test}: {line['metric']}, treated minus baseline",
        n=int(line["n"]),
        effect=float(line["difference"]),
        ci_low=float(line["ci_low"]),
        ci_high=float(line["ci_high"]),
        p=float(line["p_adjusted"]),
    )


def variance(folders: Sequence[Path], baseline: str, treated: str, metric: str, alpha: float = 0.05) -> ClaimResult:
    """Whether the metric varies less between seeds in the treated arm."""
    told = ", ".join(str(folder / "observations.csv") for folder in folders)
    try:
        observed = pd.concat([observations_of(_file(folder, "observations.csv")) for folder in folders])
        pairs = pair(observed, baseline, treated, metric)
    except StatisticsError as error:
        raise FlowGradError(f"{told}: {error}") from error
    found = variance_test(pairs.baseline.tolist(), pairs.treated.tolist(), metric=metric, alpha=alpha)
    return ClaimResult(
        verdict={"lower": "confirmed", "higher": "refuted"}.get(found.verdict, "inconclusive"),
        test=f"Pitman-Morgan: variance of {metric} over seeds, treated over baseline",
        n=found.n,
        effect=found.ratio,
        ci_low=found.ci_low,
        ci_high=found.ci_high,
        p=found.p,
    )


def threshold(
    folders: Sequence[Path],
    table: str,
    where: Mapping[str, str],
    column: str,
    n: str,
    at_least: float | None = None,
    at_most: float | None = None,
    low: str | None = None,
    high: str | None = None,
) -> ClaimResult:
    """A figure of a table, held to a bar.

    Args:
        folders: run folders; one line among all their tables must fit.
        table: file in them.
        where: column -> value, which choose the line.
        column: the figure.
        n: column of how many cases are behind it.
        at_least: the bar; or
        at_most: the bar.
        low: column of the lower end of its interval.
        high: of the upper end.

    Returns:
        `inconclusive` where the table leaves the figure empty: it was not measured.
    """
    named = [name for name in (column, n, low, high) if name]
    line = _one(_where(_table(folders, table, [*where, *named]), where), _told(where), folders)
    value = _figure(line, column, table)
    if (at_least is None) == (at_most is None):
        raise FlowGradError(f"claim on {column}: name one bar, at_least or at_most")
    met = value >= at_least if at_least is not None else value <= at_most  # type: ignore[operator]
    told = f"at least {at_least:g}" if at_least is not None else f"at most {at_most:g}"
    measured = not math.isnan(value)
    return ClaimResult(
        verdict=("confirmed" if met else "refuted") if measured else "inconclusive",
        test=f"{column}, {told}" + ("" if measured else " (not measured)"),
        n=_count(line, n, table),
        effect=value,
        ci_low=_figure(line, low, table) if low else NAN,
        ci_high=_figure(line, high, table) if high else NAN,
    )


def proportion(
    folders: Sequence[Path],
    table: str,
    where: Mapping[str, str],
    column: str,
    value: str,
    at_least: float,
    observed: str | None = None,
) -> ClaimResult:
    """Share of the lines (as in `threshold`) of all tables in which `column` is `value`, with Wilson's interval, held
    to a bar. `observed` is the column of whether these runs made a line, where others are those of the ledger; the
    result tells how many they made.
    """
    lines = _where(_table(folders, table, [*where, column, *([observed] if observed else [])]), where)
    hits, n = len(_where(lines, {column: value})), len(lines)
    if not n:
        raise FlowGradError(f"no line of {table} in {', '.join(map(str, folders))} has {_told(where)}")
    low, high = proportion_confint(hits, n, method="wilson")
    met = hits / n >= at_least
    told = f"share {value}, at least {at_least:g}"
    if observed:
        told += f" ({len(_where(lines, {observed: 'True'}))} of {n} taken again, the others as in the ledger)"
    return ClaimResult("confirmed" if met else "refuted", told, n, hits / n, float(low), float(high))


def no_prescription(folders: Sequence[Path]) -> ClaimResult:
    """Nothing is prescribed."""
    count = 0
    for folder in folders:
        path = _file(folder, "prescription.yaml")
        try:
            content = load_yaml(read_bounded(path, _MOST_BYTES), _MOST_BYTES)
            count += sum(len(stage["overrides"]) for stage in content["rounds"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError, yaml.YAMLError) as error:
            raise FlowGradError(f"{path}: it is no prescription: {' '.join(str(error).split())[:300]}") from error
    verdict = "refuted" if count else "confirmed"
    return ClaimResult(verdict, "overrides prescribed, at most 0", len(folders), float(count))


def _file(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise FlowGradError(f"{folder} holds no {name}")
    return folder / name


def _table(folders: Sequence[Path], name: str, columns: Sequence[str] = ()) -> pd.DataFrame:
    """The lines of all these tables, each with the folder that it stands in."""
    parts = [read_table(_file(folder, name), columns).assign(folder=str(folder)) for folder in folders]
    return pd.concat(parts, ignore_index=True)


def _figure(line: pd.Series, column: str, table: str) -> float:
    try:
        return float(line[column])
    except (TypeError, ValueError, KeyError) as error:
        told = str(line.get(column, "missing"))[:80]
        raise FlowGradError(f"{Path(line['folder']) / table}: {column} is {told!r}, and must be a number") from error


def _count(line: pd.Series, column: str, table: str) -> int:
    value = _figure(line, column, table)
    if not value.is_integer():  # NaN and infinities are none either
        raise FlowGradError(f"{Path(line['folder']) / table}: {column} is {value}, and must be a whole number")
    return int(value)


def _where(lines: pd.DataFrame, where: Mapping[str, str]) -> pd.DataFrame:
    for name, wanted in where.items():
        lines = lines[lines[name].astype(str) == str(wanted)]
    return lines


def _told(where: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={wanted}" for name, wanted in where.items())


def _one(lines: pd.DataFrame, what: str, folders: Sequence[Path]) -> pd.Series:
    if len(lines) != 1:
        raise FlowGradError(f"{len(lines)} lines for {what} in {', '.join(map(str, folders))}; one is needed")
    return lines.iloc[0]
