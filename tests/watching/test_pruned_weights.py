"""Weights that were pruned and come back while they are tuned, beside masks that are kept and zeros of initialisers."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune

import flowgrad


def cut(weight, share=0.8):
    """Mask of the largest entries; the others are set to zero."""
    with torch.no_grad():
        mask = weight.abs() > weight.abs().flatten().quantile(share)
        weight.mul_(mask)
    return mask


def watched(kind):
    """A watched training of a network that is pruned before it, or within it, as `kind` says."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(48, 48), nn.Tanh(), nn.Linear(48, 2))
    layer = model[0]
    x = torch.randn(128, 48)
    y = (x[:, :4].sum(1) > 0).long()
    mask = cut(layer.weight) if kind in ("cut before", "mask behind steps", "mask before passes") else None
    if kind == "kept by torch":
        prune.l1_unstructured(layer, "weight", 0.8)
    if kind == "drawn sparse":
        nn.init.sparse_(layer.weight, 0.8)
    if kind == "identity":
        nn.init.eye_(layer.weight)
    if kind == "new inputs":
        with torch.no_grad():
            layer.weight[:, 24:] = 0
    if kind == "zero rows":
        with torch.no_grad():
            layer.weight[:24] = 0
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    watch = flowgrad.watch(model, optimizer)
    for epoch in range(6):
        if kind == "cut within" and epoch == 3:
            cut(layer.weight)
        for k in range(0, 128, 16):
            if kind == "mask before passes":
                layer.weight.data.mul_(mask)
            loss = F.cross_entropy(model(x[k : k + 16]), y[k : k + 16])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if kind == "mask behind steps":
                layer.weight.data.mul_(mask)
            watch.log(loss=loss)
        watch.end_epoch()
    if kind == "cut within":
        cut(layer.weight)  # what is shipped
    watch.detach()
    return watch


@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        ("cut before", True),
        ("cut within", True),
        ("mask behind steps", False),
        ("mask before passes", False),
        ("kept by torch", False),
        ("drawn sparse", False),
        ("identity", False),
        ("new inputs", False),
        ("zero rows", False),
    ],
)
def test_pruned_weights_that_come_back_are_asked_about(kind, asked):
    """A network was pruned to 95 % zeros and tuned without a mask; the report said that it was healthy."""
    found = [one for one in watched(kind).findings() if one.type == "PRUNED_WEIGHTS_COME_BACK"]
    assert [one.severity for one in found] == ["medium"] * asked
    if asked:
        assert [one.cause for one in found[0].candidates] == ["MASK_NOT_KEPT", "REGROWN_ON_PURPOSE"]
        assert found[0].fix is None
        assert not found[0].plain
