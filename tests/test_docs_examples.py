"""Every Python block of the documents runs, page by page from top to bottom, and prints what the page shows."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser
from torch import nn

from tests.shown_output import alike

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md")))]
WITH_CODE = [page for page in PAGES if "```python\n" in (ROOT / page).read_text(encoding="utf-8")]


class Network(nn.Module):
    """A perceptron that has a table, too."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
        self.item_emb = nn.Embedding(20, 4)

    def forward(self, x):
        return self.layers(x * self.item_emb.weight.mean(dim=1))


def names(page):
    """What the blocks of a page take for given: a model that was trained for three steps, its batches, and a table."""
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
    known = {
        "model": model, "teacher": Network(), "student": model, "optimizer": optimizer, "criterion": criterion,
        "scheduler": torch.optim.lr_scheduler.ConstantLR(optimizer), "x_train": x, "probe": x,
        "batches": list(zip(x.split(64), y.split(64), strict=True)), "loss": known_loss,
        "validation_batches": list(zip(x.split(64), y.split(64), strict=True)),
        "distillation_loss": nn.MSELoss(), "X": X, "y": X["a"] * X["b"] + random.normal(size=300),
        "table_valid": X[:100] + 0.1, "target_valid": X["a"][:100], "params": {"nthread": 1, "max_depth": 2},
    }  # fmt: skip
    known |= {"table": known["X"], "target": known["y"]}
    if "xgboost.train" in (ROOT / page).read_text(encoding="utf-8"):
        xgboost = pytest.importorskip("xgboost")
        data = xgboost.DMatrix(known["X"], known["y"])
        known |= {"xgboost": xgboost, "data": data, "held_out": data}
    return known


def readme_names():
    """The network and the rows of the README's loop, as docs/quickstart.md has them."""
    torch.manual_seed(0)
    inputs = torch.randn(512, 20)
    targets = (inputs[:, 0] * inputs[:, 1] > 0).long()
    batches = 20 * list(zip(inputs.split(64), targets.split(64), strict=True))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    return {"model": model, "optimizer": optimizer, "criterion": nn.CrossEntropyLoss(), "batches": batches}


class Page:
    """Runs the blocks of one page in one namespace. A `text` block is what the Python block before it prints."""

    def __init__(self, path):
        parsers = [PythonCodeBlockParser(), CodeBlockParser("text", evaluator=self.compare), SkipParser()]
        self.document = Sybil(parsers).parse(path)
        self.printed = ""

    def run(self, known):
        self.document.namespace.update(known)
        for example in self.document.examples():
            written = io.StringIO()
            with contextlib.redirect_stdout(written):
                example.evaluate()
            self.printed = written.getvalue()

    def compare(self, example):
        if not alike(example.parsed, self.printed):
            return f"the page shows:\n{example.parsed}\nand this is printed:\n{self.printed}"
        return None


@pytest.mark.parametrize("page", WITH_CODE)
def test_blocks_run_and_print_what_the_page_shows(page, tmp_path, monkeypatch):
    """The last line of the block in docs/compression.md refused its own recipe."""
    if "plot" in (ROOT / page).read_text(encoding="utf-8"):
        pytest.importorskip("matplotlib")
    if page == "docs/loggers.md":
        pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    Page(ROOT / page).run(readme_names() if page == "README.md" else names(page))


def test_every_page_with_code_is_looked_at():
    sure = {"README.md", "docs/quickstart.md", "docs/loops.md", "docs/compression.md", "docs/features.md"}
    assert sure <= set(WITH_CODE)


def test_a_page_that_shows_something_else_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text('```python\nprint("loss 0.5 of 2")\n```\n\n```text\nloss 0.51 of 2\n```\n')
    Page(page).run({})
    for shown in ("loss 0.6 of 2", "gain 0.5 of 2", "loss 0.5", "loss 0.5 of 2\nand more"):
        page.write_text(f'```python\nprint("loss 0.5 of 2")\n```\n\n```text\n{shown}\n```\n')
        with pytest.raises(Exception, match="and this is printed"):
            Page(page).run({})


def test_a_page_may_leave_out_the_end(tmp_path):
    assert alike("one 1\n…\n", "one 1\ntwo 2\n")
    assert not alike("two 2\n…\n", "one 1\ntwo 2\n")
