"""Sound trainings of less usual kinds: two optimizers against each other, contrastive learning. No fault is injected
into them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.benchmarks.field.data import FieldData, Rows, split
from pipelines.benchmarks.field.hosts.networks import SmallCNN, pixels
from pipelines.benchmarks.field.registry import host
from pipelines.benchmarks.field.training import Training


class Generator(nn.Module):
    """Generator of an adversarial pair; the discriminator is trained by its own optimizer."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(16, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.Tanh()
        )

    def forward(self, noise: Tensor) -> Tensor:
        """Images of shape (n, 64)."""
        return self.net(noise)


@host("gan", "network", faults=False)
def gan(data: FieldData, seed: int) -> Training:
    """Images of digits from noise (Goodfellow et al. 2014); the generator is watched."""
    torch.manual_seed(seed)
    train, validation, test = split({"x": data.images / 8 - 1}, seed)
    judge = nn.Sequential(nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
    of_judge = torch.optim.Adam(judge.parameters(), lr=5e-4, betas=(0.5, 0.999))

    def step(run: Training, rows: Rows) -> Tensor:
        count = len(rows["x"])
        fake = run.model(torch.randn(count, 16))
        of_judge.zero_grad()
        real, made = judge(rows["x"]), judge(fake.detach())
        (F.softplus(-real).mean() + F.softplus(made).mean()).backward()
        of_judge.step()
        run.optimizer.zero_grad()
        loss = F.softplus(-judge(fake)).mean()
        loss.backward()
        run.optimizer.step()
        return loss.detach()

    def distance(run: Training, rows: Rows) -> float:
        made = run.model(torch.randn(len(rows["x"]), 16, generator=torch.Generator().manual_seed(0)))
        return (made.mean(0) - rows["x"].mean(0)).pow(2).mean().item()

    def validate(run: Training) -> float:
        with torch.no_grad():
            return F.softplus(-judge(run.model(torch.randn(256, 16)))).mean().item()

    return Training(
        "gan", seed, Generator(), train, validation, test,
        forward=lambda run, rows: run.model(torch.randn(len(rows["x"]), 16)),
        criterion=lambda run, output, rows: F.softplus(-judge(output)).mean(), cost=distance,
        optimizer_of=lambda run: torch.optim.Adam(run.model.parameters(), lr=5e-4, betas=(0.5, 0.999)),
        null=1.0, epochs=20, batch=64, step=step, validate=validate, tells_epochs=False,
    )  # fmt: skip


@host("contrastive", "network", faults=False)
def contrastive(data: FieldData, seed: int) -> Training:
    """Two noisy views of an image are to be alike (Chen et al. 2020)."""
    torch.manual_seed(seed)
    train, validation, test = split({"x": pixels(data)}, seed)

    def forward(run: Training, rows: Rows) -> Tensor:
        views = [run.model(rows["x"] + 0.3 * torch.randn_like(rows["x"])) for _ in range(2)]
        one, two = (F.normalize(view, dim=1) for view in views)
        return one @ two.T / 0.2

    def criterion(run: Training, output: Tensor, rows: Rows) -> Tensor:
        return F.cross_entropy(output, torch.arange(len(output)))

    return Training(
        "contrastive", seed, SmallCNN(), train, validation, test, forward=forward, criterion=criterion,
        cost=lambda run, rows: criterion(run, forward(run, rows), rows).item(),
        optimizer_of=lambda run: torch.optim.AdamW(run.model.parameters(), lr=2e-3, weight_decay=0.01),
        null=4.85, epochs=12, batch=128, inputs="x",
    )  # fmt: skip
