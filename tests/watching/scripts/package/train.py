"""A module of a package, with arguments: `python -m package.train --steps 24`."""

import argparse

import torch
from torch import nn

from .model import Ranker

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, required=True)
parser.add_argument("--width", type=int, default=4)
arguments = parser.parse_args()
torch.manual_seed(0)
model = Ranker(arguments.width)
optimizer = torch.optim.Adam(model.parameters(), 0.01)
for _ in range(arguments.steps):
    ids = torch.randint(40, (32,))
    optimizer.zero_grad()
    nn.functional.mse_loss(model(ids), (ids % 2).float()).backward()
    optimizer.step()
