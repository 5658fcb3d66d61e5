"""Finds the runs that a run makes on its way: a training that ends sooner is the beginning of one that goes on."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pipelines.config.compose import effective, settings_of, training_of
from pipelines.trainers.trainer import ENDING


def run_of(config: DictConfig) -> dict[str, Any]:
    """Settings that decide the outcome of a run with a seed: configs of which these are equal need one run."""
    return training_of(config, evaluated=True)


def ending_sooner(config: DictConfig, other: DictConfig) -> list[DictConfig]:
    """Make the configs that differ from one by the endings of another, and whose runs end with its runs at the latest,
    or may; none where a training has no epochs. They have no rules, which train nothing.
    """
    own, theirs = config.training, other.training
    if not all(key in training for key in ENDING for training in (own, theirs)):
        return []
    settings, found = settings_of(config), []
    runs = [effective(settings, evaluated=True)]
    for values in product(*(dict.fromkeys((own[key], theirs[key])) for key in ENDING)):
        ending = dict(zip(ENDING, values, strict=True))
        if _may_end_sooner(ending, own):
            run = effective({**settings, "training": settings["training"] | ending}, evaluated=True)
            if run not in runs:
                runs.append(run)
                found.append(OmegaConf.masked_copy(config, [str(key) for key in config if key != "rules"]))
                OmegaConf.update(found[-1], "training", ending)
    return found


def _may_end_sooner(ending: Mapping[str, Any], training: DictConfig) -> bool:
    if ending["epochs"] < training.epochs or not training.early_stopping:
        return bool(ending["epochs"] <= training.epochs)
    return bool(
        ending["epochs"] == training.epochs and ending["early_stopping"] and ending["patience"] <= training.patience
    )
