"""Imports the settings that a config of the user's own builds on, by `defaults: [/types/MODULE.CLASS@_here_]`."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import Any

from flowgrad.errors import FlowGradError
from flowgrad.rules.suggestion import did_you_mean
from pipelines.config.own_code import module_of


def settings_type(path: str) -> type:
    """The dataclass that a dotted path names.

    Raises:
        FlowGradError: the module cannot be imported or has no such class, or it is no dataclass.
    """
    module, _, name = path.rpartition(".")
    found = module_of(module)
    if not hasattr(found, name):
        known = [key for key, value in vars(found).items() if _is_settings(value)]
        told = did_you_mean(name, known) or f"; its dataclasses are {', '.join(known) or 'none'}"
        raise FlowGradError(f"module {module!r} has no {name!r}{told}")
    kind: Any = getattr(found, name)
    if not _is_settings(kind):
        raise FlowGradError(f"{path} is no dataclass; put @dataclass before the class that holds the settings")
    return kind


def _is_settings(value: object) -> bool:
    return isinstance(value, type) and is_dataclass(value)
