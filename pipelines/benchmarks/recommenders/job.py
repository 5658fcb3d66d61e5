"""`experiment=click_peers`: our models of clicks and those of Torch-RecHub, trained on the same rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from pipelines.benchmarks.recommenders import rechub
from pipelines.config.compose import composed
from pipelines.config.targets import target
from pipelines.data.tables import TableData
from pipelines.output import console
from pipelines.output.tables import write_csv, write_table
from pipelines.stages import artifacts
from pipelines.stages.check import check_settings
from pipelines.trainers.clicks.data import ClickPreparation
from pipelines.trainers.clicks.trainer import ClickModels
from pipelines.trainers.scoring import scores
from pipelines.trainers.trainer import trainer_of


def run(config: DictConfig, task: Sequence[str], rule_folders: Sequence[str], folder: Path) -> None:
    """Train both sides of every setting on every seed, and write both means and whether they agree.

    Raises:
        FlowGradError: bad config or data, or Torch-RecHub is not installed.
    """
    check_settings(config)
    rechub.check_installed()
    settings = {name: composed(list(overrides), rules=False) for name, overrides in config.job.settings.items()}
    for made in settings.values():
        check_settings(made)
    artifacts.begin(folder, config, also=("peers.*", "observations.csv"))
    found = []
    with console.progress() as bar:
        doing = bar.add_task("train", total=len(settings) * len(config.job.seeds))
        for name, made in settings.items():
            trainer = trainer_of(made)
            assert isinstance(trainer, ClickModels)
            data = trainer.load()
            for seed in config.job.seeds:
                found += [{"setting": name, "seed": seed, **line} for line in _both(made, trainer, data, seed)]
                bar.advance(doing)
    observations = pd.DataFrame(found)
    write_csv(observations, folder / "observations.csv")
    table = comparison(observations)
    write_table(table, folder, "peers")
    console.print_table(table, folder)


def _both(config: DictConfig, trainer: ClickModels, data: TableData, seed: int) -> list[dict]:
    known = {name: len(values) for name, values in data.table.categories.items()}
    train, validation, test = data.parts(seed)
    preparation = ClickPreparation.of(train, known, config.model)
    parts = preparation.rows(train), preparation.rows(validation), preparation.rows(test)
    theirs = rechub.predicted(config, target(config, "model"), preparation, parts, seed)
    clicked = parts[2].target.double().numpy()
    ours = trainer.evaluate(trainer.train(data, seed), data, seed).metrics
    return [
        {"library": "flowgrad", "auc": ours["auc"], "logloss": ours["logloss"]},
        {"library": f"torch-rechub {rechub.VERSION}", **scores("binary", clicked, theirs)},
    ]


def comparison(observations: pd.DataFrame) -> pd.DataFrame:
    """Make one line a setting and metric: both means over the seeds, their difference, its standard error, and whether
    it is within two of them.

    Args:
        observations: `setting`, `seed`, `library` (ours is `flowgrad`), `auc`, `logloss`.
    """
    lines = []
    for (setting, metric), part in observations.melt(
        ["setting", "seed", "library"], ["auc", "logloss"], var_name="metric"
    ).groupby(["setting", "metric"], sort=False):
        own = part["library"] == "flowgrad"
        ours, theirs = part.loc[own, "value"].to_numpy(), part.loc[~own, "value"].to_numpy()
        error = math.sqrt(ours.var(ddof=1) / len(ours) + theirs.var(ddof=1) / len(theirs))
        difference = float(np.mean(ours) - np.mean(theirs))
        lines.append(
            {"setting": setting, "metric": metric, "seeds": len(ours), "ours": float(ours.mean()),
             "theirs": float(theirs.mean()), "difference": difference, "standard_error": error,
             "within_two": abs(difference) <= 2 * error}
        )  # fmt: skip
    return pd.DataFrame(lines)
