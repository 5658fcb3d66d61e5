"""`python -m pipelines.readme`: put the tables of docs/results/ into README.md, between their markers."""

from __future__ import annotations

import re
from pathlib import Path

from flowgrad.files import write_atomically
from pipelines.source import ROOT

_MARKED = re.compile(r"(<!-- results: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_CHECK = re.compile(r"\| wilcoxon ")
_PEER_BY_FAULT = re.compile(r"^\| peer +\| (row|run|column) +\| (?!all |worst )")
_LEFT_OUT = {
    "calibration": re.compile(r"^\| (?!setting |all )\w"),
    "faults_embedding": _PEER_BY_FAULT,
    "faults_boosting": _PEER_BY_FAULT,
}
"""Lines that stand in docs/results only, by experiment; elsewhere the check beside the primary test."""


def filled(text: str, results: Path) -> str:
    """`text` with each marked table replaced by the main lines of `results/NAME.md`: primary tests, pooled settings,
    and of the peer pooled faults.
    """

    def table(match: re.Match[str]) -> str:
        lines = (results / f"{match[2]}.md").read_text(encoding="utf-8").splitlines()
        left_out = _LEFT_OUT.get(match[2], _CHECK)
        shown = [line for line in lines if line.startswith("|") and not left_out.search(line)]
        return match[1] + "\n".join(shown) + "\n" + match[3]

    return _MARKED.sub(table, text)


def rewrite(root: Path) -> None:
    """Write README.md of the repository in `root` anew."""
    text = (root / "README.md").read_text(encoding="utf-8")
    write_atomically(root / "README.md", filled(text, root / "docs" / "results").encode())


if __name__ == "__main__":
    rewrite(ROOT)
