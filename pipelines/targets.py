"""Imports code that the config names by `_target_`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from flowgrad.errors import FlowGradError

NODES = ("job", "dataset", "model", "optimizer", "sampler", "loss", "training")
"""Config nodes with a `_target_`."""
_OF_A_JOB = ("config", "task", "sources", "folder")


def target(config: DictConfig, node: str) -> Any:
    """Import the class or function that `config[node]._target_` names.

    Raises:
        FlowGradError: there is no such thing.
    """
    return imported(f"{node}._target_", config[node]._target_)


def job_of(config: DictConfig) -> Callable[[DictConfig, Sequence[str], Sequence[str], Path], Any]:
    """Import the job that `config.job._target_` names, a function of config, overrides, sources and folder.

    Raises:
        FlowGradError: there is no such thing, or it is something else, which is not called.
    """
    found = target(config, "job")
    names = tuple(inspect.signature(found).parameters) if inspect.isfunction(found) else ()
    if len(names) != len(_OF_A_JOB) or (*names[:2], names[3]) != (*_OF_A_JOB[:2], _OF_A_JOB[3]):
        raise FlowGradError(
            f"job._target_={config.job._target_} is no job, which is a function ({', '.join(_OF_A_JOB)}); use "
            "job=closed_loop"
        )
    return found


def called(config: DictConfig, node: str, settings: Mapping[str, Any]) -> Any:
    """Call the function that `config[node]._target_` names with the settings.

    Raises:
        FlowGradError: there is no such thing, or it takes other settings; or any error of the function.
    """
    function = target(config, node)
    try:
        inspect.signature(function).bind(**settings)
    except (TypeError, ValueError) as error:
        raise FlowGradError(
            f"{node}._target_={config[node]._target_} does not take the settings of this node: {error}"
        ) from error
    return function(**settings)


def imported(key: str, path: str) -> Any:
    """Import the object that the config names at `key` by its dotted path.

    Raises:
        FlowGradError: there is no such thing.
    """
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError, TypeError) as error:  # the last of a path that begins with dots
        raise FlowGradError(f"{key}={path} cannot be imported") from error
