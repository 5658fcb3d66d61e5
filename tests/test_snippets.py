"""Every Python snippet of the documents runs, by itself, on a small model or table."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md")))]
_SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WITH_CODE = [page for page in PAGES if _SNIPPET.search((ROOT / page).read_text(encoding="utf-8"))]


class Network(nn.Module):
    """A perceptron that has a table, too."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
        self.item_emb = nn.Embedding(20, 4)

    def forward(self, x):
        return self.layers(x * self.item_emb.weight.mean(dim=1))


def names(page):
    """What the snippets take for given."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    x = torch.randn(256, 20)
    y = (x[:, :3].sum(1) > 0).long() + (x[:, 3] > 1).long()
    model, criterion = Network(), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
    known_loss = criterion if page == "docs/compression.md" else loss.detach()
    X = pd.DataFrame(random.normal(size=(300, 4)), columns=list("abcd"))
    return {
        "model": model, "teacher": Network(), "student": model, "optimizer": optimizer, "criterion": criterion,
        "scheduler": torch.optim.lr_scheduler.ConstantLR(optimizer), "x_train": x, "probe": x,
        "batches": list(zip(x.split(64), y.split(64), strict=True)), "loss": known_loss, "outputs": model(x[:64]),
        "validation_batches": list(zip(x.split(64), y.split(64), strict=True)),
        "distillation_loss": nn.MSELoss(), "X": X, "y": X["a"] * X["b"] + random.normal(size=300),
        "X_valid": X[:100] + 0.1, "y_valid": X["a"][:100], "params": {"nthread": 1, "max_depth": 2},
    }  # fmt: skip


@pytest.mark.parametrize("page", WITH_CODE)
def test_snippets_run(page, tmp_path, monkeypatch):
    """The last line of the snippet in docs/compression.md refused its own recipe."""
    monkeypatch.chdir(tmp_path)
    snippets = _SNIPPET.findall((ROOT / page).read_text(encoding="utf-8"))
    for number, code in enumerate(snippets):
        known = names(page)
        if "xgboost" in code:
            xgboost = pytest.importorskip("xgboost")
            data = xgboost.DMatrix(known["X"], known["y"])
            known |= {"xgboost": xgboost, "data": data, "held_out": data}
        if "plot" in code:
            pytest.importorskip("matplotlib")
        exec(compile(code, f"{page}, snippet {number}", "exec"), known)


def test_every_page_with_code_is_looked_at():
    assert {"README.md", "docs/compression.md", "docs/features.md"} <= set(WITH_CODE)
