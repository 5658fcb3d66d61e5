"""`python -m pipelines.readme`: put the tables of docs/results/ into README.md and docs/benchmarks.md, between their
markers.

`<!-- results: NAME -->` takes the main lines of a table as it was written, `<!-- summary: NAME -->` chosen lines and
columns of several, as conf/results.yaml says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from flowgrad.errors import FlowGradError
from flowgrad.files import write_atomically
from pipelines.source import ROOT
from pipelines.tables import markdown

DOCUMENTS = ("README.md", "docs/benchmarks.md")

_MARKED = re.compile(r"(<!-- (results|summary): (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_CHECK = re.compile(r"\| wilcoxon ")
_PEER_BY_FAULT = re.compile(r"^\| peer +\| (row|run|column) +\| (?!all |worst )")
_LEFT_OUT = {
    "calibration": re.compile(r"^\| (?!setting |all )\w"),
    "faults_embedding": _PEER_BY_FAULT,
    "faults_boosting": _PEER_BY_FAULT,
    "faults_layers": _PEER_BY_FAULT,
}
"""Lines that stand in docs/results only, by experiment; elsewhere the check next to the primary test."""


def filled(text: str, results: Path, summaries: Mapping[str, Any]) -> str:
    """Replace each marked table in `text` by the present content of `results/NAME.md` or the tables of a summary.

    Args:
        text: of a document.
        results: folder of the tables.
        summaries: name -> `columns` and `parts`, as `summary` takes them.

    Raises:
        FlowGradError: a summary that there is not, or a line or column that its tables do not have.
    """

    def table(match: re.Match[str]) -> str:
        kind, name = match[2], match[3]
        if kind == "results":
            return match[1] + main_lines(results, name) + match[4]
        if name not in summaries:
            raise FlowGradError(f"summaries: {name!r} is not among {', '.join(summaries)}")
        return match[1] + markdown(summary(results, **summaries[name])) + match[4]

    return _MARKED.sub(table, text)


def main_lines(results: Path, name: str) -> str:
    """Select primary tests, pooled settings, and of the peer pooled faults."""
    lines = (results / f"{name}.md").read_text(encoding="utf-8").splitlines()
    left_out = _LEFT_OUT.get(name, _CHECK)
    return "".join(f"{line}\n" for line in lines if line.startswith("|") and not left_out.search(line))


def summary(results: Path, columns: Sequence[str], parts: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Join lines of several tables under each other.

    Args:
        results: folder of the tables.
        columns: shown, in this order; empty where a table lacks one.
        parts: `table`; `where`, column -> values of the lines wanted; `add`, column -> a value for all lines; `names`,
            column of the table -> what it is called here.

    Raises:
        FlowGradError: `where` names a column or value that the table does not have.
    """
    found = []
    for part in parts:
        table = pd.read_csv(results / f"{part['table']}.csv")
        for column, values in part.get("where", {}).items():
            missing = [value for value in values if column not in table or value not in set(table[column])]
            if missing:
                raise FlowGradError(f"summaries: {part['table']} has no line with {column}={missing[0]}")
            table = table[table[column].isin(values)]
        table = table.rename(columns=part.get("names", {})).assign(**part.get("add", {}))
        found.append(table.reindex(columns=list(columns)))
    return pd.concat([table.astype(object) for table in found], ignore_index=True)


def rewrite(root: Path) -> None:
    """Write the documents of the repository in `root` anew."""
    config: Any = OmegaConf.to_container(OmegaConf.load(root / "conf" / "results.yaml"))
    for document in DOCUMENTS:
        text = (root / document).read_text(encoding="utf-8")
        write_atomically(root / document, filled(text, root / "docs" / "results", config["summaries"]).encode())


if __name__ == "__main__":
    rewrite(ROOT)
