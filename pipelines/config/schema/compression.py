"""Types of the settings of compression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pipelines.config.schema.limits import BELOW_1, SCALE, SHARE, TIMES, Limit


@dataclass
class CompressionSettings:
    """Arguments of `flowgrad.compression.planning.recipes.plan_recipe`. All null: nothing is done."""

    sparsity: Annotated[float | None, BELOW_1] = None
    """Share of the weights that is pruned; with `loss`, the most."""
    structured: str | None = None
    """Unit of pruning. null: single weights; `rows` or `neurons`."""
    score: str | None = None
    """Score that weights are pruned by; null: the one with the lowest calibration loss."""
    rows: Annotated[float | None, SHARE] = None
    """Share of the rows of embedding tables that stays."""
    row_score: str | None = None
    """Score that rows are removed by; null: the one with the lowest calibration loss."""
    bits: int | None = None
    """Bits of a weight; with `mixed`, no larger than with so many everywhere."""
    mixed: bool | None = None
    """Whether bits are shared out between the layers; null: yes."""
    size: Annotated[int | None, Limit(1, 2**60)] = None
    """Size of the whole model in bytes, at most, instead of `bits`."""
    loss: Annotated[float | None, SCALE] = None
    """Rise of the calibration loss, as a share of the loss and by all that is done together, at most; instead of
    `bits`.
    """
    fine_tune: Annotated[int | None, TIMES] = None
    """Number of epochs, at most, that the model is trained on after pruning and before bits are taken; null: none."""
