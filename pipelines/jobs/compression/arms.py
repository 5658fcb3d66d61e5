"""Plans what is done to a trained model: each arm has a recipe of its own."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from omegaconf import DictConfig

from flowgrad.compression import LayerMask, PruningPlan, Recipe, RowPlan, TableRows
from flowgrad.compression.planning.quantization import QuantizationAdvisor
from flowgrad.compression.planning.recipes import plan_recipe
from flowgrad.compression.planning.saliency import SaliencyAnalyzer
from flowgrad.compression.planning.sensitivities import FITTED_BELOW
from flowgrad.measures.quantization import FLOAT_BITS, LEVELS
from pipelines.trainers.compressible import Compressible

DENSE, PRESCRIBED, PLAIN = "dense", "prescribed", "plain"
SALIENCY, CALIBRATED = "saliency", "calibrated"
PRUNING = (SALIENCY, CALIBRATED, "magnitude", "random")
"""Ways to choose weights: w^2 sqrt(v), the best on the calibration, and the baselines."""
ROWS = (SALIENCY, CALIBRATED, "norm", "frequency", "random")
"""Ways to choose rows of tables."""
_EVERY_LEVEL = (FLOAT_BITS, *range(8, 1, -1))
TUNED = (SALIENCY, "magnitude")
"""Ways of pruning that are trained on afterwards, where any are."""


@dataclass(frozen=True)
class CompressionArm:
    """One way to make a model smaller."""

    kind: str
    """Kind of arm: `dense`, `prune`, `uniform`, `mixed`, `fitted` (uniform, with scales fitted and errors made up for),
    `rows`, `prescribed` or `plain` (as much compression, by magnitude and the same bits everywhere).
    """
    by: str = ""
    """Way in which weights or rows are chosen."""
    level: float = 0
    """Share that goes, or number of bits."""
    settings: tuple[tuple[str, Any], ...] = ()
    """Arguments of `plan_recipe`."""
    fine_tune: int = 0
    """Number of epochs of training after pruning."""

    @property
    def name(self) -> str:
        """Name in tables: `prune_saliency_80`, `mixed_4`."""
        level = "" if not self.level else f"{self.level:g}" if self.level > 1 else f"{100 * self.level:g}"
        own = not self.settings
        return "_".join(filter(None, (self.kind, self.by, level, "tuned" if own and self.fine_tune else "")))


def arms_of(job: DictConfig, prescribed: dict[str, Any]) -> list[CompressionArm]:
    """Make the arms that a job compares.

    Args:
        job: a `CompressionProofSettings`.
        prescribed: settings that are not null of the node `compression`; empty: nothing was prescribed.
    """
    arms = [CompressionArm(DENSE)]
    for share in job.sparsities:
        arms += [CompressionArm("prune", by, share) for by in PRUNING]
        arms += [CompressionArm("prune", by, share, fine_tune=job.fine_tune) for by in TUNED if job.fine_tune]
    for bits in job.bits:
        arms.append(CompressionArm("uniform", level=bits))
        if min(LEVELS) < bits < max(LEVELS):  # the fewest and the most cannot be shared out
            arms.append(CompressionArm("mixed", level=bits))
        if bits < FITTED_BELOW:  # mixed plans fit scales there: what that does without sharing out
            arms.append(CompressionArm("fitted", level=bits))
    for share in job.removed:
        arms += [CompressionArm("rows", by, share) for by in ROWS]
    if prescribed:
        epochs = prescribed.get("fine_tune") or 0
        arms.append(CompressionArm(PRESCRIBED, settings=_plannable(prescribed), fine_tune=epochs))
        if _can_be_plain(prescribed):
            arms.append(CompressionArm(PLAIN, settings=_plannable(prescribed), fine_tune=epochs))
    return arms


def _can_be_plain(prescribed: dict[str, Any]) -> bool:
    """Whether there is a plainer way to as much compression: bits everywhere alone have none."""
    mixed = prescribed.get("mixed") is not False and {"bits", "size", "loss"} & set(prescribed)
    return bool(mixed or {"sparsity", "rows"} & set(prescribed))


def recipe_of(arm: CompressionArm, subject: Compressible, tables: tuple[str, ...], seed: int) -> Recipe:
    """Plan what the arm does to one model.

    Args:
        arm: the arm.
        subject: the model, with its calibration.
        tables: names of the weights whose rows may go.
        seed: of random choices.
    """
    return _PLANS[arm.kind](arm, subject, tables, np.random.default_rng([seed, zlib.crc32(arm.name.encode())]))


def _pruned(arm: CompressionArm, subject: Compressible, tables: tuple[str, ...], random: np.random.Generator) -> Recipe:
    calibration = subject.calibration if arm.by == CALIBRATED else None
    analyzer = SaliencyAnalyzer(subject.source, subject.optimizer, calibration=calibration)
    if arm.by == "random":
        return Recipe.of(_random_weights(analyzer, arm.level, random))
    return Recipe.of(analyzer.pruning_plan(arm.level, score="magnitude" if arm.by == "magnitude" else None))


def _random_weights(analyzer: SaliencyAnalyzer, sparsity: float, random: np.random.Generator) -> PruningPlan:
    shapes = {name: values.shape for name, values in analyzer.weight_saliency("magnitude").items()}
    sizes = [int(np.prod(shape)) for shape in shapes.values()]
    keep = np.ones(sum(sizes), dtype=bool)
    keep[random.permutation(len(keep))[: round(sparsity * len(keep))]] = False
    parts = zip(shapes.items(), np.split(keep, np.cumsum(sizes)[:-1]), strict=True)
    masks = tuple(LayerMask(name, shape, part.reshape(shape)) for (name, shape), part in parts if not part.all())
    return PruningPlan(sparsity, "random", None, masks, len(keep))


def _removed(
    arm: CompressionArm, subject: Compressible, tables: tuple[str, ...], random: np.random.Generator
) -> Recipe:
    calibration = subject.calibration if arm.by == CALIBRATED else None
    analyzer = SaliencyAnalyzer(subject.source, subject.optimizer, calibration=calibration)
    budget = 1 - arm.level
    if arm.by == "random":
        return Recipe.of(_random_rows(analyzer, tables, arm.level, random))
    score = None if arm.by in (SALIENCY, CALIBRATED) else arm.by
    return Recipe.of(analyzer.row_plan(budget, tables=tables, trackers=subject.trackers, score=score))


def _random_rows(
    analyzer: SaliencyAnalyzer, tables: tuple[str, ...], removed: float, random: np.random.Generator
) -> RowPlan:
    shapes = {name: analyzer.weight_saliency("magnitude")[name].shape for name in tables}
    sizes = [shape[0] for shape in shapes.values()]
    gone = np.zeros(sum(sizes), dtype=bool)
    gone[random.permutation(len(gone))[: int(removed * len(gone) + 1e-9)]] = True
    parts = zip(shapes.items(), np.split(gone, np.cumsum(sizes)[:-1]), strict=True)
    chosen = tuple(
        TableRows(name, shape, tuple(map(int, np.flatnonzero(part)))) for (name, shape), part in parts if part.any()
    )
    return RowPlan(1 - removed, "random", chosen, len(gone))


def _uniform(
    arm: CompressionArm, subject: Compressible, tables: tuple[str, ...], random: np.random.Generator
) -> Recipe:
    return Recipe.of(QuantizationAdvisor(subject.source, subject.optimizer).uniform_plan(int(arm.level)))


def _fitted(arm: CompressionArm, subject: Compressible, tables: tuple[str, ...], random: np.random.Generator) -> Recipe:
    advisor = QuantizationAdvisor(subject.source, subject.optimizer, calibration=subject.calibration, fitted=True)
    return Recipe.of(advisor.uniform_plan(int(arm.level)))


def _mixed(arm: CompressionArm, subject: Compressible, tables: tuple[str, ...], random: np.random.Generator) -> Recipe:
    advisor = QuantizationAdvisor(subject.source, subject.optimizer, calibration=subject.calibration)
    return Recipe.of(advisor.mixed_precision_plan(bits=int(arm.level)))


def _by_settings(
    arm: CompressionArm, subject: Compressible, tables: tuple[str, ...], random: np.random.Generator
) -> Recipe:
    return plan_recipe(
        subject.source,
        subject.optimizer,
        calibration=subject.calibration,
        trackers=subject.trackers,
        **dict(arm.settings),
    )


def _plain(arm: CompressionArm, subject: Compressible, tables: tuple[str, ...], random: np.random.Generator) -> Recipe:
    """Plan as much compression as is prescribed: the same share of the weights by magnitude, of the rows by norm, and
    the fewest bits everywhere that take no fewer bytes.
    """
    asked = dict(arm.settings)
    recipe = _by_settings(arm, subject, tables, random)
    analyzer = SaliencyAnalyzer(subject.source, subject.optimizer, calibration=subject.calibration)
    pruning, rows, bits = recipe.pruning, recipe.rows, recipe.quantization
    if pruning is not None:
        pruning = analyzer.pruning_plan(pruning.sparsity, asked.get("structured"), score="magnitude")
    if rows is not None:
        rows = analyzer.row_plan(rows.budget, trackers=subject.trackers, score="norm")
    before = Recipe(pruning, rows)
    if bits is not None:
        advisor = QuantizationAdvisor(
            subject.source,
            subject.optimizer,
            calibration=subject.calibration,
            levels=_EVERY_LEVEL,
            after=before if before else None,
        )
        fewest = min(level for level in _EVERY_LEVEL if advisor.uniform_size(level) >= bits.size)
        bits = advisor.uniform_plan(fewest)
    return Recipe(pruning, rows, bits)


def _plannable(settings: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple((name, value) for name, value in settings.items() if name != "fine_tune")


_PLANS: dict[str, Callable[[CompressionArm, Compressible, tuple[str, ...], np.random.Generator], Recipe]] = {
    DENSE: lambda *_: Recipe(),
    "prune": _pruned,
    "uniform": _uniform,
    "mixed": _mixed,
    "fitted": _fitted,
    "rows": _removed,
    PRESCRIBED: _by_settings,
    PLAIN: _plain,
}
