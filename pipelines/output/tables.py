"""Writes one table in the three forms that people ask for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from flowgrad.files import write_atomically

_SHORT = {"p": "{:.2g}", "p_adjusted": "{:.2g}", "gap_closed": "{:.3f}", "effect_size": "{:.2f}"}


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write every digit: floats as Python's shortest form that reads back equal."""
    write_atomically(path, table.to_csv(index=False, lineterminator="\n").encode())


def write_table(table: pd.DataFrame, folder: Path, stem: str, columns: Sequence[str] | None = None) -> None:
    """Write `stem.csv` with everything, `stem.md` and `stem.tex` with rounded figures and, where given, some columns
    only.
    """
    write_csv(table, folder / f"{stem}.csv")
    shown = rounded(table if columns is None else table[list(columns)])
    write_atomically(folder / f"{stem}.md", _piped(shown).encode())
    styled = shown.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
    write_atomically(folder / f"{stem}.tex", styled.to_latex(hrules=True).encode())


def markdown(table: pd.DataFrame) -> str:
    """Write the table as Markdown with rounded figures."""
    return _piped(rounded(table))


def rounded(table: pd.DataFrame) -> pd.DataFrame:
    """Round every cell to a short text; an empty one where a figure is not known."""
    return pd.DataFrame(
        {name: [_short(str(name), value) for value in table[name]] for name in table.columns}, dtype=object
    )


def _piped(shown: pd.DataFrame) -> str:
    return shown.to_markdown(index=False, disable_numparse=True) + "\n"


def _short(name: str, value: object) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and pd.isna(value)):
        return ""
    return _SHORT.get(name, "{:.4g}").format(value) if isinstance(value, float) else str(value)
