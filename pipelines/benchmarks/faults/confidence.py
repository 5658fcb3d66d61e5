"""`experiment=confidence`: how often a confidence is right where it does not rest on the rule, or on the pair, at hand.

Each published repair is predicted from those of other pairs of model and data: as reports do (`shipped`, see
`flowgrad.evidence.prior`); with the trials of a rule that share a pair counted as one (`pairs once`); by the same prior
alone, as for a rule that was never tried (`rule left out`); and with Jeffreys' prior (`jeffreys`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from flowgrad.errors import FlowGradError
from flowgrad.evidence.confidence import posterior
from flowgrad.evidence.ledger import case_of
from flowgrad.evidence.prior import Prior, fitted_prior
from flowgrad.verification.run_config import pair_of
from pipelines.config.code_fingerprint import ROOT
from pipelines.config.compose import composed
from pipelines.output import console
from pipelines.output.tables import write_csv, write_table
from pipelines.stages import artifacts
from pipelines.stages.check import check_settings

EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 1.0)
"""Ends of the ranges of confidence that are compared with what came of it."""
WAYS = ("shipped", "pairs once", "rule left out", "jeffreys")
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
    """Table of one line a rule and trial: `rule`, `pair`, `harmful`, `confirmed`."""
    settings = composed([f"experiment={experiment}"], rules=False).job.settings
    pairs = {name: case_of(*pair_of(composed(settings[name], rules=False))) for name in table["setting"].unique()}
    table = table[table["treated_verdict"] != "none"]
    lines = table.assign(
        rule=table["rules"].str.split(),
        pair=table["setting"].map(pairs),
        confirmed=table["treated_verdict"] == "confirmed",
    )
    return lines.explode("rule")[["rule", "pair", "harmful", "confirmed"]].dropna(subset="rule")


def predictions(trials: pd.DataFrame) -> pd.DataFrame:
    """Table of the confidence in each trial by trials with other pairs, one column for each of `WAYS`.

    Args:
        trials: one line a rule and trial: `rule`, `pair`, `confirmed`.
    """
    parts = []
    for (rule, pair), held in trials.groupby(["rule", "pair"], sort=False):
        rest = trials[trials["pair"] != pair]
        counts = rest.groupby("rule")["confirmed"].agg(["sum", "size"])
        shares = rest.groupby(["rule", "pair"])["confirmed"].mean().groupby("rule").agg(["sum", "size"])
        confirmed, tried, prior = _own_and_prior(counts, str(rule))
        parts.append(
            held.assign(
                tried=int(tried),
                **{
                    "shipped": posterior(int(confirmed), int(tried), prior=prior).value,
                    "pairs once": _mean(*_own_and_prior(shares, str(rule))),
                    "rule left out": _mean(0.0, 0.0, prior),
                    "jeffreys": posterior(int(confirmed), int(tried)).value,
                },
            )
        )
    return pd.concat(parts).sort_index()


def _own_and_prior(counts: pd.DataFrame, rule: str) -> tuple[float, float, Prior]:
    """Number confirmed and number tried of the rule, and the prior by the other rules."""
    others = counts.drop(index=rule, errors="ignore").astype(float)
    prior = fitted_prior(tuple(sorted(others.itertuples(index=False, name=None))))
    confirmed, tried = counts.reindex([rule], fill_value=0).to_numpy(float)[0]
    return float(confirmed), float(tried), prior


def _mean(confirmed: float, tried: float, prior: Prior) -> float:
    return (confirmed + prior.alpha) / (tried + sum(prior))


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
