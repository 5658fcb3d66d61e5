"""Holds a config as one that others share until something looks into it. The rules are nearly all nodes of every
config, and most configs are composed for the rest.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig

from pipelines.config.copies import copied


class Source:
    """A config that others share; nothing changes it."""

    def __init__(self, config: DictConfig) -> None:
        self.config = config
        self.read: bytes | None = None
        """Values that were read off it, pickled."""


class SharedConfig(DictConfig):
    """A config like one that others share. Whatever asks it for anything makes it a `DictConfig` with nodes of its own
    first, save to copy it whole, to tell it its parent, to ask whether it is missing, or to read `values`.
    """

    _KEPT = ("__class__", "__deepcopy__", "_invalidate_flags_cache", "_is_missing", "_set_parent", "source", "values")
    """Names of attributes that leave it as it is."""

    @classmethod
    def of(cls, source: Source, like: DictConfig) -> SharedConfig:
        """Make one with the content of a source, and with the parent and the flags of a node in its place."""
        made: SharedConfig = object.__new__(cls)
        metadata, parent = copy.deepcopy(like.__dict__["_metadata"]), like.__dict__["_parent"]
        _held(made).update(_metadata=metadata, _parent=parent, _flags_cache=None, _content=source)
        return made

    def __getattribute__(self, name: str) -> Any:
        if name in SharedConfig._KEPT:
            return object.__getattribute__(self, name)
        content = copied(self.source.config).__dict__["_content"]
        object.__setattr__(self, "__class__", DictConfig)
        for node in content.values():
            node._set_parent(self)
        self.__dict__["_content"] = content
        return getattr(self, name)

    @property
    def source(self) -> Source:
        """Where its content comes from."""
        source: Source = _held(self)["_content"]
        return source

    def values(self, read: Callable[[DictConfig], Any]) -> Any:  # type: ignore[override]
        """Read plain values off it, once for all that share it; each call returns a new copy."""
        if self.source.read is None:
            self.source.read = pickle.dumps(read(self.source.config))
        return pickle.loads(self.source.read)

    def __deepcopy__(self, memo: dict[int, Any]) -> SharedConfig:
        made: SharedConfig = object.__new__(SharedConfig)
        _held(made).update(_held(self), _metadata=copy.deepcopy(_held(self)["_metadata"]))
        return made

    def _is_missing(self) -> bool:
        return False

    def _set_parent(self, parent: Any) -> None:
        _held(self)["_parent"] = parent

    def _invalidate_flags_cache(self) -> None:
        """No flag has been asked for."""


def _held(config: SharedConfig) -> dict[str, Any]:
    held: dict[str, Any] = object.__getattribute__(config, "__dict__")
    return held
