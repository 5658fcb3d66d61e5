"""Finds the weights of a model that can be compressed, and says why the others cannot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from flowgrad.errors import FlowGradError
from flowgrad.trackers.flow.parameters import plain_name, unit_axis, watched_parameters

Float32 = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


@dataclass(frozen=True, eq=False)
class Weight:
    """A parameter tensor with two dimensions or more."""

    name: str
    """Name in the first layer that holds it, without the prefixes of wrappers."""
    parameter: nn.Parameter
    owner: nn.Module
    """The first module that holds it."""
    own: str
    """Name of the weight within that module: mostly `weight`."""
    aliases: tuple[str, ...]
    """Other names of the weight, where layers share it."""
    axis: int
    """Axis along which its units lie: rows of a table, outputs of a layer. Each has a scale when quantised."""
    is_table: bool
    padding: int | None
    """Index of the row of a table that is padding."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return tuple(self.parameter.shape)

    @property
    def units(self) -> int:
        """Number of rows or outputs."""
        return self.parameter.shape[self.axis]

    def values(self) -> Float32:
        """Copy of the weights now, float32."""
        return as_float32(self.parameter)

    def by_unit(self, values: np.ndarray) -> np.ndarray:
        """Reshape an array of the weight's shape to one line a unit, shape (units, weights of a unit)."""
        return np.moveaxis(values, self.axis, 0).reshape(self.units, -1)

    def counted(self) -> np.ndarray:
        """Flags of entries that are weights: everywhere but in a padding row, of the tensor's shape."""
        found = np.ones(self.shape, dtype=bool)
        if self.padding is not None:
            found[self.padding] = False
        return found


@dataclass(frozen=True)
class LeftOut:
    """A weight tensor that cannot be compressed."""

    name: str
    reason: str


def as_float32(tensor: torch.Tensor) -> Float32:
    """Copy to the host as float32."""
    return tensor.detach().to("cpu", torch.float32, copy=True).numpy()


def weights_of(model: nn.Module, name: str = "model") -> tuple[list[Weight], list[LeftOut]]:
    """Find every weight tensor with two dimensions or more, each once, in order of definition; and those left out.

    Biases, scales of normalisation and other tensors of one dimension are neither: they stay as they are.

    Raises:
        TypeError: `model` is no module, or has sharded parameters.
        ValueError: it has no parameters with numbers.
        FlowGradError: it has no weight tensor, or one is under a mask of `torch.nn.utils.prune`.
    """
    everywhere = _names(model)
    found, left_out = [], []
    for one in watched_parameters(model, name):
        parameter, (path, own) = one.parameter, _split(one.name)
        if parameter.dim() < 2 or not parameter.numel():
            continue
        if own.endswith("_orig") and hasattr(one.owner, f"{own.removesuffix('_orig')}_mask"):
            raise FlowGradError(
                f"{name}: {path}.{own.removesuffix('_orig')} is under a mask of torch.nn.utils.prune; make that "
                "permanent first: flowgrad.compression.make_permanent(model)"
            )
        reason = _reason(one.name, parameter)
        if reason:
            left_out.append(LeftOut(one.name, reason))
            continue
        owner = one.owner
        is_table, padding = False, None
        if isinstance(owner, nn.Embedding | nn.EmbeddingBag):
            is_table, padding = True, owner.padding_idx
        names = everywhere[id(parameter)]
        found.append(
            Weight(
                one.name,
                parameter,
                owner,
                own,
                tuple(other for other in names if other != one.name),
                0 if is_table else unit_axis(one) or 0,
                is_table,
                # As the output layer of a shared table, a padding row is a row like others.
                padding if len(names) == 1 else None,
            )
        )
    if not found and not left_out:
        raise FlowGradError(f"{name}: {type(model).__name__} has no weight tensor with two dimensions or more")
    return found, left_out


def nonfinite(weights: list[Weight]) -> list[str]:
    """Names of the weights that hold a NaN or an infinity."""
    return [one.name for one in weights if not bool(torch.isfinite(one.parameter.detach()).all())]


def _names(model: nn.Module) -> dict[int, list[str]]:
    names: dict[int, list[str]] = {}
    for path, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(plain_name(path))
    return names


def _split(name: str) -> tuple[str, str]:
    path, _, own = name.rpartition(".")
    return path, own


def _reason(name: str, parameter: nn.Parameter) -> str:
    if parameter.is_complex():
        return "complex numbers"
    if type(parameter.data) is not torch.Tensor:
        return f"a {type(parameter.data).__name__}: quantised already, or a tensor of another kind"
    if ".parametrizations." in f".{name}" or name.endswith(("weight_g", "weight_v")):
        return "the weight is computed of it (weight_norm, spectral_norm or another parametrization)"
    return ""
