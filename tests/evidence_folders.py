"""Folders as runs leave them, made in milliseconds, for tests of what is believed of them."""

from __future__ import annotations

import hashlib
from dataclasses import fields
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import yaml

from flowgrad.evidence.confidence import posterior
from flowgrad.evidence.ledger import BENCHMARK, Ledger, Trial
from flowgrad.report import CausalModel, Report, RunIdentity, RunReport, Validation, write
from flowgrad.rules import RuleBook
from flowgrad.statistics import OBSERVATION_COLUMNS, PROVEN, arms_test, margin_table, rounds_of_a_run, significance
from flowgrad.statistics.design import HARMLESS, ROUNDS, harmless_from
from flowgrad.verification.run_config import RunConfig, _sha256
from flowgrad.verification.trial_tables import PLAN, PLAN_COLUMNS, TRIALS

RULES = ("row_effects", "popularity_skew")
NAME = "movielens_mf"


@cache
def shipped():
    """The rules of this library."""
    return RuleBook.load(ledger=Ledger())


def observed(arms, metrics=("mse", "mae"), seeds=8, seed=0, name=NAME):
    """Observations in which each arm is better than the one before it."""
    rng = np.random.default_rng(seed)
    base = 2 + 0.1 * rng.normal(size=seeds)
    lines = []
    for step, arm in enumerate(arms):
        first = 1000 if arm == "aa" else 0
        for scale, metric in enumerate(metrics, start=1):
            values = scale * (base - 0.2 * step * (arm != "aa") + 0.1 * rng.normal(size=seeds))
            lines += [(name, arm, first + 101 + place, metric, value, False) for place, value in enumerate(values)]
    return pd.DataFrame(lines, columns=list(OBSERVATION_COLUMNS))


def write_run(folder, **chosen):
    """A run's folder: config, observations, tests of all rounds, what was prescribed, and the report of the first."""
    report, files = _run(**chosen)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return report


@cache
def _run(**chosen):
    """The report of such a run, and the content of its files by name: hundreds of tests begin with the same few."""
    with TemporaryDirectory() as made:
        folder = Path(made)
        return _written_run(folder, **chosen), {path.name: path.read_bytes() for path in folder.iterdir()}


def _written_run(folder, *, rounds=2, seed=0, overlap=None, tested=("mse", "mae"), rules=RULES, harmless=False):
    if harmless:
        observations = observed(["dense", "prescribed", "plain"], ("loss", "mse", "bytes"), seed=seed)
        planned, tested = harmless_from(observations)
        table = margin_table(observations, planned, tested, 0.02)
        chosen = "prescribed_vs_dense"
    else:
        planned = rounds_of_a_run(rounds, 1000)
        arms = ["baseline", *(f"round{n}" for n in range(1, rounds)), "treated", "tuned", "aa"]
        observations = observed(arms, ("mse", "mae", "rmse"), seed=seed)
        table = significance(observations, planned, list(tested), overlap=overlap)
        chosen = "treated_vs_baseline" if rounds == 1 else "round1_vs_baseline"
    observations.to_csv(folder / "observations.csv", index=False)
    table.to_csv(folder / "significance.csv", index=False)
    book = shipped()
    config = {
        "name": NAME,
        "job": {"margin": 0.02},
        "comparison": {"metrics": list(tested), "alpha": 0.05, "aa_offset": 1000, "overlap": overlap},
        "optimizer": {"lr": 1e-05, "name": "1e5"},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    sha256 = _sha256(RunConfig.beside(folder).values)
    (folder / "prescription.yaml").write_text(
        yaml.safe_dump({"rounds": [{"overrides": ["a=1"], "rules": list(rules)}]})
    )
    line = table[(table["comparison"] == chosen) & (table["metric"] == tested[0])].iloc[0]
    proof = proof_of(folder, line, overlap=overlap, margin=0.02 if harmless else None)
    findings = tuple(
        CausalModel(
            book[rule].type, rule, "high", "p", "i", "LOOK", "e", posterior(1, 1),
            rule_sha256=book[rule].sha256, validation=proof,
        )
        for rule in rules
    )  # fmt: skip
    arm = "dense" if harmless else "baseline"
    run = RunIdentity(f"{NAME}-{sha256[:6]}", arm, 1, 0, sha256)
    report = RunReport((Report("embedding", "item_emb", findings=findings),), run)
    write(report, folder / "report.xml")
    assert proof.family == (HARMLESS if harmless else ROUNDS)
    return report


def proof_of(folder, line, **own):
    """A line of the significance table as a report tells it."""
    names = {field.name for field in fields(Validation)} - {"observations_sha256", "overlap", "margin", "verdict"}
    sha256 = hashlib.sha256((folder / "observations.csv").read_bytes()).hexdigest()
    verdict = PROVEN.get(line["verdict"], line["verdict"])
    return Validation(verdict=verdict, observations_sha256=sha256, **{name: line[name] for name in names}, **own)


def write_trials(folder, *, experiment="hot", seed=0, faults=1, overlap=None, alpha=0.05, rules=RULES[:1]):
    """The folder of an experiment over so many faults: observations, what was planned, and its trials."""
    folder.mkdir(parents=True, exist_ok=True)
    book = shipped()
    parts, plan = [], []
    for number in range(1, faults + 1):
        name = f"{experiment}, diagnosis seed {number}"
        parts.append(observed(["healthy", "faulted", "treated"], ["mse"], 6, seed + number, name))
        plan.append((name, "mse", alpha, overlap, " ".join(rules)))
    pd.concat(parts).to_csv(folder / "observations.csv", index=False)
    pd.DataFrame(plan, columns=list(PLAN_COLUMNS)).to_csv(folder / PLAN, index=False)
    sha256 = hashlib.sha256((folder / "observations.csv").read_bytes()).hexdigest()
    told = []
    for part, (name, *_) in zip(parts, plan, strict=True):
        before, after = (part.loc[part["arm"] == arm, "value"].tolist() for arm in ("faulted", "treated"))
        found = arms_test(before, after, metric="mse", higher_is_better=False, alpha=alpha, overlap=overlap)
        told += [
            Trial(rule, book[rule].sha256, f"b: {name}", BENCHMARK, "mse", found.n, found.p, found.verdict, sha256)
            for rule in rules
        ]
    Ledger(tuple(told)).write(folder / TRIALS)
    return told
