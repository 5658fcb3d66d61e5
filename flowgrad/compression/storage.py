"""Stores a compressed model in a file: codes in as many bits as they have, pruned weights by a bit each, the rest as it
is.

The file: the magic bytes, the length of the header (4 bytes, little-endian), a CRC-32 of the file without these 4 bytes
(4 bytes, little-endian), the header (JSON: each tensor's name, how it is stored, and where its pieces lie), the pieces
side by side. Files of the first version have other magic bytes and no check; they are read with a warning.
"""

from __future__ import annotations

import json
import os
import warnings
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from flowgrad.compression.applying import quantized, set_values
from flowgrad.compression.packing import pack_codes
from flowgrad.compression.pieces import Entry, entries_of
from flowgrad.compression.plans import LayerBits
from flowgrad.compression.recipe import Recipe
from flowgrad.errors import FlowGradError
from flowgrad.files import read_bounded, write_atomically
from flowgrad.measures.quantization import FLOAT_BITS, Quantized
from flowgrad.trackers.flow.parameters import plain_name

_MAGIC, _UNCHECKED = b"FLOWGRD2", b"FLOWGRAD"
_START = len(_MAGIC) + 8


def write_packed(
    model: nn.Module, path: str | os.PathLike[str], recipe: Recipe | None = None, *, finite: bool = True
) -> int:
    """Write the model's state, packed.

    Args:
        model: with the recipe applied by `backend="fake"`, or with the weights that its bits were planned for: rounding
            twice is rounding once. Zeros are packed wherever they are, whatever made them.
        path: of the file.
        recipe: says the bits of each tensor; None: none is quantised.
        finite: refuse parameters that hold NaN or infinity (buffers may, such as masks of attention).

    Returns:
        Bytes of the file.

    Raises:
        FlowGradError: a tensor of another shape than the recipe's, one that is no plain tensor (quantised by torchao:
            save its `state_dict`, or write the model packed before), a parameter that is not finite, or other weights
            than those that the recipe has rounded.
    """
    plan = recipe.quantization if recipe else None
    bits = {layer.name: layer for layer in plan.quantized} if plan else {}
    entries, pieces, at = [], [], 0
    seen: dict[tuple[int, torch.Size], str] = {}
    parameters = _parameters(model)
    for path_, tensor in model.state_dict().items():
        name = plain_name(path_)
        entry: dict[str, Any] = {"name": path_}
        if type(tensor) not in (torch.Tensor, nn.Parameter):
            raise FlowGradError(
                f"{name} is a {type(tensor).__name__}; write_packed takes plain tensors: apply with backend='fake'"
            )
        if tensor.data_ptr() and (same := seen.get((tensor.data_ptr(), tensor.shape))):
            entries.append(entry | {"as": same})
            continue
        seen[(tensor.data_ptr(), tensor.shape)] = path_
        if finite and path_ in parameters and not bool(torch.isfinite(tensor).all()):
            raise FlowGradError(
                f"{name} holds NaN or infinite weights; train it anew, or write it as it is by "
                "write_packed(..., finite=False)"
            )
        told, parts = _packed(name, tensor, bits.get(name))
        entry |= told | {"pieces": []}
        for part in parts:
            raw = np.ascontiguousarray(part).tobytes()
            entry["pieces"].append([at, len(raw), str(part.dtype)])
            pieces.append(raw)
            at += len(raw)
        entries.append(entry)
    header = json.dumps(entries, separators=(",", ":")).encode()
    start = _MAGIC + len(header).to_bytes(4, "little")
    check = zlib.crc32(header, zlib.crc32(start))
    for raw in pieces:
        check = zlib.crc32(raw, check)
    data = b"".join([start, check.to_bytes(4, "little"), header, *pieces])
    write_atomically(path, data)
    return len(data)


def read_packed(model: nn.Module, path: str | os.PathLike[str], *, finite: bool = True) -> None:
    """Load a file that `write_packed` wrote into a model of the same shapes: quantised weights as the values they stand
    for.

    The model is changed only where the whole file holds: its check, and of every piece the length that its tensor asks
    for. A file of the first version has no check; it is read with a warning.

    Args:
        model: as the one that was written.
        path: of the file.
        finite: refuse parameters that hold NaN or infinity.

    Raises:
        FlowGradError: there is no such file, it is damaged or of another model, or a parameter is not finite.
    """
    where = os.fspath(path)
    state = model.state_dict()
    try:
        header, body, checked = _content(read_bounded(path, _most_bytes(state)))
        entries = entries_of(header, len(body))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(where, error) from error
    _check_model(where, model, entries, state)
    try:
        values = {name: entry.values(body) for name, entry in entries.items() if entry.same is None}
    except ValueError as error:
        raise _damaged(where, error) from error
    values |= {name: values[entry.same] for name, entry in entries.items() if entry.same is not None}
    parameters = _parameters(model)
    for name, found in values.items():
        if finite and name in parameters and not np.isfinite(found).all():
            raise FlowGradError(
                f"{where}: {name} holds NaN or infinite weights; write the model again, or read it as it is by "
                "read_packed(..., finite=False)"
            )
    if not checked:
        warnings.warn(
            f"{where} is of the first version of packed models, which has no check: damage would go unnoticed. Write "
            "the model again",
            stacklevel=2,
        )
    for name, tensor in state.items():
        set_values(tensor, values[name])


