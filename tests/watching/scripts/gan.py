"""A generator and a discriminator that steps three times as often, with an optimizer each."""

import torch
from torch import nn

torch.manual_seed(0)
generator = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))

    def forward(self, x):
        return self.layers(x).squeeze(1)


discriminator, criterion = Discriminator(), nn.BCEWithLogitsLoss()
optimizers = [torch.optim.Adam(part.parameters(), 1e-3, betas=(0.5, 0.9)) for part in (generator, discriminator)]
for _round in range(8):
    for _ in range(3):
        real, fake = torch.randn(32, 2), generator(torch.randn(32, 4)).detach()
        optimizers[1].zero_grad()
        ones, zeros = torch.ones(32), torch.zeros(32)
        (criterion(discriminator(real), ones) + criterion(discriminator(fake), zeros)).backward()
        optimizers[1].step()
    optimizers[0].zero_grad()
    criterion(discriminator(generator(torch.randn(32, 4))), torch.ones(32)).backward()
    optimizers[0].step()
