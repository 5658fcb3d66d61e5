"""The table of claims: as files, and for the terminal."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flowgrad.report import Claim, ClaimsReport, write
from pipelines.output.tables import rounded, write_table

COLUMNS = ["claim", "statement", "test", "n", "effect", "ci_low", "ci_high", "p", "p_adjusted", "verdict", "seconds",
           "command"]  # fmt: skip
_SHOWN = ["claim", "test", "n", "effect", "ci_low", "ci_high", "p_adjusted", "verdict", "seconds"]


def write_claims(claims: Sequence[Claim], name: str, folder: Path) -> None:
    """`claims.{csv,md,tex,xml}`, and `claims_confirmed.{csv,md,tex}` of those that may be said in public."""
    table = _table(claims)
    write_table(table, folder, "claims", COLUMNS)
    confirmed = table[table["verdict"] == "confirmed"]
    write_table(confirmed, folder, "claims_confirmed", ["statement", *COLUMNS[2:-1]])
    packages = {package: version(package) for package in ("torch", "numpy", "scipy", "statsmodels")}
    environment = {"python": platform.python_version(), **packages}
    write(ClaimsReport(name, tuple(claims), environment), folder / "claims.xml")


def _table(claims: Sequence[Claim]) -> pd.DataFrame:
    names = {"claim": "id"}
    lines = [{column: getattr(claim, names.get(column, column)) for column in [*COLUMNS, "reason"]} for claim in claims]
    return pd.DataFrame(lines, columns=[*COLUMNS, "reason"])


def print_claims(claims: Sequence[Claim], folder: Path) -> None:
    """One table, why runs failed, and where the files are."""
    shown = Table(box=box.SIMPLE_HEAD)
    for name in _SHOWN:
        shown.add_column(name, overflow="fold")
    for _, line in rounded(_table(claims)[_SHOWN]).iterrows():
        shown.add_row(*(escape(line[name]) for name in _SHOWN))
    terminal = Console()
    if not terminal.is_terminal:
        terminal.width = 160
    terminal.print(shown)
    for claim in claims:
        if claim.reason:
            terminal.print(f"{claim.id}: {claim.reason}", markup=False, highlight=False, soft_wrap=True)
    terminal.print(f"files: {folder}", markup=False, highlight=False, soft_wrap=True)
