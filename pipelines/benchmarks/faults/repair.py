"""Tests whether the prescribed fixes repair, on seeds that the diagnosis never saw, and whether random ones would
too.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from scipy.stats import binomtest

from flowgrad.errors import FlowGradError
from flowgrad.evidence.confidence import posterior
from flowgrad.evidence.ledger import Ledger, case_of
from flowgrad.evidence.ledger import Trial as Validated
from flowgrad.prescription import prescribe
from flowgrad.rules import Finding, Rule, RuleBook
from flowgrad.statistics import OBSERVATION_COLUMNS, TestResult, arms_test
from flowgrad.verification.run_config import pair_of
from flowgrad.verification.trial_tables import PLAN_COLUMNS, TRIED_ON
from pipelines.benchmarks.faults.cases import FaultCase
from pipelines.benchmarks.faults.datasets import Datasets
from pipelines.benchmarks.faults.ground import FaultFamily
from pipelines.benchmarks.faults.observation import DiagnosedRun
from pipelines.config.compose import composed, with_overrides
from pipelines.stages.check import check_settings
from pipelines.trainers.evaluation import higher_is_better


@dataclass(frozen=True)
class RepairTrial:
    """A faulted run, and the configs that it is compared with."""

    case: FaultCase
    detected: bool
    """Whether a right rule acts."""
    arms: dict[str, tuple[str, ...]]
    """Overrides of each arm: `healthy`, `faulted`, `treated` where anything is prescribed, `random` where asked for."""
    rules: tuple[str, ...]
    """Ids of the rules whose fixes make the prescription."""
    prescription: tuple[str, ...]
    random: tuple[str, ...]


def trials(
    cases: Sequence[FaultCase],
    found: Sequence[DiagnosedRun],
    book: RuleBook,
    *,
    kinds: Sequence[str],
    seeds: Sequence[int],
    faults: Sequence[str] | None = None,
    settings: Sequence[str] | None = None,
    random: bool,
    ground: FaultFamily,
    data: Datasets,
) -> list[RepairTrial]:
    """One trial of each fault that ought to be repaired, and of each of these diagnosis seeds.

    Args:
        cases: what was diagnosed.
        found: what that showed.
        book: rules that it was judged by.
        kinds: kinds of faults: `run`, `row`.
        seeds: diagnosis seeds.
        faults: names of faults; None: all.
        settings: names of settings; None: all.
        random: whether a random fix is tried too.
        ground: what is trained.
        data: what it is trained on.
    """
    chosen = []
    for case, seen in zip(cases, found, strict=True):
        if not (_asked(case.fault, faults) and _asked(case.setting, settings)):
            continue
        if case.kind not in kinds or case.seed not in seeds or all(book[rule].fix is None for rule in case.rules):
            continue
        arms = {"healthy": case.healthy, "faulted": case.overrides}
        drawn = _random_fix(case, book, ground, data) if random else ()
        if random:
            arms["random"] = tuple(with_overrides(case.overrides, drawn))
        if seen.prescription:
            arms["treated"] = tuple(with_overrides(case.overrides, seen.prescription))
        detected = bool(set(seen.acting) & set(case.rules))
        chosen.append(RepairTrial(case, detected, arms, seen.acting, seen.prescription, drawn))
    return chosen


def _asked(name: str, only: Sequence[str] | None) -> bool:
    return only is None or name in only


def _random_fix(case: FaultCase, book: RuleBook, ground: FaultFamily, data: Datasets) -> tuple[str, ...]:
    """Draw a fix of the rule book (or of `FaultFamily.other_fixes`) evenly among those that change this config and can
    run; the same for the same case.
    """
    rules = [rule for rule in book.values() if rule.fix is not None and not rule.fix.rows]
    others = ground.other_fixes(case.config, data)
    rng = np.random.default_rng(zlib.crc32(f"{case.setting} {case.fault}{case.place} {case.seed}".encode()))
    for index in rng.permutation(len(rules) + len(others)):
        overrides = others[index - len(rules)] if index >= len(rules) else _applied(rules[index], case, ground)
        if overrides:
            return overrides
    raise FlowGradError(f"{case.fault} in {case.setting}: no rule of the book has a fix that can be applied")


def _applied(rule: Rule, case: FaultCase, ground: FaultFamily) -> tuple[str, ...]:
    """Overrides of the rule's fix; empty where it changes nothing or gives a config that cannot run."""
    finding = Finding(rule.id, rule.type, rule.severity, "", "", "", "", "", posterior(), fix=rule.fix)
    try:
        overrides = prescribe([finding], case.config).overrides
        changed = composed(with_overrides(case.overrides, overrides), rules=False)
        check_settings(changed)
    except (FlowGradError, HydraException, OmegaConfBaseException, KeyError):
        return ()
    return overrides if ground.can_run(changed) else ()


