"""Measures how much memory a watcher holds, and how far it drives the peak."""

from __future__ import annotations

import functools
import types
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch


def held_bytes(root: object, besides: Iterable[torch.Tensor] = ()) -> int:
    """Size in bytes of every buffer of a tensor or a NumPy array that can be reached from `root`, each buffer once.

    Attributes, containers, bound methods and closures are followed, not classes, modules and weak references. A view
    counts with all of the buffer that it keeps alive.

    Args:
        root: the object that holds.
        besides: tensors whose buffers are not counted.
    """
    counted = {address for tensor in besides for address, _ in _storages(tensor)}
    total = 0
    # Objects met are kept: the id of one that is gone may be given to the next.
    met: dict[int, object] = {}
    waiting: list[Any] = [root]
    while waiting:
        found = waiting.pop()
        if id(found) in met or isinstance(found, type | types.ModuleType):
            continue
        met[id(found)] = found
        for address, size in _storages(found):
            if address not in counted:
                counted.add(address)
                total += size
        waiting.extend(_parts(found))
    return total


def _storages(found: object) -> Iterator[tuple[int, int]]:
    """Yield address and bytes of the buffers that `found` itself holds: two for a sparse tensor."""
    if isinstance(found, torch.Tensor):
        for tensor in (found._indices(), found._values()) if found.is_sparse else (found,):
            storage = tensor.untyped_storage()
            if storage.nbytes():
                yield storage.data_ptr(), storage.nbytes()
    elif isinstance(found, np.ndarray) and not isinstance(found.base, np.ndarray | torch.Tensor) and found.nbytes:
        yield found.__array_interface__["data"][0], found.nbytes


def _parts(found: Any) -> Iterator[Any]:
    """Yield objects that `found` keeps alive."""
    if isinstance(found, torch.Tensor):
        if found.is_leaf and found.grad is not None:
            yield found.grad
    elif isinstance(found, np.ndarray):
        yield found.base
        if found.dtype.hasobject:
            yield from found.flat
    elif isinstance(found, dict):
        yield from found.values()
    elif isinstance(found, list | tuple | set | frozenset | deque):
        yield from found
    elif isinstance(found, types.MethodType):
        yield found.__self__
        yield found.__func__
    elif isinstance(found, types.FunctionType):
        yield from (cell.cell_contents for cell in found.__closure__ or () if not _is_empty(cell))
        yield from found.__defaults__ or ()
    elif isinstance(found, functools.partial):
        yield from (found.func, found.args, found.keywords)
    if not isinstance(found, torch.Tensor | types.FunctionType):
        yield getattr(found, "__dict__", None)
        for cls in type(found).__mro__:
            slots = cls.__dict__.get("__slots__", ())
            yield from (getattr(found, name, None) for name in ((slots,) if isinstance(slots, str) else slots))


def _is_empty(cell: types.CellType) -> bool:
    """Whether a variable of a closure has no value yet."""
    try:
        return cell.cell_contents is cell
    except ValueError:
        return True


def reset_peak(device: torch.device) -> bool:
    """Let the peak start anew at what is in use now; False where the system cannot."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_bytes(device: torch.device) -> int:
    """Largest memory in use since `reset_peak`, in bytes: of the device on a GPU, else resident memory of this process
    (Linux).
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
