"""Several models of one kind as one, so that a step of all of them takes the operations of a single one."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

Model = TypeVar("Model", bound=nn.Module)


def stacked(models: Sequence[Model]) -> Model:
    """Make one model of several whose parts are tables and linear layers. Its parameters hold theirs one below the
    other, along the first dimension; theirs become views of it, so that what it learns they have learned.

    Args:
        models: of one class and the same sizes; the stack's buffers are those of the first.

    Returns:
        A model of their class, which takes ids of shape (models, n).
    """
    made = copy.deepcopy(models[0])
    for name, part in list(made.named_modules()):
        if type(part) in _STACKED:
            made.set_submodule(name, _STACKED[type(part)]([model.get_submodule(name) for model in models]))
    for name, parameter in made.named_parameters():
        for model, own in zip(models, parameter.detach().chunk(len(models)), strict=True):
            model.get_parameter(name).data = own
    return made


class _StackedTable(nn.Module):
    """Tables of embeddings. A lookup adds each model's first row to its ids."""

    def __init__(self, tables: Sequence[nn.Embedding]) -> None:
        super().__init__()
        self.weight = _below_each_other([table.weight for table in tables])
        self._sparse = tables[0].sparse
        self._first = torch.arange(len(tables))[:, None] * len(tables[0].weight)

    def forward(self, ids: Tensor) -> Tensor:
        """Rows of each model, shape (models, n, dim)."""
        flat = (ids + self._first).flatten()
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
        self.weight = _below_each_other([layer.weight for layer in layers])
        self.bias = _below_each_other([layer.bias for layer in layers])

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs of each model, shape (models, n, outputs)."""
        weight, bias = (held.unflatten(0, (self._models, -1)) for held in (self.weight, self.bias))
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


def _below_each_other(parameters: Sequence[Tensor]) -> nn.Parameter:
    return nn.Parameter(torch.cat([parameter.detach() for parameter in parameters]))


_STACKED = {nn.Embedding: _StackedTable, nn.Linear: _StackedLinear}
