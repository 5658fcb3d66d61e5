"""Models, data and loops that several tests of `watch` train."""

from __future__ import annotations

import torch
from torch import nn

from flowgrad.rules import RuleBook

SIZES = (30, 50, 40)


class Ranker(nn.Module):
    """Tables of three columns of ids, and a perceptron over their rows."""

    def __init__(self, sizes=SIZES, *, sparse=False, width=8):
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size, width, sparse=sparse) for size in sizes)
        self.net = nn.Sequential(nn.Linear(width * len(sizes), 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, ids):
        rows = [table(ids[:, place]) for place, table in enumerate(self.tables)]
        return self.net(torch.cat(rows, 1)).squeeze(1)


def data(rows=640, sizes=SIZES, seed=0):
    """Ids and labels that follow from an effect of each id."""
    random = torch.Generator().manual_seed(seed)
    ids = torch.stack([torch.randint(size, (rows,), generator=random) for size in sizes], 1)
    effects = [torch.randn(size, generator=random) for size in sizes]
    scores = sum(effect[ids[:, place]] for place, effect in enumerate(effects))
    return ids, (scores > 0).float()


def batches(size=64, epochs=1, **settings):
    ids, labels = data(**settings)
    return epochs * list(zip(ids.split(size), labels.split(size), strict=True))


def made(seed=0, **settings):
    torch.manual_seed(seed)
    return Ranker(**settings)


criterion = nn.BCEWithLogitsLoss()


def train(model, optimizers, watch=None, steps=40, *, log=True):
    """The plain loop; several optimizers step one after the other."""
    rows = batches(epochs=-(-steps // 10))
    for ids, labels in rows[:steps]:
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss = criterion(model(ids), labels)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        if watch is not None and log:
            watch.log(loss=loss)
    return model


def alike(one, other):
    """Whether two models have the same weights, bit for bit."""
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


STOP = RuleBook.from_mapping(
    {
        "over": {
            "subject": "flow", "type": "OVER", "severity": "high", "condition": "epochs >= 2", "premise": "p",
            "implies": "i", "action": "A", "expected_effect": "e", "in_training": {"stop": True},
        }
    }
)  # fmt: skip
"""Rules that ask for the end of a training from its second epoch on; two looks in a row have to."""
