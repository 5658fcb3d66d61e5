"""Evaluates a model, and trains none."""

import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Embedding(40, 4), nn.Linear(4, 1)).eval()
print(f"{model(torch.arange(40)).mean():.3f}")  # without no_grad, as many do
with torch.inference_mode():
    print(f"{model(torch.arange(40)).std():.3f}")
