"""Holds plans of what to do to a model, frozen; a recipe writes them down."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np

from flowgrad.measures.quantization import FLOAT_BITS, Quantized


@dataclass(frozen=True, eq=False)
class LayerMask:
    """Mask of the weights of one tensor that stay."""

    name: str
    """Name of the parameter."""
    shape: tuple[int, ...]
    keep: np.ndarray
    """Flags of the weights that stay, of that shape."""

    @property
    def pruned(self) -> int:
        """Number of weights that are pruned."""
        return int(self.keep.size - np.count_nonzero(self.keep))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LayerMask):
            return NotImplemented
        return (self.name, self.shape) == (other.name, other.shape) and np.array_equal(self.keep, other.keep)


@dataclass(frozen=True)
class PruningPlan:
    """Plan of the weights that are set to 0."""

    sparsity: float
    """Share of the weights, in [0, 1), that was asked for."""
    score: str
    """Name of the score that weights were chosen by."""
    structured: str | None
    """Unit of pruning. None: single weights; `rows`: whole rows of a tensor; `neurons`: outputs of a layer with their
    biases.
    """
    layers: tuple[LayerMask, ...]
    """Masks of the tensors that lose weights."""
    entries: int
    """Number of weights that could have been pruned."""
    calibration_rise: float = math.nan
    """Rise of the calibration loss, as a share of the loss; NaN where it was not measured."""
    reason: str = ""
    """The reason for this score."""

    @property
    def pruned(self) -> int:
        """Number of weights that go, in all layers; biases that go with neurons left out."""
        return sum(layer.pruned for layer in self.layers if len(layer.shape) > 1)

    @property
    def reached(self) -> float:
        """Share of the weights that goes, in [0, 1): `sparsity`, but for whole rows and for what layers keep at
        least.
        """
        return self.pruned / self.entries if self.entries else 0.0


@dataclass(frozen=True)
class TableRows:
    """Rows of one table of embeddings that are set to 0."""

    name: str
    """Name of the parameter."""
    shape: tuple[int, ...]
    rows: tuple[int, ...]
    """Ids of the rows, rising."""


@dataclass(frozen=True)
class RowPlan:
    """Plan of the rows of embedding tables that go."""

    budget: float
    """Share of the rows, in (0, 1], that stays, as asked for."""
    score: str
    tables: tuple[TableRows, ...]
    """Rows of the tables that lose some."""
    rows: int
    """Number of rows that could have gone, in all tables."""
    calibration_rise: float = math.nan
    """Rise of the calibration loss, as a share of the loss; NaN where it was not measured."""
    reason: str = ""
    """The reason for this score."""

    @property
    def pruned(self) -> int:
        """Number of rows that go."""
        return sum(len(table.rows) for table in self.tables)


@dataclass(frozen=True, eq=False)
class Rounded:
    """Whole numbers that certain weights were rounded to, where that is not to the nearest."""

    to: Quantized
    of: int
    """Checksum of the weights that were rounded."""

    @classmethod
    def made(cls, to: Quantized, weights: np.ndarray) -> Rounded:
        """Make it of these whole numbers and the weights that were rounded."""
        return cls(to, check_of(weights))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Rounded):
            return NotImplemented
        same = np.array_equal(self.to.codes, other.to.codes) and np.array_equal(self.to.scales, other.to.scales)
        return same and (self.of, self.to.top, self.to.axis) == (other.of, other.to.top, other.to.axis)

    def __hash__(self) -> int:
        return hash((self.of, self.to.top))


def check_of(weights: np.ndarray) -> int:
    """Checksum (CRC-32, 0 to 2^32 - 1) of weights as float32."""
    return zlib.crc32((np.asarray(weights, dtype="<f4") + np.float32(0)).tobytes())  # -0 is 0


@dataclass(frozen=True)
class LayerBits:
    """Bits of one tensor."""

    name: str
    """Name of the parameter."""
    shape: tuple[int, ...]
    bits: int
    axis: int | None
    """Axis along which its channels lie, each with a scale; None: one scale for all."""
    fitted: bool = False
    """Whether scales are fitted, and not of the largest weights."""
    rounded: Rounded | None = None
    """Whole numbers that the weights are rounded to; None: to the nearest."""


@dataclass(frozen=True)
class QuantizationPlan:
    """Plan of the number of bits of each weight tensor."""

    layers: tuple[LayerBits, ...]
    score: str
    """Name of the score that bits were shared out by; `uniform`: all have the same."""
    size: int
    """Size of the whole model then, in bytes, what is not quantised included."""
    uniform_bits: int | None = None
    """Bits of the uniform plan that it was compared with: the most that is no larger than the budget."""
    uniform_size: int | None = None
    """Size of the model with these bits everywhere, in bytes."""
    expected_rise: float = math.nan
    """Rise of the loss by v times change squared; see `flowgrad.measures.saliency.expected_rise` for its units."""
    calibration_rise: float = math.nan
    """Rise of the calibration loss, as a share of the loss; NaN where it was not measured."""
    uniform_rise: float = math.nan
    """Rise of the calibration loss by the uniform plan, as a share of the loss."""
    reason: str = ""
    """The reason for these bits."""

    @property
    def uniform(self) -> bool:
        """Whether all tensors have the same bits."""
        return len({layer.bits for layer in self.layers}) <= 1

    @property
    def quantized(self) -> tuple[LayerBits, ...]:
        """Tensors with fewer bits than a float."""
        return tuple(layer for layer in self.layers if layer.bits < FLOAT_BITS)
