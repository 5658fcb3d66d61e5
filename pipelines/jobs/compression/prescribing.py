"""Evaluates the rules on pruning and bits on the model of the diagnosis seed, and prescribes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from flowgrad.compression import Recipe
from flowgrad.compression.planning.quantization import QuantizationAdvisor
from flowgrad.compression.planning.recipes import plan_recipe, prescribed
from flowgrad.compression.planning.saliency import SaliencyAnalyzer
from flowgrad.drawing import picture
from flowgrad.prescription import Prescription, change_text, plain_value, prescribe
from pipelines.config.compose import composed, with_overrides
from pipelines.jobs.compression.trial import trained_of
from pipelines.stages.diagnose import Diagnosis
from pipelines.stages.experiment import Experiment
from pipelines.trainers.compressible import Compressible

NODE = "compression"


@dataclass(frozen=True)
class Advice:
    """Settings and recipe of a run's compression, with the diagnosis behind them."""

    diagnosis: Diagnosis
    treated: Diagnosis
    """Diagnosis of the same run with the prescribed config."""
    subject: Compressible
    recipe: Recipe
    """Recipe of the prescription on this model; empty where there is none."""
    pictures: dict[str, bytes]
    """Pictures, PNG, by the stems of their file names."""

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the node `compression` that are not null, by name."""
        return settings_of(self.treated.config)


def settings_of(config: DictConfig) -> dict[str, Any]:
    """Settings of the node `compression` that are not null, by name."""
    found = OmegaConf.to_container(config[NODE], resolve=True)
    assert isinstance(found, dict)
    return {str(name): value for name, value in found.items() if value is not None}


def advise(experiment: Experiment) -> Advice:
    """Train on the diagnosis seed, ask both analyzers, and prescribe; settings that the config names are taken instead.

    Bits are judged of the model that pruning leaves.

    Raises:
        FlowGradError: the training diverged, or a model that cannot be compressed.
    """
    config, book = experiment.config, experiment.book
    trained, subject = trained_of(config, experiment.data, config.seeds.diagnosis)
    given = settings_of(config)
    known: dict[str, Any] = {"calibration": subject.calibration}
    analyzer = SaliencyAnalyzer(subject.source, subject.optimizer, rules=book, **known)
    seen = analyzer.measurements()
    found = book.evaluate(seen)
    pruning = given or prescribed(found)
    pruning = {name: value for name, value in pruning.items() if name in ("sparsity", "structured", "score")}
    after = plan_recipe(subject.source, subject.optimizer, **known, **pruning) if "sparsity" in pruning else None
    advisor = QuantizationAdvisor(subject.source, subject.optimizer, rules=book, after=after, **known)
    also = advisor.measurements()
    findings = ((seen, tuple(found)), (also, tuple(book.evaluate(also))))
    if given:
        paths = {f"{NODE}.{name}": plain_value(config, f"{NODE}.{name}") for name in given}
        prescription = Prescription(tuple(f"{path}={change_text(value)}" for path, value in paths.items()), (), {})
    else:
        everything = [finding for _, part in findings for finding in part]
        prescription = prescribe(everything, config, refuted=config.evidence.prescribe_refuted)
    overrides = with_overrides(experiment.overrides, prescription.overrides)
    diagnosis = Diagnosis(1, experiment, trained, findings, prescription)
    other = experiment.changed(composed(overrides), overrides)
    treated = Diagnosis(2, other, trained, (), Prescription((), (), {}))
    settings = {name: value for name, value in settings_of(treated.config).items() if name != "fine_tune"}
    recipe = Recipe()
    if settings:
        recipe = plan_recipe(subject.source, subject.optimizer, trackers=subject.trackers, **known, **settings)
    pictures = {
        "saliency": picture(analyzer.saliency_figure()),
        "sensitivity": picture(advisor.sensitivity_figure()),
    }
    return Advice(diagnosis, treated, subject, recipe, pictures)
