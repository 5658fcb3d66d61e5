"""Imports modules that a config names, and tells in one line why one cannot be imported."""

from __future__ import annotations

import traceback
from importlib import import_module
from types import ModuleType

from flowgrad.errors import FlowGradError


def module_of(name: str) -> ModuleType:
    """Import a module by its dotted name.

    Raises:
        FlowGradError: there is none, or its own code raised; the message names the line.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        missing = str(error.name)
        if name == missing or name.startswith(f"{missing}."):
            raise FlowGradError(
                f"no module named {missing!r}; put the folder that holds it into PYTHONPATH, or install it"
            ) from error
        raise FlowGradError(f"module {name!r} needs {missing!r}, which is not installed") from error
    except Exception as error:  # a module of the user's own may raise anything
        raise FlowGradError(f"module {name!r} cannot be imported: {told_error(error)}") from error


def told_error(error: Exception) -> str:
    """The error in one line, with the last line of code that it came through."""
    told = " ".join(f"{type(error).__name__}: {error}".split())
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    if last is None or isinstance(error, SyntaxError) or "importlib" in last.filename:
        return told  # a syntax error names its own line
    return f"{told} ({last.filename}, line {last.lineno})"
