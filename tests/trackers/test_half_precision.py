"""Weights of 16 bits whose small steps are rounded away."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import flowgrad


def found(dtype, lr, *, autocast=False):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 4)).to(dtype)
    optimizer = torch.optim.AdamW(model.parameters(), lr)
    with flowgrad.watch(model, optimizer) as watch:
        for _ in range(40):
            x = torch.randn(32, 16)
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                loss = F.cross_entropy(model(x.to(dtype)).float(), (x[:, :4] @ torch.eye(4)).argmax(1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.log(loss=loss)
    return {one.type: [candidate.cause for candidate in one.candidates] for one in watch.findings()}


def test_small_steps_of_bfloat16_weights_are_asked_about():
    assert found(torch.bfloat16, 1e-4)["UPDATES_ROUNDED_AWAY"][0] == "WEIGHTS_OF_16_BITS"


@pytest.mark.parametrize(
    ("dtype", "lr", "autocast"),
    [(torch.float32, 1e-4, True), (torch.float32, 1e-4, False), (torch.bfloat16, 0.01, False)],
)
def test_weights_of_32_bits_and_steps_that_are_large_enough_are_silent(dtype, lr, autocast):
    assert "UPDATES_ROUNDED_AWAY" not in found(dtype, lr, autocast=autocast)
