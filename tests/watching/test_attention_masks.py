"""Masks of attention that leave out the wrong places, beside those that are as they should be."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import flowgrad


def sequences(first=1, length=10):
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(first, 9, (320, length), generator=random)
    return ids.masked_fill(torch.arange(length) >= torch.randint(3, length + 1, (320, 1), generator=random), 0)


class Reader(nn.Module):
    """Classifies sequences of ids by a small transformer, given a mask by `mask(ids)`."""

    def __init__(self, mask, *, batch_first=True, plain=False, padding=0):
        super().__init__()
        self.table = nn.Embedding(9, 8, padding_idx=padding)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=batch_first)
        self.body = nn.MultiheadAttention(8, 2, batch_first=True) if plain else nn.TransformerEncoder(layer, 1)
        self.head, self.mask, self.batch_first = nn.Linear(8, 2), mask, batch_first

    def forward(self, ids):
        x, mask = self.table(ids), self.mask(ids)
        if isinstance(self.body, nn.MultiheadAttention):
            return self.head(self.body(x, x, x, key_padding_mask=mask)[0][:, 0])
        x = x if self.batch_first else x.transpose(0, 1)
        out = self.body(x, src_key_padding_mask=mask)
        return self.head(out[:, 0] if self.batch_first else out[0])


def fit(model, ids):
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    with flowgrad.watch(model, optimizer) as watch:
        for rows in ids.split(20):
            loss = F.cross_entropy(model(rows), (rows[:, 1] > 4).long())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.log(loss=loss)
    return {found.type: [candidate.cause for candidate in found.candidates] for found in watch.findings()}


def kept(ids):
    return ids != 0


def left_out(ids):
    return ids == 0


@pytest.mark.parametrize("settings", [{}, {"batch_first": False}, {"plain": True}])
def test_a_mask_that_leaves_out_everything_but_padding_is_asked_about(settings):
    ids = torch.cat([sequences(), torch.zeros(320, 1, dtype=torch.int64)], 1)  # else a row were left without a key
    found = fit(Reader(kept, **settings), ids)
    assert found["ATTENTION_MASK_INVERTED"][0] == "MASK_INVERTED"


def test_padding_that_is_read_is_a_question():
    assert fit(Reader(lambda ids: None), sequences())["PADDING_ATTENDED"][0] == "MASK_MISSING"


@pytest.mark.parametrize("settings", [{}, {"batch_first": False}, {"plain": True}])
def test_masks_of_padding_are_silent(settings):
    found = fit(Reader(left_out, **settings), sequences())
    assert not found.keys() & {"ATTENTION_MASK_INVERTED", "PADDING_ATTENDED"}


@pytest.mark.parametrize("kind", ["things", "mark"])
def test_ids_from_zero_on_of_one_length_are_no_padding(kind):
    ids = torch.randint(0, 3, (320, 10), generator=torch.Generator().manual_seed(0))
    if kind == "mark":
        ids = ids + 1
        ids[:, -2:] = 0  # every sequence ends alike
    assert "PADDING_ATTENDED" not in fit(Reader(lambda ids: None, padding=None), ids)


class Given(nn.Module):
    """Reads what it is given by the names that transformers use."""

    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(9, 8), nn.Linear(8, 2)

    def forward(self, input_ids, attention_mask):
        weights = attention_mask[..., None].float()
        return self.head((self.table(input_ids) * weights).sum(1) / weights.sum(1).clamp_min(1))


@pytest.mark.parametrize(("mask", "told"), [(left_out, True), (kept, False)])
def test_an_attention_mask_that_keeps_padding_alone_is_asked_about(mask, told):
    model = Given()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    with flowgrad.watch(model, optimizer) as watch:
        for rows in sequences().split(20):
            loss = F.cross_entropy(model(input_ids=rows, attention_mask=mask(rows).long()), (rows[:, 1] > 4).long())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert ("ATTENTION_MASK_INVERTED" in {found.type for found in watch.findings()}) == told


class Placed(nn.Module):
    """A small transformer with or without positions, dropout before it, and a mask of what comes later."""

    def __init__(self, *, positions=False, causal=False, dropout=0.0):
        super().__init__()
        self.table, self.places = nn.Embedding(9, 8), nn.Embedding(10, 8) if positions else None
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.body, self.head, self.drop = nn.TransformerEncoder(layer, 1), nn.Linear(8, 2), nn.Dropout(dropout)
        self.causal = nn.Transformer.generate_square_subsequent_mask(10) if causal else None

    def forward(self, ids):
        x = self.table(ids) if self.places is None else self.table(ids) + self.places.weight
        return self.head(self.body(self.drop(x), mask=self.causal)[:, -1])


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_attention_that_is_told_no_positions_is_asked_about(dropout):
    ids = torch.randint(1, 9, (320, 10), generator=torch.Generator().manual_seed(0))
    assert fit(Placed(dropout=dropout), ids)["POSITIONS_NOT_TOLD"][0] == "POSITIONS_MISSING"


@pytest.mark.parametrize("settings", [{"positions": True}, {"positions": True, "dropout": 0.3}, {"causal": True}])
def test_positions_and_causal_masks_tell_the_order(settings):
    ids = torch.randint(1, 9, (320, 10), generator=torch.Generator().manual_seed(0))
    assert "POSITIONS_NOT_TOLD" not in fit(Placed(**settings), ids)


@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("told", [False, True])
def test_vectors_that_are_attended_to_without_positions_are_asked_about(told, alike):
    """Rows of images were read by a transformer as a set, and the report was healthy."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.Sequential(nn.Linear(3, 8), nn.TransformerEncoder(layer, 1), nn.Flatten(), nn.Linear(48, 2))
    if told:
        model = nn.Sequential(nn.Linear(3, 8), Added(6, 8), *model[1:])
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    with flowgrad.watch(model, optimizer) as watch:
        for _ in range(12):
            x = torch.randint(0, 2, (32, 6, 3)).float() if alike else torch.randn(32, 6, 3)
            loss = F.cross_entropy(model(x), (x[:, 0, 0] > 0).long())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert ("POSITIONS_NOT_TOLD" in {found.type for found in watch.findings()}) != told


class Added(nn.Module):
    """Positions that are learned."""

    def __init__(self, places, width):
        super().__init__()
        self.places = nn.Parameter(torch.randn(places, width))

    def forward(self, x):
        return x + self.places
