"""What to do to a model: frozen plans, which a recipe writes down."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np

from flowgrad.measures.quantization import FLOAT_BITS, Quantized


@dataclass(frozen=True, eq=False)
class LayerMask:
    """Which weights of one tensor stay."""

    name: str
    """Of the parameter."""
    shape: tuple[int, ...]
    keep: np.ndarray
    """True where a weight stays, of that shape."""

    @property
    def pruned(self) -> int:
        """Weights that go."""
        return int(self.keep.size - np.count_nonzero(self.keep))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LayerMask):
            return NotImplemented
        return (self.name, self.shape) == (other.name, other.shape) and np.array_equal(self.keep, other.keep)


@dataclass(frozen=True)
class PruningPlan:
    """Which weights are set to 0."""

    sparsity: float
    """Share of the weights, asked for."""
    score: str
    """By which weights were chosen."""
    structured: str | None
    """None: single weights; `rows`: whole rows of a tensor; `neurons`: outputs of a layer with their biases."""
    layers: tuple[LayerMask, ...]
    """Those that lose weights."""
    entries: int
    """Weights that could have been pruned."""
    calibration_rise: float = math.nan
    """Rise of the calibration loss, over the loss; NaN where it was not measured."""
    reason: str = ""
    """Why this score."""

    @property
    def pruned(self) -> int:
        """Weights that go, in all layers; biases that go with neurons left out."""
        return sum(layer.pruned for layer in self.layers if len(layer.shape) > 1)

    @property
    def reached(self) -> float:
        """Share of the weights that goes: `sparsity`, but for whole rows and for what layers keep at least."""
        return self.pruned / self.entries if self.entries else 0.0


@dataclass(frozen=True)
class TableRows:
    """Rows of one table of embeddings that are set to 0."""

    name: str
    """Of the parameter."""
    shape: tuple[int, ...]
    rows: tuple[int, ...]
    """Their ids, rising."""


@dataclass(frozen=True)
class RowPlan:
    """Which rows of embedding tables go."""

    budget: float
    """Share of the rows that stays, asked for."""
    score: str
    tables: tuple[TableRows, ...]
    """Those that lose rows."""
    rows: int
    """Rows that could have gone, in all tables."""
    calibration_rise: float = math.nan
    """As of `PruningPlan`."""
    reason: str = ""
    """Why this score."""

    @property
    def pruned(self) -> int:
        """Rows that go."""
        return sum(len(table.rows) for table in self.tables)


@dataclass(frozen=True, eq=False)
class Rounded:
    """Whole numbers that certain weights were rounded to, where that is not to the nearest."""

    to: Quantized
    of: int
    """Check of the weights that were rounded."""

    @classmethod
    def made(cls, to: Quantized, weights: np.ndarray) -> Rounded:
        """Of these weights."""
        return cls(to, check_of(weights))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Rounded):
            return NotImplemented
        same = np.array_equal(self.to.codes, other.to.codes) and np.array_equal(self.to.scales, other.to.scales)
        return same and (self.of, self.to.top, self.to.axis) == (other.of, other.to.top, other.to.axis)

    def __hash__(self) -> int:
        return hash((self.of, self.to.top))


def check_of(weights: np.ndarray) -> int:
    """CRC-32 of weights as float32."""
    return zlib.crc32((np.asarray(weights, dtype="<f4") + np.float32(0)).tobytes())  # -0 is 0


@dataclass(frozen=True)
class LayerBits:
    """Bits of one tensor."""

    name: str
    """Of the parameter."""
    shape: tuple[int, ...]
    bits: int
    axis: int | None
    """Along which its channels lie, each with a scale; None: one scale for all."""
    fitted: bool = False
    """Whether scales are fitted, and not of the largest weights."""
    rounded: Rounded | None = None
    """What the weights are rounded to; None: to the nearest."""


@dataclass(frozen=True)
class QuantizationPlan:
    """How many bits each weight tensor gets."""

    layers: tuple[LayerBits, ...]
    score: str
    """By which bits were shared out; `uniform`: all have the same."""
    size: int
    """Bytes of the whole model then, what is not quantised included."""
    uniform_bits: int | None = None
    """Bits of the uniform plan that it was held against: the most that is no larger than the budget."""
    uniform_size: int | None = None
    """Bytes with these bits everywhere."""
    expected_rise: float = math.nan
    """Of the loss, by v times change squared; see `flowgrad.measures.saliency.expected_rise` for its units."""
    calibration_rise: float = math.nan
    """Rise of the calibration loss, over the loss; NaN where it was not measured."""
    uniform_rise: float = math.nan
    """The same of the uniform plan."""
    reason: str = ""
    """Why these bits."""

    @property
    def uniform(self) -> bool:
        """Whether all tensors have the same bits."""
        return len({layer.bits for layer in self.layers}) <= 1

    @property
    def quantized(self) -> tuple[LayerBits, ...]:
        """Those with fewer bits than a float."""
        return tuple(layer for layer in self.layers if layer.bits < FLOAT_BITS)
