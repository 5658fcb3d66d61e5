"""Recommenders on MovieLens-100K."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.benchmarks.field.data import FieldData, Rows, length, split, take
from pipelines.benchmarks.field.registry import host
from pipelines.benchmarks.field.training import Training

USERS, ITEMS = 943, 1682


class Factorisation(nn.Module):
    """Matrix factorisation with biases around the mean rating."""

    def __init__(self, users: int, items: int, dim: int = 16):
        super().__init__()
        self.user_emb, self.item_emb = nn.Embedding(users, dim), nn.Embedding(items, dim)
        self.user_bias, self.item_bias = nn.Embedding(users, 1), nn.Embedding(items, 1)
        for table in (self.user_emb, self.item_emb):
            nn.init.normal_(table.weight, std=0.05)
        for table in (self.user_bias, self.item_bias):
            nn.init.zeros_(table.weight)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        """Ratings of shape (n,)."""
        fit = (self.user_emb(user) * self.item_emb(item)).sum(1)
        return 3.53 + fit + self.user_bias(user).squeeze(1) + self.item_bias(item).squeeze(1)


@host("factorisation", "network", movielens=True)
def factorisation(data: FieldData, seed: int) -> Training:
    """Stars from user and film, mean squared error, Adam with a little decay."""
    torch.manual_seed(seed)
    train, validation, test = split({name: data.ratings[name] for name in ("user", "item", "rating")}, seed)
    variance = float(data.ratings["rating"].var())

    def cost(run: Training, rows: Rows) -> float:
        return F.mse_loss(run.forward(run, rows).reshape(-1), rows["rating"]).item()

    return Training(
        "factorisation", seed, Factorisation(USERS, ITEMS), train, validation, test,
        forward=lambda run, rows: run.model(rows["user"], rows["item"]),
        criterion=lambda run, output, rows: F.mse_loss(output, rows["rating"]), cost=cost,
        optimizer_of=lambda run: torch.optim.Adam(run.model.parameters(), lr=5e-3, weight_decay=3e-4),
        null=variance, sgd=2.0, epochs=8, batch=1024, variance=variance, course=True,
        sizes={"user": USERS, "item": ITEMS}, encoder="user_emb", head="item_bias",
    )  # fmt: skip


class TwoTower(nn.Module):
    """User and film, each through a table and a small network, compared by their scalar product."""

    def __init__(self, users: int, items: int, dim: int = 32):
        super().__init__()
        self.user_emb, self.item_emb = nn.Embedding(users, dim), nn.Embedding(items, dim)
        self.user_mlp = nn.Sequential(nn.Linear(dim, 64), nn.ReLU(), nn.Linear(64, dim))
        self.item_mlp = nn.Sequential(nn.Linear(dim, 64), nn.ReLU(), nn.Linear(64, dim))
        for table in (self.user_emb, self.item_emb):
            nn.init.normal_(table.weight, std=0.02)

    def users(self, user: Tensor) -> Tensor:
        """Vectors of users, of length 1."""
        return F.normalize(self.user_mlp(self.user_emb(user)), dim=1)

    def items(self, item: Tensor) -> Tensor:
        """Vectors of films, of length 1."""
        return F.normalize(self.item_mlp(self.item_emb(item)), dim=1)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        """Scores of every user with every film, at a temperature of .1."""
        return self.users(user) @ self.items(item).T / 0.1


@host("two_tower", "network", movielens=True)
def two_tower(data: FieldData, seed: int) -> Training:
    """Liked films against the others of the batch, corrected for how often a film is drawn."""
    torch.manual_seed(seed)
    liked = {name: data.ratings[name][data.ratings["click"] > 0] for name in ("user", "item")}
    train, validation, test = split(liked, seed, (0.6, 0.1, 0.1))
    counts = torch.bincount(train["item"], minlength=ITEMS).float() + 1
    log_q = (counts / counts.sum()).log()

    def criterion(run: Training, output: Tensor, rows: Rows) -> Tensor:
        logits = output - run.notes["log_q"][rows["item"]]
        return F.cross_entropy(logits, torch.arange(len(output)))

    def cost(run: Training, rows: Rows) -> float:
        """Rank of the liked film among all, as a share: 0 first, 1 last, films drawn alike."""
        rows = take(rows, torch.arange(min(3000, length(rows))))
        scores = run.forward(run, {**rows, "item": torch.arange(ITEMS)})
        own = scores.gather(1, rows["item"][:, None])
        return (scores > own).float().mean().item() + 0.5 * (scores == own).float().mean().item()

    run = Training(
        "two_tower", seed, TwoTower(USERS, ITEMS), train, validation, test,
        forward=lambda run, rows: run.model(rows["user"], rows["item"]), criterion=criterion, cost=cost,
        optimizer_of=lambda run: torch.optim.Adam(run.model.parameters(), lr=2e-3, weight_decay=1e-5),
        null=0.5, sgd=0.1, epochs=6, batch=256, sizes={"user": USERS, "item": ITEMS},
        encoder="user_emb", head="item_mlp.2", twins=("user_mlp", "item_mlp"),
    )  # fmt: skip
    run.notes["log_q"] = log_q
    return run


FIELDS = {"user": USERS, "item": ITEMS, "age": 8, "male": 2, "occupation": 9, "genre": 19}


class DeepFM(nn.Module):
    """Factorisation machine and a network on the same embeddings (Guo et al. 2017)."""

    def __init__(self, sizes: list[int], dim: int = 8, hidden: int = 48):
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(size, dim) for size in sizes)
        self.linears = nn.ModuleList(nn.Embedding(size, 1) for size in sizes)
        self.fc1 = nn.Linear(dim * len(sizes), hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, hidden)
        self.dropout = nn.Dropout(0.2)
        self.out = nn.Linear(hidden, 1)
        self.bias = nn.Parameter(torch.zeros(1))
        for table in self.embeddings.parameters():
            nn.init.normal_(table, std=0.01)
        for table in self.linears.parameters():
            nn.init.zeros_(table)

    def forward(self, fields: Tensor) -> Tensor:
        """Logits of shape (n,)."""
        vectors = torch.stack([table(fields[:, i]) for i, table in enumerate(self.embeddings)], 1)
        first = torch.cat([table(fields[:, i]) for i, table in enumerate(self.linears)], 1).sum(1)
        second = 0.5 * (vectors.sum(1) ** 2 - (vectors**2).sum(1)).sum(1)
        deep = self.dropout(F.relu(self.fc1(vectors.flatten(1))))
        deep = self.dropout(F.relu(self.fc3(F.relu(self.fc2(deep)))))
        return self.bias + first + second + self.out(deep).squeeze(1)


@host("deepfm", "network", movielens=True)
def deepfm(data: FieldData, seed: int) -> Training:
    """Whether a film is liked, from six fields."""
    torch.manual_seed(seed)
    rows = {"fields": torch.stack([data.ratings[name] for name in FIELDS], 1), "y": data.ratings["click"]}
    train, validation, test = split(rows, seed, (0.6, 0.15, 0.15))

    def cost(run: Training, rows: Rows) -> float:
        return F.binary_cross_entropy_with_logits(run.forward(run, rows).reshape(-1), rows["y"]).item()

    return Training(
        "deepfm", seed, DeepFM(list(FIELDS.values())), train, validation, test,
        forward=lambda run, rows: run.model(rows["fields"]),
        criterion=lambda run, output, rows: F.binary_cross_entropy_with_logits(output, rows["y"]), cost=cost,
        optimizer_of=lambda run: torch.optim.Adam(run.model.parameters(), lr=2e-3, weight_decay=1e-5),
        null=0.687, sgd=0.3, epochs=4, batch=256, course=True, told="number",
        sizes={f"fields[{place}]": size for place, size in enumerate(FIELDS.values())},
        encoder="fc1", head="out", twins=("fc2", "fc3"),
    )  # fmt: skip
