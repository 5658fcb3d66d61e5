"""What torchao quantises for us, in a few lines around its API (0.18, which torch 2.11 and later take)."""

from __future__ import annotations

from torch import nn

from flowgrad.compression.plans import LayerBits

BITS = (8, 4)


def torchao_installed(*, must: bool) -> bool:
    """Whether torchao is there.

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
    """Whether it takes this layer: a plain `nn.Linear` or `nn.Embedding`, a scale an output or row that is not
    fitted, 8 or 4 bits, and more than one column: of tables such as biases it fails at a scale a row.

    Of subclasses it is not known what else they do with their weight (`nn.MultiheadAttention` reads that of its output
    layer itself).
    """
    plain = type(module) in (nn.Linear, nn.Embedding) and own == "weight"
    return plain and layer.axis == 0 and not layer.fitted and layer.bits in BITS and layer.shape[1] > 1


def quantize_by_torchao(module: nn.Module, bits: int) -> str:
    """Quantise a layer in place, and say how."""
    import torch
    from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig, MappingType, PerAxis, quantize_

    if bits == 8 and isinstance(module, nn.Linear):
        quantize_(module, Int8WeightOnlyConfig(), filter_fn=lambda one, _: one is module)
        return "torchao Int8WeightOnlyConfig"
    config = IntxWeightOnlyConfig(
        weight_dtype=getattr(torch, f"int{bits}"),
        granularity=PerAxis(0),
        mapping_type=MappingType.SYMMETRIC_NO_CLIPPING_ERR,
    )
    quantize_(module, config, filter_fn=lambda one, _: one is module)
    return f"torchao IntxWeightOnlyConfig, int{bits}, a byte a weight"
