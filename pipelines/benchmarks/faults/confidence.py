"""`experiment=confidence`: how often a confidence is right where it does not rest on the pair, data or rule at hand.

Each published repair is predicted from those of other pairs of model and data, as reports do (`shipped`, see
`flowgrad.evidence.chances`); from those on other data alone (`data left out`); from those of other rules alone
(`rule left out`), as for a rule that was never tried; and by the trials of its own rule with Jeffreys' prior
(`jeffreys`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from flowgrad.errors import FlowGradError
from flowgrad.evidence.chances import Chances, fitted
from flowgrad.evidence.ledger import case_of
from flowgrad.verification.run_config import pair_of
from pipelines.config.code_fingerprint import ROOT
from pipelines.config.compose import composed
from pipelines.output import console
from pipelines.output.tables import write_csv, write_table
from pipelines.stages import artifacts
from pipelines.stages.check import check_settings

EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 1.0)
"""Ends of the ranges of confidence that are compared with what came of it."""
WAYS = ("shipped", "data left out", "rule left out", "jeffreys")
"""Ways to predict, columns of `predictions`."""


def run(config: DictConfig, task: Sequence[str], rule_folders: Sequence[str], folder: Path) -> None:
    """Write what each confidence was, what came of it, and how far they are apart.

    Raises:
        FlowGradError: bad config, or a table of repairs that is missing or has no rules.
    """
    check_settings(config)
    repairs = {str(name): _repairs(str(name), str(path)) for name, path in config.job.repairs.items()}
    trials = pd.concat([_trials(name, table) for name, table in repairs.items()], ignore_index=True)
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


def _repairs(experiment: str, pattern: str) -> pd.DataFrame:
    found = sorted(ROOT.glob(pattern))
    if not found:
        raise FlowGradError(f"job.repairs.{experiment}: there is no {pattern}; publish its run, or leave it out")
    tables = [pd.read_csv(path, keep_default_na=False) for path in found]
    for path, table in zip(found, tables, strict=True):
        if "rules" not in table:
            raise FlowGradError(
                f"job.repairs.{experiment}: {path} has no column rules; publish its run anew, or leave it out"
            )
    return pd.concat(tables, ignore_index=True)


def _trials(experiment: str, table: pd.DataFrame) -> pd.DataFrame:
    """Table of one line a rule and trial: `rule`, `pair`, `data`, `harmful`, `confirmed`."""
    settings = composed([f"experiment={experiment}"], rules=False).job.settings
    pairs = {name: pair_of(composed(settings[name], rules=False)) for name in table["setting"].unique()}
    table = table[table["treated_verdict"] != "none"]
    lines = table.assign(
        rule=table["rules"].str.split(),
        pair=[case_of(*pairs[name]) for name in table["setting"]],
        data=[pairs[name][1] for name in table["setting"]],
        confirmed=table["treated_verdict"] == "confirmed",
    )
    return lines.explode("rule")[["rule", "pair", "data", "harmful", "confirmed"]].dropna(subset="rule")


def predictions(trials: pd.DataFrame) -> pd.DataFrame:
    """Table of the confidence in each trial by others, one column for each of `WAYS`.

    Args:
        trials: one line a rule and trial: `rule`, `pair`, `data`, `confirmed`.
    """
    parts = []
    for (rule, pair, data), held in trials.groupby(["rule", "pair", "data"], sort=False):
        rest = trials[trials["pair"] != pair]
        own = rest.loc[rest["rule"] == rule, "confirmed"]
        others = {
            "shipped": rest,
            "data left out": trials[trials["data"] != data],
            "rule left out": rest[rest["rule"] != rule],
        }
        told = {way: _fitted(kept).log_odds(str(rule), str(data)).chance for way, kept in others.items()}
        parts.append(held.assign(tried=len(own), **told, jeffreys=(own.sum() + 0.5) / (len(own) + 1)))
    return pd.concat(parts).sort_index()


def _fitted(trials: pd.DataFrame) -> Chances:
    counts = trials.groupby(["rule", "data"])["confirmed"].agg(["sum", "size"])
    return fitted({case: (int(confirmed), int(tried)) for case, confirmed, tried in counts.itertuples(name=None)})


def calibration_table(predicted: pd.DataFrame) -> pd.DataFrame:
    """Make one line a way and range of confidence: its mean, the share that was confirmed, and their difference.

    `by_chance` is the mean difference, without sign, of so many trials, each by itself, if every confidence were right
    (by the normal law of sums). The line of `all` has the means of both over the ranges, weighted by trials and without
    sign (Naeini et al. 2015).
    """
    lines = []
    for (faults, part), way in ((one, way) for one in predicted.groupby("faults") for way in WAYS):
        ranges = [
            _line(str(faults), way, f"{held[way].min():.2f} to {held[way].max():.2f}", held)
            for _, held in part.groupby(pd.cut(part[way], EDGES), observed=True)
        ]
        counts = [line["trials"] for line in ranges]
        apart = {
            name: float(np.average([abs(line[name]) for line in ranges], weights=counts))
            for name in ("difference", "by_chance")
        }
        lines += [_line(str(faults), way, "all", part) | apart, *ranges]
    return pd.DataFrame(lines)


def _line(faults: str, way: str, named: str, held: pd.DataFrame) -> dict:
    given, right = held[way], held["confirmed"].astype(float)
    spread = float(np.sqrt(2 / np.pi * (given * (1 - given)).sum())) / len(given)
    loss = -np.log(np.where(right == 1, given, 1 - given)).mean()
    return {
        "faults": faults, "predicted_by": way, "range": named, "trials": len(given), "confidence": given.mean(),
        "confirmed": right.mean(), "difference": given.mean() - right.mean(), "by_chance": spread, "log_loss": loss,
    }  # fmt: skip
