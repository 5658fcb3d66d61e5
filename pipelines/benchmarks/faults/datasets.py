"""Loads the data of every setting once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pipelines.config.text import to_yaml
from pipelines.trainers.trainer import trainer_of

_NODES = ("dataset", "task", "teacher")


@dataclass(frozen=True)
class Datasets:
    """Data that several configs are trained on; itself a `Dataset`."""

    by_key: dict[str, Any]

    @property
    def source(self) -> str:
        """Origins of the copies, each once."""
        return "; ".join(dict.fromkeys(data.source for data in self.by_key.values()))

    @property
    def sha256(self) -> str:
        """SHA-256 of all contents."""
        return hashlib.sha256(" ".join(data.sha256 for data in self.by_key.values()).encode()).hexdigest()

    def of(self, config: DictConfig) -> Any:
        """The data of this config."""
        return self.by_key[_key(config)]


def load_all(configs: Iterable[DictConfig]) -> Datasets:
    """Load the data that the configs name, each once.

    Raises:
        FlowGradError: any error of a loader.
    """
    found: dict[str, Any] = {}
    for config in configs:
        if (key := _key(config)) not in found:
            found[key] = trainer_of(config).load()
        else:
            trainer_of(config).check_data(found[key])
    return Datasets(found)


def _key(config: DictConfig) -> str:
    return to_yaml(OmegaConf.create({node: config[node] for node in _NODES}))
