"""Declares the form of the state of a tracker of a student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flowgrad.measures import formula as formulas
from flowgrad.trackers.distillation.comparison import COLUMNS
from flowgrad.trackers.distillation.content import SIDE
from flowgrad.trackers.distillation.exchange import MOST
from flowgrad.trackers.distillation.layers import Layer
from flowgrad.trackers.distillation.losses import FACTS, LOSSES
from flowgrad.trackers.schema import (
    FLOATS,
    Check,
    count,
    flag,
    length_of,
    listed,
    maybe,
    number,
    record,
    row,
    tensor,
    text,
    together,
)

_KINDS = ("", formulas.DIVERGENCE, formulas.PROBABILITIES, formulas.LOGITS, formulas.SQUARED, formulas.OTHER_ROWS)
_OUTPUTS = ("logit_kl", "agreement", "output_r2", "output_spread")
_TRIAL = record(dict.fromkeys(("unlike", "gap"), number()))
_BESIDE = record(dict.fromkeys(("same", "scale", "shift", "moved", "unrelated"), number()))
_COUNTED = ("optimizer_steps", "told", "waiting", "passed_over", "calls", "training")
_SIGHT = record(
    {
        **dict.fromkeys(_COUNTED, count()),
        **dict.fromkeys(("in_training", *FACTS), flag),
        "teacher_noise": number(),
    },
    also=together(
        (lambda state: state["told"] <= state["optimizer_steps"], "['told'] is above its ['optimizer_steps']"),
        (lambda state: state["training"] <= state["calls"], "['training'] is above its ['calls']"),
    ),
)
_TEACHING = record(
    {
        **dict.fromkeys(("start", "last", "statistics"), maybe(tensor("float32", (None,)))),
        "moves": listed(tensor("float32", (5,))),
    },
    also=together(
        ((lambda state: (state["start"] is None) == (state["last"] is None)), " has start or last, not both")
    ),
)
_ORIGIN = record(dict.fromkeys(("drawn", "drawn_last", "structure", "statistics"), number()))


def parts(layers: Sequence[Layer], teacher: Sequence[Layer]) -> dict[str, Check]:
    """Check of each part of the state of a tracker of these layers, by its key."""
    size = len(layers)
    each = tensor("float64", (size,))
    comparison = record(
        {
            "columns": record(dict.fromkeys(COLUMNS, each)),
            "cka": tensor("float64", (size, len(teacher))),
            "outputs": record(dict.fromkeys(_OUTPUTS, number())),
            "nonfinite": count(most=size),
        }
    )
    kept = [tensor("float32", _sides(layer.weights[0].shape)) for layer in layers]
    return {
        "steps": count(),
        "motion": _motion(layers),
        "losses": record(dict.fromkeys(LOSSES, listed(tensor("float32", ())))),
        "kd_gradient": maybe(each),
        "comparison": maybe(comparison),
        "teaching": _TEACHING,
        "content": record(
            {
                "parts": row(*kept),
                "others": listed(tensor("float32", (None, None)), most=len(teacher)),
            }
        ),
        "sight": _SIGHT,
        "gaps": listed(number()),
        "audit": record(
            {
                "verdicts": listed(_verdict, most=MOST + 1),
                **dict.fromkeys(("own", "other"), _TRIAL),
            }
        ),
        "origin": _ORIGIN,
    }


fits = together(
    (lambda state: len(state["motion"]["figures"]) <= state["steps"], "['motion']['figures'] are more than the steps"),
    (lambda state: state["motion"]["next"] > state["steps"], "['motion']['next'] is not above state['steps']"),
    (lambda state: state["motion"]["anchored"] <= state["steps"], "['motion']['anchored'] is above state['steps']"),
    (lambda state: (state["comparison"] is None) == (not state["gaps"]), "['gaps'] do not fit to the comparison"),
)


def _sides(shape: Sequence[int]) -> tuple[int, int]:
    columns = 1
    for side in shape[1:]:
        columns *= side
    return min(shape[0], SIDE), min(columns, SIDE)


def _motion(layers: Sequence[Layer]) -> Check:
    size = len(layers)
    weights = [
        tensor((*FLOATS, "complex64", "complex128"), tuple(weight.shape))
        for layer in layers
        for weight in layer.weights
    ]
    return record(
        {
            "figures": listed(tensor("float32", (3, size))),
            "windows": listed(tensor("float32", (5, size))),
            "alterations": listed(tensor("float32", (size,))),
            **dict.fromkeys(("before", "anchor", "sum"), maybe(row(*weights))),
            **dict.fromkeys(("next", "spacing"), count(1)),
            **dict.fromkeys(("anchored", "inside"), count()),
            "heard": flag,
        },
        also=together((lambda state: len(state["windows"]) <= len(state["figures"]), ": more windows than figures")),
    )


def _verdict(value: Any, where: str) -> None:
    known = value if isinstance(value, Mapping) else {}
    classes = known.get("classes")
    most = classes - 1 if isinstance(classes, int) else 0
    rows = length_of(known, "answers") or None
    record(
        {
            "formula": record(
                {
                    "kind": text(_KINDS),
                    **dict.fromkeys(("temperature", "soft", "hard", "share"), number()),
                    "labels": maybe(tensor("int64", (rows,), least=-1, most=most)),
                    "offsets": maybe(tensor("int64", (None,))),
                }
            ),
            "classes": count(1),
            "answers": maybe(tensor("int64", (None,), least=0, most=most)),
            "inputs": _BESIDE,
            **dict.fromkeys(("seen", "swapped"), flag),
        }
    )(value, where)
