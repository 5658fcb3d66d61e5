"""`experiment=confidence`: how often a confidence is right where it does not rest on the rule, or on the pair, at hand.

Each published repair is predicted from those of other pairs: by its rule's trials there (`own`), by
these and a prior of all other rules (`own and others`), or by the other rules' alone, as for a rule that was never
tried (`others`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from flowgrad.errors import FlowGradError
from flowgrad.evidence.confidence import posterior
from pipelines.config.code_fingerprint import ROOT
from pipelines.output import console
from pipelines.output.tables import write_csv, write_table
from pipelines.stages import artifacts
from pipelines.stages.check import check_settings

EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 1.0)
"""Ends of the ranges of confidence that are compared with what came of it."""


def run(config: DictConfig, task: Sequence[str], rule_folders: Sequence[str], folder: Path) -> None:
    """Write what each confidence was, what came of it, and how far they are apart.

    Raises:
        FlowGradError: bad config, or a table of repairs that is missing or has no rules.
    """
    check_settings(config)
    trials = pd.concat([_trials(name, ROOT / path) for name, path in config.job.repairs.items()], ignore_index=True)
    artifacts.begin(folder, config, also=("confidence.*", "predictions.csv"))
    predicted = pd.concat(
        [
            predictions(part).assign(faults=name)
            for name, part in (("all", trials), ("harmful", trials[trials["harmful"]]))
        ]
    )
    write_csv(predicted, folder / "predictions.csv")
    table = calibration_table(predicted)
    write_table(table, folder, "confidence")
    console.print_table(table, folder)


def _trials(name: str, path: Path) -> pd.DataFrame:
    """Table of one line a rule and trial: `rule`, `pair`, `harmful`, `confirmed`."""
    if not path.is_file():
        raise FlowGradError(f"job.repairs.{name}: there is no {path}; publish its run, or leave it out")
    table = pd.read_csv(path, keep_default_na=False)
    if "rules" not in table:
        raise FlowGradError(f"job.repairs.{name}: {path} has no column rules; publish its run anew, or leave it out")
    table = table[table["treated_verdict"] != "none"]
    lines = table.assign(
        rule=table["rules"].str.split(),
        pair=f"{name} " + table["setting"],
        confirmed=table["treated_verdict"] == "confirmed",
    )
    return lines.explode("rule")[["rule", "pair", "harmful", "confirmed"]].dropna(subset="rule")


def predictions(trials: pd.DataFrame) -> pd.DataFrame:
    """Table of the confidence in each trial by trials with other pairs, one column a way to predict.

    Args:
        trials: one line a rule and trial: `rule`, `pair`, `confirmed`.
    """
    lines = []
    for trial in trials.to_dict("records"):
        rest = trials[trials["pair"] != trial["pair"]]
        own = rest["rule"] == trial["rule"]
        confirmed, others = rest.loc[own, "confirmed"], rest.loc[~own, "confirmed"]
        among_others = posterior(int(others.sum()), len(others)).value
        lines.append(
            {**trial, "tried": len(confirmed), "own": posterior(int(confirmed.sum()), len(confirmed)).value,
             "own and others": (confirmed.sum() + among_others) / (len(confirmed) + 1), "others": among_others}
        )  # fmt: skip
    return pd.DataFrame(lines)


def calibration_table(predicted: pd.DataFrame) -> pd.DataFrame:
    """Make one line a way and range of confidence: its mean, the share that was confirmed, and their difference.

    The line of `all` has the mean of these differences without sign, weighted by trials (Naeini et al. 2015).
    """
    lines = []
    for (faults, part), way in (
        ((str(name), part), way)
        for name, part in predicted.groupby("faults")
        for way in ("own", "own and others", "others")
    ):
        ranges = []
        for _, held in part.groupby(pd.cut(part[way], EDGES), observed=True):
            ranges.append((held[way], held["confirmed"]))
        apart = [(given.mean() - right.mean()) for given, right in ranges]
        counts = [len(given) for given, _ in ranges]
        lines.append(
            _line(faults, way, "all", part[way], part["confirmed"], float(np.average(np.abs(apart), weights=counts)))
        )
        lines += [
            _line(faults, way, f"{g.min():.2f} to {g.max():.2f}", g, r, d)
            for (g, r), d in zip(ranges, apart, strict=True)
        ]
    return pd.DataFrame(lines)


def _line(faults: str, way: str, held: str, given: pd.Series, right: pd.Series, apart: float) -> dict:
    return {
        "faults": faults, "predicted_by": way, "range": held, "trials": len(given), "confidence": float(given.mean()),
        "confirmed": float(right.mean()), "difference": float(apart),
    }  # fmt: skip
