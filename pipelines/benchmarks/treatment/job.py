"""The job: each case as it is, treated while it trains, and retrained with what is prescribed; one table."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from flowgrad.errors import FlowGradError
from flowgrad.rules.suggestion import did_you_mean
from flowgrad.statistics import PRIMARY, Comparison, significance
from pipelines.config.command_line import one_line
from pipelines.config.compose import composed, shared_overrides, treated, with_overrides
from pipelines.output import console
from pipelines.output.tables import markdown, write_csv, write_table
from pipelines.stages import artifacts
from pipelines.stages.check import check_settings
from pipelines.stages.compare import Observed, observe
from pipelines.stages.diagnose import diagnose
from pipelines.stages.experiment import Experiment
from pipelines.stages.outcomes import Runs
from pipelines.stages.parallel import cores
from pipelines.stages.plan_seeds import is_auto
from pipelines.stages.rule_book import rule_book
from pipelines.trainers.trainer import trainer_of

UNTREATED, TREATED, RETRAINED = "untreated", "treated", "retrained"
"""Arms: the case as it is; `training.treat=true`; the first prescription of the closed loop, from the first step on."""
SHOWN = (
    "case", "comparison", "metric", "test", "n", "baseline", "treated", "difference", "ci_low", "ci_high", "p_adjusted",
    "wins", "steps_baseline", "steps_treated", "changed", "verdict",
)  # fmt: skip
UNCHANGED = "unchanged"
"""Verdict where no finding changed a run, and every one gave what it gives without treatment."""
_logger = logging.getLogger(__name__)


def run(config: DictConfig, task: Sequence[str], sources: Sequence[str], folder: Path) -> None:
    """Write `treatment.{csv,md,tex}`, `observations.csv` and `treated.csv` into `folder`.

    Args:
        config: the composed config; its `job` node names the cases.
        task: the overrides that it was composed from; those of data sets hold for every case.
        sources: Hydra's config sources, to say where a faulty rule stands.
        folder: run folder; every file is written there, whole or not at all.

    Raises:
        FlowGradError: bad config, before anything is trained.
    """
    check_settings(config)
    if is_auto(config):
        raise FlowGradError("seeds.test=auto: cases of several kinds share their seeds; list them")
    cases = _cases(config, task, sources)
    artifacts.begin(folder, config)
    tables: list[pd.DataFrame] = []
    observations: list[pd.DataFrame] = []
    changes: list[pd.DataFrame] = []
    with console.progress() as bar:
        training = bar.add_task("train", total=len(cases))
        for name, (overrides, case) in cases.items():
            bar.update(training, description=f"train: {name}")
            observed = _observe(case, overrides, sources, list(config.seeds.test), config.workers or cores())
            observations.append(observed.observations.assign(case=name))
            changes.append(observed.treated.assign(case=name))
            tables.append(case_table(name, observed, case.comparison))
            bar.advance(training)
    write_csv(pd.concat(observations, ignore_index=True), folder / "observations.csv")
    write_csv(pd.concat(changes, ignore_index=True), folder / "treated.csv")
    table = pd.concat(tables, ignore_index=True)
    write_table(table, folder, "treatment", SHOWN)
    Console(width=200).print(markdown(table[table["test"].isin(PRIMARY)][list(SHOWN)]), markup=False, highlight=False)
    Console().print(f"files: {folder}", markup=False, highlight=False, soft_wrap=True)


def _cases(config: DictConfig, task: Sequence[str], sources: Sequence[str]) -> dict[str, tuple[list[str], DictConfig]]:
    """The overrides and the config of each case."""
    job = config.job
    found = {}
    for name in job.only or job.cases:
        if name not in job.cases:
            raise FlowGradError(f"job.only names {name!r}{did_you_mean(name, list(job.cases))}")
        overrides = with_overrides([*job.cases[name]], shared_overrides(task))
        try:
            made = composed(overrides)
            check_settings(made)
            check_settings(composed(with_overrides(overrides, ["training.treat=true"]), rules=False))
            rule_book(made, overrides, sources)
        except (FlowGradError, HydraException, OmegaConfBaseException) as error:
            raise FlowGradError(f"job.cases.{name}: {one_line(error)}") from error
        found[str(name)] = overrides, made
    if not found:
        raise FlowGradError("job.cases is empty; name at least one")
    return found


def _observe(
    case: DictConfig, overrides: Sequence[str], sources: Sequence[str], seeds: Sequence[int], workers: int
) -> Observed:
    """Diagnose on the diagnosis seed, and make the runs of all arms on the seeds of the proof."""
    data = trainer_of(case).load()
    experiment = Experiment(case, tuple(overrides), rule_book(case, overrides, sources), data)
    fix = diagnose(experiment, 1).prescription.overrides
    arms = {UNTREATED: case, TREATED: treated(case, overrides, ["training.treat=true"])}
    if fix:
        arms[RETRAINED] = treated(case, overrides, fix)
    _logger.info("prescribed from the start: %s", " ".join(fix) or "nothing")
    with closing(Runs(data, stacks=False)) as runs:  # untreated runs are to be equal bit for bit
        runs.start(workers)
        return observe(arms, dict.fromkeys(arms, seeds), runs, lambda _: None)


def case_table(name: str, observed: Observed, settings: Any) -> pd.DataFrame:
    """Test the arms of a case; where no finding changed a run, the treated arm is the untreated one and is not tested.

    Args:
        name: of the case.
        observed: of all arms.
        settings: the config's `comparison`.

    Raises:
        FlowGradError: a run that nothing changed gave another result than without treatment.
    """
    seeds = set() if observed.treated.empty else set(observed.treated["seed"])
    values = observed.observations.pivot_table(index=["seed", "metric"], columns="arm", values="value", dropna=False)
    alike = values.loc[[seed not in seeds for seed, _ in values.index]]
    if not np.array_equal(alike[UNTREATED], alike[TREATED], equal_nan=True):
        raise FlowGradError(f"{name}: a run that no finding changed gave another result than without treatment")
    planned = [
        Comparison(f"{one}_vs_{other}", other, one, name)
        for one, other in ((TREATED, UNTREATED), (RETRAINED, UNTREATED), (TREATED, RETRAINED))
        if {one, other} <= set(observed.steps) and (seeds or TREATED not in (one, other))
    ]
    table = pd.DataFrame()
    if planned:
        table = significance(observed.observations, planned, settings.metrics, settings.alpha, overlap=settings.overlap)
    if not seeds:
        table = pd.concat([_unchanged(observed, settings.metrics), table], ignore_index=True)
    steps = {arm: float(np.mean(counts)) for arm, counts in observed.steps.items()}
    count = f"{len(seeds)} of {len(observed.steps[TREATED])}"
    arms = list(zip(table["baseline_arm"], table["treated_arm"], strict=True))
    return table.reindex(columns=list(dict.fromkeys([*table.columns, *SHOWN]))).assign(
        case=name,
        steps_baseline=[steps[one] for one, _ in arms],
        steps_treated=[steps[one] for _, one in arms],
        changed=[count if TREATED in pair else "" for pair in arms],
    )


def _unchanged(observed: Observed, metrics: Sequence[str]) -> pd.DataFrame:
    means: Mapping[Any, float] = observed.observations.groupby(["arm", "metric"])["value"].mean().to_dict()
    return pd.DataFrame(
        {
            "comparison": f"{TREATED}_vs_{UNTREATED}", "metric": metric, "test": PRIMARY[0], "baseline_arm": UNTREATED,
            "treated_arm": TREATED, "n": len(observed.steps[TREATED]), "baseline": means[UNTREATED, metric],
            "treated": means[TREATED, metric], "difference": 0.0, "verdict": UNCHANGED,
        }
        for metric in metrics
    )  # fmt: skip
