"""Declares the form of the state of a tracker of a network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch

from flowgrad.measures import flow
from flowgrad.trackers.flow.history import LOOKS, RECENT, WINDOWS
from flowgrad.trackers.flow.input_columns import MOST as MOST_LAYERS
from flowgrad.trackers.flow.network import BLOCK
from flowgrad.trackers.flow.parameters import Watched, unit_axis
from flowgrad.trackers.flow.places import BINS
from flowgrad.trackers.flow.rewrites import KEPT
from flowgrad.trackers.flow.samples import SAMPLE
from flowgrad.trackers.schema import (
    FLOATS,
    INTS,
    Check,
    RefusedError,
    count,
    flag,
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

_OUTPUTS = (*FLOATS, *INTS, "int8", "int16", "uint8")
_MOST_OPTIMIZERS = 10_000
_COUNTS = ("arrived", "windows", "wasteful", "passes", "lost", "noted")
_PROBE = record(
    {"checks": count(), "uncleared": count(), "whole": flag},
    dict.fromkeys(_COUNTS, count()),
    also=together((lambda state: state["uncleared"] <= state["checks"], "['uncleared'] is above its ['checks']")),
)
_LOSSES = record(
    {
        **dict.fromkeys(("first", "lowest"), number()),
        **dict.fromkeys(("nonfinite", "told", "broken_at"), count()),
        "width": count(1),
        "count": listed(count(1), most=WINDOWS),
        "mean": listed(number(), most=WINDOWS),
        "square": listed(number(), most=WINDOWS),
        "recent": listed(number(finite=True), most=RECENT),
    },
    also=together(
        (
            lambda state: len(state["count"]) == len(state["mean"]) == len(state["square"]),
            ": count, mean and square must be of one length",
        ),
        (
            lambda state: sum(state["count"]) == state["told"] - state["nonfinite"],
            "['count'] does not add up to the finite losses told",
        ),
        (lambda state: max(state["count"], default=0) <= state["width"], "['count'] is above its ['width']"),
        (lambda state: state["broken_at"] <= state["told"], "['broken_at'] is above its ['told']"),
    ),
)
_MODES = record(
    {
        **dict.fromkeys(("eval_looks", "other_step", "train_looks", "held_out", "in_training"), count()),
        "epoch": row(count(), count()),
    },
    also=together((lambda state: state["in_training"] <= state["held_out"], "['in_training'] is above ['held_out']")),
)
_PLACES = record(
    {
        **dict.fromkeys(("epochs", "_ended", "_length", "_at"), count()),
        "_count": listed(count(), length=BINS),
        **dict.fromkeys(("_sum", "total", "square"), listed(number(), length=BINS)),
        "first_tail": number(),
    }
)
_REWRITES = record(
    {"at": listed(count(), most=KEPT), **dict.fromkeys(("checks", "count", "alike", "compared", "moved"), count())},
    also=together(
        (lambda state: state["count"] <= state["checks"], "['count'] is above its ['checks']"),
        (lambda state: state["moved"] <= state["compared"], "['moved'] is above its ['compared']"),
    ),
)

_CALLS = record(
    dict.fromkeys(("running", "along_rows", "labelled", "ahead", "twice"), count()),
    also=together(
        (lambda state: state["along_rows"] <= state["running"], "['along_rows'] is above its ['running']"),
        (lambda state: state["twice"] <= state["ahead"] <= state["labelled"], "['labelled'] is below what it counts"),
    ),
)
_PADDING = record(
    {**dict.fromkeys(("rows", "padded", "passes"), count()), **dict.fromkeys(("behind", "whole"), number(least=0.0))},
    also=together((lambda state: state["padded"] <= state["rows"], "['padded'] is above its ['rows']")),
)

_EVALUATION = record(
    {"trained": count(), **dict.fromkeys(("validations", "elsewhere", "evaluated", "drew"), count())},
    also=together(
        (lambda state: state["elsewhere"] <= state["validations"], "['elsewhere'] is above its ['validations']"),
        (lambda state: state["drew"] <= state["evaluated"], "['drew'] is above its ['evaluated']"),
    ),
)

_ENDS = record(
    dict.fromkeys(("ended", "untold"), count()),
    also=together((lambda state: state["untold"] <= state["ended"], "['untold'] is above its ['ended']")),
)

_SOFTMAXES = record(
    dict.fromkeys(("walked", "read", "over_rows"), count()),
    also=together(
        (lambda state: state["over_rows"] <= state["read"] <= state["walked"], "['walked'] is below what it counts")
    ),
)

_MASKS = record(
    dict.fromkeys(("padded", "inverted", "open", "told"), count()),
    also=together(
        (lambda state: state["inverted"] + state["open"] <= state["padded"], "['padded'] is below what it counts")
    ),
)

_OUTSIDE = record(
    dict.fromkeys(("outside_tensors", "outside_still", "outside_still_trained"), number()),
)

_POSITIONS = record(
    dict.fromkeys(("passes", "pairs", "alike", "walked", "apart"), count()),
    also=together(
        (lambda state: state["alike"] <= state["pairs"], "['alike'] is above its ['pairs']"),
        (lambda state: state["apart"] <= state["walked"], "['apart'] is above its ['walked']"),
    ),
)

_COUNTED = listed(number(least=0.0, finite=True))
_ZEROS = record(
    {"most": _COUNTED, "later": _COUNTED, "passed_over": listed(flag), "begun": flag},
    also=together(
        (
            lambda state: len(state["most"]) == len(state["later"]) == len(state["passed_over"]),
            ": most, later and passed_over must be of one length",
        ),
    ),
)
_HALVES = record({"entries": number(least=0.0), "of": count(), "still": number(least=0.0)})

LATER: dict[str, Check] = {
    "modes": _MODES,
    "places": _PLACES,
    "calls": _CALLS,
    "ends": _ENDS,
    "softmaxes": _SOFTMAXES,
    "masks": _MASKS,
    "padding": _PADDING,
    "evaluation": _EVALUATION,
    "outside": _OUTSIDE,
    "halves": _HALVES,
    "zeros": _ZEROS,
    "positions": _POSITIONS,
    "batch_rows": record(dict.fromkeys(("calls", "most"), count())),
    "columns": record({"found": listed(row(number(), number()), most=MOST_LAYERS)}),
}
"""Parts that states of earlier releases lack."""


def parts(watched: Sequence[Watched], owners: int, figures: int) -> dict[str, Check]:
    """Check of each part of the state of a tracker of these tensors, by its key.

    Args:
        watched: the tensors.
        owners: modules that hold them.
        figures: number kept of each sampled step.
    """
    size = len(watched)
    flags = tensor("int64", (size,), least=0)
    return {
        **dict.fromkeys(("steps", "looks", "skipped", "nonfinite_looks", "shown"), count()),
        "history": _history(figures, size),
        "losses": _LOSSES,
        "network": _network(watched, owners),
        **dict.fromkeys(("moved", "had_gradient", "nonfinite"), flags),
        **dict.fromkeys(("train", "validation"), listed(number())),
        "inputs": mapped(text(flow.INPUTS), number()),
        **dict.fromkeys(("lr_first", "lr_most"), number()),
        "early": flag,
        "course": record(
            {
                "rates": _history(1, 1),
                "base": number(),
                "last_gradient": tensor("float64", (size,), least=0),
                "had_tensor": tensor("bool", (size,)),
                "broken_first": tensor("bool", (size,)),
                **dict.fromkeys(("gradient_looks", "optimizer_steps", "broken_step"), count()),
                "probes": listed(_PROBE, most=_MOST_OPTIMIZERS),
            }
        ),
        "rewrites": _REWRITES,
        "fresh": maybe(tensor("float64", (size,), least=0, most=1)),
    }


fits = together(
    (lambda state: state["looks"] <= state["steps"], "['looks'] is above state['steps']"),
    (lambda state: len(state["history"]["steps"]) <= state["looks"], "['history'] holds more than state['looks']"),
    (
        lambda state: all(last <= state["steps"] for last in state["history"]["steps"][-1:]),
        "['history'] ends behind state['steps']",
    ),
    (
        lambda state: all(last <= state["steps"] for last in state["course"]["rates"]["steps"][-1:]),
        "['course']['rates'] ends behind state['steps']",
    ),
    (lambda state: state["nonfinite_looks"] <= state["looks"], "['nonfinite_looks'] is above state['looks']"),
    (lambda state: state["course"]["broken_step"] <= state["steps"], "['course']['broken_step'] is above its steps"),
    (lambda state: state["course"]["gradient_looks"] <= state["looks"], "['course']['gradient_looks'] is above looks"),
    (lambda state: state["network"]["previous_step"] <= state["steps"], "['network']['previous_step'] is above steps"),
    (lambda state: ("modes" in state) == ("places" in state), " has modes or places, not both"),
    (lambda state: "modes" not in state or state["modes"]["eval_looks"] <= state["looks"], "['modes']['eval_looks']"),
    (lambda state: "modes" not in state or state["modes"]["other_step"] <= state["steps"], "['modes']['other_step']"),
    (lambda state: "modes" not in state or state["modes"]["epoch"][0] <= state["steps"], "['modes']['epoch']"),
)


def _history(figures: int, size: int) -> Check:
    def rising(state: Any) -> bool:
        return all(one < other for one, other in pairwise(state["steps"]))

    return record(
        {"steps": listed(count(), most=LOOKS), "values": tensor("float32", (None, figures, size))},
        also=together(
            (lambda state: len(state["steps"]) == len(state["values"]), ": steps and values must be of one length"),
            (rising, "['steps'] do not rise"),
        ),
    )


def _of_one_shape(block: dict[str, Any]) -> bool:
    highest, lowest = block["highest"], block.get("lowest")
    return lowest is None or (highest is not None and highest.shape == lowest.shape)


def _network(watched: Sequence[Watched], owners: int) -> Check:
    size, place = len(watched), count(most=owners - 1)
    names = text([one.name for one in watched])
    block = record(
        {
            "highest": maybe(tensor(_OUTPUTS, (None,))),
            "saturated": maybe(tensor(FLOATS, ())),
            "calls": count(),
        },
        {"lowest": maybe(tensor(_OUTPUTS, (None,)))},
        also=together(
            (lambda state: (state["calls"] > 0) == (state["saturated"] is not None), ": calls and saturated"),
            (_of_one_shape, ": highest and lowest"),
        ),
    )
    floats, counts = tensor("float64", (size,)), tensor("int64", (size,), least=0)
    return record(
        {
            "previous_step": count(),
            "in_block": count(most=BLOCK - 1),
            **dict.fromkeys(("_previous_square", "square", "square_before"), floats),
            **dict.fromkeys(("count", "count_before"), counts),
            "activations": record(
                {
                    "order": listed(place, most=owners),
                    "first_uses": mapped(place, row(count(most=2**64), flag, flag, flag)),
                    "first_given": maybe(tensor(FLOATS, ())),
                    "spread": listed(maybe(tensor(FLOATS, (2,))), length=3),
                    "blocks": mapped(names, block),
                    "before": mapped(names, block),
                }
            ),
            "looks": _looks(watched),
        }
    )


def _looks(watched: Sequence[Watched]) -> Check:
    """Make the check of the samples of each device; tensors must have lain together as they do now."""
    by_device: dict[torch.device, list[Watched]] = {}
    for one in watched:
        by_device.setdefault(one.parameter.device, []).append(one)
    now = list(Counter(one.parameter.device for one in watched).values())
    each = [_look(own) for own in by_device.values()]

    def check(value: Any, where: str) -> None:
        listed(record(dict.fromkeys(("last", "total", "total_before", "zero_rows", "zero_rows_before"), _anything)))(
            value, where
        )
        for place, saved in enumerate(value):
            tensor("float32", (None, SAMPLE))(saved["total"], f"{where}[{place}]['total']")
        then = [len(saved["total"]) for saved in value]
        if then and then != now:
            raise RefusedError(
                f"{where}: the state has {then} tensors on its devices, and this model has {now}; lay the model out as "
                "it was then"
            )
        for place, (saved, own) in enumerate(zip(value, each, strict=False)):
            own(saved, f"{where}[{place}]")

    return check


def _anything(value: Any, where: str) -> None:
    """Accept anything; it is checked later on."""


def _look(watched: Sequence[Watched]) -> Check:
    sums = tensor("float32", (len(watched), SAMPLE))
    units = {
        place: tensor("bool", (one.parameter.shape[axis],))
        for place, one in enumerate(watched)
        if (axis := unit_axis(one)) is not None
    }

    def zero_rows(value: Any, where: str) -> None:
        mapped(count(most=len(watched) - 1), _anything)(value, where)
        for place, rows in value.items():
            if place not in units:
                raise RefusedError(f"{where} holds {place}, a tensor without units")
            units[place](rows, f"{where}[{place}]")

    return record(
        {
            **dict.fromkeys(("last", "total", "total_before"), sums),
            **dict.fromkeys(("zero_rows", "zero_rows_before"), zero_rows),
        }
    )
