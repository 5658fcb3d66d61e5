"""Rounds layers to each number of bits, and says what that changes and what it takes to store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np

from flowgrad.compression.planning.gptq import Compensation
from flowgrad.compression.planning.reading import Layer
from flowgrad.compression.plans import LayerBits, Rounded
from flowgrad.measures import quantization as measures

Inputs = Callable[[], Mapping[str, Compensation]]
"""Function that returns the compensation of each layer whose inputs are known, by the name of its weights."""


class Rounding:
    """Some layers at some levels of bits; allocations are the place of each layer's level, shape (layers,)."""

    def __init__(
        self,
        layers: Sequence[Layer],
        levels: tuple[int, ...],
        *,
        per_tensor: bool,
        fitted: np.ndarray | bool = False,
        inputs: Inputs | None = None,
    ) -> None:
        """Round nothing yet.

        Args:
            layers: the tensors.
            levels: bits, by falling number.
            per_tensor: one scale a tensor; tables have one a row either way.
            fitted: which tensors at which levels are rounded by scales that are fitted: `compensated` where the layer's
                inputs are known, else as of `flowgrad.measures.quantization.quantize`; bool of shape (layers, levels)
                or for all.
            inputs: what is known of the layers' inputs, asked for when first needed; None: nothing.
        """
        self.layers, self.levels = layers, levels
        self._per_tensor, self._inputs = per_tensor, inputs
        floats = np.array([bits >= measures.FLOAT_BITS for bits in levels])
        self.fitted = np.broadcast_to(np.asarray(fitted), (len(layers), len(levels))) & ~floats
        self._places = {layer.name: place for place, layer in enumerate(layers)}
        self._rounded: dict[tuple[str, int, bool], tuple[measures.Quantized, bool]] = {}

    def refitted(self, fitted: np.ndarray | bool) -> Rounding:
        """The same tensors and levels with other scales fitted."""
        other = Rounding(self.layers, self.levels, per_tensor=self._per_tensor, fitted=fitted, inputs=self._inputs)
        other._rounded = self._rounded
        return other

    def _axis(self, layer: Layer) -> int | None:
        return None if self._per_tensor and not layer.weight.is_table else layer.weight.axis

    def change(self, layer: Layer, bits: int) -> np.ndarray:
        """Change that rounding makes to each weight, of the tensor's shape."""
        if bits >= measures.FLOAT_BITS:
            return np.zeros_like(layer.data)
        return self._of(layer, bits)[0].values() - layer.data

    def _of(self, layer: Layer, bits: int) -> tuple[measures.Quantized, bool]:
        """The tensor in so many bits, and whether errors of rounding were made up for."""
        fitted = bool(self.fitted[self._places[layer.name], self.levels.index(bits)])
        key = (layer.name, bits, fitted)
        if key not in self._rounded:  # codes are kept, a byte a weight: every score asks for them
            axis = self._axis(layer)
            inputs = self._inputs().get(layer.name) if fitted and self._inputs else None
            found = None if inputs is None else inputs.rounded(layer.data, bits, axis)
            plain = measures.quantize(layer.data, bits, axis, fitted=fitted) if found is None else found
            self._rounded[key] = plain, found is not None
        return self._rounded[key]

    def values(self, allocation: np.ndarray) -> dict[str, np.ndarray]:
        """Weights under an allocation, by tensor."""
        return {
            layer.name: layer.data + self.change(layer, self.levels[at])
            for layer, at in zip(self.layers, allocation, strict=True)
        }

    @cached_property
    def sizes(self) -> np.ndarray:
        """Bytes of each tensor at each level, shape (layers, levels)."""
        found = [[self.bytes(layer, bits) for bits in self.levels] for layer in self.layers]
        return np.array(found, dtype=int).reshape(len(self.layers), len(self.levels))

    def bytes(self, layer: Layer, bits: int) -> int:
        """Size of a tensor in so many bits, in bytes; as it is at 32."""
        if bits >= measures.FLOAT_BITS:
            return layer.weight.parameter.nelement() * layer.weight.parameter.element_size()
        axis = self._axis(layer)
        return measures.storage_bytes(layer.data.size, bits, 1 if axis is None else layer.data.shape[axis])

    def size(self, allocation: np.ndarray) -> int:
        """Bytes of all tensors together."""
        return int(self.sizes[np.arange(len(allocation)), allocation].sum())

    def everywhere(self, bits: int) -> np.ndarray:
        """The allocation of the same bits to all."""
        return np.full(len(self.layers), self.levels.index(bits))

    @cached_property
    def compensated(self) -> np.ndarray:
        """Tensors whose rounding errors are made up for, and at which levels; bool of shape (layers, levels)."""
        found = np.zeros_like(self.fitted)
        for place, at in zip(*np.nonzero(self.fitted), strict=True):
            found[place, at] = self._of(self.layers[place], self.levels[at])[1]
        return found

    def plan(self, allocation: np.ndarray) -> tuple[LayerBits, ...]:
        """The allocation as a plan has it."""
        return tuple(self._planned(layer, self.levels[at]) for layer, at in zip(self.layers, allocation, strict=True))

    def _planned(self, layer: Layer, bits: int) -> LayerBits:
        rounded = None
        fitted = bool(self.fitted[self._places[layer.name], self.levels.index(bits)])
        if fitted:
            found, made_up = self._of(layer, bits)
            rounded = Rounded.made(found, layer.data) if made_up else None
        return LayerBits(layer.name, layer.data.shape, bits, self._axis(layer), fitted, rounded)

    def path(self, rises: np.ndarray, room: float) -> list[np.ndarray]:
        """Allocations from the most bits to those that take `room` bytes at most, by `share_out`.

        Args:
            rises: of the loss, shape (layers, levels); a layer with a NaN is one that nothing is known of, and keeps
                the most bits that all could have together, or the most of all where there is room.
            room: bytes for these tensors; 0: down to the fewest bits.
        """
        unknown = ~np.isfinite(rises).all(axis=1)
        known, sizes = np.where(unknown[:, None], 0, rises), self.sizes.astype(float)
        sizes[unknown] = sizes[unknown][:, :1]
        path = measures.share_out(known, sizes, room)
        if unknown.any() and 0 < room < self.size(path[-1]):
            fits = next(at for at in range(len(self.levels)) if self.sizes[:, at].sum() <= room)
            sizes[unknown] = self.sizes[unknown][:, fits : fits + 1]
            path = measures.share_out(known, sizes, room)
            for allocation in path:
                allocation[unknown] = fits
        return path
