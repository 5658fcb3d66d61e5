"""Where the states of recurrent layers are read, of sequences that are padded."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import flowgrad


def asked(watch):
    """Finding on states that are read behind the padding of their sequence; None where there is none."""
    return next((one for one in watch.findings() if one.type == "STATES_READ_BEHIND_PADDING"), None)


class PaddedReader(nn.Module):
    """A classifier of token sequences by a recurrent layer, whose state is read at one of several places."""

    def __init__(self, kind, read):
        super().__init__()
        self.table, self.read = nn.Embedding(12, 8, padding_idx=0), read
        self.layer = kind(8, 16, batch_first=True)
        self.out = nn.Linear(16, 2)

    def forward(self, x):
        lengths, rows = (x > 0).sum(1), torch.arange(len(x))
        if self.read == "packed":
            given = nn.utils.rnn.pack_padded_sequence(self.table(x), lengths, batch_first=True, enforce_sorted=False)
            last = self.layer(given)[1]
            return self.out((last[0] if isinstance(last, tuple) else last)[-1])
        states, last = self.layer(self.table(x))
        if self.read == "last state":
            return self.out((last[0] if isinstance(last, tuple) else last)[-1])
        return self.out(states[rows, lengths - 1] if self.read == "own end" else states[:, -1])


def read_sequences(kind, read, *, left=False):
    random = torch.Generator().manual_seed(0)
    lengths = torch.randint(2, 13, (128,), generator=random)
    x = torch.randint(1, 12, (128, 12), generator=random) * (torch.arange(12) < lengths[:, None])
    x, y = (x.flip(1) if left else x), (x[:, 0] > 5).long()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = PaddedReader(kind, read)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    watch = flowgrad.watch(model, optimizer)
    for k in [*range(0, 128, 16)] * 3:
        loss = F.cross_entropy(model(x[k : k + 16]), y[k : k + 16])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        watch.log(loss=loss)
    watch.detach()
    return watch


@pytest.mark.parametrize(("kind", "read"), [(nn.GRU, "last place"), (nn.LSTM, "last state"), (nn.RNN, "last place")])
def test_states_that_are_read_behind_their_padding_are_asked_about(kind, read):
    """The last place of sequences padded on the right was read, and the report said HEALTHY."""
    assert asked(read_sequences(kind, read)).candidates[0].cause == "LAST_PLACE_IS_PADDING"


@pytest.mark.parametrize(("read", "left"), [("own end", False), ("packed", False), ("last place", True)])
def test_states_that_are_read_at_their_own_end_are_passed_in_silence(read, left):
    assert asked(read_sequences(nn.GRU, read, left=left)) is None
