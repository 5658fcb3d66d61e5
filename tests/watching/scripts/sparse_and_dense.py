"""Sparse tables and a dense network, with an optimizer each."""

import torch
from torch import nn

torch.manual_seed(0)


class Ranker(nn.Module):
    def __init__(self):
        super().__init__()
        self.tables = nn.ModuleDict({name: nn.Embedding(40, 4, sparse=True) for name in ("user", "item")})
        self.top = nn.Linear(8, 1)

    def forward(self, ids):
        return self.top(torch.cat([table(ids[:, n]) for n, table in enumerate(self.tables.values())], 1)).squeeze(1)


model = Ranker()
sparse = torch.optim.SparseAdam(list(model.tables.parameters()), lr=0.01)
dense = torch.optim.Adam(model.top.parameters(), lr=0.01)
for _ in range(24):
    ids = torch.randint(40, (32, 2))
    loss = nn.functional.mse_loss(model(ids), (ids[:, 0] % 2).float())
    for one in (sparse, dense):
        one.zero_grad()
    loss.backward()
    for one in (sparse, dense):
        one.step()
