"""Finds the folder of the data cache: the one place outside the run folder where anything is written."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from datasets.given_paths import given_path
from datasets.wheels import default_cache


def cache_folder(config: DictConfig) -> Path:
    """Folder that `dataset.cache` names, or the user's own for this project.

    Raises:
        FlowGradError: a name that no folder can have.
    """
    given = None if config.dataset is None else config.dataset.get("cache")
    return default_cache() if given is None else given_path("dataset.cache", given)
