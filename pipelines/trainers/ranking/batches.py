"""Cuts training events into batches: an event each, or a window of a user's events with a target at every place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pipelines.data.interactions import PADDING, Interactions


@dataclass(frozen=True)
class Batch:
    """Queries with the item that followed each."""

    users: Tensor
    """Codes of users, int64, shape (n,)."""
    histories: Tensor
    """Items before, each as its code + 1, the latest on the right, `PADDING` on the left: int64, shape (n, length)."""
    targets: Tensor
    """Codes of the items that followed, int64, shape (n,); of windows the item after each place, shape (n, length), and
    -1 where there is none.
    """

    @property
    def there(self) -> Tensor:
        """Flags of the places that have a target, of the shape of `targets`."""
        return self.targets >= 0

    @property
    def items(self) -> Tensor:
        """Codes of all targets, int64, shape (m,)."""
        return self.targets[self.there]

    @property
    def owners(self) -> Tensor:
        """Code of the user of each of `items`, int64, shape (m,)."""
        if self.targets.dim() == 1:
            return self.users
        return self.users[:, None].expand_as(self.targets)[self.there]


def windows_of(data: Interactions, length: int) -> Batch:
    """Cut each user's training events into windows of `length` targets, from the end of the history backwards; the
    earliest window of a user may be shorter.

    A window's first item is the event before its first target; a user's first event is nobody's target, for nothing
    came before it.
    """
    train = data.train
    users = data.users[train]
    counts = torch.bincount(users, minlength=data.n_users)
    last = counts.cumsum(0) - 1
    ends: list[int] = []
    owners: list[int] = []
    for user in torch.nonzero(counts > 1)[:, 0].tolist():
        first = int(last[user] - counts[user] + 1)
        found = range(int(last[user]), first, -length)
        ends += found
        owners += [user] * len(found)
    places = train[torch.tensor(ends)]
    histories = data.histories(places, length)
    followed = torch.cat([histories[:, 1:] - 1, data.items[places][:, None]], dim=1)
    return Batch(torch.tensor(owners), histories, torch.where(histories != PADDING, followed, -1))


def events_of(data: Interactions, length: int) -> Batch:
    """Make each training event that has one before it a query with one target."""
    places = data.train[data.train > data.first[data.train]]
    return Batch(data.users[places], data.histories(places, length), data.items[places])


def pairs_of(data: Interactions) -> Batch:
    """Make each training event a query without a history, for models that go by the user alone."""
    return Batch(data.users[data.train], torch.zeros(len(data.train), 1, dtype=torch.int64), data.items[data.train])


def shuffled(examples: Batch, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
    """Yield one epoch in random order, in batches of `batch_size`; the last is smaller."""
    order = torch.randperm(len(examples.users), generator=generator)
    for chosen in order.split(batch_size):
        yield Batch(examples.users[chosen], examples.histories[chosen], examples.targets[chosen])
