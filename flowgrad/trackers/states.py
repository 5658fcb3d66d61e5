"""Heads every tracker's state for a checkpoint, and refuses states that do not fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flowgrad.trackers import schema
from flowgrad.trackers.schema import Check

VERSION = 2
"""Version of states; it goes up where an older state could no longer be read."""
_KIND, _VERSION = "flowgrad_tracker", "version"
STOPPED = "stopped_watching"
"""Key of the only entry in the state of a tracker that has stopped watching."""
_HALT = {"steps": schema.count(), "place": schema.text(), "reason": schema.text()}


def headed(kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Head `content` as the state of a tracker of this kind."""
    return {_KIND: kind, _VERSION: VERSION, **content}


def check(
    state: Any,
    tracker: str,
    kind: str,
    parts: Mapping[str, Check],
    same: Mapping[str, Any] | None = None,
    optional: Mapping[str, Check] | None = None,
    also: Callable[[Any], str] | None = None,
) -> None:
    """Refuse a value that is no state of such a tracker, before anything of it is taken.

    Args:
        state: what is to be loaded.
        tracker: name of the tracker that loads it, for the message.
        kind: what it watches.
        parts: what the state must hold, each with its check.
        same: entries in which the state must agree with the tracker that loads it, with the tracker's own values.
        optional: parts that states of earlier releases lack.
        also: asked where each part is right: it says what does not fit together (`schema.together`).

    Raises:
        ValueError: names what differs, or where in the state it is damaged, and the way out.
    """
    opened(state, tracker, kind)
    own = same or {}
    if missing := sorted({*parts, *own} - set(state)):
        raise ValueError(f"{tracker}: the state lacks {missing[0]!r}; save the whole of `state_dict()`")
    for key, value in own.items():
        if not _same(state[key], value):
            raise ValueError(
                f"{tracker}: the state is of a table with {key} {schema.shown_whole(state[key])}, and this one has "
                f"{key} {value}; load it into the tracker of that table, or go on with a new tracker"
            )
    schema.whole(state, parts, optional or {}, tracker, {_KIND, _VERSION, *own}, also)


def _same(value: Any, own: Any) -> bool:
    try:
        return type(value) is type(own) and bool(value == own)
    except (RuntimeError, ValueError):  # of tensors among them
        return False


def is_stopped(state: Any, tracker: str, kind: str) -> bool:
    """Whether a state is that of a tracker which had stopped watching.

    Raises:
        ValueError: it is no state of such a tracker, or what it says of that is damaged.
    """
    opened(state, tracker, kind)
    if STOPPED not in state:
        return False
    schema.whole(state, {STOPPED: schema.record(_HALT)}, {}, tracker, {_KIND, _VERSION})
    return True


def opened(state: Any, tracker: str, kind: str) -> None:
    """Refuse a value that is no state of a tracker of this kind and version.

    Raises:
        ValueError: names what differs and the way out.
    """
    if not isinstance(state, Mapping) or _KIND not in state:
        raise ValueError(
            f"{tracker}: {_shown(state)} is no tracker state; give what `state_dict()` of a tracker returned"
        )
    if not isinstance(state[_KIND], str) or state[_KIND] != kind:
        raise ValueError(
            f"{tracker}: the state is of a tracker of kind {schema.shown(state[_KIND])}, and this one is of kind "
            f"{kind!r}; load it into a tracker of its own kind"
        )
    if type(state.get(_VERSION)) is not int or state[_VERSION] != VERSION:
        raise ValueError(
            f"{tracker}: the state has version {schema.shown(state.get(_VERSION))}, and this FlowGrad reads version "
            f"{VERSION}; load it with the FlowGrad that wrote it, or go on with a new tracker"
        )


def _shown(state: Any) -> str:
    if not isinstance(state, Mapping):
        return type(state).__name__
    names = ", ".join(repr(name) for name in list(state)[:3])
    return f"a {type(state).__name__} of {names or 'nothing'}"
