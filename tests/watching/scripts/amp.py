"""Gradients of four batches are summed, and a scaler leaves out the first step and another, `--fused` or not."""

import sys

import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Embedding(40, 4), nn.Linear(4, 1))
optimizer = torch.optim.Adam(model.parameters(), 0.01, fused="--fused" in sys.argv)
scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
for batch in range(96):
    ids = torch.randint(40, (32,))
    loss = nn.functional.mse_loss(model(ids).squeeze(1), (ids % 2).float()) * (
        float("inf") if batch in (1, 50) else 1.0
    )
    scaler.scale(loss / 4).backward()
    if batch % 4 == 3:
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
