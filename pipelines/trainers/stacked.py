"""Several models of one kind as one, so that a step of all of them takes the operations of a single one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

Model = TypeVar("Model", bound=nn.Module)


def stacked(models: Sequence[Model]) -> Model:
    """Make one model of several whose parameters are those of tables, linear layers and normalisations. Its parameters
    hold theirs one below the other, along the first dimension; theirs become views of it, so that what it learns they
    have learned.

    Args:
        models: of one class and the same sizes. Buffers of their own, which are no part's, are those of the first.

    Returns:
        A model of their class, which takes ids of shape (models, n), inputs of shape (models, n, inputs).
    """
    made = copy.deepcopy(models[0])
    for name, part in list(made.named_modules()):
        if type(part) in _STACKED:
            made.set_submodule(name, _STACKED[type(part)]([model.get_submodule(name) for model in models]))
    for name, parameter in made.named_parameters():
        if (place := place_of(made, name)) is not None:
            models[place].get_parameter(name.rpartition(".")[0]).data = parameter.detach()
            continue
        for model, own in zip(models, parameter.detach().chunk(len(models)), strict=True):
            model.get_parameter(name).data = own
    for name, part in made.named_modules():
        if isinstance(part, _StackedBatchNorm):
            part.share([model.get_submodule(name) for model in models])
    return made


def rows_of(table: nn.Module, rows: Tensor) -> Tensor:
    """Rows of a table, or the same rows of each model of a stacked one, shape (models, rows)."""
    return rows + table.first if isinstance(table, _StackedTable) else rows[None]


def place_of(stack: nn.Module, name: str) -> int | None:
    """Number of the model that a parameter of a stack belongs to, by its name; None where it holds those of all."""
    whole, _, place = name.rpartition(".")
    return int(place) if isinstance(stack.get_submodule(whole), nn.ParameterList) else None


class _StackedTable(nn.Module):
    """Tables of embeddings. A lookup adds each model's first row to its ids."""

    def __init__(self, tables: Sequence[nn.Embedding]) -> None:
        super().__init__()
        self.weight = _below_each_other([table.weight for table in tables])
        self._sparse = tables[0].sparse
        self.first = torch.arange(len(tables))[:, None] * len(tables[0].weight)
        """First row of each model, shape (models, 1)."""

    def forward(self, ids: Tensor) -> Tensor:
        """Rows of each model, shape (models, n, dim)."""
        flat = (ids + self.first).flatten()
        # The gradient of `functional.embedding` takes five times as long as that of a selection, unless it is sparse.
        rows = (
            functional.embedding(flat, self.weight, sparse=True) if self._sparse else self.weight.index_select(0, flat)
        )
        return rows.view(*ids.shape, -1)


class _StackedLinear(nn.Module):
    """Linear layers, which take inputs of shape (models, n, inputs)."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self._models = len(layers)
        self.weight = _together([layer.weight for layer in layers])
        self.bias = _together([layer.bias for layer in layers])

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs of each model, shape (models, n, outputs)."""
        weight, bias = _of_each(self.weight, self._models), _of_each(self.bias, self._models)
        outputs: Tensor = _BatchedLinear.apply(inputs, weight, bias)
        return outputs


class _BatchedLinear(torch.autograd.Function):
    """Linear layers by batched products, each laid out so that it rounds as `functional.linear` and its gradients do.
    Training amplifies a difference in the last bit beyond what runs of one seed may differ by.
    """

    @staticmethod
    def forward(context: Any, inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Outputs of shape (models, n, outputs), by weights (models, outputs, inputs) and biases (models, outputs)."""
        context.save_for_backward(inputs, weight)
        if weight.shape[1] == 1:
            return torch.baddbmm(bias[:, :, None], weight, inputs.mT).mT
        return torch.baddbmm(bias[:, None], inputs, weight.mT)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of inputs, weights and biases."""
        (outer,), (inputs, weight) = gradients, context.saved_tensors
        return torch.bmm(outer, weight), torch.bmm(outer.mT, inputs), outer.sum(dim=1)


class _StackedLayerNorm(nn.Module):
    """Normalisations over the units of a row, of inputs of shape (models, n, units)."""

    def __init__(self, layers: Sequence[nn.LayerNorm]) -> None:
        super().__init__()
        self._models, self._shape, self._eps = len(layers), layers[0].normalized_shape, layers[0].eps
        self.weight = _together([layer.weight for layer in layers])
        self.bias = _together([layer.bias for layer in layers])

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalised units of each model, of the shape of the inputs."""
        weight, bias = _of_each(self.weight, self._models), _of_each(self.bias, self._models)
        return functional.layer_norm(inputs, self._shape, eps=self._eps) * weight[:, None] + bias[:, None]


class _StackedBatchNorm(nn.Module):
    """Normalisations over the rows of a batch, of inputs of shape (models, n, units): the units of all models are
    those of one normalisation.
    """

    def __init__(self, layers: Sequence[nn.BatchNorm1d]) -> None:
        super().__init__()
        self._models, self._momentum, self._eps = len(layers), layers[0].momentum, layers[0].eps
        self.weight = _together([layer.weight for layer in layers])
        self.bias = _together([layer.bias for layer in layers])
        for name in ("running_mean", "running_var"):
            self.register_buffer(name, torch.cat([layer.get_buffer(name) for layer in layers]))

    def share(self, layers: Sequence[nn.Module]) -> None:
        """Make the running figures of the models views of those of the stack."""
        for name in ("running_mean", "running_var"):
            for layer, own in zip(layers, self.get_buffer(name).chunk(len(layers)), strict=True):
                layer.register_buffer(name, own)

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalised units of each model, of the shape of the inputs."""
        models, rows, units = inputs.shape
        normalised = functional.batch_norm(
            inputs.transpose(0, 1).reshape(rows, models * units),
            self.get_buffer("running_mean"),
            self.get_buffer("running_var"),
            _of_each(self.weight, self._models).flatten(),
            _of_each(self.bias, self._models).flatten(),
            training=True,
            momentum=self._momentum or 0.0,
            eps=self._eps,
        )
        return normalised.view(rows, models, units).transpose(0, 1)


_ALIGNED = 16
"""Number of values that a processor takes at once, at most. Those that are left over at the end of a tensor may be
rounded in another way; where each model leaves some over, the optimizer gets a tensor of each.
"""


def _together(parameters: Sequence[Tensor]) -> nn.Parameter | nn.ParameterList:
    """The parameters as one, below each other, where that rounds as each of them does."""
    if parameters[0].numel() % _ALIGNED:
        kept = parameters[0].requires_grad
        return nn.ParameterList(nn.Parameter(one.detach().clone(), requires_grad=kept) for one in parameters)
    return _below_each_other(parameters)


def _of_each(held: Any, models: int) -> Tensor:
    """The parameters of each model, shape (models, ...)."""
    return torch.stack(list(held)) if isinstance(held, nn.ParameterList) else held.unflatten(0, (models, -1))


def _below_each_other(parameters: Sequence[Tensor]) -> nn.Parameter:
    together = torch.cat([parameter.detach() for parameter in parameters])
    return nn.Parameter(together, requires_grad=parameters[0].requires_grad)


_STACKED: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    nn.Embedding: _StackedTable,
    nn.Linear: _StackedLinear,
    nn.LayerNorm: _StackedLayerNorm,
    nn.BatchNorm1d: _StackedBatchNorm,
}
