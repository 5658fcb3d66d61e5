"""Weights of labels in a binary cross-entropy, solved for from the losses that were told."""

import math

import pytest
import torch
import torch.nn.functional as F

from flowgrad.measures.loss_audit import LossAudit
from flowgrad.trackers.batches import BatchTracker


def batches(looks=10, count=64, shift=0.0):
    random = torch.Generator().manual_seed(0)
    for _ in range(looks):
        y = (torch.rand(count, generator=random) < 0.2).float()
        yield torch.randn(count, generator=random) + 2 * y - 1.8 + shift, y


@pytest.mark.parametrize(
    ("loss_of", "weight"),
    [
        (lambda x, y: F.binary_cross_entropy_with_logits(x, y, pos_weight=torch.tensor(5.0)), 5.0),
        (lambda x, y: F.binary_cross_entropy_with_logits(x, y, weight=torch.where(y == 1, 0.9, 0.3)), 3.0),
        (lambda x, y: F.binary_cross_entropy_with_logits(x, y, reduction="sum"), 1.0),
        (lambda x, y: F.binary_cross_entropy_with_logits(x, y) + 0.01 * x.square().mean(), math.nan),
        (lambda x, y: F.mse_loss(x, y), math.nan),
    ],
)
def test_the_weight_is_solved_for(loss_of, weight):
    audit = LossAudit()
    for x, y in batches():
        audit.see(x, y, loss_of(x, y))
    assert audit.figures()["positive_weight"] == pytest.approx(weight, rel=1e-3, nan_ok=True)


@pytest.mark.parametrize(
    ("weight", "shift", "said"), [(5.0, math.log(5), True), (5.0, -0.6, False), (1.0, math.log(5), False)]
)
def test_probabilities_are_asked_about_where_a_weight_raised_them(weight, shift, said):
    """A click model with pos_weight had the right order, and four times the probabilities; nothing was said."""
    tracker = BatchTracker()
    for place, (x, y) in enumerate(batches(12, 256, shift)):
        loss = F.binary_cross_entropy_with_logits(x, y, pos_weight=torch.tensor(weight))
        tracker.step(torch.arange(256) + 256 * place, y, outputs=x, loss=loss)
    found = [one for one in tracker.findings() if one.type == "PROBABILITIES_OFF_BY_LEVEL"]
    assert [(one.severity, one.fix) for one in found] == ([("low", None)] if said else [])
