"""Trains a config with some of the overrides that were prescribed for it, and judges it by validation rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from flowgrad.errors import FlowGradError
from flowgrad.statistics import OBSERVATION_COLUMNS
from pipelines.config.command_line import one_line
from pipelines.config.compose import treated
from pipelines.stages.check import check_settings
from pipelines.stages.experiment import Experiment
from pipelines.stages.outcomes import Runs
from pipelines.trainers.trainer import trainer_of


def _validating(data: Any, config: DictConfig) -> Any:
    return trainer_of(config).validating(data)


Paths = tuple[str, ...]
"""Config paths of a set of overrides, in the order in which they were prescribed."""


class Subsets:
    """Sets of overrides, each trained once on every seed of pruning."""

    def __init__(
        self,
        experiment: Experiment,
        overrides: Mapping[str, str],
        runs: Runs,
        workers: Callable[[int], int],
        on_run: Callable[[int], None],
    ) -> None:
        """Train nothing yet.

        Args:
            experiment: with the config that the overrides change.
            overrides: everything that was prescribed, by path.
            runs: trains them, on the experiment's data; they are judged by the validation rows.
            workers: number of processes for so many runs.
            on_run: called with the number of runs that were begun, and with 0 after each.
        """
        kept = [
            str(key) for key in experiment.config if key != "rules"
        ]  # rules are most of a config, and train nothing
        self.config, self.overrides = OmegaConf.masked_copy(experiment.config, kept), overrides
        self.metric = experiment.trainer.validation_metric()
        self.higher_is_better = experiment.trainer.higher_is_better(self.metric)
        self.refused: dict[Paths, str] = {}
        """Reasons why sets cannot be trained."""
        self._task, self._data, self._workers, self._on_run = experiment.overrides, experiment.data, workers, on_run
        self._runs = runs.seeing(_validating)
        self._configs: dict[Paths, DictConfig] = {}
        self._arms: dict[Paths, str] = {}
        self._values: dict[Paths, list[float]] = {}

    def train(self, named: Mapping[Paths, str]) -> None:
        """Train those of these sets that were not trained yet; each has the name of its arm."""
        configs: dict[Paths, DictConfig] = {}
        for paths, arm in named.items():
            if paths not in self._arms:
                self._arms[paths] = arm
                try:
                    configs[paths] = self._composed(paths)
                except (FlowGradError, HydraException, OmegaConfBaseException) as error:
                    self.refused[paths] = one_line(error)
        seeds = self.config.seeds.pruning
        if not configs:
            return
        count = len(configs) * len(seeds)
        self._runs.start(self._workers(count))
        for config in configs.values():
            self._runs.begin(config, seeds)
        self._on_run(count)
        for paths, config in configs.items():
            self._values[paths] = []
            for outcome in self._runs.outcomes(config, seeds):
                self._values[paths].append(outcome.metrics[self.metric])
                self._on_run(0)

    def _composed(self, paths: Paths) -> DictConfig:
        if paths in self._configs:
            return self._configs[paths]
        changed = treated(self.config, self._task, [self.overrides[path] for path in paths]) if paths else self.config
        check_settings(changed)
        trainer_of(changed).check_data(self._data)
        self._configs[paths] = changed
        return changed

    def length(self, paths: Paths) -> int:
        """Number of epochs, or rounds, that every run with these overrides has; 0 where runs may stop early, or the
        config is refused.
        """
        if paths in self._arms:
            return 0  # it was trained, or refused
        try:
            return trainer_of(self._composed(paths)).fixed_length()
        except (FlowGradError, HydraException, OmegaConfBaseException):
            return 0

    def arm(self, paths: Paths) -> str:
        """Name of a set's arm."""
        return self._arms[paths]

    def values(self, paths: Paths) -> list[float]:
        """Values of the metric of a set that was trained, one a seed."""
        return self._values[paths]

    def observations(self) -> pd.DataFrame:
        """Make the table of all values, in the order trained."""
        lines = [
            (self.config.name, self._arms[paths], seed, self.metric, value, self.higher_is_better)
            for paths, values in self._values.items()
            for seed, value in zip(self.config.seeds.pruning, values, strict=True)
        ]
        return pd.DataFrame(lines, columns=list(OBSERVATION_COLUMNS))
