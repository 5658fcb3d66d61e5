"""Packed models: whatever is wrong with a file, it is refused, and the model keeps every bit."""

from __future__ import annotations

import json
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from flowgrad.compression import LayerBits, QuantizationPlan, Recipe, read_packed, write_packed
from flowgrad.errors import FlowGradError
from pipelines.benchmarks.robustness.attack import Attack, Fault, Place
from pipelines.benchmarks.robustness.damage import bytes_damaged, value_damaged

_HEAD = 16
"""Bytes before the header: a magic number, its length, a checksum."""


class Net(nn.Module):
    """Dense, sparse, quantised and shared tensors."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.wide, self.thin, self.plain = nn.Linear(8, 6), nn.Linear(6, 40), nn.Linear(3, 2)
        self.tied = nn.Linear(8, 6)
        self.tied.weight = self.wide.weight
        self.register_buffer("count", torch.tensor(7 + seed))
        self.register_buffer("flags", torch.tensor([True, False]))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
            self.thin.weight[:, 1:] = 0


def plan() -> QuantizationPlan:
    """Few bits for two layers of `Net`."""
    return QuantizationPlan(
        (LayerBits("wide.weight", (6, 8), 4, 0), LayerBits("thin.weight", (40, 6), 3, 0)), "uniform", 0
    )


def draw(rng: np.random.Generator, base: Path) -> Attack:
    """Bits, pieces and headers of a packed model."""
    file = base / "model.fg"
    if not file.exists():
        write_packed(Net(0), file, Recipe.of(plan()))
    data = file.read_bytes()
    if rng.random() < 0.6:
        made, tried = bytes_damaged(data, rng)
        return Attack(f"packed model: {tried}", _refusing(made, must=made != data))
    made, tried = _header_damaged(data, rng)
    return Attack(f"packed model, checksum made right: {tried}", _refusing(made, must=False))


def _header_damaged(data: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    length = int.from_bytes(data[8:12], "little")
    header: Any = json.loads(data[_HEAD : _HEAD + length])
    body = data[_HEAD + length :]
    tried = "nothing"
    if rng.random() < 0.8:
        header, tried = value_damaged(header, rng)
        text = json.dumps(header, separators=(",", ":"), default=str).encode()
    else:
        text, tried = bytes_damaged(data[_HEAD : _HEAD + length], rng)
    if rng.random() < 0.2:
        body, more = bytes_damaged(body, rng)
        tried = f"{tried}; of the weights: {more}"
    start = data[:8] + len(text).to_bytes(4, "little")
    return start + zlib.crc32(start + text + body).to_bytes(4, "little") + text + body, tried


def _refusing(data: bytes, *, must: bool) -> Any:
    def perform(place: Place) -> None:
        file = place.given / "model.fg"
        file.write_bytes(data)
        model = Net(1)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of the first version of the format
                read_packed(model, file)
        except FlowGradError:
            if not all(torch.equal(before[name], value) for name, value in model.state_dict().items()):
                raise Fault("loss", "refused, and the model was changed") from None
            raise
        if must:
            raise Fault("accepted", "a damaged file was loaded")
        if not all(value.isfinite().all() for value in model.state_dict().values()):
            raise Fault("accepted", "weights that are not finite were loaded")

    return perform
