"""`experiment=faults_field`: faults and habits of other people's loops, and whether the diagnosis is right of them."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig

from flowgrad.errors import FlowGradError
from flowgrad.rules.suggestion import did_you_mean
from pipelines.benchmarks.field.data import FieldData, load
from pipelines.benchmarks.field.registry import FAULTS, HABITS, HOSTS
from pipelines.benchmarks.field.run import Result, Task, watched
from pipelines.benchmarks.field.scoring import (
    ALL,
    FINDING_COLUMNS,
    Truth,
    fault_line,
    fault_table,
    finding_lines,
    habit_line,
    meaning,
    measure_lines,
    peer_findings,
    run_line,
    score_table,
    truth_of,
    verdict,
)
from pipelines.output import console
from pipelines.output.tables import write_csv, write_table
from pipelines.stages import artifacts
from pipelines.stages.check import check_settings
from pipelines.stages.parallel import cores, parallel_map

_logger = logging.getLogger(__name__)
_FILES = ("runs.csv", "findings.csv", "measures.csv", "scores.*", "faults.*", "habits.*")


def run(config: DictConfig, task: Sequence[str], sources: Sequence[str], folder: Path) -> None:
    """Run the benchmark into `folder`: `scores.{csv,md,tex}`, by fault `faults.*`, alarms by habit `habits.*`, each run
    with all findings in `runs.csv`, each finding in `findings.csv`, each figure in `measures.csv`.

    Args:
        config: the composed config; its `job` node lists the runs.
        task: not used.
        sources: not used.
        folder: run folder; every file is written there, whole or not at all.

    Raises:
        FlowGradError: bad config or data, before anything is trained.
    """
    check_settings(config)
    job = config.job
    _check(job)
    planned = tasks(job)
    if not planned:
        raise FlowGradError("job.seeds, job.only_hosts, job.only_faults and job.only_habits leave nothing to run")
    path, cache = config.dataset.get("path"), config.dataset.get("cache")
    peer = job.peer and _peer_available()
    if job.peer and not peer:
        _logger.warning("the peer library is not installed, so it is not scored: pip install 'flowgrad[bench]'")
        planned = [replace(one, peer=False) for one in planned]
    data = load(movielens=any(HOSTS[one.host].movielens for one in planned), path=path, cache=cache)
    artifacts.begin(folder, config, also=_FILES)
    found = _watch(planned, data, config.workers or cores())
    _write(found, job, folder)


def tasks(job: DictConfig) -> list[Task]:
    """List every run that the job names: sound ones first, as the others are compared with them."""
    hosts = list(HOSTS) if job.only_hosts is None else list(job.only_hosts)
    faults = list(FAULTS) if job.only_faults is None else list(job.only_faults)
    habits = [*HABITS, "as_is"] if job.only_habits is None else list(job.only_habits)
    runs: dict[Task, None] = {}
    for seed in job.seeds:
        for host in hosts:
            laid = [FAULTS[name] for name in faults if host in FAULTS[name].hosts]
            if laid or "as_is" in habits:
                runs[Task(host, seed, "sound", "", job.peer)] = None
            for fault in laid:
                if fault.base:
                    runs[Task(host, seed, "sound", fault.base, job.peer)] = None
            for fault in laid:
                runs[Task(host, seed, "fault", fault.name, job.peer)] = None
            for name in habits:
                if name != "as_is" and host in HABITS[name].hosts:
                    runs[Task(host, seed, "habit", name, job.peer)] = None
    return list(runs)


def _check(job: DictConfig) -> None:
    for key, known in (("only_hosts", HOSTS), ("only_faults", FAULTS), ("only_habits", [*HABITS, "as_is"])):
        for name in job[key] or ():
            if name not in known:
                raise FlowGradError(f"job.{key} names {name!r}{did_you_mean(name, known)}")
    if missing := sorted(set(FAULTS) ^ set(job.faults)):
        raise FlowGradError(f"job.faults and the registered faults differ in {missing[0]!r}")
    for name, spec in job.faults.items():
        for word in spec.words:
            try:
                re.compile(word)
            except re.error as error:
                raise FlowGradError(f"job.faults.{name}.words: {word!r} is no regular expression: {error}") from error


def _watch(planned: Sequence[Task], data: FieldData, workers: int) -> list[Result]:
    found = []
    with console.progress() as bar:
        doing = bar.add_task("watch", total=len(planned))
        for result in parallel_map(watched, planned, data, workers):
            found.append(result)
            line = run_line(result)
            _logger.info("%s %s in %s, seed %d: %s", line["kind"], line["name"], line["host"], line["seed"],
                         line["error"] or line["findings"] or "nothing")  # fmt: skip
            bar.advance(doing)
    for result in found:
        if result.error:
            _logger.warning("%s %s in %s: %s", result.task.kind, result.task.name, result.task.host, result.error)
    return found


def _write(found: Sequence[Result], job: DictConfig, folder: Path) -> None:
    by_task = {(r.task.host, r.task.seed, r.task.name): r for r in found if r.task.kind == "sound"}
    means, silent = meaning(job.peer_means), set(job.peer_silent)
    faulted, healthy = [], []
    for one in found:
        peer = peer_findings(one, silent)
        if one.task.kind == "fault":
            sound = by_task[one.task.host, one.task.seed, FAULTS[one.task.name].base]
            truth = _truth(job, one.task.name)
            faulted.append(fault_line("flowgrad", one, sound, verdict(one.findings, truth)))
            if one.peer.watched:
                faulted.append(fault_line("peer", one, sound, verdict(peer, truth, means)))
        elif one.task.kind == "habit" or not one.task.name:
            healthy.append(habit_line("flowgrad", one, one.findings))
            if one.peer.watched:
                healthy.append(habit_line("peer", one, peer))
    lines, habits = pd.DataFrame(faulted), pd.DataFrame(healthy)
    write_csv(pd.concat([lines, habits], ignore_index=True), folder / "runs.csv")
    write_csv(pd.DataFrame(finding_lines(found), columns=FINDING_COLUMNS), folder / "findings.csv")
    write_csv(pd.DataFrame(measure_lines(found)), folder / "measures.csv")
    scores = score_table(lines, habits, job.least_cost)
    write_table(scores, folder, "scores")
    if len(lines):
        write_table(fault_table(lines, job.least_cost), folder, "faults")
    if len(habits):
        alarmed = habits[(habits["fix_alarms"] != "") | (habits["loud_alarms"] != "")]
        shown = ["method", "name", "host", "seed", "cost", "fix_alarms", "loud_alarms"]
        write_table(alarmed[shown], folder, "habits")
    pooled = scores[(scores["host"] == ALL) & scores["name"].isin(["all faults", "all habits"])]
    console.print_table(pooled.drop(columns=["host"]), folder)


def _peer_available() -> bool:
    from pipelines.benchmarks.gradtracer.embedding import peer_available

    return peer_available()


def _truth(job: DictConfig, fault: str) -> Truth:
    spec = job.faults[fault]
    return truth_of(spec.causes, spec.symptoms, spec.words)
