"""Holds the rules of a config as those of all other configs until something looks into them: they are nearly all of its
nodes, and most configs are composed for the rest of it.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig

from pipelines.config.copies import copied


class SharedRules(DictConfig):
    """The rules of one config. Whatever asks them for anything makes them a `DictConfig` with nodes of its own first,
    save to copy them whole, to tell them their parent, or to read `values`.
    """

    _KEPT = ("__class__", "__deepcopy__", "_invalidate_flags_cache", "_set_parent", "source", "values")
    """What can be had of them as they are."""

    @classmethod
    def of(cls, source: Source, like: DictConfig) -> SharedRules:
        """Make the rules of a config of those of a source, with parent and flags of an empty node in their place."""
        made: SharedRules = object.__new__(cls)
        metadata, parent = copy.deepcopy(like.__dict__["_metadata"]), like.__dict__["_parent"]
        _held(made).update(_metadata=metadata, _parent=parent, _flags_cache=None, _content=source)
        return made

    def __getattribute__(self, name: str) -> Any:
        if name in SharedRules._KEPT:
            return object.__getattribute__(self, name)
        content = copied(self.source.rules).__dict__["_content"]
        object.__setattr__(self, "__class__", DictConfig)
        for rule in content.values():
            rule.__dict__["_parent"] = self
        self.__dict__["_content"] = content
        return getattr(self, name)

    @property
    def source(self) -> Source:
        """Where they come from."""
        source: Source = _held(self)["_content"]
        return source

    def values(self, read: Callable[[DictConfig], Any]) -> Any:  # type: ignore[override]
        """Read plain values off the rules, once for all configs that share them; each call returns a new copy."""
        if self.source.read is None:
            self.source.read = pickle.dumps(read(self.source.rules))
        return pickle.loads(self.source.read)

    def __deepcopy__(self, memo: dict[int, Any]) -> SharedRules:
        made: SharedRules = object.__new__(SharedRules)
        _held(made).update(_held(self), _metadata=copy.deepcopy(_held(self)["_metadata"]))
        return made

    def _set_parent(self, parent: Any) -> None:
        _held(self)["_parent"] = parent

    def _invalidate_flags_cache(self) -> None:
        """No flag has been asked for."""


class Source:
    """Rules that configs share; nothing changes them."""

    def __init__(self, rules: DictConfig) -> None:
        self.rules = rules
        self.read: bytes | None = None
        """What was read off them, pickled."""


def _held(rules: SharedRules) -> dict[str, Any]:
    held: dict[str, Any] = object.__getattribute__(rules, "__dict__")
    return held
