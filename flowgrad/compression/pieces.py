"""Reads the header of a packed model, which is checked against itself and the file before it is believed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from flowgrad.compression.packing import unpack_codes
from flowgrad.measures.quantization import Quantized

_STORED = frozenset(
    f"{kind}{bits}" for kind, sizes in {"float": (16, 32, 64), "int": (8, 16, 32, 64), "uint": (8, 16, 32, 64),
                                        "complex": (64, 128)}.items() for bits in sizes
) | {"bool"}  # fmt: skip
_KEYS = {"name", "as", "shape", "sparse", "bits", "axis", "top", "pieces"}


@dataclass(frozen=True)
class Entry:
    """One tensor of the file."""

    name: str
    same: str | None
    """Name of the tensor before it that it shares its memory with; it has no pieces then."""
    shape: tuple[int, ...] = ()
    sparse: bool = False
    """Whether its first piece marks, by a bit each, which numbers are not 0; the others are not stored."""
    bits: int | None = None
    """Bits of its codes; None where its numbers are stored as they are."""
    axis: int | None = None
    top: float = 0.0
    pieces: tuple[tuple[int, int, str], ...] = ()
    """Start, length in bytes and NumPy type of each piece."""

    @property
    def size(self) -> int:
        """Number of values in it."""
        return math.prod(self.shape)

    @property
    def stored_as(self) -> str:
        """NumPy type of its numbers."""
        return "float32" if self.bits is not None else self.pieces[-1][2]

    @property
    def kind(self) -> str:
        """Kind of its numbers: `f`, `i`, `b` or `c` for floats, whole numbers, flags, complex."""
        return str(np.dtype(self.stored_as).kind).replace("u", "i")

    def values(self, body: memoryview) -> np.ndarray:
        """Read its numbers, in its shape.

        Raises:
            ValueError: a piece is shorter or longer than they take, or holds a value that none of them can have.
        """
        parts = [np.frombuffer(body[at : at + length], kind) for at, length, kind in self.pieces]
        there = None
        if self.sparse:
            mask = parts.pop(0)
            self._length("the mask", mask.nbytes, -(-self.size // 8))
            there = np.unpackbits(mask, count=self.size).astype(bool)
        count = self.size if there is None else int(there.sum())
        if self.bits is None:
            self._length("its numbers", parts[0].nbytes, count * parts[0].itemsize)
            return self._spread(parts[0], there)
        codes, scales = parts
        self._length("its codes", codes.nbytes, -(-count * self.bits // 8))
        self._length("its scales", scales.nbytes, 2 * (1 if self.axis is None else self.shape[self.axis]))
        if not ((scales >= 0) & (scales <= 1)).all():
            raise ValueError(f"{self.name}: a scale lies outside 0 to 1")
        numbers = unpack_codes(codes, self.bits, count)
        if (numbers < -(2 ** (self.bits - 1) - 1)).any():
            raise ValueError(f"{self.name}: a code lies outside those of {self.bits} bits")
        return Quantized(self._spread(numbers, there), scales, self.top, self.axis).values()

    def _spread(self, numbers: np.ndarray, there: np.ndarray | None) -> np.ndarray:
        if there is None:
            return numbers.reshape(self.shape).copy()
        whole = np.zeros(self.size, dtype=numbers.dtype)
        whole[there] = numbers
        return whole.reshape(self.shape)

    def _length(self, what: str, found: int, needed: int) -> None:
        if found != needed:
            raise ValueError(f"{self.name}: {what} take {needed} bytes, and {found} are there")


def entries_of(header: Any, size: int) -> dict[str, Entry]:
    """Read the header's entry of each tensor, by name.

    Args:
        header: as JSON gives it.
        size: bytes of all pieces.

    Raises:
        ValueError: it is no such header, or its pieces do not lie side by side over all of these bytes.
    """
    if not isinstance(header, list):
        raise ValueError("its header is no list of tensors")
    found: dict[str, Entry] = {}
    at = 0
    for content in header:
        entry = _entry(content)
        if entry.name in found:
            raise ValueError(f"{entry.name} stands twice in its header")
        if entry.same is not None and (entry.same not in found or found[entry.same].same is not None):
            raise ValueError(f"{entry.name} is to be {entry.same!r}, which does not stand before it")
        found[entry.name] = entry
        for start, length, kind in entry.pieces:
            if start != at or length % np.dtype(kind).itemsize:
                raise ValueError(f"{entry.name}: a piece of {length} bytes of {kind} from {start} on; {at} is next")
            at += length
    if at != size:
        raise ValueError(f"its tensors take {at} bytes, and {size} are there")
    return found


def _entry(content: Any) -> Entry:
    if not isinstance(content, dict) or not isinstance(content.get("name"), str) or set(content) - _KEYS:
        raise ValueError(f"its header holds {str(content)[:80]!r}, which is no tensor")
    name = content["name"]
    if "as" in content:
        if not isinstance(content["as"], str) or set(content) != {"name", "as"}:
            raise ValueError(f"{name} is to be {str(content['as'])[:80]!r}, which is no name")
        return Entry(name, content["as"])
    entry = Entry(
        name,
        None,
        _whole(content.get("shape"), f"{name}: shape"),
        content.get("sparse", False) is True,
        content.get("bits"),
        content.get("axis"),
        content.get("top", 0.0),
        _pieces(name, content.get("pieces")),
    )
    _check_codes(entry)
    return entry


def _check_codes(entry: Entry) -> None:
    """Refuse an entry without the pieces that its way of storing asks for."""
    kinds = [kind for _, _, kind in entry.pieces]
    masked = ["uint8"] if entry.sparse else []
    if entry.bits is None:
        if kinds[:-1] != masked or len(kinds) != len(masked) + 1 or entry.axis is not None:
            raise ValueError(f"{entry.name}: pieces of {kinds} are no {'sparse ' * entry.sparse}tensor")
        return
    if type(entry.bits) is not int or not 2 <= entry.bits <= 8:
        raise ValueError(f"{entry.name}: bits={str(entry.bits)[:20]} must be 2 to 8")
    if entry.axis is not None and not (type(entry.axis) is int and 0 <= entry.axis < len(entry.shape)):
        raise ValueError(f"{entry.name}: axis={str(entry.axis)[:20]} is none of the {len(entry.shape)} of its shape")
    # The largest number is the top scale times the largest code.
    most = float(np.finfo(np.float32).max) / (2 ** (entry.bits - 1) - 1)
    if type(entry.top) not in (int, float) or not 0 <= entry.top <= most:
        raise ValueError(f"{entry.name}: top={str(entry.top)[:20]} must be a float32 number from 0 on")
    if kinds != [*masked, "uint8", "float16"]:
        raise ValueError(f"{entry.name}: pieces of {kinds} are no codes and scales")


def _pieces(name: str, content: Any) -> tuple[tuple[int, int, str], ...]:
    if not isinstance(content, list) or not content:
        raise ValueError(f"{name}: pieces are missing")
    found = []
    for one in content:
        if not isinstance(one, list) or len(one) != 3 or not isinstance(one[2], str) or one[2] not in _STORED:
            raise ValueError(f"{name}: {str(one)[:80]!r} is no piece")
        start, length = _whole(one[:2], f"{name}: a piece")
        found.append((start, length, one[2]))
    return tuple(found)


def _whole(content: Any, what: str) -> tuple[int, ...]:
    if not isinstance(content, list) or not all(type(one) is int and one >= 0 for one in content):
        raise ValueError(f"{what} is {str(content)[:80]!r}, and no list of whole numbers")
    return tuple(content)