def repair_table(
    trials_: Sequence[RepairTrial], values: dict[tuple[str, ...], list[float]], metric: str, least_cost: float
) -> pd.DataFrame:
    """Make one line a trial: the cost of the fault, and the tests of the prescribed and of the random fix against
    it.
    """
    lines = []
    for trial in trials_:
        comparison = trial.case.config.comparison
        healthy, faulted = values[trial.arms["healthy"]], values[trial.arms["faulted"]]
        harm = _test(healthy, faulted, metric, comparison)
        cost = _cost(healthy, faulted, metric)
        line = {
            "kind": trial.case.kind, "setting": trial.case.setting, "fault": trial.case.fault,
            "table": trial.case.table, "seed": trial.case.seed, "metric": metric, "n": len(faulted),
            "healthy": np.mean(healthy), "faulted": np.mean(faulted), "cost": cost,
            "harmful": harm.verdict == "refuted" and not cost < least_cost, "detected": trial.detected,
            "rules": " ".join(trial.rules), "prescription": " ".join(trial.prescription),
            "random_fix": " ".join(trial.random), "tried_on": case_of(*pair_of(trial.case.config)),
        } | ({"place": trial.case.place} if trial.case.place else {})  # fmt: skip
        for arm in ("treated", "random"):
            result = _test(faulted, values[trial.arms[arm]], metric, comparison) if arm in trial.arms else None
            line[arm] = np.mean(values[trial.arms[arm]]) if arm in trial.arms else float("nan")
            line[f"p_{arm}"] = result.p if result else float("nan")
            line[f"{arm}_verdict"] = result.verdict if result else "none"
        lines.append(line)
    return pd.DataFrame(lines).fillna({"place": ""})


def observation_table(
    trials_: Sequence[RepairTrial], values: dict[tuple[str, ...], list[float]], metric: str, seeds: Sequence[int]
) -> pd.DataFrame:
    """Table of the values of every arm of every trial: one line a seed; columns `OBSERVATION_COLUMNS`."""
    better = higher_is_better(metric)
    lines: list[tuple] = []
    for trial in trials_:
        case = trial.case
        name = experiment_of(case.fault, case.place or case.table, case.setting, case.seed)
        for arm, overrides in trial.arms.items():
            lines += [
                (name, arm, seed, metric, value, better) for seed, value in zip(seeds, values[overrides], strict=True)
            ]
    return pd.DataFrame(lines, columns=list(OBSERVATION_COLUMNS))


def experiment_of(fault: str, where: str, setting: str, seed: int) -> str:
    """Name of a trial among the observations; `where` is a table or a place in it."""
    return f"{fault}{f' of {where}' if where else ''} in {setting}, diagnosis seed {seed}"


def ledger_of(repairs: pd.DataFrame, book: RuleBook, name: str, observations_sha256: str) -> Ledger:
    """Make a ledger of the trials: each rule whose fix was part of a prescription, once a trial."""
    told = []
    for line in repairs[repairs["treated_verdict"] != "none"].to_dict("records"):
        fault = experiment_of(line["fault"], line.get("place") or line["table"], line["setting"], line["seed"])
        told += [
            Validated(
                rule=rule,
                rule_sha256=book[rule].sha256,
                experiment=f"{name}: {fault}",
                comparison="treated_vs_faulted",
                metric=line["metric"],
                n=line["n"],
                p=line["p_treated"],
                verdict=line["treated_verdict"],
                observations_sha256=observations_sha256,
                tried_on=line["tried_on"],
            )
            for rule in line["rules"].split()
        ]
    return Ledger().plus(told)


def plan_table(trials_: Sequence[RepairTrial]) -> pd.DataFrame:
    """Table of the plan, from which the verdicts in `trials.csv` follow together with the observations; columns
    `PLAN_COLUMNS` and `TRIED_ON`.
    """
    lines = []
    for trial in trials_:
        if "treated" not in trial.arms:
            continue
        case, comparison = trial.case, trial.case.config.comparison
        name = experiment_of(case.fault, case.place or case.table, case.setting, case.seed)
        rules = " ".join(trial.rules)
        tried_on = case_of(*pair_of(case.config))
        lines.append((name, comparison.metrics[0], comparison.alpha, comparison.overlap, rules, tried_on))
    return pd.DataFrame(lines, columns=[*PLAN_COLUMNS, TRIED_ON]).astype({"overlap": float})


def _test(before: Sequence[float], after: Sequence[float], metric: str, comparison: DictConfig) -> TestResult:
    """Make the test by the settings of the comparison."""
    return arms_test(
        before,
        after,
        metric=metric,
        higher_is_better=higher_is_better(metric),
        alpha=comparison.alpha,
        overlap=comparison.overlap,
    )


def _cost(healthy: Sequence[float], faulted: Sequence[float], metric: str) -> float:
    """Cost of the fault in the metric, as a share of its healthy value; infinite where a run diverged."""
    if not np.isfinite(faulted).all():
        return float("inf")
    change = np.mean(faulted) / np.mean(healthy) - 1
    return float(-change if higher_is_better(metric) else change)


@dataclass(frozen=True)
class RepairRate:
    """Repair rate of the faults for which a right rule prescribes a fix."""

    trials: int
    repaired: int
    """Number of faults whose prescribed fix was confirmed."""
    repaired_at_random: int
    """Number of faults whose random fix was confirmed."""
    p: float
    """P-value of the one-sided exact McNemar test of the prescribed against the random fix (Fay 2010)."""


def repair_rate(table: pd.DataFrame, kinds: Sequence[str] = ("run",), *, harmful: bool = False) -> RepairRate:
    """Compute how often the prescription repairs, and whether luck would do.

    Args:
        table: table of `repair_table`.
        kinds: of faults that count.
        harmful: leave out those that do no harm.
    """
    asked = table[table["detected"] & table["kind"].isin(kinds) & (table["harmful"] | (not harmful))]
    own, random = (asked[f"{arm}_verdict"] == "confirmed" for arm in ("treated", "random"))
    only_own, only_random = int((own & ~random).sum()), int((random & ~own).sum())
    discordant = only_own + only_random
    p = binomtest(only_own, discordant, alternative="greater").pvalue if discordant else 1.0
    return RepairRate(len(asked), int(own.sum()), int(random.sum()), float(p))
