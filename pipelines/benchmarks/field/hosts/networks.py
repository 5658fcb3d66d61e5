"""Networks on tables, images and sequences, as tutorials and repositories write them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.benchmarks.field.data import FieldData, Rows, split
from pipelines.benchmarks.field.registry import host
from pipelines.benchmarks.field.training import Training


class Perceptron(nn.Module):
    """Regression on a table."""

    def __init__(self, columns: int, hidden: int = 64):
        super().__init__()
        self.fc1 = nn.Linear(columns, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Predictions of shape (n, 1)."""
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        x = F.relu(self.fc3(x))
        return self.out(x)


@host("perceptron", "network", movielens=True)
def perceptron(data: FieldData, seed: int) -> Training:
    """Stars of a film from columns about user and film, which are standardised."""
    torch.manual_seed(seed)
    assert data.movies is not None
    columns = data.movies.features.iloc[20_000:32_000]
    x = torch.tensor(columns.fillna(columns.mean()).to_numpy(), dtype=torch.float32)
    x = (x - x.mean(0)) / (x.std(0) + 1e-6)
    y = torch.tensor(data.movies.targets["rating"][20_000:32_000], dtype=torch.float32)
    train, validation, test = split({"x": x, "y": y}, seed, (0.5, 0.25, 0.25))
    return Training(
        "perceptron", seed, Perceptron(x.shape[1]), train, validation, test,
        forward=lambda run, rows: run.model(rows["x"]).squeeze(1),
        criterion=lambda run, output, rows: F.mse_loss(output, rows["y"]),
        cost=lambda run, rows: F.mse_loss(run.model(rows["x"]).reshape(-1), rows["y"]).item(),
        optimizer_of=lambda run: torch.optim.Adam(run.model.parameters(), lr=1e-3, weight_decay=1e-4),
        null=float(y.var()), sgd=0.01, epochs=6, batch=64, inputs="x", told="number", variance=float(y.var()),
        course=True, encoder="fc1", head="out", twins=("fc2", "fc3"),
    )  # fmt: skip


