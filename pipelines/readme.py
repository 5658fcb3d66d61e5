"""`python -m pipelines.readme`: put the tables of docs/results/ into README.md, between their markers."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from flowgrad.files import write_atomically

ROOT = Path(__file__).parents[1]
_MARKED = re.compile(r"(<!-- results: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str, results: Path) -> str:
    """`text` with each marked table replaced by the primary tests of `results/NAME.md`."""

    def table(match: re.Match[str]) -> str:
        lines = (results / f"{match[2]}.md").read_text(encoding="utf-8").splitlines()
        shown = [line for line in lines if line.startswith("|") and "| wilcoxon " not in line]
        return match[1] + "\n".join(shown) + "\n" + match[3]

    return _MARKED.sub(table, text)


def main() -> int:
    """Rewrite README.md."""
    readme = ROOT / "README.md"
    write_atomically(readme, filled(readme.read_text(encoding="utf-8"), ROOT / "docs" / "results").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
