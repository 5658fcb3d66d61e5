"""A closure that the optimizer calls several times in one step."""

import torch
from torch import nn

torch.manual_seed(0)
ids, labels = torch.randint(40, (256,)), torch.rand(256)
model = nn.Sequential(nn.Embedding(40, 4), nn.Linear(4, 1))
optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4)


def closure():
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(ids).squeeze(1), labels)
    loss.backward()
    return loss


for _ in range(10):
    optimizer.step(closure)
