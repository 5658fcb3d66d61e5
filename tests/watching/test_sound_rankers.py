"""Rankers of clicks: large tables, drawn small, before a perceptron. Their dense gradients are nearly all zero."""

from itertools import pairwise

import pytest
import torch
from torch import nn

import flowgrad

TINY = {"VANISHING_GRADIENTS", "GRADIENTS_TINY"}


class Ranker(nn.Module):
    """Two tables, and linear layers on their rows."""

    def __init__(self, rows, std, layers, activation):
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(rows, 4) for _ in range(2))
        for table in self.tables:
            nn.init.normal_(table.weight, 0, std)
        widths = [8, *[32] * layers]
        hidden = [part for pair in pairwise(widths) for part in (nn.Linear(*pair), activation())]
        self.net = nn.Sequential(*hidden, nn.Linear(32, 1))

    def read(self, ids):
        """Rows of the batch, shape (batch, 8)."""
        return torch.cat([table(ids[:, k]) for k, table in enumerate(self.tables)], dim=1)

    def forward(self, ids):
        """Scores, shape (batch,)."""
        return self.net(self.read(ids))[:, 0]


class Crossed(Ranker):
    """The same behind two cross layers, in which rows are multiplied with each other (Wang et al. 2021)."""

    def __init__(self, rows, std, layers, activation):
        super().__init__(rows, std, layers, activation)
        self.cross = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))

    def read(self, ids):
        """Rows of the batch, crossed, shape (batch, 8)."""
        first = crossed = super().read(ids)
        for layer in self.cross:
            crossed = first * layer(crossed) + crossed
        return crossed


def watched(rows, std, layers=3, activation=nn.ReLU, steps=80, kind=Ranker):
    random = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind(rows, std, layers, activation)
    tastes = [torch.randn(rows, generator=random) for _ in model.tables]
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    watch = flowgrad.watch(model, optimizer)
    for _ in range(steps):
        ids = (torch.rand(128, 2, generator=random) ** 3 * rows).long()
        clicks = (sum(taste[ids[:, k]] for k, taste in enumerate(tastes)) > 0).float()
        loss = nn.functional.binary_cross_entropy_with_logits(model(ids), clicks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        watch.log(loss=loss.detach())
    return watch


@pytest.mark.parametrize(("rows", "std"), [(300, 0.001), (300, 0.01), (200_000, 0.001), (200_000, 0.05)])
def test_no_cause_is_named_in_sound_rankers(rows, std):
    found = watched(rows, std).findings()
    assert not TINY & {finding.type for finding in found}
    assert not [finding.type for finding in found if finding.fix is not None]


@pytest.mark.parametrize("std", [0.005, 0.02, 0.05])
def test_rows_that_are_multiplied_make_gradients_small_and_no_more(std):
    found = watched(300, std, kind=Crossed).findings()
    assert not TINY & {finding.type for finding in found}


@pytest.mark.parametrize("std", [0.01, 1.0])
def test_behind_tables_gradients_that_vanish_are_still_found(std):
    found = {finding.type for finding in watched(300, std, layers=10, activation=nn.Sigmoid).findings()}
    assert "VANISHING_GRADIENTS" in found
