"""Makes plain dictionaries and lists of a config, as `OmegaConf.to_container` does; what names no other node and is of
no enumeration, the rules above all, in a tenth of its time.
"""

from __future__ import annotations

from contextlib import suppress
from enum import Enum
from typing import Any

from omegaconf import MISSING, DictConfig, ListConfig, Node, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from pipelines.config.shared_config import SharedConfig

_INTERPOLATION = "${"


class _NeedsResolvingError(Exception):
    """A value that OmegaConf has to look up or to write."""


def plain_of(config: DictConfig | ListConfig, *, resolve: bool) -> Any:
    """Make plain values of a config, a dictionary or a list; those of an enumeration are its names, as text.

    Args:
        config: the composed config, or a group of it.
        resolve: whether interpolations are looked up; they stand as they are otherwise.

    Raises:
        InterpolationResolutionError: an interpolation leads nowhere.
    """
    if type(config) is SharedConfig:
        with suppress(_NeedsResolvingError):
            return config.values(_values)
    content = config.__dict__["_content"]
    if not isinstance(content, dict):
        return OmegaConf.to_container(config, resolve=resolve, enum_to_str=True)
    return {key: _plain(config, key, node, resolve) for key, node in content.items()}


def may_lack(node: Any) -> bool:
    """Whether a value below a node may be missing; an interpolation may stand for such a one."""
    value = node.__dict__["_content"] if isinstance(node, (DictConfig, ListConfig)) else node._value()
    if isinstance(value, dict):
        return any(map(may_lack, value.values()))
    if isinstance(value, list):
        return any(map(may_lack, value))
    return isinstance(value, str) and (value == MISSING or _INTERPOLATION in value)


def _plain(config: DictConfig | ListConfig, key: Any, node: Any, resolve: bool) -> Any:
    try:
        return _values(node)
    except _NeedsResolvingError:
        pass
    if resolve:
        try:
            node = node._dereference_node()
        except InterpolationResolutionError as error:
            config._format_and_raise(key=key, value=None, cause=error)
    if isinstance(node, (DictConfig, ListConfig)):
        return OmegaConf.to_container(node, resolve=resolve, enum_to_str=True)
    value = node._value()
    return value.name if isinstance(value, Enum) else value


def _values(node: Any) -> Any:
    """Values below a node, read off where OmegaConf keeps them.

    Raises:
        _NeedsResolvingError: one of them is an interpolation, or of an enumeration.
    """
    if type(node) is SharedConfig:
        return node.values(_values)
    value = node.__dict__["_content"] if isinstance(node, (DictConfig, ListConfig)) else node._value()
    if isinstance(value, dict):
        return {key: _values(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_values(child) for child in value]
    if isinstance(value, Node):
        return _values(value)
    if isinstance(value, Enum) or (isinstance(value, str) and _INTERPOLATION in value):
        raise _NeedsResolvingError
    return value
