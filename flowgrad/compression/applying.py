"""Applies a recipe to a model: pruned by `torch.nn.utils.prune`, quantised by torchao or else in values only."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn.utils import prune

from flowgrad.compression.plans import (
    LayerBits,
    LayerMask,
    PruningPlan,
    QuantizationPlan,
    Rounded,
    RowPlan,
    TableRows,
    check_of,
)
from flowgrad.compression.recipe import Recipe
from flowgrad.compression.torchao_layers import quantize_by_torchao, torchao_can, torchao_installed
from flowgrad.errors import FlowGradError
from flowgrad.measures.quantization import Quantized, quantize
from flowgrad.rules.suggestion import did_you_mean
from flowgrad.trackers.flow.parameters import plain_name

BACKENDS = ("auto", "torchao", "fake")
MASKED = "masked by torch.nn.utils.prune"
ZEROED = "set to 0"
FAKE = "fake quantisation: rounded values, stored as before"
COMPENSATED = "fake quantisation by the recipe's own numbers, stored as before"


@dataclass(frozen=True, eq=False)
class Compressed:
    """A model that a recipe was applied to."""

    model: nn.Module
    layers: pd.DataFrame
    """Table of one line a tensor that was changed: name, pruned (weights), rows (of a table), bits (NaN: as before),
    how.
    """


def apply_recipe(
    model: nn.Module,
    recipe: Recipe | PruningPlan | RowPlan | QuantizationPlan | str | os.PathLike[str],
    *,
    backend: str = "auto",
    keep_masks: bool = False,
    inplace: bool = False,
) -> Compressed:
    """Apply a recipe to a model.

    To fine-tune between pruning and quantising, apply the two plans one after the other: the first with
    `keep_masks=True`, so that pruned weights stay 0 while the rest are trained; then `make_permanent`, then the second.

    Args:
        model: the one that the plans were made of, or one of the same shapes.
        recipe: a recipe, one plan, or the path of a recipe's file.
        backend: `torchao` quantises `nn.Linear` and `nn.Embedding` in 8 or 4 bits by torchao (extra `compress`), which
            stores a byte a weight either way; all else is rounded in value and stored as before (fake quantisation).
            `fake` does that with all. `auto`: `torchao` where it is installed. `layers` says which. Codes side by side
            are what `write_packed` writes.
        keep_masks: leave pruned weights under `torch.nn.utils.prune`'s masks instead of making them plain zeros. Not
            with a plan that quantises.
        inplace: change the model itself, not a copy.

    Returns:
        The model, and what was done to each tensor.

    Raises:
        FlowGradError: a tensor that the model lacks or that has another shape, weights that are not finite, or others
            than those that the recipe has rounded, a backend that is unknown, masks to be kept and quantised, or a
            model that cannot be copied.
        ImportError: `backend="torchao"` and torchao is not installed.
    """
    if backend not in BACKENDS:
        raise FlowGradError(f"backend={backend!r} is unknown{did_you_mean(backend, BACKENDS)}")
    found = _as_recipe(recipe, model)
    if keep_masks and found.quantization is not None:
        raise FlowGradError(
            "keep_masks=True with a plan that quantises: apply the pruning plan, fine-tune, make_permanent(model), and "
            "then the quantisation plan"
        )
    _check(model, found)
    model = model if inplace else _copied(model)
    by_torchao = backend != "fake" and _any_by_torchao(model, found) and torchao_installed(must=backend == "torchao")
    lines: dict[str, dict[str, Any]] = {}
    order = {module: list(module._parameters) for module in model.modules()}
    for mask in found.pruning.layers if found.pruning else ():
        _mask(model, mask)
        _note(lines, mask.name, pruned=mask.pruned, how=MASKED if keep_masks else ZEROED)
    if not keep_masks:
        make_permanent(model)
        for module, names in order.items():  # taking masks off has put their tensors last
            for own in names:
                module._parameters[own] = module._parameters.pop(own)
    for table in found.rows.tables if found.rows else ():
        _zero_rows(model, table, keep_masks)
        _note(lines, table.name, rows=len(table.rows), how=MASKED if keep_masks else ZEROED)
    for layer in found.quantization.quantized if found.quantization else ():
        _note(lines, layer.name, bits=layer.bits, how=_quantize(model, layer, by_torchao))
    return Compressed(model, _frame(lines))


def make_permanent(model: nn.Module) -> None:
    """Turn every mask of `torch.nn.utils.prune` into zeros among plain parameters, in place."""
    for module in model.modules():
        masks = [own.removesuffix("_mask") for own in module._buffers if own.endswith("_mask")]
        for own in masks:
            if f"{own}_orig" not in module._parameters:
                continue
            shared = module._parameters[f"{own}_orig"]
            prune.remove(module, own)
            # It writes the masked values into the parameter, so that what shares it still does.
            assert module._parameters[own] is shared


def set_values(parameter: nn.Parameter, values: np.ndarray) -> None:
    """Write float32 values into a parameter of any dtype and device."""
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(values)).reshape(parameter.shape))  # it makes () to (1,)


def quantized(tensor: torch.Tensor, layer: LayerBits) -> Quantized:
    """Convert a tensor's weights to whole numbers: the plan's own, or the nearest.

    Args:
        tensor: the weights that the plan was made of, or those that it made of them.
        layer: its bits.

    Raises:
        FlowGradError: the plan has numbers of its own, which are of other weights.
    """
    weights = tensor.detach().to("cpu", torch.float32).numpy()
    if layer.rounded is None:
        return quantize(weights, layer.bits, layer.axis, fitted=layer.fitted)
    _check_rounded(layer, layer.rounded, tensor)
    return layer.rounded.to


def _check_rounded(layer: LayerBits, rounded: Rounded, tensor: torch.Tensor) -> None:
    """Refuse weights that are neither those that were rounded nor what they were rounded to, in their own precision."""
    weights = tensor.detach().cpu()
    if check_of(weights.float().numpy()) == rounded.of:
        return
    if not torch.equal(weights, torch.from_numpy(rounded.to.values()).to(weights.dtype)):
        raise FlowGradError(
            f"{layer.name}: the recipe rounds other weights than these, by numbers of its own. Were they trained on, "
            "cast or pruned after it was made? Take the same bits for them as they are now: "
            "QuantizationAdvisor(model, optimizer, calibration=...).plan_again(plan)"
        )


def _as_recipe(given: Any, model: nn.Module) -> Recipe:
    if isinstance(given, Recipe):
        return given
    if isinstance(given, str | os.PathLike):
        parameters = _parameters(model)
        shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
        # Under a mask of torch.nn.utils.prune a parameter goes by another name; `_check` tells what to do about it.
        masked = {name.removesuffix("_orig"): shape for name, shape in shapes.items() if name.endswith("_orig")}
        return Recipe.read(given, masked | shapes)
    return Recipe.of(given)


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except (RuntimeError, TypeError) as error:
        raise FlowGradError(
            f"{type(model).__name__} cannot be copied ({' '.join(str(error).split())}); copy it yourself, or let it be "
            "changed by inplace=True"
        ) from error


def _check(model: nn.Module, recipe: Recipe) -> None:
    """Check all that could go wrong, before anything is changed."""
    parameters = _parameters(model)
    parts: list[LayerMask | TableRows | LayerBits] = [
        *(recipe.pruning.layers if recipe.pruning else ()),
        *(recipe.rows.tables if recipe.rows else ()),
        *(recipe.quantization.layers if recipe.quantization else ()),
    ]
    for part in parts:
        if part.name not in parameters:
            if f"{part.name}_orig" in parameters:
                raise FlowGradError(
                    f"{part.name} is under a mask of torch.nn.utils.prune; make that permanent first: "
                    "flowgrad.compression.make_permanent(model)"
                )
            raise FlowGradError(
                f"the recipe speaks of {part.name!r}, which {type(model).__name__} lacks"
                f"{did_you_mean(part.name, parameters)}"
            )
        shape = tuple(parameters[part.name].shape)
        if shape != part.shape:
            raise FlowGradError(f"{part.name} has shape {list(shape)}, and the recipe was made for {list(part.shape)}")
        _check_part(part)
        if isinstance(part, LayerBits) and not bool(torch.isfinite(parameters[part.name]).all()):
            raise FlowGradError(f"{part.name} holds NaN or infinite weights, which cannot be quantised")
    for layer in recipe.quantization.quantized if recipe.quantization else ():
        if layer.rounded is not None:
            _check_rounded(layer, layer.rounded, _left(parameters[layer.name], layer.name, recipe))


def _check_part(part: LayerMask | TableRows | LayerBits) -> None:
    """Refuse mistakes of a plan made by hand; NumPy would spread a mask of one row over all of them."""
    if isinstance(part, LayerMask) and (np.asarray(part.keep).dtype != bool or np.shape(part.keep) != part.shape):
        raise FlowGradError(
            f"{part.name}: keep has shape {list(np.shape(part.keep))} and type {np.asarray(part.keep).dtype}; it must "
            f"be true or false for each weight of {list(part.shape)}"
        )
    if isinstance(part, TableRows) and not all(0 <= row < part.shape[0] for row in part.rows):
        odd = next(row for row in part.rows if not 0 <= row < part.shape[0])
        raise FlowGradError(f"{part.name}: there is no row {odd} in a table of {part.shape[0]}")


def _left(parameter: nn.Parameter, name: str, recipe: Recipe) -> torch.Tensor:
    """Weights of a tensor as pruning leaves them."""
    left = parameter.detach().clone()
    for mask in recipe.pruning.layers if recipe.pruning else ():
        if mask.name == name:
            left *= torch.from_numpy(mask.keep).to(left.device)
    for table in recipe.rows.tables if recipe.rows else ():
        if table.name == name:
            left[list(table.rows)] = 0
    return left


def _parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    return {plain_name(path): p for path, p in model.named_parameters(remove_duplicate=False)}


def _holders(model: nn.Module, name: str) -> tuple[nn.Parameter, list[tuple[nn.Module, str]]]:
    parameter = _parameters(model)[name]
    return parameter, [
        (module, own) for module in model.modules() for own, p in module._parameters.items() if p is parameter
    ]


def _mask(model: nn.Module, mask: LayerMask) -> None:
    parameter, holders = _holders(model, mask.name)
    keep = torch.from_numpy(mask.keep).to(parameter.device)
    for module, own in holders:
        prune.custom_from_mask(module, own, keep)


def _zero_rows(model: nn.Module, table: TableRows, keep_masks: bool) -> None:
    if keep_masks:
        keep = np.ones(table.shape, dtype=bool)
        keep[list(table.rows)] = False
        if f"{table.name}_orig" in _parameters(model):  # masked by the pruning plan already; masks are multiplied
            table = TableRows(f"{table.name}_orig", table.shape, table.rows)
            parameter, holders = _holders(model, table.name)
            for module, own in holders:
                mask = torch.from_numpy(keep).to(parameter.device)
                prune.custom_from_mask(module, own.removesuffix("_orig"), mask)
            return
        _mask(model, LayerMask(table.name, table.shape, keep))
        return
    parameter, _ = _holders(model, table.name)
    with torch.no_grad():
        parameter[list(table.rows)] = 0


def _any_by_torchao(model: nn.Module, recipe: Recipe) -> bool:
    """Whether torchao takes any layer at all; importing it takes seconds."""
    layers = recipe.quantization.quantized if recipe.quantization else ()
    return any(_by_torchao(_holders(model, layer.name)[1], layer) for layer in layers)


def _by_torchao(holders: list[tuple[nn.Module, str]], layer: LayerBits) -> bool:
    """Quantise a layer by torchao where it can; not a shared tensor, of which each layer would get its own."""
    return len(holders) == 1 and torchao_can(*holders[0], layer)


def _quantize(model: nn.Module, layer: LayerBits, by_torchao: bool) -> str:
    parameter, holders = _holders(model, layer.name)
    if by_torchao and _by_torchao(holders, layer):
        return quantize_by_torchao(holders[0][0], layer, quantized(parameter, layer))
    set_values(parameter, quantized(parameter, layer).values())
    return FAKE if layer.rounded is None else COMPENSATED


def _note(lines: dict[str, dict[str, Any]], name: str, **told: Any) -> None:
    line = lines.setdefault(name, {})
    how = told.pop("how")
    line.update(told, how=f"{line['how']}, {how}" if line.get("how") not in (None, how) else how)


def _frame(lines: dict[str, dict[str, Any]]) -> pd.DataFrame:
    columns = ["pruned", "rows", "bits", "how"]
    frame = pd.DataFrame.from_dict(lines, orient="index", columns=columns if not lines else None)
    frame.index.name = "name"
    return frame.reindex(columns=columns).fillna({"pruned": 0, "rows": 0}).reset_index()
