"""Whether examples are read by themselves, and what zeros and padding stand for: mistakes beside sound habits."""

import warnings

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import flowgrad


def types(watch):
    return {found.type for found in watch.findings()}


def causes(watch, kind):
    (found,) = [one for one in watch.findings() if one.type == kind]
    return [candidate.cause for candidate in found.candidates]


class Pooled(nn.Module):
    """Answers by a weighted mean of the places of each example."""

    def __init__(self, weigh, bag=False):
        super().__init__()
        self.score, self.head, self.weigh, self.bag = nn.Linear(4, 1), nn.Linear(4, 2), weigh, bag

    def forward(self, x):
        pooled = (self.weigh(self.score(x)) * x).sum(1)
        if self.bag:
            pooled = (F.softmax(pooled, 0) * pooled).sum(0, keepdim=True)
        return self.head(pooled)


def fit(model):
    random = torch.Generator().manual_seed(0)
    x = torch.randn(24, 16, 6, 4, generator=random)
    y = (x[:, :, 0, 0] > 0).long()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    with flowgrad.watch(model, optimizer) as watch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that a softmax without dim is deprecated
        for rows, labels in zip(x, y, strict=True):
            out = model(rows)
            loss = F.cross_entropy(out, labels[: len(out)])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.log(loss=loss)
    return watch


@pytest.mark.parametrize("weigh", [lambda scores: F.softmax(scores[..., 0], 0)[..., None], nn.Softmax()])
def test_a_softmax_over_the_examples_is_asked_about(weigh):
    """Attention was normalised over the batch, and gradients that fade were blamed instead."""
    assert causes(fit(Pooled(weigh)), "SOFTMAX_OVER_THE_EXAMPLES")[0] == "SOFTMAX_OVER_THE_BATCH"


@pytest.mark.parametrize(("weigh", "bag"), [(nn.Softmax(1), False), (nn.Softmax(1), True), (nn.Sigmoid(), False)])
def test_a_softmax_over_places_or_over_a_bag_is_silent(weigh, bag):
    assert "SOFTMAX_OVER_THE_EXAMPLES" not in types(fit(Pooled(weigh, bag)))


def ratings(seed, share=0.15):
    """Ratings from 1 to 5 of rows by columns, 0 where there is none."""
    random = torch.Generator().manual_seed(seed)
    told = torch.rand(160, 30, generator=random) < share
    return torch.where(told, torch.randint(1, 6, told.shape, generator=random), 0).float()


