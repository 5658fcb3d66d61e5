"""A validation whose ids training never met, beside one of known ids that is learned by heart."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

import flowgrad
from flowgrad.report import validate


class Ranker(nn.Module):
    """Products of the rows of two tables; row 0 of the users is everybody who is not known."""

    def __init__(self):
        super().__init__()
        self.users, self.items = nn.Embedding(121, 8), nn.Embedding(60, 8)
        for table in (self.users, self.items):
            nn.init.normal_(table.weight, std=0.4)
        nn.init.normal_(self.users.weight[:1])

    def forward(self, user, item):
        return (self.users(user) * self.items(item)).sum(1)


def watched(known):
    """Four of five rows train, by labels that follow tastes and chance."""
    torch.manual_seed(0)
    user, item = torch.randint(1, 121, (2500,)), torch.randint(60, (2500,))
    tastes = (torch.randn(121, 2)[user] * torch.randn(60, 2)[item]).sum(1)
    label = (tastes + torch.randn(2500) > 0).float()
    user[2000:] *= known
    model = Ranker()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.04)
    watch = flowgrad.watch(model, optimizer, loss_at_least=0)
    for _ in range(10):
        for rows in torch.randperm(2000).split(100):
            inputs = {"user": user[rows], "item": item[rows]}
            outputs = model(**inputs)
            loss = functional.binary_cross_entropy_with_logits(outputs, label[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.log(loss=loss, inputs=inputs, targets=label[rows], outputs=outputs)
        with torch.no_grad():
            inputs = {"user": user[2000:], "item": item[2000:]}
            outputs = model(**inputs)
            loss = functional.binary_cross_entropy_with_logits(outputs, label[2000:])
        watch.log(val_loss=loss, inputs=inputs, targets=label[2000:], outputs=outputs)
        watch.end_epoch()
    return watch


@pytest.mark.parametrize("known", [True, False])
def test_overfitting_is_not_told_by_rows_that_nothing_trained(known):
    """Most held-out users shared a row that no training row used. Its noise was told as overfitting, with a change, and
    the question about the ids had one line below it.
    """
    watch = watched(known)
    found = {one.type: one for one in watch.findings()}
    validate(watch.to_agent_xml())
    assert ("IDS_NEW_IN_USE" in found) != known
    if known:
        assert found["OVERFITTING"].plain
    else:
        assert {one.type for one in watch.findings() if one.plain} == set()
        assert found["OVERFITTING"].follows == "IDS_NEW_IN_USE"
        text = watch.report()
        assert "UNKNOWN_ROW_UNTRAINED" in text
        assert text.index("IDS_NEW_IN_USE") < text.index("OVERFITTING")
