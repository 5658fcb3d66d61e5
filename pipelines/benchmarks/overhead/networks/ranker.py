"""The ranker that is timed: tables of embeddings of the sizes of click data, and a perceptron on the rows looked up."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SIZES = (
    1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194,
    27, 14992, 5461306, 10, 5652, 2173, 4, 7046547, 18, 15, 286181, 105, 142572,
)  # fmt: skip
"""Number of ids of each categorical column of the Criteo Kaggle set, as DLRM's own script counts them (Naumov et al.
2019, https://github.com/facebookresearch/dlrm).
"""
DIM = 16
"""Width of the tables."""
_SKEW = 4
"""Power of a uniform number that ids are drawn by: a quarter of the lookups are of the first 0.4 % of the rows."""


def sizes(rows: int) -> list[int]:
    """Number of rows of each table, none above `rows`: larger ones would be hashed."""
    return [min(size, rows) for size in SIZES]


class Ranker(nn.Module):
    """Tables, and `depth` linear layers with ReLU between them on their concatenated rows."""

    def __init__(self, rows: int, depth: int, width: int, outputs: int, *, sparse: bool) -> None:
        super().__init__()
        # Not normal, which takes seconds for millions of rows; DLRM draws uniform numbers, too.
        self.tables = nn.ModuleList(
            nn.Embedding(size, DIM, sparse=sparse, _weight=torch.empty(size, DIM).uniform_(-0.01, 0.01))
            for size in sizes(rows)
        )
        layers: list[nn.Module] = []
        before = DIM * len(self.tables)
        for _ in range(depth):
            layers += [nn.Linear(before, width), nn.ReLU()]
            before = width
        self.net = nn.Sequential(*layers, nn.Linear(before, outputs))

    def forward(self, ids: Tensor) -> Tensor:
        """Scores, shape (batch, outputs), of ids, shape (tables, batch)."""
        rows = [table(column) for table, column in zip(self.tables, ids, strict=True)]
        scores: Tensor = self.net(torch.cat(rows, dim=1))
        return scores


def ids_of(rows: int, batch: int, generator: torch.Generator) -> Tensor:
    """Draw ids as skewed as those of clicks, shape (tables, batch)."""
    counts = torch.tensor(sizes(rows), dtype=torch.float64)[:, None]
    drawn = torch.rand(len(SIZES), batch, generator=generator, dtype=torch.float64) ** _SKEW
    return (drawn * counts).long()
