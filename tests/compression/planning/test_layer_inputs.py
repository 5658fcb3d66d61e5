"""Second moments of layers' inputs: they must say what a change of weights does to the outputs."""

import numpy as np
import pytest
import torch
from torch import nn

from flowgrad.compression.planning import gptq, layer_inputs
from flowgrad.compression.planning.gptq import output_error
from flowgrad.compression.planning.layer_inputs import input_moments


def moments_of(model, *inputs):
    names = dict(model.named_parameters())
    return input_moments(
        model, {name: p for name, p in names.items() if p.dim() > 1}, lambda: [model(x) for x in inputs]
    )


LAYERS = [
    (lambda: nn.Linear(5, 3), (7, 5)),
    (lambda: nn.Linear(5, 3), (4, 6, 5)),
    (lambda: nn.Conv1d(4, 3, 3, padding=1, stride=2), (5, 4, 11)),
    (lambda: nn.Conv1d(4, 3, 4, padding="same", dilation=2), (5, 4, 11)),
    (lambda: nn.Conv1d(4, 3, 3, padding="valid"), (4, 11)),
    (lambda: nn.Conv2d(2, 3, (3, 2), padding=(1, 0), stride=(2, 1)), (5, 2, 8, 7)),
    (lambda: nn.Conv2d(2, 3, 3, padding="same", dilation=(1, 2)), (5, 2, 8, 7)),
]


@pytest.mark.parametrize(("make", "shape"), LAYERS)
def test_they_give_the_change_of_the_outputs(make, shape):
    torch.manual_seed(0)
    layer = make()
    batches = [torch.randn(shape) + 0.3, torch.randn(shape)]
    found = moments_of(layer, *batches)
    change = torch.randn_like(layer.weight)
    changed = make()
    with torch.no_grad():
        changed.weight.copy_(change)
        changed.bias.zero_()
        outputs = torch.stack([changed(x) for x in batches])
    units = outputs if isinstance(layer, nn.Linear) else outputs.movedim(outputs.dim() - len(layer.kernel_size) - 1, -1)
    by_hand = units.reshape(-1, 3).square().mean(0).numpy()
    np.testing.assert_allclose(output_error(change.numpy(), found["weight"]), by_hand, rtol=1e-4)


def test_a_layer_called_twice_counts_both():
    layer = nn.Linear(3, 3)
    model = nn.Sequential(layer, layer)
    x = torch.randn(6, 3)
    both = torch.cat([x, layer(x)]).detach().double()
    np.testing.assert_allclose(moments_of(model, x)["0.weight"], (both.T @ both / 12).numpy(), rtol=1e-5)


def test_a_layer_called_by_keyword():
    layer, x = nn.Linear(3, 2), torch.randn(5, 3)
    found = input_moments(layer, {"weight": layer.weight}, lambda: layer(input=x))
    np.testing.assert_allclose(found["weight"], (x.T @ x / 5).numpy(), rtol=1e-5)


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(4, 8)
        self.shared = nn.Linear(8, 4, bias=False)
        self.shared.weight = self.table.weight
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.grouped = nn.Conv1d(8, 8, 3, groups=2)
        self.reflected = nn.Conv1d(8, 8, 3, padding=1, padding_mode="reflect")
        self.idle = nn.Linear(8, 2)
        self.plain = nn.Linear(8, 8)

    def forward(self, ids):
        x = self.plain(self.table(ids))
        x = self.attention(x, x, x)[0].transpose(1, 2)
        return self.shared(self.reflected(self.grouped(x)).transpose(1, 2))


def test_what_cannot_be_seen_is_left_out():
    model = Odd()
    assert set(moments_of(model, torch.randint(0, 4, (3, 7)))) == {"plain.weight"}
    assert not any(module._forward_hooks for module in model.modules())


def test_hooks_go_when_the_model_fails():
    model = nn.Linear(3, 2)
    with pytest.raises(RuntimeError):
        moments_of(model, torch.randn(2, 4))
    assert not model._forward_hooks


def test_of_large_pictures_the_first_are_taken(monkeypatch):
    layer, x = nn.Conv2d(1, 1, 1), torch.randn(4, 1, 5, 5)
    monkeypatch.setattr(layer_inputs, "_MOST_NUMBERS", 60)
    np.testing.assert_allclose(moments_of(layer, x)["weight"][0, 0], float(x[:2].square().mean()), rtol=1e-5)


class Padded(nn.Linear):
    """Does something else to its input than its class says."""

    def forward(self, x):
        return super().forward(nn.functional.pad(x, (0, 1)))


def test_subclasses_and_inputs_that_are_not_dense_are_left_out():
    model = nn.Sequential(Padded(4, 3), nn.Linear(3, 2))
    assert set(moments_of(model, torch.randn(5, 3))) == {"1.weight"}
    linear = nn.Linear(3, 2, bias=False)
    assert not moments_of(linear, torch.randn(5, 3).to_sparse())
    assert not moments_of(linear, torch.randn(5, 3), torch.randn(5, 3).to_sparse(), torch.randn(5, 3))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_moments_are_exact_where_the_model_computes_in_half_precision(dtype):
    torch.manual_seed(0)
    layer, x = nn.Linear(6, 2), torch.randn(500, 6) + 30

    def run():
        with torch.autocast("cpu", dtype):
            layer(x)

    found = input_moments(layer, {"weight": layer.weight}, run)["weight"]
    np.testing.assert_allclose(found, (x.double().T @ x.double() / 500).numpy(), rtol=1e-5)
    assert np.linalg.eigvalsh(found).min() > 0


def test_layers_that_are_too_large_are_not_watched(monkeypatch):
    monkeypatch.setattr(gptq, "_MOST_WORK", 1000)
    assert set(moments_of(nn.Sequential(nn.Linear(12, 5), nn.Linear(5, 5)), torch.randn(4, 12))) == {"1.weight"}
