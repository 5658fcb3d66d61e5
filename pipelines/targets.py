"""Code that the config names by `_target_`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from omegaconf import DictConfig

from flowgrad.errors import FlowGradError

NODES = ("job", "dataset", "model", "optimizer", "sampler", "loss", "training")
"""Config nodes with a `_target_`."""


def target(config: DictConfig, node: str) -> Any:
    """The class or function that `config[node]._target_` names.

    Raises:
        FlowGradError: there is no such thing.
    """
    return imported(f"{node}._target_", config[node]._target_)


def imported(key: str, path: str) -> Any:
    """What the config names at `key` by its dotted path.

    Raises:
        FlowGradError: there is no such thing.
    """
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise FlowGradError(f"{key}={path} cannot be imported") from error