def _most_bytes(state: Mapping[str, Any]) -> int:
    """Largest size in bytes of a file that can be of this model: every weight in the widest type that there is, and a
    header.
    """
    return (1 << 20) + sum(
        4096 + 4 * len(name) + 16 * getattr(tensor, "numel", int)() for name, tensor in state.items()
    )


def _damaged(where: str, error: Exception) -> FlowGradError:
    reason = (error.strerror or error) if isinstance(error, OSError) else " ".join(str(error).split())
    return FlowGradError(f"{where}: no packed model, or a damaged one: {reason}; write it again by write_packed")


def _content(data: bytes) -> tuple[Any, memoryview, bool]:
    """Split data into header, pieces, and whether a check says that both are as written.

    Raises:
        ValueError: it says that they are not, or there is none of them.
    """
    checked = data.startswith(_MAGIC)
    if not checked and not data.startswith(_UNCHECKED):
        raise ValueError(f"it does not begin with {_UNCHECKED.decode()} or {_MAGIC.decode()}")
    if len(data) < _START:
        raise ValueError(f"it ends after {len(data)} bytes")
    middle = len(_MAGIC) + (4 if checked else 8)
    length = int.from_bytes(data[len(_MAGIC) : middle], "little")
    view = memoryview(data)
    if checked:
        told = int.from_bytes(data[middle:_START], "little")
        found = zlib.crc32(view[_START:], zlib.crc32(view[:middle]))
        if told != found:
            raise ValueError(f"its check is {told:08x}, and its bytes have {found:08x}")
    if length > len(data) - _START:
        raise ValueError(f"its header of {length} bytes is longer than the file")
    return json.loads(data[_START : _START + length]), view[_START + length :], checked


def _check_model(where: str, model: nn.Module, entries: Mapping[str, Entry], state: Mapping[str, Any]) -> None:
    """Refuse a file of another model, before anything is unpacked."""
    if set(state) != set(entries):
        odd = min(set(state) ^ set(entries))
        raise FlowGradError(f"{where}: {odd!r} is in one of the file and {type(model).__name__}, and not in the other")
    for name, tensor in state.items():
        if not isinstance(tensor, torch.Tensor) or tensor.is_meta or tensor.layout != torch.strided:
            raise FlowGradError(
                f"{where}: {name} of the model is no dense tensor with numbers; load into a plain model"
            )
        entry = entries[name]
        own = entry if entry.same is None else entries[entry.same]
        if tuple(tensor.shape) != own.shape:
            raise FlowGradError(f"{where}: {name} has shape {list(own.shape)}, the model {list(tensor.shape)}")
        wanted = "c" if tensor.is_complex() else "f" if tensor.is_floating_point() else "b" if _is_flag(tensor) else "i"
        if wanted != own.kind:
            raise FlowGradError(f"{where}: {name} is stored as {own.stored_as}, the model has {tensor.dtype} there")


def _is_flag(tensor: torch.Tensor) -> bool:
    return tensor.dtype == torch.bool


def _parameters(model: nn.Module) -> set[str]:
    return {name for name, _ in model.named_parameters(remove_duplicate=False)}


def _packed(name: str, tensor: torch.Tensor, layer: LayerBits | None) -> tuple[dict[str, Any], list[np.ndarray]]:
    values = tensor.detach().cpu()
    if values.dtype == torch.bfloat16:
        values = values.float()
    array = values.numpy()
    told: dict[str, Any] = {"shape": list(array.shape)}
    if layer is None or layer.bits >= FLOAT_BITS:
        return _without_zeros(told, array)
    if tuple(array.shape) != layer.shape:
        raise FlowGradError(f"{name} has shape {list(array.shape)}, and the recipe was made for {list(layer.shape)}")
    if not np.isfinite(array).all():
        raise FlowGradError(f"{name} holds NaN or infinite weights, which cannot be quantised")
    small = quantized(tensor, layer)
    told |= {"bits": layer.bits, "axis": layer.axis, "top": small.top}
    return _codes(told, small)


def _without_zeros(told: dict[str, Any], array: np.ndarray) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Dense values, or a bit a weight and the values that are not zero, whichever is smaller."""
    there = array.reshape(-1) != 0
    if not array.size or _mask_bytes(array.size) + there.sum() * array.itemsize >= array.nbytes:
        return told, [array.reshape(-1)]
    return told | {"sparse": True}, [np.packbits(there), array.reshape(-1)[there]]


def _codes(told: dict[str, Any], small: Quantized) -> tuple[dict[str, Any], list[np.ndarray]]:
    flat, bits = small.codes.reshape(-1), int(told["bits"])
    there = flat != 0
    if _mask_bytes(flat.size) * 8 + there.sum() * bits < flat.size * bits:
        return told | {"sparse": True}, [np.packbits(there), pack_codes(flat[there], bits), small.scales]
    return told, [pack_codes(flat, bits), small.scales]


def _mask_bytes(size: int) -> int:
    return -(-size // 8)
