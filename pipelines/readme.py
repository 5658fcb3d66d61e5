"""`python -m pipelines.readme`: put the tables of docs/results/ into README.md, between their markers."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from flowgrad.files import write_atomically

ROOT = Path(__file__).parents[1]
_MARKED = re.compile(r"(<!-- results: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_CHECK = re.compile(r"\| wilcoxon ")
_LEFT_OUT = {"calibration": re.compile(r"^\| (?!setting |all )\w")}
"""Lines that stand in docs/results only, by experiment; elsewhere the check beside the primary test."""


def filled(text: str, results: Path) -> str:
    """`text` with each marked table replaced by the main lines of `results/NAME.md`: primary tests, pooled settings."""

    def table(match: re.Match[str]) -> str:
        lines = (results / f"{match[2]}.md").read_text(encoding="utf-8").splitlines()
        left_out = _LEFT_OUT.get(match[2], _CHECK)
        shown = [line for line in lines if line.startswith("|") and not left_out.search(line)]
        return match[1] + "\n".join(shown) + "\n" + match[3]

    return _MARKED.sub(table, text)


def main() -> int:
    """Rewrite README.md."""
    readme = ROOT / "README.md"
    write_atomically(readme, filled(readme.read_text(encoding="utf-8"), ROOT / "docs" / "results").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
