"""Binds a config to what it runs on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from omegaconf import DictConfig

from flowgrad.rules import RuleBook
from pipelines.config.compose import config_sha256
from pipelines.trainers.trainer import Dataset, Trainer, trainer_of


@dataclass(frozen=True)
class Experiment:
    """A config, with the data, the rules and the trainer that it is run with."""

    config: DictConfig
    overrides: tuple[str, ...]
    """Overrides that the config was composed from."""
    book: RuleBook
    data: Dataset

    @cached_property
    def trainer(self) -> Trainer:
        """Trainer that the config names, bound to it."""
        return trainer_of(self.config)

    @cached_property
    def config_sha256(self) -> str:
        """Hash of what decides the training, made once: reports are written before the proof and after it."""
        return config_sha256(self.config)

    def changed(self, config: DictConfig, overrides: Sequence[str]) -> Experiment:
        """Make the experiment of another config on the same data, judged by the same rules."""
        return replace(self, config=config, overrides=tuple(overrides))
