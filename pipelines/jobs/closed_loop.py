"""The main job: diagnose, prescribe, apply, leave out what does nothing, retrain, prove."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import cache
from importlib import import_module
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig, OmegaConf
from rich.progress import Progress

from flowgrad import exits
from flowgrad.drawing import new_figure
from flowgrad.errors import FlowGradError
from flowgrad.rules import RuleBook
from flowgrad.statistics import CONTROL, PRIMARY, Comparison, reason_of, significance, user_significance
from pipelines.config.compose import composed, with_overrides
from pipelines.output import console
from pipelines.output.tables import write_csv
from pipelines.stages import artifacts
from pipelines.stages.check import check_fixes, check_settings, check_trial, check_tuned
from pipelines.stages.compare import comparisons, observe
from pipelines.stages.diagnose import Diagnosis
from pipelines.stages.experiment import Experiment
from pipelines.stages.failed_runs import check_seeds_matter
from pipelines.stages.outcome import print_outcome
from pipelines.stages.outcomes import Runs
from pipelines.stages.parallel import cores, import_ahead, imports_ahead, workers_for
from pipelines.stages.plan_seeds import is_auto, plan_seeds
from pipelines.stages.prune import prune
from pipelines.stages.rule_book import rule_book
from pipelines.stages.treat import treat, treat_with
from pipelines.stages.treatment import Treatment
from pipelines.trainers.evaluation import explains_target
from pipelines.trainers.trainer import Dataset, trainer_of

_logger = logging.getLogger(__name__)


def run(config: DictConfig, task: Sequence[str], rule_folders: Sequence[str], folder: Path) -> None:
    """Run one experiment into `folder`.

    Args:
        config: the baseline's composed config.
        task: the overrides that it was composed from.
        rule_folders: Hydra's config sources, to say where a faulty rule stands.
        folder: run folder; every file is written there, whole or not at all.

    Raises:
        FlowGradError: bad config, rules or data, before anything is trained.
    """
    _import_ahead(config)
    with exits.leaving_quietly():
        from pipelines.stages.data_gate import pass_gate  # which imports torch
    book, tuned = checked(config, task, rule_folders)
    data = trainer_of(config).load()
    experiment = Experiment(config, tuple(task), book, data)
    if tuned is not None:
        _fitting(f"tuned={config.tuned}", tuned, data)
    if config.trial:
        _fitting(f"trial={list(config.trial)}", composed(with_overrides(task, list(config.trial))), data)
    _logger.info("data: %s; sha256 %s", data.source, data.sha256)
    objection = pass_gate(data, explains=explains_target(config.comparison.metrics))
    artifacts.begin(folder)
    with console.progress() as bar, closing(Runs(data, baseline=config)) as runs:
        diagnosing = bar.add_task("diagnose", total=None)
        so_far: list[Diagnosis] = []
        if imports_ahead() and experiment.trainer.PACKAGES:  # a program of the user's own has to end well once before
            _begin_proof(runs, config, tuned, so_far)

        def on_round(diagnosis: Diagnosis) -> None:
            so_far.append(diagnosis)
            _begin_proof(runs, config, tuned, so_far)
            bar.advance(diagnosing)
            found = [f"{f.type} on {f.subject}" for f in diagnosis.all_findings]
            _logger.info("round %d: %s", diagnosis.round, "; ".join(found) or "nothing found")
            _logger.info("round %d prescribes: %s", diagnosis.round, diagnosis.prescription.shell or "nothing")
            for rule, why in diagnosis.prescription.overruled.items():
                _logger.info("round %d: %s %s", diagnosis.round, rule, why)

        diagnoses = treat(experiment, on_round)
        bar.remove_task(diagnosing)
        treatment = _pruned(diagnoses, runs, bar)
        artifacts.write_config(folder, treatment)
        artifacts.write_prescription(folder, treatment)
        artifacts.write_shares(folder, treatment)
        artifacts.write_plots(folder, treatment)
        artifacts.write_extracts(folder, treatment)
        artifacts.write_reports(folder, treatment, {})

        arms = {arm: diagnosis.config for arm, diagnosis in treatment.arms().items()}
        if tuned is not None:
            arms["tuned"] = tuned
        planned = comparisons(
            treatment.rounds,
            config.comparison.aa_offset,
            pruned=treatment.minimal is not None,
            control=config.seeds.control,
        )
        if any(one.family == CONTROL for one in planned):
            arms["aa"] = config
        test = _seeds(config, arms, planned, runs, bar, folder, diagnoses)
        seeds = {arm: _shifted(config, test) if arm == "aa" else test for arm in arms}
        count = sum(map(len, seeds.values()))
        runs.start(workers_for(config, _seconds(diagnoses, count)))
        _import_rest()
        proving = bar.add_task("prove", total=count)
        observed = observe(arms, seeds, runs, lambda arm: bar.update(proving, advance=1, description=f"prove: {arm}"))
    if diagnoses[0].trained.reports:
        check_seeds_matter(observed.observations)
    settings = config.comparison
    table = significance(
        observed.observations,
        planned,
        settings.metrics,
        settings.alpha,
        overlap=settings.overlap,
        objection=objection,
    )
    first = experiment.trainer.metrics()[0]
    users = user_significance(
        observed.by_user,
        planned,
        experiment=config.name,
        metric=first,
        higher_is_better=experiment.trainer.higher_is_better(first),
        alpha=settings.alpha,
        objection=objection,
    )
    table = pd.concat([table, users], ignore_index=True) if len(users) else table
    validations = artifacts.write_proof(folder, observed, table, treatment)
    artifacts.write_reports(folder, treatment, validations)
    for _, line in table[table["test"].isin(PRIMARY)].iterrows():
        _logger.info("%s, %s: %s%s", line["comparison"], line["metric"], line["verdict"], _because(line))
    print_outcome(treatment, table, folder, observed.failed)


def _pruned(diagnoses: tuple[Diagnosis, ...], runs: Runs, bar: Progress) -> Treatment:
    """Leave out of what the rounds prescribed what does not earn its place, and diagnose what is kept."""
    config, pruning = diagnoses[0].config, bar.add_task("leave out", total=0)

    def on_run(planned: int) -> None:
        if planned:
            _prepare_rest(diagnoses)
        total = next(task.total for task in bar.tasks if task.id == pruning) or 0
        bar.update(pruning, total=total + planned, advance=0 if planned else 1)

    pruned = prune(diagnoses, runs, lambda count: workers_for(config, _seconds(diagnoses, count)), on_run)
    bar.remove_task(pruning)
    if pruned.reason:
        _logger.info("nothing was left out: %s", pruned.reason)
    if not pruned.dropped:
        return Treatment(diagnoses, pruned)
    _logger.info("left out: %s", " ".join(pruned.dropped))

    def on_config(kept: DictConfig) -> None:
        if not is_auto(config):
            runs.begin(kept, list(config.seeds.test))

    return Treatment(diagnoses, pruned, treat_with(diagnoses, pruned, on_config))


def checked(config: DictConfig, task: Sequence[str], rule_folders: Sequence[str]) -> tuple[RuleBook, DictConfig | None]:
    """Check all settings; return the rule book, and the config of the tuned arm where there is one.

    Raises:
        FlowGradError: a setting, a rule, a trial or the tuned experiment is not.
    """
    check_settings(config)
    book = rule_book(config, task, rule_folders)
    tuned = check_tuned(config, task)
    check_fixes(config, task, book)
    check_trial(config, task)
    return book, tuned


def _import_ahead(config: DictConfig) -> None:
    """Have other processes import torch while this one does, which leaves all cores but one idle. Where it is there
    already it is soon known whether others are worth it.
    """
    if "torch" not in sys.modules and min(config.workers or cores(), cores()) > 1:
        trainer = str(OmegaConf.select(config, "training._target_")).rpartition(".")[0]  # it is not checked yet
        import_ahead(["pipelines.stages.check", *([trainer] if trainer.startswith("pipelines.") else [])])


def _fitting(where: str, config: DictConfig, data: Dataset) -> None:
    """Refuse another config of the run that does not fit these data."""
    try:
        trainer_of(config).check_data(data)
    except FlowGradError as error:
        raise FlowGradError(f"{where}: {error}") from error


def _seconds(diagnoses: Sequence[Diagnosis], runs: int) -> float:
    """Seconds that so many runs would take one after the other, each as long as the longest diagnosed one. The pace is
    that of the fastest: the first pays for imports.
    """
    pace = min(one.seconds / max(one.trained.steps, 1) for one in diagnoses)
    return runs * pace * max(one.trained.steps for one in diagnoses)


def _shifted(config: DictConfig, seeds: Sequence[int]) -> list[int]:
    """Seeds of the A/A arm."""
    return [seed + config.comparison.aa_offset for seed in seeds]


def _begin_proof(runs: Runs, config: DictConfig, tuned: DictConfig | None, diagnoses: Sequence[Diagnosis]) -> None:
    """Begin what is known of the proof, while the diagnosis goes on in this process. Nothing of it reaches the
    diagnosis.
    """
    if is_auto(config):
        return
    test = list(config.seeds.test)
    known = [] if tuned is None else [(tuned, test)]  # the longest first
    known += [(config, test)]
    known += [(config, _shifted(config, test))] if config.seeds.control else []
    known += [(one.config, test) for one in diagnoses[1:]]
    seconds = _seconds(diagnoses, sum(len(seeds) for _, seeds in known)) if diagnoses else 0.0
    runs.start(workers_for(config, seconds))
    for arm, seeds in known:
        runs.begin(arm, seeds)


@cache
def _import_rest() -> None:
    """Import what tests and draws, which takes a second: now, while others train."""
    import_module("statsmodels.stats.weightstats")
    new_figure(1, 1)


def _prepare_rest(diagnoses: Sequence[Diagnosis]) -> None:
    """Make, besides, what reports will be headed by."""
    _import_rest()
    for diagnosis in diagnoses:
        _ = diagnosis.experiment.config_sha256


def _because(line: pd.Series) -> str:
    reason = reason_of(line)
    return f" ({reason})" if reason else ""


def _seeds(
    config: DictConfig,
    arms: Mapping[str, DictConfig],
    planned: Sequence[Comparison],
    runs: Runs,
    bar: Progress,
    folder: Path,
    diagnoses: Sequence[Diagnosis],
) -> list[int]:
    """Seeds of the proof: those given, or as many as a pilot says are needed."""
    if not is_auto(config):
        return list(config.seeds.test)
    pilot = list(config.seeds.auto.pilot)
    # The control is planned for only where there is nothing else.
    seeds = {arm: pilot for arm in arms if arm not in ("tuned", "aa")}
    if len(seeds) == 1:
        seeds["aa"] = _shifted(config, pilot)
    count = sum(map(len, seeds.values()))
    piloting = bar.add_task("pilot", total=count)
    runs.start(workers_for(config, _seconds(diagnoses, count)))
    seen = observe({arm: arms[arm] for arm in seeds}, seeds, runs, lambda _: bar.advance(piloting))
    bar.remove_task(piloting)
    test, plan = plan_seeds(config, seen.observations, planned, config.comparison.metrics)
    write_csv(plan, folder / "seeds.csv")
    short = plan[plan["needed"] > config.seeds.auto.most]
    if len(short):
        _logger.warning(
            "seeds.auto.most=%d is too few to find %.3g of the baseline in %s; what %d seeds can find is in seeds.csv",
            config.seeds.auto.most, config.seeds.auto.effect, ", ".join(short["comparison"].unique()), len(test),
        )  # fmt: skip
    _logger.info("seeds: %d, planned by %d pilot seeds that are not used again", len(test), len(pilot))
    return test
