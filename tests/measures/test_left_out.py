"""Classes that a loss leaves out, by batches that were told."""

import pytest
import torch
from torch.nn import functional as F

from flowgrad import BatchTracker


def findings(kind):
    random = torch.Generator().manual_seed(0)
    tracker = BatchTracker()
    for _ in range(12):
        inputs = torch.randint(2, 40, (16, 12), generator=random)
        tags = torch.randint(0, 4, inputs.shape, generator=random)
        if kind == "masked":  # as BERT4Rec is trained: what is masked is asked for, and all else has label 0
            asked = torch.rand(inputs.shape, generator=random) < 0.2
            tags, inputs = (inputs % 3 + 1).masked_fill(~asked, 0), inputs.masked_fill(asked, 1)
        if kind == "padded":
            ends = torch.arange(12) >= torch.randint(4, 12, (16, 1), generator=random)
            tags, inputs = (tags % 3 + 1).masked_fill(ends, 0), inputs.masked_fill(ends, 0)
        outputs = torch.randn(16, 12, 4, generator=random)
        ignored = -100 if kind == "whole" else 0
        loss = F.cross_entropy(outputs.flatten(0, 1), tags.flatten(), ignore_index=ignored)
        tracker.step(inputs, tags, outputs=outputs, loss=loss)
    return {found.type: [candidate.cause for candidate in found.candidates] for found in tracker.findings()}


def test_a_class_that_shares_its_number_with_what_is_ignored_is_asked_about():
    """A tagger's commonest class was 0, ignore_index too, and all was said to be healthy."""
    assert findings("class")["CLASS_LEFT_OUT_OF_THE_LOSS"][0] == "IGNORED_NUMBER_IS_A_CLASS"


@pytest.mark.parametrize("kind", ["masked", "padded", "whole"])
def test_padding_and_places_that_are_not_masked_are_left_out_in_silence(kind):
    assert "CLASS_LEFT_OUT_OF_THE_LOSS" not in findings(kind)
