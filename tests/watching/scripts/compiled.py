"""A compiled model; `--fullgraph` as its only argument forbids breaks of the graph."""

import sys

import torch
from torch import nn

torch.manual_seed(0)


class Ranker(nn.Module):
    def __init__(self):
        super().__init__()
        self.rows, self.top = nn.Embedding(40, 4), nn.Linear(4, 1)

    def forward(self, ids):
        return self.top(self.rows(ids)).squeeze(1)


model = torch.compile(Ranker(), backend="eager", fullgraph="--fullgraph" in sys.argv)
optimizer = torch.optim.Adam(model.parameters(), 0.01)
for _ in range(24):
    ids = torch.randint(40, (32,))
    optimizer.zero_grad()
    nn.functional.mse_loss(model(ids), (ids % 2).float()).backward()
    optimizer.step()
