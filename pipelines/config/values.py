"""Refuses values that no setting can mean, in every leaf of a config."""

from __future__ import annotations

import math
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf, ValueNode

from datasets.given_paths import given_path
from flowgrad.errors import FlowGradError
from pipelines.config.override_errors import fault_of
from pipelines.config.schema import Settings
from pipelines.config.schema.limits import ANY, MAY_REPEAT, OF_OVERRIDES, OVERRIDES, PATHS, Choices, Limit, limit_of

_LONGEST_TEXT = 4096
_SHOWN = 60
_LEFT_OUT = ("rules", "hydra")
"""Nodes with a validator of their own."""


def check_values(config: DictConfig) -> None:
    """Refuse numbers that are not finite or beyond their limits, texts that no file can hold, paths that cannot be, and
    lists that hold a value twice.

    Raises:
        FlowGradError: names the key, the value and what would be right.
    """
    for key in config:
        if key not in _LEFT_OUT and not _node(config, key)._is_missing():
            _check(str(key), str(key), _resolved(config, str(key), str(key)), limit_of(Settings, str(key)))


def check_value(key: str, value: Any) -> None:
    """Refuse such values in one node of a config; see `check_values`.

    Args:
        key: name of the node in errors.
        value: the node; its own type has the limits.

    Raises:
        FlowGradError: names the key, the value and what would be right.
    """
    _check(key, key.rpartition(".")[2], value, None)


def _check(key: str, name: str, value: Any, limit: Limit | Choices | None) -> None:
    if isinstance(value, DictConfig):
        kind = OmegaConf.get_type(value)
        for own in value:
            _check_text(f"{key}: its key", own)
            if not _node(value, own)._is_missing():
                held = _resolved(value, own, f"{key}.{own!s}")
                _check(f"{key}.{own!s}", _named(kind, str(own), name), held, limit_of(kind, str(own)) or limit)
    elif isinstance(value, ListConfig):
        for place, one in enumerate(value):
            _check(f"{key}[{place}]" if isinstance(one, DictConfig | ListConfig) else key, name, one, limit)
        _check_once(key, name, value)
        if name in OF_OVERRIDES:
            _check_overrides(key, value)
    elif isinstance(value, str):
        _check_text(key, value)
        if isinstance(limit, Choices) and (complaint := limit.complaint(value)):
            raise FlowGradError(f"{key}={_shown(value)}: {complaint}")
        if name in PATHS:
            given_path(key, value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _check_number(key, value, limit if isinstance(limit, Limit) else ANY)


def _resolved(node: DictConfig, own: Any, key: str) -> Any:
    """The value there; an interpolation that stands for something else than the list or mapping that belongs there is
    refused, which OmegaConf takes.
    """
    held = _node(node, own)
    if isinstance(held, ValueNode) and not held._is_interpolation():
        return held._value()
    value = node[own]
    for kind, plain, word in ((DictConfig, dict, "mapping"), (ListConfig, list, "list")):
        if isinstance(held, kind) and not (value is None or isinstance(value, kind | plain)):
            raise FlowGradError(f"{key}={held._value()} stands for {_shown(value)}; it must be a {word}")
    return value


def _node(config: DictConfig, key: Any) -> Any:
    """The node at a key that is there, where OmegaConf keeps it: to ask it is ten times as long."""
    return config.__dict__["_content"][key]


def _named(kind: object, own: str, name: str) -> str:
    """Name of the setting in limits: a mapping's keys are the user's, and its values have the mapping's name."""
    if kind is not dict or own in MAY_REPEAT:
        return own
    return "overrides" if name in OVERRIDES else name


def _check_number(key: str, value: float, limit: Limit) -> None:
    shown = _shown(value)
    if not math.isfinite(value):
        raise FlowGradError(f"{key}={shown}: must be a finite number")
    if complaint := limit.complaint(value):
        raise FlowGradError(f"{key}={shown}: {complaint}")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise FlowGradError(f"{key}={shown}: must fit into 64 bits")


def _check_text(key: str, value: object) -> None:
    if not isinstance(value, str):
        return
    if "\0" in value:
        raise FlowGradError(f"{key}={_shown(value)} holds a character NUL; leave it out")
    if any("\ud800" <= c <= "\udfff" for c in value):
        raise FlowGradError(f"{key}={_shown(value)} holds half a character, which nothing can be written with")
    if len(value) > _LONGEST_TEXT:
        raise FlowGradError(f"{key}={_shown(value)}: {len(value)} characters; at most {_LONGEST_TEXT} are possible")


def _check_once(key: str, name: str, values: ListConfig) -> None:
    if name in MAY_REPEAT:
        return
    seen: set[object] = set()
    for value in values:
        if isinstance(value, DictConfig | ListConfig):
            continue
        if value in seen:
            raise FlowGradError(
                f"{key}={_shown(list(values))}: {value!r} is there more than once; all must be different"
            )
        seen.add(value)


def _check_overrides(key: str, values: ListConfig) -> None:
    for value in values:
        if fault := fault_of(str(value)):
            raise FlowGradError(f"{key}: {fault}")


def _shown(value: object) -> str:
    text = str(value) if not isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
