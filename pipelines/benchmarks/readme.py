"""`python -m pipelines.benchmarks.readme`: put the figures of docs/results/ into README.md and docs/.

`<!-- results: NAME -->` takes the main lines of a table as it was written, `<!-- summary: NAME -->` chosen lines and
columns of several, and `<!-- line: NAME -->` words with single figures in them, as conf/results.yaml says.
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
from pipelines.config.code_fingerprint import ROOT
from pipelines.output.tables import markdown, rounded

DOCUMENTS = (
    "README.md",
    "docs/benchmarks.md",
    "docs/does_it_work.md",
    "docs/evidence.md",
    "docs/experiments.md",
    "docs/ranking.md",
    "docs/recommenders.md",
)

_MARKED = re.compile(r"(<!-- (results|summary|line): (\w+) -->).*?(<!-- end -->)", re.DOTALL)
_CHECK = re.compile(r"\| wilcoxon ")
_PEER_BY_FAULT = re.compile(r"^\| peer +\| (row|run|column) +\| (?!all |worst )")
_LEFT_OUT = {
    "calibration": re.compile(r"^\| (?!setting |all )\w"),
    "faults_embedding": _PEER_BY_FAULT,
    "faults_boosting": _PEER_BY_FAULT,
    "faults_layers": _PEER_BY_FAULT,
}
"""Lines that stand in docs/results only, by experiment; elsewhere the check next to the primary test."""


def filled(text: str, results: Path, summaries: Mapping[str, Any], lines: Mapping[str, Any] | None = None) -> str:
    """Replace each marked place in `text` by the present content of the tables in `results`.

    Args:
        text: of a document.
        results: folder of the tables.
        summaries: name -> `columns` and `parts`, as `summary` takes them.
        lines: name -> `text` and `parts`, as `line` takes them.

    Raises:
        FlowGradError: a name that there is not, or a line or column that its tables do not have.
    """
    known = {"summaries": summaries, "lines": lines or {}}

    def content(match: re.Match[str]) -> str:
        kind, name = match[2], match[3]
        if kind == "results":
            return f"{match[1]}\n{main_lines(results, name)}{match[4]}"
        if kind == "summary":
            return f"{match[1]}\n{markdown(summary(results, **_entry(known, 'summaries', name)))}{match[4]}"
        words = line(results, **_entry(known, "lines", name))
        return match[1] + (f"\n{words}" if "\n" in words else words) + match[4]

    return _MARKED.sub(content, text)


def _entry(known: Mapping[str, Mapping[str, Any]], kind: str, name: str) -> Mapping[str, Any]:
    if name not in known[kind]:
        raise FlowGradError(f"{kind}: {name!r} is not among {', '.join(known[kind])}")
    return known[kind][name]


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
        table = _chosen(results, part, "summaries").rename(columns=part.get("names", {})).assign(**part.get("add", {}))
        found.append(table.reindex(columns=list(columns)))
    return pd.concat([table.astype(object) for table in found], ignore_index=True)


def line(results: Path, text: str, parts: Sequence[Mapping[str, Any]]) -> str:
    """Words with figures of tables in them, rounded as tables are.

    Args:
        results: folder of the tables.
        text: with `{column}` where a figure goes.
        parts: `table`, `where` and `names`, as `summary` takes them; each has to choose one line. The last part wins
            where several have a column.

    Raises:
        FlowGradError: a part chooses no line or several, or `text` names a column that no part has.
    """
    figures: dict[str, str] = {}
    for part in parts:
        table = rounded(_chosen(results, part, "lines")).rename(columns=part.get("names", {}))
        if len(table) != 1:
            raise FlowGradError(f"lines: {part['table']} has {len(table)} lines with {part.get('where', {})}, not one")
        figures |= {str(name): value for name, value in table.iloc[0].items()}
    try:
        return text.format_map(figures)
    except KeyError as error:
        raise FlowGradError(f"lines: no table of {text!r} has a column {error}") from None


def _chosen(results: Path, part: Mapping[str, Any], kind: str) -> pd.DataFrame:
    """The lines of one table that a part asks for."""
    table = pd.read_csv(results / f"{part['table']}.csv")
    for column, values in part.get("where", {}).items():
        missing = [value for value in values if column not in table or value not in set(table[column])]
        if missing:
            raise FlowGradError(f"{kind}: {part['table']} has no line with {column}={missing[0]}")
        table = table[table[column].isin(values)]
    return table


def rewrite(root: Path) -> None:
    """Write the documents of the repository in `root` anew."""
    config: Any = OmegaConf.to_container(OmegaConf.load(root / "conf" / "results.yaml"))
    for document in DOCUMENTS:
        text = (root / document).read_text(encoding="utf-8")
        text = filled(text, root / "docs" / "results", config["summaries"], config.get("lines", {}))
        write_atomically(root / document, text.encode())


if __name__ == "__main__":
    rewrite(ROOT)
