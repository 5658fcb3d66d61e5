"""Imports code that the config names by `_target_`."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from flowgrad.errors import FlowGradError
from pipelines.config.own_code import module_of

NODES = ("job", "dataset", "model", "optimizer", "sampler", "loss", "training")
"""Config nodes with a `_target_`."""
_OF_A_JOB = ("config", "task", "sources", "folder")
_FAMILIES = {
    "training": "factorization",
    "boosting": "boosting",
    "distillation": "distillation",
    "networks": "networks",
}
_JOBS = ("closed_loop", "compression", "feature_synergy", "search")
_MOVED = {
    **{f"pipelines.{old}.program.": f"pipelines.trainers.{new}.trainer." for old, new in _FAMILIES.items()},
    **{f"pipelines.{old}.": f"pipelines.trainers.{new}." for old, new in _FAMILIES.items()},
    "pipelines.models.": "pipelines.trainers.factorization.models.",
    **{f"pipelines.{job}.": f"pipelines.jobs.{job}." for job in _JOBS},
}
"""Beginning of a path in the version before -> what it is now."""
_logger = logging.getLogger(__name__)


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
    return function_of(config, "job", _OF_A_JOB, "job=closed_loop", free=2)


def function_of(config: DictConfig, node: str, names: Sequence[str], choice: str, *, free: int | None = None) -> Any:
    """The function that `config[node]._target_` names, which takes parameters of these names and no others.

    Args:
        config: the composed config.
        node: name of the node.
        names: the parameters, in their order.
        choice: an override that is right.
        free: place of a parameter whose name does not matter.

    Raises:
        FlowGradError: there is no such thing, or it is something else, which is not called.
    """
    found = target(config, node)
    held = tuple(inspect.signature(found).parameters) if inspect.isfunction(found) else ()
    if len(held) != len(names) or any(held[at] != name for at, name in enumerate(names) if at != free):
        raise FlowGradError(
            f"{node}._target_={config[node]._target_} is no {node}, which is a function ({', '.join(names)}); "
            f"use {choice}"
        )
    return found


def called(config: DictConfig, node: str, settings: Mapping[str, Any]) -> Any:
    """Call the function that `config[node]._target_` names with the settings.

    Raises:
        FlowGradError: there is no such thing, or it takes other settings; or any error of the function.
    """
    function = target(config, node)
    check_call(f"{node}._target_={config[node]._target_}", function, **settings)
    return function(**settings)


def check_call(what: str, function: Any, *given: Any, **settings: Any) -> None:
    """Refuse a function or class that cannot be called so, which is not called here.

    Raises:
        FlowGradError: says which argument is missing, or too many.
    """
    try:
        inspect.signature(function).bind(*given, **settings)
    except (TypeError, ValueError) as error:
        raise FlowGradError(f"{what} does not take the settings of this node: {error}") from error


def imported(key: str, path: str) -> Any:
    """The thing that the config names at `key` by its dotted path; a path of the version before is followed, with a
    warning.

    Raises:
        FlowGradError: there is no such thing.
    """
    module, _, name = _followed(key, path).rpartition(".")
    try:
        return getattr(module_of(module), name)
    except (FlowGradError, AttributeError) as error:
        raise FlowGradError(f"{key}={path} cannot be imported") from error


@functools.cache
def _followed(key: str, path: str) -> str:
    """The path as it is now; one that was written for the version before is told once."""
    moved = next((new + path.removeprefix(old) for old, new in _MOVED.items() if path.startswith(old)), path)
    if moved != path:
        _logger.warning("%s=%s has moved: write %s", key, path, moved)
    return moved
