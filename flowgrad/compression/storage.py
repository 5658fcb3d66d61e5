"""A compressed model in a file: codes in as many bits as they have, pruned weights by a bit each, the rest as it is.

The file: the magic bytes, the length of the header (8 bytes, little-endian), the header (JSON: each tensor's name, how
it is stored, and where its pieces lie), the pieces side by side.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from flowgrad.compression.applying import quantized, set_values
from flowgrad.compression.packing import pack_codes, unpack_codes
from flowgrad.compression.plans import LayerBits
from flowgrad.compression.recipe import Recipe
from flowgrad.errors import FlowGradError
from flowgrad.files import read_bounded, write_atomically
from flowgrad.measures.quantization import FLOAT_BITS, Quantized
from flowgrad.rules.suggestion import shortened
from flowgrad.trackers.flow.parameters import plain_name

_MAGIC = b"FLOWGRAD"


def write_packed(model: nn.Module, path: str | os.PathLike[str], recipe: Recipe | None = None) -> int:
    """Write the model's state, packed.

    Args:
        model: with the recipe applied by `backend="fake"`, or with the weights that its bits were planned for: rounding
            twice is rounding once. Zeros are found where they are, whatever made them.
        path: of the file.
        recipe: says the bits of each tensor; None: none is quantised.

    Returns:
        Bytes of the file.

    Raises:
        FlowGradError: a tensor of another shape than the recipe's, one that is no plain tensor (quantised by torchao:
            save its `state_dict`, or write the model packed before), one that is not finite, or other weights than
            those that the recipe has rounded.
    """
    plan = recipe.quantization if recipe else None
    bits = {layer.name: layer for layer in plan.quantized} if plan else {}
    entries, pieces, at = [], [], 0
    seen: dict[tuple[int, torch.Size], str] = {}
    for path_, tensor in model.state_dict().items():
        name = plain_name(path_)
        entry: dict[str, Any] = {"name": path_}
        if tensor.data_ptr() and (same := seen.get((tensor.data_ptr(), tensor.shape))):
            entries.append(entry | {"as": same})
            continue
        seen[(tensor.data_ptr(), tensor.shape)] = path_
        told, parts = _packed(name, tensor, bits.get(name))
        entry |= told | {"pieces": []}
        for part in parts:
            raw = np.ascontiguousarray(part).tobytes()
            entry["pieces"].append([at, len(raw), str(part.dtype)])
            pieces.append(raw)
            at += len(raw)
        entries.append(entry)
    header = json.dumps(entries, separators=(",", ":")).encode()
    data = b"".join([_MAGIC, len(header).to_bytes(8, "little"), header, *pieces])
    write_atomically(path, data)
    return len(data)


def read_packed(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Load what `write_packed` wrote into a model of the same shapes: quantised weights as the values they stand for.

    All is decoded and compared with the model before anything is written into it.

    Raises:
        FlowGradError: no such file, a damaged one, or one of another model. The model is as it was before.
    """
    where = os.fspath(path)
    state = model.state_dict()
    try:
        data = read_bounded(path, _most_bytes(state))
        if not data.startswith(_MAGIC):
            raise ValueError("it does not begin with FLOWGRAD")
        start = len(_MAGIC) + 8
        length = int.from_bytes(data[len(_MAGIC) : start], "little")
        entries = json.loads(data[start : start + length])
        _check_names(entries, state, type(model).__name__)
        body = memoryview(data)[start + length :]
        values = {entry["name"]: _unpacked(entry, body) for entry in entries if "as" not in entry}
        values |= {entry["name"]: values[entry["as"]] for entry in entries if "as" in entry}
    except _OtherModelError as error:
        raise FlowGradError(f"{where}: {error}") from None
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, MemoryError,
            RecursionError) as error:  # fmt: skip
        raise FlowGradError(f"{where}: no packed model, or a damaged one: {error}") from error
    for name, tensor in state.items():
        _check_fits(where, name, tensor, values[name])
    for name, tensor in state.items():
        set_values(tensor, values[name])


