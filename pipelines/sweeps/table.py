"""Makes one table over all jobs of a sweep."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flowgrad import output
from flowgrad.bounded_yaml import load_yaml
from flowgrad.csv_tables import read_table
from flowgrad.errors import EvidenceError
from flowgrad.files import read_bounded
from flowgrad.statistics import CONTROL, PRIMARY, holm
from pipelines.config.command_line import one_line
from pipelines.config.refusals import told
from pipelines.output.pages import write_page
from pipelines.output.tables import rounded, write_table
from pipelines.sweeps.finished import read_json
from pipelines.sweeps.job_record import FILE, JOBS, JobRecord, read_record

COLUMNS = ["job", "overrides", "comparison", "metric", "n", "baseline", "treated", "difference", "ci_low", "ci_high",
           "effect_size", "p", "p_adjusted", "p_sweep", "family", "gap_closed", "verdict", "objective", "prescribed",
           "reason"]  # fmt: skip
_SHOWN = ["overrides", "comparison", "metric", "difference", "ci_low", "ci_high", "effect_size", "p_sweep", "family",
          "verdict", "objective", "prescribed", "reason"]  # fmt: skip
_PRINTED = ["overrides", "comparison", "metric", "baseline", "treated", "p_sweep", "gap_closed", "verdict", "objective"]
_MOST_BYTES = 1 << 20
"""A prescription may have so many bytes."""
FAMILY = "jobs of this sweep"
_OF_THE_SWEEP = ("job", "launch", "hparams_search", "workers")
"""Overrides that a run of the best configuration does not need."""
KILLED = "it came to no end: see its run.log"


class SweepTable(Callback):
    """Writes `sweep.{csv,md,tex}` into the sweep's folder when its last job is done, and prints it."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Collect every job's end.

        Raises:
            SystemExit: code 1, a job failed; 2, the table cannot be written. Of any other exception Hydra would make a
                warning.
        """
        try:
            self._collect(config)
        except BrokenPipeError:
            raise SystemExit(output.UNREAD) from None
        except Exception as error:
            line = told(error) or f"{type(error).__name__}: {one_line(error)}"
            print(f"error: the table of this sweep is not there: {line}", file=sys.stderr)
            raise SystemExit(2) from error

    @staticmethod
    def _collect(config: DictConfig) -> None:
        folder = Path(config.hydra.sweep.dir)
        table = collect(folder, float(config.comparison.alpha))
        if table.empty:
            return
        write_table(table, folder, "sweep", [name for name in _SHOWN if table[name].notna().any()])
        write_page(folder)
        _print(table, folder, config.hydra.runtime.choices.get("experiment"))
        if (table["verdict"] == "failed").any():
            raise SystemExit(1)


def collect(folder: Path, alpha: float) -> pd.DataFrame:
    """Collect all jobs of the sweep in `folder`: the primary tests of the whole prescription and of the control, or, of
    jobs of another kind, a line that says that they are done; and why a job failed.

    `p_sweep` is adjusted (Holm) over the whole prescriptions of all jobs and all metrics, and so is `verdict`; the
    controls are a family of their own. A job's rounds, and other tests, stand in its own folder. Jobs of a search come
    best first.

    Args:
        folder: of the sweep.
        alpha: level of the verdicts.
    """
    jobs = _jobs(folder)
    marks = {job: read_record(folder / job) for job in jobs}
    lists = [set(mark.overrides) for mark in marks.values() if mark]
    common = set.intersection(*lists) if len(lists) > 1 else set()
    lines = [line for job in jobs for line in _lines(folder / job, marks[job], common)]
    table = pd.DataFrame(lines, columns=COLUMNS)
    for control in (False, True):
        rows = table.index[table["p"].notna() & ((table["family"] == CONTROL) == control)]
        table.loc[rows, "p_sweep"] = holm(table.loc[rows, "p"].tolist())
    weak = (table["p_sweep"] >= alpha) & table["verdict"].isin(["confirmed", "refuted"])
    table.loc[weak, "verdict"] = "inconclusive"
    if table["objective"].notna().any():
        table = table.sort_values("objective", kind="stable", ignore_index=True)
    return table


def _jobs(folder: Path) -> list[str]:
    """Names of the jobs' folders, in their order: as the sweeper planned them, or by number."""
    planned = read_json(folder / JOBS)
    if isinstance(planned, list) and all(isinstance(name, str) for name in planned):
        return planned
    found = (path.parent.name for path in folder.glob(f"*/{FILE}"))
    return sorted(found, key=lambda name: (int(name), "") if name.isdecimal() and name.isascii() else (-1, name))


def _lines(job: Path, mark: JobRecord | None, common: set[str]) -> list[dict]:
    swept = " ".join(override for override in mark.overrides if override not in common) if mark else ""
    known = {"job": job.name, "overrides": swept or job.name}
    if mark is None or mark.reason:
        return [known | {"verdict": "failed", "reason": mark.reason if mark else KILLED}]
    if not (job / "significance.csv").is_file():
        return [known | {"verdict": "done", "objective": mark.objective}]
    path = job / "prescription.yaml"
    try:
        table = read_table(job / "significance.csv", ["test", "comparison", "family"])
        prescription = load_yaml(read_bounded(path, _MOST_BYTES), _MOST_BYTES)
        changes = " ".join(override for stage in prescription["rounds"] for override in stage["overrides"])
    except EvidenceError as error:
        return [known | {"verdict": "failed", "reason": str(error)}]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        reason = f"{path}: it is no prescription: {' '.join(str(error).split())[:300]}"
        return [known | {"verdict": "failed", "reason": reason}]
    table = table[table["test"].isin(PRIMARY) & table["comparison"].isin(["treated_vs_baseline", "aa"])]
    return [
        {name: line[name] for name in COLUMNS if name in line}
        | known
        | {"prescribed": changes, "family": CONTROL if line["family"] == CONTROL else FAMILY}
        for line in table.to_dict("records")
    ]


def _print(table: pd.DataFrame, folder: Path, experiment: str | None) -> None:
    columns = [name for name in _PRINTED if table[name].notna().any()]
    shown = Table(box=box.SIMPLE_HEAD)
    for name in columns:
        shown.add_column(name, overflow="fold", no_wrap=name != "overrides")
    for _, line in rounded(table[columns]).iterrows():
        shown.add_row(*(escape(line[name]) for name in columns))
    console = Console()
    if not console.is_terminal:
        console.width = 140
    console.print(shown)
    failed = table[table["verdict"] == "failed"]
    for _, line in failed.iterrows():
        _say(console, f"{line['overrides']} failed: {line['reason']}")
    given = os.environ.get("FLOWGRAD_COMMAND", "")
    if len(failed) and given:
        again = [word for word in shlex.split(given) if not word.startswith("hydra.sweep.dir=")]
        _say(console, f"only what is missing: {shlex.join([*again, f'hydra.sweep.dir={folder}'])}")
    best = read_record(folder / table["job"].iloc[0])
    if table["objective"].notna().any() and best:
        kept = [override for override in best.overrides if override.partition("=")[0] not in _OF_THE_SWEEP]
        if experiment and not any(override.startswith("experiment=") for override in kept):
            kept.insert(0, f"experiment={experiment}")  # a search may bring its own
        _say(console, f"best: {shlex.join(['python', '-m', 'pipelines.run', *kept])}")
    _say(console, f"files: {folder}")


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
