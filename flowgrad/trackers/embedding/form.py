"""Declares the form of the state of a tracker of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowgrad.trackers.embedding.pairs import MOST_CALLS
from flowgrad.trackers.embedding.probes import PANEL, RECENT
from flowgrad.trackers.schema import (
    FLOATS,
    INTS,
    Check,
    count,
    flag,
    listed,
    mapped,
    maybe,
    number,
    record,
    tensor,
    text,
    together,
)

FACTS = ("in_batch_negatives", "sampling_correction", "multiplied", "row_effect_f", "row_biases")
"""Scalars that the table cannot show."""
_TOLD = ("row_loss", "label_conflict")
_UNCOUNTED = ("copies", "transforms", "no_grad", "eval")
_RATE = record({"steps": count(), "sum": number(), "peak": number(), "decayed": number()})
_EPOCHS = record({"size": maybe(count()), "length": maybe(count(1)), "steps": count(), "fits": flag})


def parts(shape: tuple[int, ...], dtype: str) -> dict[str, Check]:
    """Check of each part of the state of a tracker of a table of this shape and type (`float32`), by its key."""
    rows = shape[0]
    return {
        "sample": count(1),
        "steps": count(),
        "lookups": tensor(INTS, (rows,), least=0),
        "total_lookups": count(),
        "probes": _probes(rows),
        "followed": maybe(_followed(shape, dtype)),
        "epochs": maybe(_EPOCHS),
        "usual": count(),
        "expected": count(),
        "facts": mapped(text(FACTS), number()),
        "told": mapped(text(_TOLD), tensor(FLOATS, (rows,))),
        "uncounted": mapped(text(_UNCOUNTED), count()),
        "eval_steps": count(),
        "busy": count(),
        "epochs_told": count(),
        "rate": maybe(_RATE),
    }


def later(shape: tuple[int, ...], dtype: str) -> dict[str, Check]:
    """Parts that states of earlier releases lack, or had."""
    rows, width = min(shape[0], PANEL), shape[1]
    weights = maybe(tensor(dtype, (rows, width)))
    starts = record(
        {
            "rows": maybe(tensor("int64", (rows,), least=0, most=shape[0] - 1)),
            "weights": weights,
            "began": weights,
            **dict.fromkeys(("compared", "rewritten", "repeated"), count()),
            "_cosines": number(),
        },
        also=together(
            (lambda state: (state["rows"] is None) == (state["weights"] is None), " has rows or weights, not both"),
        ),
    )
    fields = record({"highest": maybe(tensor("int64", (None,), least=0)), "otherwise": flag})
    pairs = record(
        {
            "counts": listed(tensor("int32", (shape[0],), least=0), most=MOST_CALLS),
            "lookups": listed(count(), most=MOST_CALLS),
        },
        also=together((lambda state: len(state["counts"]) == len(state["lookups"]), ": counts and lookups")),
    )
    padding = record(
        dict.fromkeys(("read", "before", "behind", "within"), count()),
        {"several": flag},
        also=together(
            (lambda state: max(state[name] for name in ("before", "behind", "within")) <= state["read"], ": read")
        ),
    )
    return {
        "last_busy": count(),
        "starts": starts,
        "fields": fields,
        "pairs": pairs,
        "padding": padding,
        "interventions": _passed_over,
    }


def _passed_over(value: Any, where: str) -> None:
    """Take whatever releases that damped gradients noted of it."""


fits = together(
    (
        lambda state: int(state["lookups"].sum()) == state["total_lookups"],
        "['total_lookups'] is not the sum of state['lookups']",
    ),
    (
        lambda state: 0 <= state["expected"] - state["usual"] <= state["total_lookups"],
        "['expected'] does not fit to state['usual'] and state['total_lookups']",
    ),
    (lambda state: state["busy"] <= state["steps"], "['busy'] is above state['steps']"),
    (lambda state: state.get("last_busy", 0) <= state["steps"], "['last_busy'] is above state['steps']"),
    (
        lambda state: state["followed"] is not None or state["sample"] < len(state["lookups"]),
        "['followed'] is None, although the whole table is to be followed",
    ),
)


def _probes(rows: int) -> Check:
    counts, total, truth = tensor("int32", (rows,), least=0), tensor("float64", ()), tensor("bool", ())
    return record(
        {
            **dict.fromkeys(("looks", "moves", "_left", "_early"), counts),
            "path": tensor("float32", (rows,), least=0),
            **dict.fromkeys(("panel_path", "panel_idle_path", "longest_step", "panel_pull", "panel_square"), total),
            "first_nonfinite": tensor("int64", (), least=-1),
            "recent_steps": tensor("float64", (RECENT,)),
            **dict.fromkeys(("elsewhere", "_any_left"), truth),
            **dict.fromkeys(("asked", "moved_within", "suspicious"), flag),
            **dict.fromkeys(("probed", "moved_outside", "_suspect_probes"), count()),
        },
        {
            "_distinct": total,
            "_lost": tensor("float64", (2,)),
            "_counted_lookups": count(),
            "_counted_batches": count(),
        },
    )


def _followed(shape: tuple[int, ...], dtype: str) -> Check:
    rows, width = shape
    kept = "float64" if dtype == "float64" else "float32"

    def check(value: Any, where: str) -> None:
        chosen = value.get("rows") if isinstance(value, Mapping) else None
        size = len(chosen) if chosen is not None and getattr(chosen, "ndim", 0) == 1 else rows
        record(
            {
                "rows": maybe(tensor("int64", (size,), least=0, most=rows - 1)),
                "counts": tensor(INTS, (size,), least=0),
                "initial": tensor(dtype, (size, width)),
                "scale": number(least=0.0),
                "windows": _windows(size, width, kept),
            }
        )(value, where)

    return check


def _windows(size: int, width: int, kept: str) -> Check:
    weights, totals = tensor(kept, (size, width)), tensor(kept, (size,))
    numbers = ("_seen", "_due", "_next", "_steps", "_busy", "_lookups", "_opened", "_snapped", "closed")
    return record(
        {
            "_start": weights,
            "_before": maybe(weights),
            "_sum": weights,
            **dict.fromkeys(("_squares", "_cosines", "_cosine_weight", "_deviations", "_deviation_weight"), totals),
            **dict.fromkeys(numbers, count()),
            "_length": count(1),
            "_by_epoch": flag,
            "_epoch_length": maybe(count()),
        },
        also=together(
            (lambda state: state["_opened"] <= state["_steps"], "['_opened'] is above its ['_steps']"),
            (lambda state: state["_busy"] <= state["_steps"], "['_busy'] is above its ['_steps']"),
        ),
    )
