"""Registers hosts, faults and habits by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Change = Callable[[Any], None]
"""Function that changes a `Training` or a `Boosting` before it starts."""


@dataclass(frozen=True)
class Host:
    """A sound training that others might have written."""

    name: str
    make: Callable[[Any, int], Any]
    """Function (data, seed) -> `Training` or `Boosting`."""
    kind: str
    """Kind of host: `network`, `student` or `booster`."""
    movielens: bool = False
    """Whether it needs MovieLens-100K."""
    faults: bool = True
    """Whether faults are injected into it; else it is a habit of its own."""


@dataclass(frozen=True)
class Variant:
    """A fault or a habit, and the hosts that it makes sense in."""

    name: str
    hosts: tuple[str, ...]
    change: Change
    base: str = ""
    """Name of the habit that the sound training has too; empty: none."""


HOSTS: dict[str, Host] = {}
FAULTS: dict[str, Variant] = {}
HABITS: dict[str, Variant] = {}


def host(name: str, kind: str, *, movielens: bool = False, faults: bool = True) -> Callable[[Any], Any]:
    """Register a function that makes a training from (data, seed)."""

    def register(make: Any) -> Any:
        HOSTS[name] = Host(name, make, kind, movielens, faults)
        return make

    return register


def fault(hosts: Sequence[str], base: str = "") -> Callable[[Change], Change]:
    """Register a fault under the name of its function."""
    return _register(FAULTS, hosts, base)


def habit(hosts: Sequence[str], base: str = "") -> Callable[[Change], Change]:
    """Register a habit under the name of its function."""
    return _register(HABITS, hosts, base)


def _register(where: dict[str, Variant], hosts: Sequence[str], base: str) -> Callable[[Change], Change]:
    def register(change: Change) -> Change:
        name = change.__name__
        where[name] = Variant(name, tuple(hosts), change, base)
        return change

    return register
