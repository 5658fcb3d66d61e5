"""One table over all jobs of a sweep."""

from __future__ import annotations

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

from pipelines.tables import rounded, write_table

_SHOWN = ["job", "overrides", "comparison", "metric", "baseline", "treated", "difference", "p_adjusted", "gap_closed",
          "verdict", "prescribed"]  # fmt: skip


class SweepTable(Callback):
    """Writes `sweep.{csv,md,tex}` into the sweep's folder when its last job is done, and prints it."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Collect every job's significance table."""
        folder = Path(config.hydra.sweep.dir)
        table = collect(folder)
        if table.empty:
            return
        write_table(table, folder, "sweep", _SHOWN)
        _print(table, folder)


def collect(folder: Path) -> pd.DataFrame:
    """The significance tables of all jobs below `folder`, each line with its job, the overrides in
    which it differs from the others, and the change prescribed.

    Of each job the whole prescription (`treated_vs_baseline`) and the control (`aa`) are kept; its rounds stand in
    the job's own folder. Empty where no job has finished.
    """
    parts = []
    for file in sorted(folder.glob("*/significance.csv"), key=lambda path: _natural(path.parent.name)):
        job = file.parent
        table = pd.read_csv(file)
        table = table[(table["test"] != "wilcoxon") & ~table["comparison"].str.startswith("round")]
        swept = yaml.safe_load((job / ".hydra" / "overrides.yaml").read_text(encoding="utf-8"))
        prescription = yaml.safe_load((job / "prescription.yaml").read_text(encoding="utf-8"))
        changes = [override for stage in prescription["rounds"] for override in stage["overrides"]]
        table.insert(0, "job", job.name)
        table.insert(1, "overrides", pd.Series([swept] * len(table), index=table.index, dtype=object))
        parts.append(table.assign(prescribed=" ".join(changes)))
    if not parts:
        return pd.DataFrame()
    table = pd.concat(parts, ignore_index=True)
    common = set.intersection(*(set(swept) for swept in table["overrides"])) if len(parts) > 1 else set()
    table["overrides"] = [" ".join(o for o in swept if o not in common) for swept in table["overrides"]]
    return table


def _natural(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdigit() else (-1, name)


def _print(table: pd.DataFrame, folder: Path) -> None:
    columns = ["overrides", "comparison", "metric", "baseline", "treated", "p_adjusted", "gap_closed", "verdict"]
    shown = Table(box=box.SIMPLE_HEAD)
    for name in columns:
        shown.add_column(name, overflow="fold", no_wrap=name != "overrides")
    for _, line in rounded(table[columns]).iterrows():
        shown.add_row(*(escape(line[name]) for name in columns))
    console = Console()
    if not console.is_terminal:
        console.width = 120
    console.print(shown)
    console.print(f"files: {folder}", markup=False, highlight=False)
