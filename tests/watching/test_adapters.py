"""Adapters beside a frozen body: the body is silent, adapters that learn are too, and those that cannot are named."""

import math

import pytest
import torch
from torch import nn

import flowgrad
from tests.watching_loops import criterion


class LowRank(nn.Module):
    """Adds a product of two narrow matrices; the second begins at zero, as in LoRA."""

    def __init__(self, base, rank=4):
        super().__init__()
        self.base = base
        self.lora_A = nn.Linear(base.in_features, rank, bias=False)
        self.lora_B = nn.Linear(rank, base.out_features, bias=False)
        nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x):
        return self.base(x) + self.kept(2 * self.lora_B(self.lora_A(x)))

    def kept(self, change):
        return change


class Bottleneck(LowRank):
    """Goes through a narrow layer behind the frozen one; its end begins at zero."""

    def __init__(self, base):
        super().__init__(base)
        self.lora_A = nn.Linear(base.out_features, 4)

    def forward(self, x):
        out = self.base(x)
        return out + self.kept(self.lora_B(torch.relu(self.lora_A(out))))


class Scaled(nn.Module):
    """Multiplies what the frozen layer puts out by a vector, which begins at one."""

    def __init__(self, base):
        super().__init__()
        self.base = base
        self.scale = nn.Parameter(torch.ones(base.out_features))

    def forward(self, x):
        return self.base(x) * self.kept(self.scale)

    def kept(self, scale):
        return scale


class Body(nn.Module):
    def __init__(self, width=16, depth=3):
        super().__init__()
        self.table = nn.Embedding(40, width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.head = nn.Linear(width, 1)

    def forward(self, ids):
        x = self.table(ids).mean(1)
        for layer in self.layers:
            x = x + torch.relu(layer(x))
        return self.head(x).squeeze(1)


def batches(count, shift):
    random = torch.Generator().manual_seed(shift)
    for _ in range(count):
        ids = torch.randint(40, (64, 5), generator=random)
        yield ids, ((ids + shift) % 40 < 20).sum(1).gt(2).float()


def trained(model, optimizer, count, shift, watch=None):
    for ids, labels in batches(count, shift):
        optimizer.zero_grad()
        loss = criterion(model(ids), labels)
        loss.backward()
        if watch is not None:
            watch.log(loss=loss)
        optimizer.step()


def adapted(adapter, dead=(), optimizer=torch.optim.AdamW, lr=0.01, everything=False, head=True):
    """A body that was trained for another task, frozen, and trained on by its adapters."""
    torch.manual_seed(0)
    model = Body()
    trained(model, torch.optim.Adam(model.parameters(), 0.003), 120, 0)
    model.requires_grad_(False)
    model.head.requires_grad_(head)
    for place in range(3):
        model.layers[place] = adapter(model.layers[place])
        if place in dead:
            model.layers[place].kept = torch.Tensor.detach
    held = [one for one in model.parameters() if everything or one.requires_grad]
    optimizer = optimizer(held, lr)
    watch = flowgrad.watch(model, optimizer)
    for _ in range(2):
        trained(model, optimizer, 60, 5, watch)
        watch.end_epoch()
    return watch


ADAPTERS = [LowRank, Bottleneck, Scaled]


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize(("everything", "lr"), [(False, 0.01), (True, 0.001)])
def test_adapters_that_learn_and_their_body_are_silent(adapter, everything, lr):
    """Low-rank adapters take no gradient in their first matrix at first, for the second begins at zero."""
    found = adapted(adapter, everything=everything, lr=lr).findings()
    assert {one.type for one in found} <= {"LEARNING_RATE_TOO_LOW"}


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize(("dead", "head"), [((1,), True), ((0, 2), False), ((0, 1, 2), True)])
def test_dead_adapters_are_named(adapter, dead, head):
    watch = adapted(adapter, dead, head=head)
    (found,) = [one for one in watch.to_report().findings if one.type == "PARAMETERS_WITHOUT_GRADIENT"]
    own = {
        name
        for name, one in watch._model.named_parameters()
        if one.requires_grad and name.startswith(tuple(f"layers.{place}." for place in dead))
    }
    assert found.rows.count == len(own)
    assert {one.id for one in found.rows.shown} <= own
    assert f"layers.{dead[0]}." in watch.report()


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_adapters_that_the_optimizer_was_not_given_are_named(adapter):
    """The optimizer was made before the adapters were."""
    torch.manual_seed(0)
    model = Body()
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    model.requires_grad_(False)
    model.head.requires_grad_(True)
    model.layers[1] = adapter(model.layers[1])
    watch = flowgrad.watch(model, optimizer)
    trained(model, optimizer, 60, 5, watch)
    assert "layers.1" in str([one.rows.index.tolist() for one in watch.findings() if one.rows is not None])
