"""Steps of an optimizer without its hooks."""

from __future__ import annotations

import pytest
import torch

from pipelines.trainers.optimizers import bare_step


def trained(kind, step_of, missing, **settings):
    """Parameters after some steps, in one of which a parameter has no gradient."""
    generator = torch.Generator().manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(size, generator=generator)) for size in (5, 33)]
    optimizer = kind(parameters, lr=0.1, **settings)
    step = step_of(optimizer)
    for number in range(6):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        if number in missing:
            parameters[0].grad = None
        if number == 3:
            optimizer.param_groups[0]["lr"] = 0.03
        step()
    return parameters


@pytest.mark.parametrize("missing", [(), (0,), (0, 2)])
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (torch.optim.Adam, {"fused": True, "weight_decay": 0.1}),
        (torch.optim.AdamW, {"fused": True}),
        (torch.optim.Adam, {}),
        (torch.optim.SGD, {"momentum": 0.9}),
    ],
    ids=str,
)
def test_a_bare_step_moves_as_the_whole_one(kind, settings, missing):
    bare = trained(kind, bare_step, missing, **settings)
    whole = trained(kind, lambda optimizer: optimizer.step, missing, **settings)
    for one, other in zip(bare, whole, strict=True):
        assert torch.equal(one, other)