def _check_fits(where: str, name: str, tensor: Any, values: np.ndarray) -> None:
    """Refuse what could not be written into a tensor of the model."""
    if not isinstance(tensor, torch.Tensor) or tensor.is_meta or tensor.layout != torch.strided:
        raise FlowGradError(f"{where}: {name} of the model is no dense tensor with numbers; load into a plain model")
    if tuple(tensor.shape) != values.shape:
        raise FlowGradError(f"{where}: {name} has shape {list(values.shape)}, the model {list(tensor.shape)}")
    kind = values.dtype.kind
    if kind not in "biufc" or (kind == "c" and not tensor.is_complex()):
        raise FlowGradError(
            f"{where}: {name} is stored as {values.dtype}, which the model's {tensor.dtype} cannot hold"
        )
    if kind == "f" and not (tensor.is_floating_point() or tensor.is_complex()):
        raise FlowGradError(f"{where}: {name} is stored as {values.dtype}, and the model has whole numbers there")


class _OtherModelError(Exception):
    """A header of another model."""


def _most_bytes(state: Mapping[str, Any]) -> int:
    """Bytes of a file that can be of this model: every weight in the widest type that there is, and a header."""
    return (1 << 20) + sum(4096 + 4 * len(name) + 16 * tensor.numel() for name, tensor in state.items())


def _check_names(entries: list[dict[str, Any]], state: Mapping[str, Any], model: str) -> None:
    """Refuse a header of other names or shapes than the model's, before anything is unpacked.

    Raises:
        _OtherModelError: names the first that differs.
        ValueError: a name that stands twice.
    """
    names = [entry["name"] for entry in entries]
    if odd := sorted(set(state) ^ set(names), key=str):
        raise _OtherModelError(f"{odd[0]!r} is in one of the file and {model}, and not in the other")
    if len(names) > len(state):
        raise ValueError("a name stands twice in its header")
    for entry in entries:
        if "bits" in entry and entry["bits"] not in range(2, 9):
            raise ValueError(f"{entry['name']} has bits={shortened(entry['bits'])}, which must be 2 to 8")
        if "as" not in entry and entry["shape"] != (own := list(state[entry["name"]].shape)):
            raise _OtherModelError(f"{entry['name']} has shape {shortened(entry['shape'], 200)}, the model {own}")


def _packed(name: str, tensor: torch.Tensor, layer: LayerBits | None) -> tuple[dict[str, Any], list[np.ndarray]]:
    if type(tensor) not in (torch.Tensor, nn.Parameter):
        raise FlowGradError(
            f"{name} is a {type(tensor).__name__}; write_packed takes plain tensors: apply with backend='fake'"
        )
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
    """Dense, or a bit a weight and those that are not zero, whichever is smaller."""
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


def _unpacked(entry: dict[str, Any], body: memoryview) -> np.ndarray:
    shape = tuple(entry["shape"])
    size = math.prod(shape)
    parts = [np.frombuffer(body[at : at + length], kind) for at, length, kind in entry["pieces"]]
    if odd := [str(part.dtype) for part in parts if part.dtype.kind not in "biufc"]:
        raise ValueError(f"a piece of {entry['name']} is of {shortened(odd[0])}, which is no number")
    there = np.unpackbits(parts.pop(0), count=size).astype(bool) if entry.get("sparse") else np.ones(size, dtype=bool)
    if "bits" not in entry:
        whole = np.zeros(size, dtype=parts[0].dtype)
        whole[there] = parts[0]
        return whole.reshape(shape)
    codes = np.zeros(size, dtype=np.int8)
    codes[there] = unpack_codes(parts[0], entry["bits"], int(there.sum()))
    return Quantized(codes.reshape(shape), parts[1], entry["top"], entry["axis"]).values()
