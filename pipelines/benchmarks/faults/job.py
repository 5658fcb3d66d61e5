"""`experiment=faults_embedding`, `faults_boosting`: we inject known faults into training, and score the diagnosis."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig
from rich.progress import Progress

from flowgrad.errors import FlowGradError
from flowgrad.evidence.ledger import Ledger, case_of
from flowgrad.files import write_atomically
from flowgrad.rules import RuleBook
from flowgrad.verification.run_config import pair_of
from flowgrad.verification.trial_tables import PLAN, TRIALS
from pipelines.benchmarks.faults.cases import FaultCase, cases, check_chosen
from pipelines.benchmarks.faults.datasets import Datasets, load_all
from pipelines.benchmarks.faults.ground import FaultFamily
from pipelines.benchmarks.faults.left_out import figure_table, folds, left_out_table, threshold_table
from pipelines.benchmarks.faults.matrix import matrix_picture, matrix_table
from pipelines.benchmarks.faults.observation import DiagnosedRun, Task, observe
from pipelines.benchmarks.faults.repair import (
    RepairRate,
    ledger_of,
    observation_table,
    plan_table,
    repair_rate,
    repair_table,
    trials,
)
from pipelines.benchmarks.faults.scores import share_interval
from pipelines.benchmarks.faults.scoring import by_setting, case_table, measure_table, rule_table, score_table
from pipelines.benchmarks.faults.taken_again import AGAIN, again_table, again_told, draw
from pipelines.config.compose import composed, config_sha256
from pipelines.config.targets import imported
from pipelines.output import console
from pipelines.output.tables import write_csv, write_table
from pipelines.stages import artifacts
from pipelines.stages.check import check_fixes, check_settings
from pipelines.stages.outcomes import Runs
from pipelines.stages.parallel import cores, parallel_map
from pipelines.stages.plan_seeds import is_auto
from pipelines.stages.rule_book import rule_book

_SHOWN = ["method", "kind", "fault", "runs", "true", "found", "hits", "precision", "recall", "f1", "low", "high",
          "false_alarm_rate", "confused"]  # fmt: skip
_FILES = ("cases.csv", "measures.csv", "scores.*", "settings.*", "rules.*", "layers.*", "repairs.*", "trials.*",
          "figures.csv", "thresholds.*", "left_out.*", "matrix.*", f"{AGAIN}.*")  # fmt: skip
_logger = logging.getLogger(__name__)


def run(config: DictConfig, task: Sequence[str], rule_folders: Sequence[str], folder: Path) -> None:
    """Run the benchmark into `folder`: cases, scores, repairs.

    Raises:
        FlowGradError: bad config, rules or data, before anything is trained.
    """
    check_settings(config)
    if is_auto(config):
        raise FlowGradError("seeds.test=auto: every trial of this job is proved on the same seeds; list them")
    book = rule_book(config, task, rule_folders)
    _check_rules(config, book)
    ground = _ground(config)
    planned = cases(config, task, ground)
    check_fixes(config, task, book)
    if not planned:
        raise FlowGradError("job.settings, job.seeds or the faults are empty; there is nothing to run")
    drawn = None
    if config.job.again is not None:
        drawn = draw(planned, config.job.again, book, config.name, Ledger.load())
        planned = drawn.taken
    peer = config.job.peer and _peer_available()
    if config.job.peer and not peer:
        _logger.warning("the peer library is not installed, so it is not scored: pip install 'flowgrad[bench]'")
    data = load_all(case.config for case in planned)
    _check_rows(planned, ground, data)
    artifacts.begin(folder, config, also=_FILES)
    with console.progress() as bar:
        found = _diagnose(planned, book, ground, data, peer, config, bar)
        table = case_table(planned, found, book, ground)
        write_csv(table, folder / "cases.csv")
        write_csv(measure_table(planned, found), folder / "measures.csv")
        repairs = (
            _repair(planned, found, book, ground, data, config, bar, folder) if config.job.repair else pd.DataFrame()
        )
    if drawn is not None:
        again = again_table(drawn, repairs)
        write_table(again, folder, AGAIN)
        _logger.info("%s", again_told(again))
    harmless = set()
    if len(repairs):
        write_table(repairs, folder, "repairs")
        harmful = repairs[repairs["harmful"]]
        harmless = set(zip(repairs["fault"], repairs["setting"], strict=True))
        harmless -= set(zip(harmful["fault"], harmful["setting"], strict=True))
    scores = score_table(table, harmless)
    if len(repairs):
        scores = pd.concat([scores, *_repair_lines(repairs, config.job)], ignore_index=True)
    write_table(scores, folder, "scores", [name for name in (*_SHOWN, "p") if name in scores])
    write_table(by_setting(table), folder, "settings")
    for name, further in ground.tables(planned, found, book).items():
        write_table(further, folder, name)
        console.print_table(further, folder)
    if config.job.by_rule:
        write_table(rule_table(planned, found, ground), folder, "rules")
    if config.job.leave_out:
        _leave_out(planned, found, book, ground, folder)
        matrix = matrix_table(
            table[table["method"] == "flowgrad"], [case_of(*pair_of(case.config)) for case in planned]
        )
        write_table(matrix, folder, "matrix")
        write_atomically(folder / "matrix.svg", matrix_picture(matrix))
    columns = [name for name in (*_SHOWN, "p") if name in scores and name not in ("true", "hits")]
    console.print_table(scores[columns], folder)


def _check_rules(config: DictConfig, book: RuleBook) -> None:
    """Check the rules before a minute is spent on composing the cases."""
    job = config.job
    for faults in (job.row_faults, job.run_faults):
        for fault, spec in faults.items():
            for rule in (*spec.rules, *spec.also):
                if rule not in book:
                    raise FlowGradError(f"job: the rules of {fault} name {rule!r}, which the rule book lacks")
            check_chosen(f"the settings of {fault}", spec.settings, job.settings)
    for setting, rules in job.true_of.items():
        check_chosen("true_of", [setting], job.settings)
        for rule in rules:
            if rule not in book:
                raise FlowGradError(f"job.true_of.{setting} names {rule!r}, which the rule book lacks")
    check_chosen("repair_kinds", job.repair_kinds, ["run", "row"])
    check_chosen("repair_settings", job.repair_settings, job.settings)
    check_chosen("repair_faults", job.repair_faults, [*job.row_faults, *job.run_faults])


def _ground(config: DictConfig) -> FaultFamily:
    found = imported("job.ground", config.job.ground)
    if not (isinstance(found, type) and issubclass(found, FaultFamily)):
        raise FlowGradError(f"job.ground={config.job.ground} is no ground for faults; leave it out")
    return found()


def _check_rows(planned: Sequence[FaultCase], ground: FaultFamily, data: Datasets) -> None:
    """Refuse a fault that these data cannot have before any other is trained with."""
    for case in planned:
        if case.kind == "row":
            try:
                ground.truth(case.config, data)
            except FlowGradError as error:
                raise FlowGradError(f"job.row_faults.{case.fault} in job.settings.{case.setting}: {error}") from error


def _diagnose(
    planned: Sequence[FaultCase],
    book: RuleBook,
    ground: FaultFamily,
    data: Datasets,
    peer: bool,
    config: DictConfig,
    bar: Progress,
) -> list[DiagnosedRun]:
    doing = bar.add_task("diagnose", total=len(planned))
    watched = list(config.job.seeds)[: config.job.peer_seeds] if peer else []
    asked = tuple(dict.fromkeys(rule for case in planned for rule in case.rules)) if config.job.leave_out else ()
    tasks = [Task(case.config, case.overrides, book, ground, case.seed in watched, asked) for case in planned]
    found = []
    for case, seen in zip(planned, parallel_map(observe, tasks, data, config.workers or cores()), strict=True):
        found.append(seen)
        names = sorted({rule for rule, _ in seen.named})
        _logger.info("%s %s in %s, seed %d: %s; acts: %s", case.fault, case.table, case.setting, case.seed,
                     ", ".join(names) or "nothing", " ".join(seen.prescription) or "nothing")  # fmt: skip
        bar.advance(doing)
    return found


def _leave_out(
    planned: Sequence[FaultCase], found: Sequence[DiagnosedRun], book: RuleBook, ground: FaultFamily, folder: Path
) -> None:
    made = folds(planned, found)
    write_csv(figure_table(planned, found), folder / "figures.csv")
    write_table(threshold_table(made, found), folder, "thresholds")
    scores = left_out_table(made, planned, found, book, ground)
    shown = [name for name in _SHOWN if name in scores and name != "confused"]
    write_table(scores, folder, "left_out", ["thresholds", "left_out", *shown])
    console.print_table(scores[["thresholds", "left_out", "kind", "runs", "found", "f1", "false_alarm_rate"]], folder)


def _repair(
    planned: Sequence[FaultCase],
    found: Sequence[DiagnosedRun],
    book: RuleBook,
    ground: FaultFamily,
    data: Datasets,
    config: DictConfig,
    bar: Progress,
    folder: Path,
) -> pd.DataFrame:
    job = config.job
    diagnosed = list(job.seeds)[: job.repair_seeds]
    tried = trials(
        planned, found, book, kinds=job.repair_kinds, seeds=diagnosed, faults=job.repair_faults,
        settings=job.repair_settings,
        random=job.repair_random, ground=ground, data=data,
    )  # fmt: skip
    seeds = list(config.seeds.test)
    configs = {arm: composed(arm, rules=False) for trial in tried for arm in trial.arms.values()}
    # A fix that takes back what the fault did gives the healthy config again; it is trained once.
    hashes = {arm: f"{data.of(made).sha256} {config_sha256(made)}" for arm, made in configs.items()}
    distinct = {hashes[arm]: made for arm, made in configs.items()}
    doing = bar.add_task("repair", total=len(distinct) * len(seeds))
    metric_of: dict[str, list[float]] = {key: [] for key in distinct}
    with closing(Runs(data, Datasets.of)) as runs:
        runs.start(config.workers or cores())
        for made in distinct.values():
            runs.begin(made, seeds)
        for key, made in distinct.items():
            for outcome in runs.outcomes(made, seeds):
                metric_of[key].append(outcome.metrics[made.comparison.metrics[0]])
                bar.advance(doing)
    values = {arm: metric_of[key] for arm, key in hashes.items()}
    metrics = {trial.arms["healthy"]: trial.case.config.comparison.metrics[0] for trial in tried}
    tables, observations = [], []
    for metric in dict.fromkeys(metrics.values()):
        part = [trial for trial in tried if metrics[trial.arms["healthy"]] == metric]
        tables.append(repair_table(part, values, metric, job.least_cost))
        observations.append(observation_table(part, values, metric, seeds))
    if not tables:
        return pd.DataFrame()
    repairs = pd.concat(tables, ignore_index=True)
    write_csv(pd.concat(observations, ignore_index=True), folder / "observations.csv")
    sha256 = hashlib.sha256((folder / "observations.csv").read_bytes()).hexdigest()
    ledger_of(repairs, book, config.name, sha256).write(folder / TRIALS)
    write_csv(plan_table(tried), folder / PLAN)
    return repairs


def _repair_lines(repairs: pd.DataFrame, job: DictConfig) -> list[pd.DataFrame]:
    kinds = list(job.repair_kinds)
    rates = {"repair rate": repair_rate(repairs, kinds)}
    rates["repair rate, harmful ones"] = repair_rate(repairs, kinds, harmful=True)
    return [_repair_line(name, rate, job.repair_random) for name, rate in rates.items()]


def _repair_line(name: str, rate: RepairRate, random: bool) -> pd.DataFrame:
    lines = []
    counts = {"flowgrad": rate.repaired} | ({"random fix": rate.repaired_at_random} if random else {})
    for method, count in counts.items():
        low, high = share_interval(count, rate.trials)
        lines.append(
            {"method": method, "kind": "repair", "fault": name, "runs": rate.trials, "hits": count,
             "recall": count / rate.trials if rate.trials else float("nan"), "low": low, "high": high,
             "p": rate.p if random and method == "flowgrad" else float("nan")}
        )  # fmt: skip
    return pd.DataFrame(lines)


def _peer_available() -> bool:
    from pipelines.benchmarks.gradtracer.embedding import peer_available  # takes torch, which boosters need not

    return peer_available()
