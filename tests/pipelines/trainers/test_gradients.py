"""Gradients by formula against those of autograd, and the pairs of a batch that its softmax leaves out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipelines.data.ratings import Examples
from pipelines.trainers.factorization.gradients import InBatchSoftmaxGradients, SquaredErrorGradients, formula_of
from pipelines.trainers.factorization.losses import InBatchSoftmax, MeanSquaredError, repeated
from pipelines.trainers.factorization.models.factorization import MatrixFactorization
from pipelines.trainers.stacked import stacked

USERS, ITEMS, SIZE = 7, 9, 20


def models_of(count, biases):
    generator = torch.Generator().manual_seed(0)
    made = [
        MatrixFactorization(USERS, ITEMS, 3.5, dim=4, biases=biases, init_std=0.5, sparse=False, generator=generator)
        for _ in range(count)
    ]
    for model in made if biases else ():
        for table in (model.user_bias, model.item_bias):
            torch.nn.init.normal_(table.weight, generator=generator)
    return made


def batch_of(count):
    generator = torch.Generator().manual_seed(1)
    users, items = (torch.randint(high, (count, SIZE), generator=generator) for high in (USERS, ITEMS))
    return Examples(users, items, torch.rand(count, SIZE, generator=generator))


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("l2", [0.0, 0.3])
@pytest.mark.parametrize(
    ("formula", "loss", "logq"),
    [
        (SquaredErrorGradients, MeanSquaredError, 0.0),
        (InBatchSoftmaxGradients, InBatchSoftmax, 0.0),
        (InBatchSoftmaxGradients, InBatchSoftmax, 0.7),
    ],
)
def test_a_formula_gives_what_autograd_gives_each_model(formula, loss, logq, l2, biases):
    """The same to the last bit, or training would amplify the difference."""
    models, batch = models_of(3, biases), batch_of(3)
    train = Examples(*(part.flatten() for part in vars(batch).values()))
    criterion = loss(train, ITEMS, l2=l2, logq=logq)
    expected = []
    for model, own in zip(models, [batch[place] for place in range(3)], strict=True):
        data_loss, penalty = criterion.terms(model, own)
        (data_loss + penalty).backward()
        expected.append((data_loss.detach(), {name: held.grad for name, held in model.named_parameters()}))
    together = stacked(models)
    gradients = formula(together, criterion)
    gradients.set(batch_of(3)[..., :11])  # whose gradients are not to add to those of the next
    losses = gradients.set(batch)
    assert losses.tolist() == [data_loss.item() for data_loss, _ in expected]
    for name, held in together.named_parameters():
        for own, (_, gradient) in zip(held.grad.chunk(3), expected, strict=True):
            alone = gradient[name]
            assert torch.equal(own, torch.zeros_like(own) if alone is None else alone), name


class HalvedError(MeanSquaredError):
    """A loss of a user's own."""


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], SquaredErrorGradients),
        (["fault=conflict_random"], SquaredErrorGradients),
        (["loss=in_batch_softmax", "training=ranking"], InBatchSoftmaxGradients),
        (["loss=bpr", "training=ranking"], None),
        (["optimizer=sparse_adam"], None),
        (["fault=frozen"], None),
        (["model=neumf", "tracker=neumf"], None),
        ([f"loss._target_={__name__}.HalvedError"], None),
    ],
    ids=str,
)
def test_what_may_compute_something_else_has_no_formula(composed, overrides, expected):
    assert formula_of(composed("dataset=synthetic", *overrides, rules=False)) is expected


@given(st.lists(st.integers(0, 6), min_size=1, max_size=12))
def test_repeated_items_are_all_pairs_of_others_with_the_same_item(items):
    pairs = [
        place * len(items) + other
        for place, item in enumerate(items)
        for other, same in enumerate(items)
        if other != place and same == item
    ]
    assert repeated(torch.tensor(items)).tolist() == pairs
