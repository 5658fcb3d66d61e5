"""Whole numbers of few bits, side by side."""

from __future__ import annotations

import numpy as np


def pack_codes(codes: np.ndarray, bits: int) -> np.ndarray:
    """Signed codes as `bits` bits each, one after the other."""
    unsigned = (codes.astype(np.int16) + 2 ** (bits - 1)).astype(np.uint8)
    return np.packbits(np.unpackbits(unsigned[:, None], axis=1)[:, 8 - bits :])


def unpack_codes(packed: np.ndarray, bits: int, count: int) -> np.ndarray:
    """What `pack_codes` packed."""
    low = np.unpackbits(packed, count=count * bits).reshape(count, bits)
    whole = np.zeros((count, 8), dtype=np.uint8)
    whole[:, 8 - bits :] = low
    return (np.packbits(whole, axis=1)[:, 0].astype(np.int16) - 2 ** (bits - 1)).astype(np.int8)
