"""`job=compression`: train, plan, compress for real, measure, prove."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig

from flowgrad.compression import write_packed
from flowgrad.files import write_atomically
from flowgrad.gate import Objection
from flowgrad.report import Validation, to_text, write
from pipelines.jobs.compression.arms import CompressionArm, arms_of
from pipelines.jobs.compression.checks import check_compression
from pipelines.jobs.compression.measuring import LOSS, compressed
from pipelines.jobs.compression.pareto import pareto
from pipelines.jobs.compression.prescribing import Advice, advise
from pipelines.jobs.compression.proof import HARMLESS, arm_table, proof_table
from pipelines.jobs.compression.trial import Result, Task, metrics_of, observations_of, trial
from pipelines.output import console
from pipelines.output.tables import write_csv, write_table
from pipelines.stages import artifacts
from pipelines.stages.compare import validation
from pipelines.stages.data_gate import pass_gate
from pipelines.stages.diagnose import run_report
from pipelines.stages.experiment import Experiment
from pipelines.stages.parallel import cores, parallel_map
from pipelines.stages.rule_book import rule_book
from pipelines.stages.treatment import Treatment
from pipelines.trainers.trainer import trainer_of

_logger = logging.getLogger(__name__)
_SHOWN = [
    "comparison", "metric", "test", "n", "baseline", "treated", "difference", "ci_low", "ci_high",
    "effect_size", "p", "p_adjusted", "wins", "margin", "verdict",
]  # fmt: skip
_PRINTED = ["comparison", "metric", "test", "baseline", "treated", "difference", "p_adjusted", "wins", "verdict"]
_OWN = ("arms.*", "recipe.yaml", "model.fg", "pareto.png", "saliency.png", "sensitivity.png", "report.txt")


def run(config: DictConfig, task: Sequence[str], rule_folders: Sequence[str], folder: Path) -> None:
    """Diagnose on one seed, apply every arm on the others, and write the proof into `folder`.

    Args:
        config: the composed config; its `job` node says what is compared.
        task: the overrides that it was composed from.
        rule_folders: Hydra's config sources, to say where a faulty rule stands.
        folder: run folder; every file is written there, whole or not at all.

    Raises:
        FlowGradError: bad config, rules or data, before anything is trained; a run that diverges.
    """
    check_compression(config)
    book = rule_book(config, task, rule_folders)
    data = trainer_of(config).load()
    _logger.info("data: %s; sha256 %s", data.source, data.sha256)
    objection = pass_gate(data)
    artifacts.begin(folder, also=_OWN)
    with console.progress() as bar:
        diagnosing = bar.add_task("diagnose", total=None)
        advice = advise(Experiment(config, tuple(task), book, data))
        bar.remove_task(diagnosing)
        _logger.info("prescribed: %s", advice.diagnosis.prescription.shell or "nothing")
        _write_advice(folder, advice)
        arms = arms_of(config.job, advice.settings)
        tasks = [Task(config, seed, tuple(arms), str(folder)) for seed in config.seeds.test]
        proving = bar.add_task("compress", total=len(tasks))
        found: list[Result] = []
        for one in parallel_map(trial, tasks, data, config.workers or cores()):
            found += one
            bar.advance(proving)
    table = _write_proof(folder, config, arms, found, objection)
    _write_report(folder, advice, _validations(folder, table, advice, config.job.margin))
    shown = table[table["test"] != "wilcoxon"] if len(table) else table
    for _, line in shown.iterrows():
        _logger.info("%s, %s: %s", line["comparison"], line["metric"], line["verdict"])
    if len(shown):
        console.print_table(shown[_PRINTED], folder, f"prescribed: {advice.diagnosis.prescription.shell or 'nothing'}")


def _write_advice(folder: Path, advice: Advice) -> None:
    treatment = Treatment((advice.diagnosis, advice.treated) if advice.diagnosis.prescription else (advice.diagnosis,))
    artifacts.write_config(folder, treatment)
    artifacts.write_prescription(folder, treatment)
    for stem, content in advice.pictures.items():
        write_atomically(folder / f"{stem}.png", content)
    if advice.recipe:
        advice.recipe.write(folder / "recipe.yaml")
        epochs = advice.settings.get("fine_tune") or 0
        model, done = compressed(advice.subject, advice.recipe, epochs)
        write_packed(model, folder / "model.fg", done, finite=False)
    _write_report(folder, advice, {})


def _write_proof(
    folder: Path, config: DictConfig, arms: Sequence[CompressionArm], found: list[Result], objection: Objection | None
) -> pd.DataFrame:
    observations = observations_of(found, config.name)
    metrics = metrics_of(found)
    write_csv(observations, folder / "observations.csv")
    write_table(arm_table(observations, arms, metrics), folder, "arms")
    write_atomically(folder / "pareto.png", pareto(observations, arms))
    table = proof_table(observations, arms, metrics, config.job.margin, config.comparison.alpha, objection)
    if len(table):
        write_table(table, folder, "significance", _SHOWN)
    return table


def _validations(folder: Path, table: pd.DataFrame, advice: Advice, margin: float) -> Mapping[str, Validation]:
    """Validations that the whole prescription cost no loss that matters, by each rule behind it."""
    if not len(table) or HARMLESS not in set(table["comparison"]):
        return {}
    sha256 = hashlib.sha256((folder / "observations.csv").read_bytes()).hexdigest()
    proof = validation(table, HARMLESS, LOSS, sha256, margin=margin)
    return dict.fromkeys(advice.diagnosis.prescription.rules, proof)


def _write_report(folder: Path, advice: Advice, validations: Mapping[str, Validation]) -> None:
    report = run_report(advice.diagnosis, "dense", {}, validations)
    write(report, folder / "report.xml")
    write_atomically(folder / "report.txt", to_text(report).encode())
