"""Makes a recipe of a trained model in one call, by settings or by the rules' prescriptions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flowgrad.compression.planning.calibration import Calibration
from flowgrad.compression.planning.quantization import QuantizationAdvisor
from flowgrad.compression.planning.saliency import SaliencyAnalyzer
from flowgrad.compression.recipe import Recipe
from flowgrad.errors import FlowGradError
from flowgrad.measures.quantization import FLOAT_BITS, LEVELS
from flowgrad.rules import Finding, RuleBook
from flowgrad.trackers.embedding import EmbeddingTracker
from flowgrad.trackers.squared_gradients import SquaredGradients

_NODE = "compression."


def plan_recipe(
    source: Any,
    optimizer: Any = None,
    *,
    calibration: Calibration | None = None,
    squares: SquaredGradients | None = None,
    trackers: Iterable[EmbeddingTracker] = (),
    sparsity: float | None = None,
    structured: str | None = None,
    score: str | None = None,
    rows: float | None = None,
    row_score: str | None = None,
    bits: int | None = None,
    mixed: bool = True,
    size: int | None = None,
    loss: float | None = None,
) -> Recipe:
    """Plan what is asked for; bits are shared out for the weights that pruning leaves.

    The names are those of the config node `compression`, which the rules on pruning and bits prescribe.

    Args:
        source: a `FlowTracker`, or the model, after training.
        optimizer: that trained it, where `source` is a model.
        calibration: batches that plans are chosen and measured on.
        squares: second moments, for an optimizer that keeps none.
        trackers: of embedding tables, for `rows`.
        sparsity: as of `SaliencyAnalyzer.pruning_plan`; None: nothing is pruned. With a `loss`, the most: less goes
            where more than half the loss would be spent on it.
        structured: as there.
        score: as there.
        rows: budget of `SaliencyAnalyzer.row_plan`; None: all rows stay.
        row_score: `score` of it.
        bits: of `QuantizationAdvisor`; None, with no `size` and `loss` either: nothing is quantised.
        mixed: share bits out at the size of `bits` everywhere; False: `bits` everywhere.
        size: as of `mixed_precision_plan`, instead of `bits`.
        loss: as there, instead of `bits`: of all that is done together. Where even 8 bits do not hold it, tensors stay
            as they are.

    Raises:
        FlowGradError: as the plans do; nothing was asked for; uniform bits by another budget than `bits`.
        TypeError: `source` is neither tracker nor model.
    """
    quantised = any(one is not None for one in (bits, size, loss))
    if sparsity is None and rows is None and not quantised:
        raise FlowGradError("nothing to plan: give sparsity, rows, bits, size or loss")
    if not mixed and (size is not None or loss is not None):
        raise FlowGradError("mixed=False takes the same bits everywhere: give bits, and neither size nor loss")
    recipe = Recipe()
    if sparsity is not None or rows is not None:
        analyzer = SaliencyAnalyzer(source, optimizer, calibration=calibration, squares=squares)
        recipe = Recipe(
            None
            if sparsity is None
            else analyzer.pruning_plan(sparsity, structured, score=score, loss=None if loss is None else loss / 2),
            None if rows is None else analyzer.row_plan(rows, trackers=trackers, score=row_score),
        )
    if not quantised:
        return recipe
    after = recipe if recipe else None
    advisor = QuantizationAdvisor(source, optimizer, calibration=calibration, squares=squares, after=after)
    if loss is not None and advisor.uniform_rise(LEVELS[0]) > loss:
        levels = (FLOAT_BITS, *LEVELS)
        advisor = QuantizationAdvisor(
            source, optimizer, calibration=calibration, squares=squares, levels=levels, after=after
        )
    if not mixed and bits is not None:
        plan = advisor.uniform_plan(bits)
    else:
        plan = advisor.mixed_precision_plan(bits=bits, size=size, loss=loss)
    return Recipe(recipe.pruning, recipe.rows, plan)


def prescribed_recipe(
    source: Any,
    optimizer: Any = None,
    *,
    calibration: Calibration | None = None,
    squares: SquaredGradients | None = None,
    rules: RuleBook | None = None,
) -> Recipe:
    """Make a recipe of what the rules prescribe for the model; it is empty where they prescribe nothing.

    Args:
        source: a `FlowTracker`, or the model, after training.
        optimizer: that trained it, where `source` is a model.
        calibration: batches that plans are chosen and measured on. Without, rules on what is usual speak.
        squares: second moments, for an optimizer that keeps none.
        rules: rule book; the shipped one if None.

    Raises:
        FlowGradError: as the analyzers do.
        TypeError: `source` is neither tracker nor model.
    """
    known: dict[str, Any] = {"calibration": calibration, "squares": squares}
    settings = prescribed(SaliencyAnalyzer(source, optimizer, rules=rules, **known).findings())
    after = plan_recipe(source, optimizer, **known, **settings) if settings else None
    advisor = QuantizationAdvisor(source, optimizer, rules=rules, after=after, **known)
    settings |= prescribed(advisor.findings())
    return plan_recipe(source, optimizer, **known, **settings) if settings else Recipe()


def prescribed(findings: Iterable[Finding]) -> dict[str, Any]:
    """Settings that findings prescribe in the node `compression`, as arguments of `plan_recipe`. The first finding that
    sets a name wins.
    """
    found: dict[str, Any] = {}
    for finding in findings:
        fix = finding.fix
        if fix is None:
            continue
        told = {**fix.set, **{path: finding.measured[name] for path, name in fix.copy.items()}}
        for path, value in told.items():
            if path.startswith(_NODE):
                found.setdefault(path.removeprefix(_NODE), value)
    return found
