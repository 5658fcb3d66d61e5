"""Losses of outputs too large to be copied are recomputed as those of small ones are."""

import pytest
import torch
import torch.nn.functional as F

from flowgrad.measures import loss_batch, loss_large
from flowgrad.measures.loss_audit import LossAudit

LOOKS = 6


@pytest.fixture
def large(monkeypatch):
    """Everything of more than a hundred values is large, and read in several parts."""
    monkeypatch.setattr(loss_large, "MOST", 100)
    monkeypatch.setattr(loss_batch, "MOST", 100_000)
    monkeypatch.setattr(loss_large, "_AT_ONCE", 300)


def _batches(shape, classes, kind=lambda x: x):
    generator = torch.Generator().manual_seed(0)
    for _ in range(LOOKS):
        x = torch.randn(*shape, classes, generator=generator)
        yield kind(x), torch.randint(1, classes, shape, generator=generator)


def _figures(losses):
    audit = LossAudit()
    for x, t, loss, inputs in losses:
        audit.see(x, t, loss, inputs)
    return audit.figures()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("layout", ["rows, places, items", "rows, items, places", "flat"])
def test_a_plain_cross_entropy_is_recomputed(large, layout, smoothing):
    """Of (32, 200, 1683) scores of a next-item model nothing was recomputed, for they were too many."""

    def told():
        for x, t in _batches((8, 7), 11):
            loss = F.cross_entropy(x.reshape(-1, 11), t.reshape(-1), label_smoothing=smoothing)
            if layout == "flat":
                yield x.reshape(-1, 11), t.reshape(-1), loss, None
            else:
                yield (x if layout == "rows, places, items" else x.transpose(1, 2)), t, loss, None

    found = _figures(told())
    assert (found["loss_looks"], found["loss_unread"]) == (LOOKS, 0)
    assert found["loss_known"] == 1


@pytest.mark.parametrize(("ignored", "counted"), [(-100, 1.0), (0, 0.0)])
def test_padding_in_the_mean_is_seen(large, ignored, counted):
    def told():
        for x, t in _batches((12, 9), 11):
            lengths = torch.arange(12) % 5 + 3
            t = t.masked_fill(torch.arange(9) >= lengths[:, None], 0)
            yield x, t, F.cross_entropy(x.reshape(-1, 11), t.reshape(-1), ignore_index=ignored), t

    assert _figures(told())["padding_counted"] == counted


def test_mistakes_are_seen_and_another_loss_is_none(large):
    def softmaxed():
        for x, t in _batches((8, 7), 11, lambda x: x.softmax(-1)):
            yield x, t, F.cross_entropy(x.reshape(-1, 11), t.reshape(-1)), None

    def raw():
        for x, t in _batches((8, 7), 11):
            yield x, t, F.nll_loss(x.reshape(-1, 11), t.reshape(-1)), None

    def other():
        for x, t in _batches((8, 7), 11):
            yield x, t, F.cross_entropy(x.reshape(-1, 11), t.reshape(-1)) + x.square().mean(), None

    assert _figures(softmaxed())["softmax_twice"] == 1
    assert _figures(raw())["loss_of_logits"] == 1
    assert _figures(other())["loss_known"] == 0


def test_small_and_large_say_the_same(large, monkeypatch):
    """Every loss that is recomputed of large outputs has the value that the copy of small ones gives."""
    x, t = next(_batches((8, 7), 11))
    t = t.masked_fill(torch.arange(7) >= (torch.arange(8) % 4 + 2)[:, None], 0)
    batch, found, facts = loss_large.read_large(x, t, torch.tensor(1.0), t)
    values, small = loss_batch.recompute(loss_batch.read(x, t, torch.tensor(1.0), t))
    assert set(found) <= set(values)
    for key, (value, rounding) in found.items():
        assert value == pytest.approx(values[key][0], abs=rounding + values[key][1])
    assert {name: facts[name] for name in ("pad", "rows", "target_most")} == {
        name: small[name] for name in ("pad", "rows", "target_most")
    }
    assert batch.t.shape == t.shape


@pytest.mark.parametrize("spoilt", ["nan", "targets"])
def test_what_cannot_be_read_is_counted(large, spoilt):
    x, t = next(_batches((8, 7), 11))
    x, t = (x.clone().fill_(float("nan")), t) if spoilt == "nan" else (x, t + 50)
    audit = LossAudit()
    assert not audit.see(x, t, 1.0)
    assert audit.unread == 1


def test_images_are_read_by_place(large):
    def told():
        generator = torch.Generator().manual_seed(1)
        for _ in range(LOOKS):
            x = torch.randn(4, 5, 6, 7, generator=generator)
            t = torch.randint(5, (4, 6, 7), generator=generator)
            yield x, t, F.cross_entropy(x, t), None

    assert _figures(told())["loss_known"] == 1
