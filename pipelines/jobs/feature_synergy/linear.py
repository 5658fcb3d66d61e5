"""Makes the linear proof, seed by seed: terms are chosen on half of the training rows or groups, tested on the
others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from statsmodels.regression.linear_model import OLS
from statsmodels.tools.tools import add_constant

from datasets.tables import TEST, TRAIN
from flowgrad.features import FeatureProof
from flowgrad.statistics import OBSERVATION_COLUMNS, Comparison, holm
from pipelines.data.tables import TableData
from pipelines.trainers.boosting.columns import analyzer_of, without_gaps
from pipelines.trainers.evaluation import higher_is_better

COLUMNS = ("seed", "terms", "n", "df_diff", "df_resid", "f", "p", "p_adjusted", "partial_eta2", "r2_adjusted",
           "r2_adjusted_terms", "gain", "random_gain", "random_significant", "verdict")  # fmt: skip
HALF = 0.5
"""Share of the rows that two seeds test on which they have in common, on average: each takes a half of them."""
COMPARISON = Comparison("terms_vs_columns", "columns", "terms", "linear models")
METRICS = ("r2_adjusted", "rmse")
"""Metrics: the first on the half that tested; the second on half of the later rows, or of their groups, in the table's
test part. All seeds on all of these would differ by their terms alone, and a test over seeds would take the test rows
for the population.
"""


@dataclass(frozen=True)
class LinearTrial:
    """Values of one seed."""

    proof: FeatureProof
    rmse_columns: float
    """RMSE on half of the test part, of a linear model of the columns."""
    rmse_terms: float
    """RMSE of the same model with the terms; NaN where there is none."""


@dataclass(frozen=True)
class Task:
    """Work of one seed."""

    seed: int
    top: int
    draws: int
    alpha: float


def prove(task: Task, data: TableData) -> LinearTrial:
    """Prove the terms of one seed, on all training rows of the table, and half of its test rows."""
    train, test = replace(data, keep=1.0).part(TRAIN, task.seed), replace(data, keep=HALF).part(TEST, task.seed)
    part = without_gaps(train)
    proof = analyzer_of(train, task.seed).prove(top=task.top, draws=task.draws, alpha=task.alpha)
    later = test.features[list(part.features)].fillna(train.features.median())
    names = [suggestion.name for suggestion in proof.suggestions]
    terms, later_terms = ([s.values(frame) for s in proof.suggestions] for frame in (part.features, later))
    plain = _rmse(part.features, [], part.target, later, [], test.target)
    extended = _rmse(part.features, terms, part.target, later, later_terms, test.target) if names else float("nan")
    return LinearTrial(proof, plain, extended)


def synergy_table(trials: Sequence[LinearTrial], alpha: float) -> pd.DataFrame:
    """Make one line a seed, columns `COLUMNS`; p is the larger of F's and the robust test's, by Holm over the seeds.

    `random_gain` is the median of as many products drawn at random, and `random_significant` the share of such draws
    that F alone rejects: where it is large, significance means little, and the gain compared with the random one more.
    """
    lines = []
    for trial in trials:
        proof, joint = trial.proof, trial.proof.joint
        found = {} if joint is None else {
            "n": joint.n, "df_diff": joint.df_diff, "df_resid": joint.df_resid, "f": joint.f, "p": proof.p,
            "partial_eta2": joint.partial_eta2, "r2_adjusted": joint.r2_adjusted_smaller,
            "r2_adjusted_terms": joint.r2_adjusted_larger, "gain": proof.gain,
        }  # fmt: skip
        drawn = [control.p for control in proof.control]
        lines.append(
            {"seed": proof.seed, "terms": len(proof.suggestions), **found, "random_gain": proof.control_gain,
             "random_significant": float(np.mean(np.array(drawn) < alpha)) if drawn else float("nan")}
        )  # fmt: skip
    table = pd.DataFrame(lines).reindex(columns=list(COLUMNS))
    table["p_adjusted"] = holm(table["p"].tolist())
    table["verdict"] = np.where(table["p_adjusted"] < alpha, "confirmed", "inconclusive")
    return table


def term_table(trials: Sequence[LinearTrial]) -> pd.DataFrame:
    """Make one line a term and seed."""
    return pd.concat([trial.proof.each.assign(seed=trial.proof.seed) for trial in trials], ignore_index=True)


def observation_table(trials: Sequence[LinearTrial], experiment: str) -> pd.DataFrame:
    """Make the observations of the arms `columns` and `terms`; columns `OBSERVATION_COLUMNS`. A seed without a term has
    nothing to compare, and no line.
    """
    lines = []
    for trial in trials:
        joint, seed = trial.proof.joint, trial.proof.seed
        if joint is None:
            continue
        values = {
            ("columns", "r2_adjusted"): joint.r2_adjusted_smaller, ("terms", "r2_adjusted"): joint.r2_adjusted_larger,
            ("columns", "rmse"): trial.rmse_columns, ("terms", "rmse"): trial.rmse_terms,
        }  # fmt: skip
        lines += [(experiment, arm, seed, metric, v, higher_is_better(metric)) for (arm, metric), v in values.items()]
    return pd.DataFrame(lines, columns=list(OBSERVATION_COLUMNS))


def _rmse(
    features: pd.DataFrame,
    terms: Sequence[np.ndarray],
    target: np.ndarray,
    later: pd.DataFrame,
    later_terms: Sequence[np.ndarray],
    later_target: np.ndarray,
) -> float:
    """RMSE of OLS fitted to the former rows, on the latter."""
    x, x_later = np.column_stack([features, *terms]), np.column_stack([later, *later_terms])
    mean, scale = x.mean(axis=0), np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
    fitted = OLS(target, add_constant((x - mean) / scale, has_constant="add")).fit()
    predicted = fitted.predict(add_constant((x_later - mean) / scale, has_constant="add"))
    return float(np.sqrt(np.mean((later_target - predicted) ** 2)))
