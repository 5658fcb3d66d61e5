import pytest
import torch
from torch import nn
from torch.optim import SGD, Adagrad, SparseAdam

from flowgrad import FlowTracker
from flowgrad.trackers.flow.look import DeviceLook
from flowgrad.trackers.schedules import every

SIZES = {"small": 30, "large": 4000}
BATCH = 512

OPTIMIZERS = {
    "SparseAdam": (SparseAdam, True),
    "Adagrad": (Adagrad, True),
    "SGD": (SGD, False),
    "subclass": (type("Mine", (SparseAdam,), {}), False),
}
"""Optimizers that take sparse gradients, and whether their steps coalesce these and do nothing else with them."""


class Tables(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        for name, rows in SIZES.items():
            setattr(self, name, nn.Embedding(rows, 4, sparse=True))

    def forward(self, ids):
        return sum((getattr(self, name)(ids % rows) ** 2).sum() for name, rows in SIZES.items())


def trained(made, *, watched=True, steps=6, within=(), behind=(), closure=False):
    """Train on batches that look rows up more than once.

    Args:
        made: class of the optimizer.
        within: hooks that run between the step and the tracker's hook behind it.
        behind: hooks that run between the tracker's hook before the step and the step.

    Returns:
        The model, its tracker, and the gradients by tensor as they were before the last step.
    """
    model = Tables()
    optimizer = made(model.parameters(), lr=0.05)
    for hook in within:
        optimizer.register_step_post_hook(hook)
    tracker = FlowTracker(model, optimizer, schedule=every(1)) if watched else None
    for hook in behind:
        optimizer.register_step_pre_hook(hook)
    random, before = torch.Generator().manual_seed(5), {}
    for _ in range(steps):
        ids = (torch.rand(BATCH, generator=random) ** 2 * SIZES["large"]).long()

        def loss(ids=ids):
            optimizer.zero_grad()
            model(ids).backward()

        if not closure:
            loss()
        before = {name: p.grad for name, p in model.named_parameters()}
        optimizer.step(loss if closure else None)
        if tracker is not None:
            tracker.step()
    return model, tracker, before


def gradients(optimizer):
    return [p.grad for p in optimizer.param_groups[0]["params"]]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("closure", [False, True])
def test_weights_are_those_of_a_run_that_is_not_watched(name, closure):
    made, _ = OPTIMIZERS[name]
    bare, watched = (trained(made, watched=flag, closure=closure)[0] for flag in (False, True))
    assert same(bare, watched)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_gradients_are_the_users_own_after_the_step(name):
    model, _, before = trained(OPTIMIZERS[name][0])
    for place, parameter in model.named_parameters():
        assert parameter.grad is before[place]
        assert not parameter.grad.is_coalesced()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_reads_the_sums_of_the_look_where_it_would_sum_itself(name):
    made, shares = OPTIMIZERS[name]
    seen = []
    trained(made, steps=1, within=[lambda one, *_: seen.extend(g.is_coalesced() for g in gradients(one))])
    assert seen == [shares, shares]


def test_a_hook_of_the_user_behind_the_look_gets_the_users_gradients():
    def clip(optimizer, *_):
        for gradient in gradients(optimizer):
            seen.append(gradient.is_coalesced())
            gradient.mul_(1 / 3)

    seen = []
    bare, watched = (trained(SparseAdam, watched=flag, behind=[clip])[0] for flag in (False, True))
    assert not any(seen)
    assert same(bare, watched)


def test_gradients_that_are_written_to_within_the_step_stay_so():
    def zero(optimizer, *_):
        for gradient in gradients(optimizer):
            gradient.zero_()

    model, _, _ = trained(SparseAdam, within=[zero])
    assert all(float(p.grad.to_dense().abs().sum()) == 0 for p in model.parameters())


def test_gradients_are_given_back_where_watching_ends_before_the_step(monkeypatch):
    def fail(look, scale):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(DeviceLook, "gradients", fail)
    with pytest.warns(UserWarning, match="out of memory"):
        model, _, before = trained(SparseAdam, steps=1)
    assert all(parameter.grad is before[place] for place, parameter in model.named_parameters())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_norms_are_those_of_the_gradients(name):
    _, tracker, before = trained(OPTIMIZERS[name][0])
    read = tracker.history("gradient_norm").iloc[-1]
    for place, gradient in before.items():
        whole = float(gradient.to_dense().norm())
        assert read[place] == pytest.approx(whole, rel=1e-5 if OPTIMIZERS[name][1] or "small" in place else 0.25)


def test_norms_of_changes_are_about_those_of_the_whole_table():
    tables = []
    _, tracker, _ = trained(
        SparseAdam, within=[lambda one, *_: tables.append([p.detach().clone() for p in one.param_groups[0]["params"]])]
    )
    read = tracker.history("velocity").iloc[-1]
    for place, before, now in zip(read.index, *tables[-2:], strict=True):
        assert read[place] == pytest.approx(float((now - before).norm()), rel=0.1), place