class SmallCNN(nn.Module):
    """Three convolutions with batch normalisation, and dropout before the classifier."""

    def __init__(self, width: int = 16):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.dropout = nn.Dropout(0.3)
        self.fc = nn.Linear(width * 4, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape (n, 10)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        x = F.max_pool2d(F.relu(self.bn3(self.conv3(x))), 2)
        return self.fc(self.dropout(x.flatten(1)))


def pixels(data: FieldData) -> Tensor:
    """Images of digits as a bad scanner gives them, standardised by the mean and the deviation of all pixels."""
    x = data.images.reshape(-1, 1, 8, 8)
    x = x + 0.8 * x.std() * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    return (x - x.mean()) / x.std()


def error_rate(run: Training, rows: Rows) -> float:
    """Share of rows whose class is not the most likely one."""
    return (run.forward(run, rows).argmax(-1) != rows["y"]).float().mean().item()


def cross_entropy(run: Training, output: Tensor, rows: Rows) -> Tensor:
    """Loss of classification."""
    return F.cross_entropy(output, rows["y"])


@host("cnn", "network")
def cnn(data: FieldData, seed: int) -> Training:
    """Digits from images, by AdamW with a cosine schedule."""
    torch.manual_seed(seed)
    train, validation, test = split({"x": pixels(data), "y": data.digits}, seed)
    return Training(
        "cnn", seed, SmallCNN(), train, validation, test,
        forward=lambda run, rows: run.model(rows["x"]), criterion=cross_entropy, cost=error_rate,
        optimizer_of=lambda run: torch.optim.AdamW(run.model.parameters(), lr=3e-3, weight_decay=0.01), null=0.9,
        scheduler_of=lambda run: torch.optim.lr_scheduler.CosineAnnealingLR(run.optimizer, run.epochs),
        sgd=0.02, epochs=10, batch=64, inputs="x", encoder="conv1", head="fc", twins=("conv2", "conv3"),
    )  # fmt: skip


class RowReader(nn.Module):
    """A GRU that reads an image row by row."""

    def __init__(self, hidden: int = 48):
        super().__init__()
        self.embed = nn.Linear(8, 32)
        self.gru = nn.GRU(32, hidden, batch_first=True)
        self.mix = nn.Linear(hidden, hidden)
        self.classifier = nn.Linear(hidden, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape (n, 10)."""
        _, hidden = self.gru(torch.relu(self.embed(x)))
        return self.classifier(torch.relu(self.mix(hidden[-1])))


@host("recurrent", "network")
def recurrent(data: FieldData, seed: int) -> Training:
    """Digits from sequences of rows, with clipped gradients."""
    torch.manual_seed(seed)
    train, validation, test = split({"x": pixels(data).squeeze(1), "y": data.digits}, seed)
    return Training(
        "recurrent", seed, RowReader(), train, validation, test,
        forward=lambda run, rows: run.model(rows["x"]), criterion=cross_entropy, cost=error_rate,
        optimizer_of=lambda run: torch.optim.Adam(run.model.parameters(), lr=3e-3),
        null=0.9, sgd=0.1, epochs=20, batch=64, clip=1.0, inputs="x", encoder="embed", head="classifier",
    )  # fmt: skip


class LanguageModel(nn.Module):
    """A small transformer that predicts the next token, with padding masked."""

    def __init__(self, vocabulary: int, longest: int, width: int = 32, layers: int = 2):
        super().__init__()
        self.token = nn.Embedding(vocabulary, width, padding_idx=0)
        self.position = nn.Embedding(longest, width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 64, dropout=0.1, batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary)
        for table in (self.token, self.position):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the next token, shape (n, length, vocabulary)."""
        count = tokens.shape[1]
        x = self.token(tokens) + self.position(torch.arange(count))
        ahead = torch.triu(torch.ones(count, count, dtype=torch.bool), 1)
        padding = tokens == 0
        for layer in self.layers:
            x = layer(x, src_mask=ahead, src_key_padding_mask=padding)
        return self.head(self.norm(x))


LONGEST = 20


def ink(data: FieldData) -> Tensor:
    """Each image as the numbers of its dark pixels in order, from 1 on, padded by 0: shape (n, `LONGEST` + 1)."""
    tokens = torch.zeros(len(data.images), LONGEST + 1, dtype=torch.int64)
    for row, image in enumerate(data.images):
        dark = torch.nonzero(image >= 8).flatten()[: LONGEST + 1] + 1
        tokens[row, : len(dark)] = dark
    return tokens


def next_token_loss(run: Training, output: Tensor, rows: Rows) -> Tensor:
    """Cross-entropy of the next token, padding left out."""
    return F.cross_entropy(output.flatten(0, 1), rows["next"].flatten(), ignore_index=0)


@host("transformer", "network")
def transformer(data: FieldData, seed: int) -> Training:
    """The next dark pixel of an image, with a warm-up of the rate."""
    torch.manual_seed(seed)
    tokens = ink(data)
    rows = {"tokens": tokens[:, :-1], "next": tokens[:, 1:]}
    train, validation, test = split(rows, seed)

    def cost(run: Training, rows: Rows) -> float:
        output = run.model(rows["tokens"])
        return F.cross_entropy(output.flatten(0, 1), rows["next"].flatten(), ignore_index=0).item()

    return Training(
        "transformer", seed, LanguageModel(65, LONGEST), train, validation, test,
        forward=lambda run, rows: run.model(rows["tokens"]), criterion=next_token_loss, cost=cost,
        optimizer_of=lambda run: torch.optim.AdamW(run.model.parameters(), lr=3e-3, weight_decay=0.01),
        scheduler_of=lambda run: torch.optim.lr_scheduler.LinearLR(run.optimizer, 1 / 40, 1.0, 40),
        schedule="batch", null=4.17, sgd=0.1, epochs=10, batch=64, clip=1.0, encoder="layers.0", head="head",
        twins=("layers.0", "layers.1"),
    )  # fmt: skip
