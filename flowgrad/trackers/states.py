"""What every tracker's state for a checkpoint opens with, and which states are refused."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

VERSION = 2
"""Goes up where an older state could no longer be read."""
_KIND, _VERSION = "flowgrad_tracker", "version"


def headed(kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """`content` as the state of a tracker of this kind."""
    return {_KIND: kind, _VERSION: VERSION, **content}


def check(state: Any, tracker: str, kind: str, keys: Collection[str], same: Mapping[str, Any] | None = None) -> None:
    """Refuse what is no state of such a tracker.

    Args:
        state: what is to be loaded.
        tracker: name of the tracker that loads it, for the message.
        kind: what it watches.
        keys: what the state must hold.
        same: entries in which the state must agree with the tracker that loads it, with the tracker's own values.

    Raises:
        ValueError: names what differs and the way out.
    """
    if not isinstance(state, Mapping) or _KIND not in state:
        raise ValueError(
            f"{tracker}: {_shown(state)} is no tracker state; give what `state_dict()` of a tracker returned"
        )
    if state[_KIND] != kind:
        raise ValueError(
            f"{tracker}: the state is of a tracker of kind {state[_KIND]!r}, and this one is of kind {kind!r}; "
            "load it into a tracker of its own kind"
        )
    if state.get(_VERSION) != VERSION:
        raise ValueError(
            f"{tracker}: the state has version {state.get(_VERSION)!r}, and this FlowGrad reads version {VERSION}; "
            "load it with the FlowGrad that wrote it, or go on with a new tracker"
        )
    if missing := sorted(set(keys) - set(state)):
        raise ValueError(f"{tracker}: the state lacks {missing[0]!r}; save the whole of `state_dict()`")
    for key, own in (same or {}).items():
        if state[key] != own:
            raise ValueError(
                f"{tracker}: the state is of a table with {key} {state[key]}, and this one has {key} {own}; "
                "load it into the tracker of that table, or go on with a new tracker"
            )


def _shown(state: Any) -> str:
    if not isinstance(state, Mapping):
        return type(state).__name__
    names = ", ".join(repr(name) for name in list(state)[:3])
    return f"a {type(state).__name__} of {names or 'nothing'}"
