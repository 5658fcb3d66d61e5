"""Applies a recipe for real: the model is written to disk, read back, and measured."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from flowgrad.compression import (
    Recipe,
    apply_recipe,
    latency,
    make_permanent,
    read_packed,
    saved_size,
    write_packed,
)
from flowgrad.compression.planning.quantization import QuantizationAdvisor
from pipelines.trainers.compressible import Compressible

LOSS, BYTES, RATIO = "loss", "bytes", "ratio"
FIGURES = (LOSS, BYTES, RATIO, "latency_ms", "saved_bytes", "torchao_loss", "torchao_latency_ms", "torchao_bytes")
"""Names of figures. `bytes` is the size of the packed file, `ratio` that over the dense model's, and `saved_bytes` the
size of `torch.save`; those of torchao exist where it takes a layer.
"""


def compressed(subject: Compressible, recipe: Recipe, fine_tune: int = 0) -> tuple[nn.Module, Recipe]:
    """Copy the model with the recipe applied; return that recipe too. The copy is trained on between pruning and
    quantising where asked for, and the same bits are then planned again for the weights that this leaves.
    """
    if not fine_tune or not (recipe.pruning or recipe.rows):
        return apply_recipe(subject.model, recipe, backend="fake").model, recipe
    model = apply_recipe(subject.model, Recipe(recipe.pruning, recipe.rows), keep_masks=True).model
    subject.fine_tune(model, fine_tune)
    make_permanent(model)
    if recipe.quantization is None:
        return model, recipe
    levels = {layer.bits for layer in recipe.quantization.layers}
    advisor = QuantizationAdvisor(model, calibration=subject.calibration, levels=sorted(levels))
    recipe = replace(recipe, quantization=advisor.plan_again(recipe.quantization))
    return apply_recipe(model, Recipe(quantization=recipe.quantization), backend="fake", inplace=True).model, recipe


def measured(
    subject: Compressible,
    recipe: Recipe,
    evaluate: Callable[[nn.Module], Mapping[str, float]],
    file: Path,
    *,
    fine_tune: int = 0,
    repeats: int = 30,
) -> dict[str, float]:
    """Measure loss, metrics, sizes and latency of the model that the packed file holds.

    Args:
        subject: the model.
        recipe: recipe to apply.
        evaluate: metrics of a model.
        file: where it is packed.
        fine_tune: epochs of training after pruning.
        repeats: passes that the latency is the median of.
    """
    changed, done = compressed(subject, recipe, fine_tune)
    # Weights that diverged in fine-tuning are measured as they are: their loss is NaN.
    size = write_packed(changed, file, done, finite=False)
    stored = copy.deepcopy(subject.model)
    read_packed(stored, file, finite=False)
    stored.eval()
    found = {
        LOSS: subject.held_out(stored),
        **evaluate(stored),
        BYTES: float(size),
        "latency_ms": _milliseconds(subject, stored, repeats),
        "saved_bytes": float(saved_size(stored)),
    }
    return found | ({} if fine_tune else _by_torchao(subject, recipe, repeats))


def _by_torchao(subject: Compressible, recipe: Recipe, repeats: int) -> dict[str, float]:
    """Measure the model as torchao stores and computes it; empty where it takes no layer."""
    if recipe.quantization is None:
        return {}
    with _quiet():
        done = apply_recipe(subject.model, recipe)
        if not done.layers["how"].str.contains("torchao").any():
            return {}
        return {
            "torchao_loss": subject.held_out(done.model),
            "torchao_latency_ms": _milliseconds(subject, done.model, repeats),
            "torchao_bytes": float(saved_size(done.model)),
        }


def _milliseconds(subject: Compressible, model: nn.Module, repeats: int) -> float:
    with torch.no_grad():
        return 1000 * latency(lambda: subject.forward(model), repeats=repeats)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence torchao, which lists at import the kernels of other machines that it lacks."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
