"""Quantises layers by torchao, in a few lines around its API (0.18, which torch 2.11 and later take)."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from flowgrad.compression.plans import LayerBits
from flowgrad.measures.quantization import Quantized

BITS = (8, 4)


def torchao_installed(*, must: bool) -> bool:
    """Whether torchao is installed.

    Raises:
        ImportError: it is not, and `must`.
    """
    try:
        import torchao  # noqa: F401
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "torchao":
            raise
        if must:
            raise ImportError("backend='torchao' needs torchao: pip install 'flowgrad[compress]'") from error
        return False
    return True


def torchao_can(module: nn.Module, own: str, layer: LayerBits) -> bool:
    """Whether torchao takes this layer: a plain `nn.Linear` or `nn.Embedding`, a scale an output or row, 8 or 4 bits,
    and more than one column: of tables such as biases it fails at a scale a row.

    Subclasses may do other things with their weight (`nn.MultiheadAttention` reads that of its output layer itself).
    """
    plain = type(module) in (nn.Linear, nn.Embedding) and own == "weight"
    return plain and layer.axis == 0 and layer.bits in BITS and layer.shape[1] > 1


def quantize_by_torchao(module: nn.Module, layer: LayerBits, to: Quantized) -> str:
    """Quantise a layer in place, and say how.

    Args:
        module: the layer.
        layer: its bits.
        to: whole numbers that its weights are rounded to. Of `nn.Linear` in 8 bits torchao rounds to its own nearest.
    """
    from torchao.quantization import Int8WeightOnlyConfig, IntxUnpackedToInt8Tensor, quantize_

    if layer.bits == 8 and isinstance(module, nn.Linear):
        quantize_(module, Int8WeightOnlyConfig(), filter_fn=lambda one, _: one is module)
        return "torchao Int8WeightOnlyConfig"
    assert isinstance(module, nn.Linear | nn.Embedding)
    weight = module.weight
    scales = torch.from_numpy(to.scales.astype(np.float32) * np.float32(to.top))[:, None].to(weight)
    codes = torch.from_numpy(to.codes).to(weight.device)
    stored = IntxUnpackedToInt8Tensor(
        codes,
        scales,
        torch.zeros_like(scales, dtype=torch.int8),
        getattr(torch, f"int{layer.bits}"),
        (1, codes.shape[1]),
        weight.dtype,
        None,
    )
    module.weight = nn.Parameter(stored, requires_grad=False)
    return f"torchao IntxUnpackedToInt8Tensor, int{layer.bits}, a byte a weight"
