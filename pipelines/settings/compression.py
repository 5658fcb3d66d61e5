"""Types of what is done to a trained model to make it smaller."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class CompressionSettings:
    """What a recipe is planned by: arguments of `flowgrad.analyzers.recipes.plan_recipe`. All null: nothing is done."""

    sparsity: float | None = None
    """Share of the weights that is pruned; with `loss`, the most."""
    structured: str | None = None
    """null: single weights; `rows` or `neurons`."""
    score: str | None = None
    """That weights are pruned by; null: the one with the lowest calibration loss."""
    rows: float | None = None
    """Share of the rows of embedding tables that stays."""
    row_score: str | None = None
    """As `score`, of rows."""
    bits: int | None = None
    """Bits of a weight; with `mixed`, no larger than with so many everywhere."""
    mixed: bool | None = None
    """Whether bits are shared out between the layers; null: yes."""
    size: int | None = None
    """Bytes of the whole model at most, instead of `bits`."""
    loss: float | None = None
    """Rise of the calibration loss at most, over the loss and by all that is done together, instead of `bits`."""
    fine_tune: int | None = None
    """Epochs, at most, that the model is trained on after pruning and before bits are taken; null: none."""
