"""Declares the form of the state of a tracker of batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowgrad.measures.loss_audit import MOST_LOOKS
from flowgrad.trackers.batches.histories import MOST as MOST_HISTORIES
from flowgrad.trackers.batches.id_sums import MOST_IDS
from flowgrad.trackers.batches.ids import MOST_BATCHES
from flowgrad.trackers.batches.levels import MOST_COLUMNS, MOST_INPUTS, SUMS
from flowgrad.trackers.batches.repeats import REMEMBERED
from flowgrad.trackers.schema import (
    Check,
    RefusedError,
    count,
    flag,
    length_of,
    listed,
    mapped,
    maybe,
    number,
    record,
    row,
    tensor,
    text,
    together,
)

_TOP = 2**62
_WORD = count(-(2**63), 2**63 - 1)
_LARGEST = 2**31
"""Number of rows that a sample may hold at most."""
_LEAST_SHARE = 2.0**-40


def _sample(value: Any, where: str) -> None:
    size = value.get("size") if isinstance(value, Mapping) else None
    kept = length_of(value, "keys")
    rows = size if isinstance(size, int) else 0
    own = tensor("float64", (rows, None))
    record(
        {
            "size": count(2, _LARGEST),
            "seen": count(),
            "keys": tensor("int64", (kept,), least=0, most=_TOP),
            "times": tensor("int64", (kept,), least=1),
            "lately": tensor("int64", (kept,), least=0),
            "places": tensor("int64", (kept,), least=0, most=max(rows - 1, 0)),
            "full": flag,
            "kept": mapped(text(("values", "targets")), maybe(own)),
        },
        also=together(
            (lambda state: kept <= rows, "['keys'] are more than its ['size']"),
            (lambda state: not state["full"] or kept == rows, "['keys'] are fewer than its ['size'] and it is full"),
            (lambda state: bool((state["keys"][1:] > state["keys"][:-1]).all()), "['keys'] do not rise"),
            (lambda state: len(state["places"].unique()) == kept, "['places'] repeat"),
            (lambda state: int(state["times"].sum()) <= state["seen"], "['times'] add up to more than its ['seen']"),
            (lambda state: bool((state["lately"] <= state["times"]).all()), "['lately'] is above its ['times']"),
            (lambda state: not kept or {"values", "targets"} == set(state["kept"]), "['kept'] lacks values or targets"),
        ),
    )(value, where)


_ORDER = record(
    {
        "last": _WORD,
        **dict.fromkeys(("same", "followed", "again", "compared", "rows", "batches"), count()),
        **dict.fromkeys(("now", "before"), listed(_WORD, most=64)),
        **dict.fromkeys(("sum", "squares", "between", "share"), number()),
    },
    also=together(
        (lambda state: state["same"] <= state["followed"], "['same'] is above its ['followed']"),
        (lambda state: state["again"] <= state["compared"], "['again'] is above its ['compared']"),
    ),
)
_STEPS = record(
    {**dict.fromkeys(("taken", "told", "late", "late_epochs", "epochs", "since"), count()), "between": count(1)},
    also=together((lambda state: state["late_epochs"] <= state["epochs"], "['late_epochs'] is above its ['epochs']")),
)
_BATCHES_OF_PARTS = listed(record({"rows": count(), "keys": mapped(text(), count(0, 2**63 - 1))}), most=REMEMBERED)
_NUMBERS_OF_PARTS = mapped(text(), count())
_REPEATS = record(
    {
        **dict.fromkeys(("now", "before"), _BATCHES_OF_PARTS),
        **dict.fromkeys(("same", "again", "rows"), _NUMBERS_OF_PARTS),
        **dict.fromkeys(("followed", "compared"), count()),
    },
    also=together(
        (lambda state: max(state["same"].values(), default=0) <= state["followed"], "['same'] is above ['followed']"),
        (lambda state: max(state["again"].values(), default=0) <= state["compared"], "['again'] is above ['compared']"),
        (lambda state: {*state["same"], *state["again"]} <= set(state["rows"]), "['rows'] lacks a part"),
        (lambda state: all(name.split("/")[0].isdecimal() for name in state["rows"]), "['rows'] names no part"),
    ),
)
_AUDIT = record(
    {
        **dict.fromkeys(("unread", "targets"), count()),
        "looks": listed(
            record(
                {
                    "told": number(),
                    "values": mapped(text(), row(number(), number())),
                    "facts": mapped(text(), number()),
                },
                also=together(
                    (lambda state: all("/" in key for key in state["values"]), "['values'] holds a key without a kind"),
                    (lambda state: {"rows", "least", "most"} <= set(state["facts"]), "['facts'] lacks rows or bounds"),
                ),
            ),
            most=MOST_LOOKS,
        ),
        **dict.fromkeys(("items", "kinds"), mapped(_WORD, count())),
        "labels": flag,
    }
)
_SUMS = ("counts", "sums", "valid_counts", "valid_sums")


def _column(value: Any, where: str) -> None:
    size = length_of(value, "counts")
    sums, counts = tensor("float64", (size,)), tensor("float64", (size,), least=0, finite=True)
    record(
        {
            **dict.fromkeys(("counts", "valid_counts"), counts),
            **dict.fromkeys(("sums", "valid_sums"), sums),
            "folded": flag,
            "room": count(1, MOST_IDS),
        },
        also=together((lambda state: 0 < size <= state["room"], "['counts'] do not fit to its ['room']")),
    )(value, where)


def _part(columns: int) -> Check:
    def check(value: Any, where: str) -> None:
        rows = length_of(value, "keys")
        record(
            {
                "ids": tensor("int64", (columns, rows)),
                "keys": tensor("int64", (rows,)),
                "targets": tensor("float64", (rows,), finite=True),
                "times": tensor("float64", (2, rows), least=0, finite=True),
                "offered": tensor("int64", (), least=0, most=2**53),
            },
            also=together((lambda state: rows <= int(state["offered"]), "['offered'] is below the rows kept")),
        )(value, where)

    return check


def _ids(value: Any, where: str) -> None:
    names = value.get("names") if isinstance(value, Mapping) else None
    listed(text())(names, f"{where}['names']")
    names = list(names or ())
    one = text(names)
    room = tensor(("int64", "float32"), (None,), least=0)

    def batches(state: Any, place: str) -> None:
        record({"_sizes": room, "_distinct": tensor(("int64", "float32"), None, least=0)})(state, place)
        sizes, distinct = state["_sizes"], state["_distinct"]
        if len(sizes) > MOST_BATCHES or (len(sizes) and tuple(distinct.shape) != (len(sizes), len(names))):
            raise RefusedError(f"{place}: _sizes and _distinct do not fit to each other")
        if (not len(sizes) and distinct.numel()) or (len(sizes) and sizes.is_floating_point()):
            raise RefusedError(f"{place}: _sizes and _distinct do not fit to each other")

    numbers = {
        **dict.fromkeys(("_rows", "_valid_rows", "_skipped"), count()),
        **dict.fromkeys(("_squares", "_valid_squares", "_shift", "_low", "_high"), number()),
        **dict.fromkeys(("_target", "_valid_target", "_closed", "_valid_closed"), flag),
    }
    record(
        {
            "sizes_of": mapped(text(), count()),
            "names": listed(text()),
            "columns": mapped(one, _column),
            "sample": record(
                {
                    "share": number(finite=True, least=_LEAST_SHARE, most=1.0),
                    **dict.fromkeys(("training", "validation"), _part(len(names))),
                }
            ),
            "equal": listed(row(one, one)),
            "numbers": record(numbers),
            "batches": batches,
        },
        also=together(
            (lambda state: len(set(names)) == len(names) == len(state["columns"]), ": names and columns differ"),
        ),
    )(value, where)


def _recency(value: Any, where: str) -> None:
    rows = length_of(value, "keys")
    record(
        {
            **dict.fromkeys(("trained", "met"), count()),
            "keys": tensor("int64", (rows,), least=0, most=_TOP),
            "last": tensor("int64", (rows,), least=0),
            **dict.fromkeys(("rows", "at_once", "left", "copies"), number(finite=True, least=0.0)),
        },
        also=together(
            (lambda state: bool((state["keys"][1:] > state["keys"][:-1]).all()), "['keys'] do not rise"),
            (lambda state: bool((state["last"] <= state["trained"]).all()), "['last'] is above its ['trained']"),
            (lambda state: state["at_once"] + state["left"] <= state["rows"], "['rows'] are fewer than those seen"),
        ),
    )(value, where)


def _level(value: Any, where: str) -> None:
    columns = length_of(value, "alike")
    record(
        {
            **dict.fromkeys(("compared", "alike"), tensor("int64", (columns,), least=0)),
            "epochs": count(),
            "sizes": listed(count(), length=4),
            "sums": tensor("float64", (5, SUMS, columns)),
        },
        also=together((lambda state: 0 < columns <= MOST_COLUMNS, "['alike'] is of no column, or of too many")),
    )(value, where)


_HISTORIES = record(
    {"rows": tensor("int64", (4, None)), "below": count(1, _TOP), "open": flag},
    also=together((lambda state: state["rows"].shape[1] <= MOST_HISTORIES, "['rows'] are too many")),
)
_LEVELS = record({"batches": count(), "levels": mapped(text(), _level, most=MOST_INPUTS)})
FOLLOWED = {"recency", "passages", "levels", "validation_levels"}
"""Parts that a state has all of, or none."""
_COUNTED = (
    "losses_told",
    "epochs",
    "batches",
    "validations",
    "targets_told",
)
PARTS: dict[str, Check] = {
    "train": _sample,
    "validation": _sample,
    "order": _ORDER,
    "steps": _STEPS,
    "ids": _ids,
    "audit": _AUDIT,
    **dict.fromkeys(("sequences", "ids_only", "numbers_only", "classes"), flag),
    **dict.fromkeys(_COUNTED, count()),
    "multiple": count(1),
    "seen_again": number(least=0.0, most=1.0),
    "met_again": number(),
}
"""Check of each part of the state, by its key."""

LATER: dict[str, Check] = {
    "histories": _HISTORIES,
    "repeats": _REPEATS,
    "validated": _AUDIT,
    "val_losses": count(),
    "recency": _recency,
    "passages": record({"name": maybe(text()), "cut": count(), "train": _sample, "validation": _sample}),
    **dict.fromkeys(("levels", "validation_levels"), _LEVELS),
}
"""Parts that states of earlier releases lack."""

fits = together(
    (lambda state: state["losses_told"] <= state["batches"], "['losses_told'] is above state['batches']"),
    (lambda state: state["targets_told"] <= state["batches"], "['targets_told'] is above state['batches']"),
    (lambda state: ("validated" in state) == ("val_losses" in state), " has validated or val_losses, not both"),
    (lambda state: len(FOLLOWED & state.keys()) in (0, len(FOLLOWED)), f" has some of {sorted(FOLLOWED)}, not all"),
    (lambda state: state["train"]["seen"] > 0 or not len(state["train"]["keys"]), "['train']['seen'] is 0"),
)
