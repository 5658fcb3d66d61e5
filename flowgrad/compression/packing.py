"""Packs whole numbers of few bits, side by side."""

from __future__ import annotations

import numpy as np


def pack_codes(codes: np.ndarray, bits: int) -> np.ndarray:
    """Pack signed codes as `bits` bits each, one after the other."""
    unsigned = (codes.astype(np.int16) + 2 ** (bits - 1)).astype(np.uint8)
    return np.packbits(np.unpackbits(unsigned[:, None], axis=1)[:, 8 - bits :])


def unpack_codes(packed: np.ndarray, bits: int, count: int) -> np.ndarray:
    """Unpack codes that `pack_codes` packed."""
    codes = np.empty(count, dtype=np.int8)
    for start in range(0, count, _PIECE):
        size = min(_PIECE, count - start)
        low = np.unpackbits(packed[start * bits // 8 : -(-(start + size) * bits // 8)], count=size * bits)
        whole = np.zeros((size, 8), dtype=np.uint8)
        whole[:, 8 - bits :] = low.reshape(size, bits)
        codes[start : start + size] = np.packbits(whole, axis=1)[:, 0].astype(np.int16) - 2 ** (bits - 1)
    return codes


_PIECE = 1 << 20
"""Number of codes unpacked at once, a multiple of 8: each takes 16 bytes meanwhile."""