def reconstruct(rows, targets, held_out, *, masked):
    """A watched autoencoder, validated on the same rows with other targets."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(rows.shape[1], 16), nn.Sigmoid(), nn.Linear(16, rows.shape[1]))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)

    def error(out, told):
        return F.mse_loss(out[told != 0], told[told != 0]) if masked else F.mse_loss(out, told)

    with flowgrad.watch(model, optimizer) as watch:
        for _ in range(4):
            for k in range(0, len(rows), 20):
                out = model(rows[k : k + 20])
                loss = error(out, targets[k : k + 20])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                watch.log(loss=loss, inputs=rows[k : k + 20], targets=targets[k : k + 20], outputs=out)
            with torch.no_grad():
                watch.log(val_loss=error(model(rows), held_out).item(), inputs=rows, targets=held_out)
            watch.end_epoch()
    return watch


def test_rows_that_come_again_with_other_targets_are_no_copies():
    """An autoencoder of ratings, validated on held-out ones of the same users, was told that all its rows were seen."""
    assert "ROWS_MET_AGAIN" not in types(reconstruct(ratings(0), ratings(0), ratings(1), masked=True))


def test_rows_that_come_again_with_their_targets_are_copies():
    found = types(reconstruct(ratings(0), ratings(0), ratings(0), masked=True))
    assert found & {"ROWS_MET_AGAIN", "VALIDATION_ROWS_SEEN"}


def test_missing_ratings_that_are_fitted_as_zeros_are_asked_about():
    watch = reconstruct(ratings(0), ratings(0), ratings(1), masked=False)
    assert causes(watch, "MOSTLY_ZEROS_FITTED")[0] == "MISSING_FITTED_AS_ZERO"


@pytest.mark.parametrize("kind", ["masked", "pixels", "counts", "flags"])
def test_zeros_that_are_values_and_zeros_that_are_left_out_are_silent(kind):
    random = torch.Generator().manual_seed(0)
    rows = {
        "masked": ratings(0),
        "pixels": torch.tensor(load_digits().data[:160], dtype=torch.float32),
        "counts": torch.poisson(torch.full((160, 30), 0.15), generator=random),
        "flags": (ratings(0) > 0).float(),
    }[kind]
    assert "MOSTLY_ZEROS_FITTED" not in types(reconstruct(rows, rows, rows.flip(0), masked=kind == "masked"))


def sequences(first, *, length=12, fields=False):
    """Ids of things from `first` on, filled up with 0 to one length; or of fields, of which each may be missing."""
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(first, first + 5, (256, length), generator=random)
    if fields:
        return ids.masked_fill(torch.rand(ids.shape, generator=random) < 0.4, 0)
    return ids.masked_fill(torch.arange(length) >= torch.randint(4, length, (256, 1), generator=random), 0)


def look_up(ids):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(8, 4, padding_idx=0), nn.Flatten(), nn.Linear(4 * ids.shape[1], 2))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    with flowgrad.watch(model, optimizer) as watch:
        for rows in ids.split(16):
            loss = F.cross_entropy(model(rows), (rows[:, 0] > 2).long())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.log(loss=loss)
    return watch


def test_a_thing_that_shares_its_id_with_the_padding_is_asked_about():
    """The commonest class had id 0, which was padding as well, and the report was healthy."""
    assert causes(look_up(sequences(0)), "PADDING_ID_WITHIN_SEQUENCES")[0] == "REAL_ID_IS_PADDING"


@pytest.mark.parametrize("ids", [sequences(1), sequences(1).flip(1), sequences(1, fields=True)])
def test_padding_at_an_end_and_missing_fields_are_silent(ids):
    assert "PADDING_ID_WITHIN_SEQUENCES" not in types(look_up(ids))


class Adapted(nn.Module):
    """A frozen body with a small part beside it that is trained, and a head."""

    def __init__(self, body, head):
        super().__init__()
        self.body, self.beside, self.head = body, nn.Linear(8, 16), head

    def forward(self, x):
        return self.head(self.body(x) + 0.1 * self.beside(x))


def descend(model, x, y, steps, lr=0.01):
    asking = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.Adam(asking, lr)
    with flowgrad.watch(model, optimizer) as watch:
        for _ in range(steps):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.log(loss=loss)
    return watch


@pytest.mark.parametrize(
    ("frozen", "trained", "told"), [(True, True, True), (False, True, False), (True, False, False)]
)
def test_a_new_head_that_stays_frozen_above_a_body_that_was_trained_is_asked_about(frozen, trained, told):
    """LoRA without its task froze the classifier that had just been drawn, and the report was healthy."""
    torch.manual_seed(0)
    x = torch.randn(128, 8)
    y = (x[:, 0] * x[:, 1] > 0).long()
    body = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh())
    if trained:
        descend(nn.Sequential(body, nn.Linear(16, 2)), x, y, 300)
    head = nn.Linear(16, 4)
    model = Adapted(body.requires_grad_(False) if trained else body, head.requires_grad_(not frozen))
    watch = descend(model, x, y + 2 * (x[:, 2] > 0).long(), 40)
    asked = [one for one in watch.findings() if one.type == "FROZEN_AS_DRAWN"]
    assert bool(asked) == told
    assert not told or asked[0].candidates[0].cause == "HEAD_LEFT_FROZEN"


def test_a_generator_that_steps_at_every_fifth_step_has_not_stopped():
    """Looks at two of every forty steps never met the generator's, and its gradients were said to have stopped."""
    torch.manual_seed(0)
    maker, critic = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), nn.Linear(2, 1)
    optimizers = [torch.optim.Adam(one.parameters(), 1e-3) for one in (critic, maker)]
    with flowgrad.watch({"critic": critic, "maker": maker}, optimizers) as watch:
        for k in range(200):
            for _ in range(5):
                loss = critic(maker(torch.randn(16, 4)).detach()).mean() - critic(torch.randn(16, 2)).mean()
                optimizers[0].zero_grad()
                loss.backward()
                optimizers[0].step()
                watch.log(loss=loss)
            made = -critic(maker(torch.randn(16, 4))).mean()
            optimizers[1].zero_grad()
            made.backward()
            optimizers[1].step()
            if k in (0, 50):
                watch.end_epoch()
    assert "GRADIENT_STOPPED" not in types(watch)


@pytest.mark.filterwarnings("ignore::flowgrad.trackers.watching.TrackingStopped")
@pytest.mark.parametrize("first", [0, 20])
def test_a_batch_told_wrongly_stops_the_watch_of_batches_alone(first):
    """Flat targets beside sequences stopped the whole watch after a step, and the short text did not say so."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    with flowgrad.watch(model, optimizer) as watch:
        for step in range(60):
            x, y = torch.randn(16, 8), torch.randint(0, 3, (16,))
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.log(loss=loss, inputs=x, targets=y if step < first else y.repeat(4))
    coverage = watch.to_report().coverage
    assert {one.name: one.value for one in coverage.seen}["steps"] == 60
    told = {one.name: one.because for one in coverage.unseen}
    assert not coverage.blind
    assert "targets (64,) do not belong to 16 rows" in told["batches"]


@pytest.mark.parametrize(
    ("rows", "layer", "told"), [(2, nn.BatchNorm1d, True), (32, nn.BatchNorm1d, False), (2, nn.LayerNorm, False)]
)
def test_batch_normalisation_over_two_rows_is_asked_about(rows, layer, told):
    """Batches of two rows, accumulated, were said to end too early."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), layer(16), nn.ReLU(), nn.Linear(16, 2))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    with flowgrad.watch(model, optimizer) as watch:
        for _ in range(30):
            x = torch.randn(rows, 8)
            loss = F.cross_entropy(model(x), (x[:, 0] > 0).long())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert ("BATCH_STATISTICS_OF_FEW_VALUES" in types(watch)) == told
