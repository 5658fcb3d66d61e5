"""Sequences of tokens and their targets."""

import math

import numpy as np
import pytest

from flowgrad.measures.sequences import place_losses, sequence_figures


def rows(seed=0, count=200, length=30):
    """Sequences in which some tokens are frequent, others in each."""
    random = np.random.default_rng(seed)
    own = random.dirichlet(np.full(40, 0.3), count)
    return np.stack([random.choice(40, length, p=shares) for shares in own])


def test_targets_with_the_tokens_of_their_rows_agree_and_those_of_others_do_not():
    tokens = rows()
    assert sequence_figures(tokens, (tokens + 3) % 40)["sequence_agreement_z"] > 10
    assert abs(sequence_figures(tokens, rows(seed=1))["sequence_agreement_z"]) < 4


@pytest.mark.parametrize("kinds", [2, 5])
def test_tags_of_few_kinds_are_not_compared_by_which_of_them_a_row_has(kinds):
    """Tags of which each follows from its token were said not to belong to their rows."""
    tokens = rows()
    assert all(math.isnan(value) for value in sequence_figures(tokens, tokens % kinds).values())


def test_rows_that_end_in_padding_have_no_last_place():
    tokens = rows(count=32, length=9)
    scores = np.zeros((32 * 8, 40))
    whole = place_losses(scores, tokens[:, 1:], tokens[:, :-1])
    assert whole["last_place"] == pytest.approx(math.log(40))
    tokens[:10, 5:] = 0
    assert place_losses(scores, tokens[:, 1:], tokens[:, :-1]) == {}
