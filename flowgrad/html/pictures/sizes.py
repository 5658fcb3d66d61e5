"""Size of compressed models against their loss."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flowgrad.html.figures import Lines, Mark, Series

if TYPE_CHECKING:
    import pandas as pd

FILE = "arms.csv"
NUMBERS = ("loss", "bytes")
_DENSE, _PRESCRIBED = "dense", "prescribed"


def size_picture(table: pd.DataFrame) -> Lines | None:
    """Draw bytes of the packed model against held-out loss: a line a way of choosing what is left out, a dot a plan,
    and the plan that was prescribed.

    Args:
        table: of `arms.csv`: `arm`, `loss`, `bytes`.
    """
    known = table[table["bytes"].notna() & table["loss"].notna()]
    if not len(known):
        return None
    families: dict[str, list[tuple[float, float]]] = {}
    marks, told = [], []
    for arm, loss, size in zip(known["arm"].astype(str), known["loss"], known["bytes"], strict=True):
        families.setdefault(re.sub(r"_\d+$", "", arm), []).append((float(size) / 1024, float(loss)))
        if arm in (_DENSE, _PRESCRIBED):
            marks.append(Mark(float(size) / 1024, float(loss), arm))
            told.append(f"{arm}: {size / 1024:.4g} KiB, loss {loss:.4g}")
    series = tuple(
        Series(name.replace("_", " "), tuple(x for x, _ in sorted(points)), tuple(y for _, y in sorted(points)))
        for name, points in families.items()
    )
    losses = [y for one in series for y in one.y]
    return Lines(
        "Size against loss, all plans",
        f"Mean held-out loss over seeds by size of the packed model; {len(known)} plans. {'; '.join(told)}.",
        (FILE,),
        "packed model (KiB)",
        "held-out loss",
        series,
        tuple(marks),
        log_x=True,
        log_y=min(losses) > 0 and max(losses) > 5 * min(losses),
    )
