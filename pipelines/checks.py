"""What types cannot say of a config, checked before anything is trained."""

from __future__ import annotations

import math

from omegaconf import DictConfig, OmegaConf

from flowgrad.errors import FlowGradError
from pipelines.evaluation import metric_names
from pipelines.targets import NODES, target

_AT_LEAST = {
    "model.dim": 1,
    "training.epochs": 1,
    "training.batch_size": 1,
    "training.patience": 1,
    "training.threads": 1,
    "training.cutoff": 1,
    "rounds": 0,
    "seeds.diagnosis": 0,
    "comparison.aa_offset": 1,
}
_NOT_NEGATIVE = ("model.init_std", "optimizer.weight_decay", "optimizer.momentum", "loss.l2", "loss.logq")


def check_settings(config: DictConfig) -> None:
    """Refuse values that cannot be meant.

    Raises:
        FlowGradError: names the key, the value and what would be right.
    """
    # Rules have a validator of their own.
    for key in sorted(k for k in OmegaConf.missing_keys(config) if not k.startswith("rules.")):
        raise FlowGradError(f"{key} is missing; give it as {key}=VALUE")
    for key, least in _AT_LEAST.items():
        if (value := OmegaConf.select(config, key)) < least:
            raise FlowGradError(f"{key}={value}: must be at least {least}")
    for key in _NOT_NEGATIVE:
        value = OmegaConf.select(config, key)
        if not (math.isfinite(value) and value >= 0):
            raise FlowGradError(f"{key}={value}: must be a finite number of at least 0")
    if not (math.isfinite(config.optimizer.lr) and config.optimizer.lr > 0):
        raise FlowGradError(f"optimizer.lr={config.optimizer.lr}: must be a finite number above 0")
    if not 0 < config.comparison.alpha < 1:
        raise FlowGradError(f"comparison.alpha={config.comparison.alpha}: must lie between 0 and 1")
    for node in NODES:
        target(config, node)
    _check_metrics(config)
    _check_seeds(config)


def _check_metrics(config: DictConfig) -> None:
    known = metric_names(config.training.evaluation, config.training.cutoff)
    if not config.comparison.metrics:
        raise FlowGradError(f"comparison.metrics is empty; choose from {', '.join(known)}")
    for metric in config.comparison.metrics:
        if metric not in known:
            raise FlowGradError(
                f"comparison.metrics names {metric!r}; training.evaluation={config.training.evaluation} gives "
                f"{', '.join(known)}"
            )


def _check_seeds(config: DictConfig) -> None:
    test, offset = list(config.seeds.test), config.comparison.aa_offset
    if len(test) < 2:
        raise FlowGradError(f"seeds.test={test}: a paired test needs at least 2 seeds (10 or more are advised)")
    if len(set(test)) < len(test) or min(test) < 0:
        raise FlowGradError(f"seeds.test={test}: seeds must be different and not negative")
    control = {seed + offset for seed in test}
    if shared := control & set(test):
        raise FlowGradError(f"comparison.aa_offset={offset}: seed {min(shared)} would stand in both arms of A/A")
    if config.seeds.diagnosis in {*test, *control}:
        raise FlowGradError(
            f"seeds.diagnosis={config.seeds.diagnosis} is also a seed of the proof (seeds.test, or that plus "
            "comparison.aa_offset); diagnosis and proof may not share one"
        )
