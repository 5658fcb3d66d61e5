"""Makes the pages that `check.mjs` opens: `python -m tests.browser.pages FOLDER` prints the path of each."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

import flowgrad
from flowgrad.html import folder_page, to_html
from flowgrad.report import Claim, ClaimsReport, write
from pipelines import run

SMALL = ["experiment=movielens_mf", "dataset=synthetic", "seeds.test=[1,2,3]", "workers=1"]
HOSTILE = "</title><script>window.hit=1</script><img src=x onerror=window.hit=1>\"'"


class Hostile(nn.Module):
    """A model whose layer has a name that would act in a browser."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(50, 8)
        self.layers = nn.ModuleDict({HOSTILE.replace(".", "_"): nn.Linear(8, 8)})
        self.out = nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.emb(x)
        for layer in self.layers.values():
            hidden = torch.relu(layer(hidden))
        return self.out(hidden)


def watched(folder: Path) -> Path:
    """The page of a training that is watched, of a model with hostile names."""
    torch.manual_seed(0)
    model = Hostile()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.5)
    watch = flowgrad.watch(model, optimizer, name=HOSTILE)
    for _ in range(160):
        loss = ((model(torch.randint(0, 50, (32,))) - torch.randn(32, 1)) ** 2).mean()
        loss.backward()
        optimizer.step()
        watch.log(loss=loss)
    watch.to_html(folder / "watched.html")
    return folder / "watched.html"


def claims(folder: Path) -> Path:
    """The page of claims of each verdict."""
    made = tuple(
        Claim(
            f"c{n}",
            f"It helps {HOSTILE}",
            verdict,
            "paired_t",
            9,
            1.0 / n,
            0.01,
            2.0,
            0.01,
            0.02,
            9.5,
            "python -m it",
            "broke",
        )
        for n, verdict in enumerate(("confirmed", "refuted", "inconclusive", "failed"), start=1)
    )
    write(ClaimsReport("quick", made, {"torch": "2"}), folder / "claims.xml")
    (folder / "claims.html").write_bytes(to_html(folder_page(folder, "claims.xml")))
    return folder / "claims.html"


def main(place: str) -> int:
    """Make all pages; the exit code is 0 where that went well."""
    folder = Path(place)
    folder.mkdir(parents=True, exist_ok=True)
    pages = [watched(folder), claims(folder)]
    for name, kind, arguments in (
        ("run", "run", SMALL),
        ("sweep", "sweep", ["-m", *SMALL, "rounds=1", "optimizer.lr=0.005,0.05"]),
    ):
        code = run.main([*arguments, f"hydra.{kind}.dir={folder / name}"])
        if code:
            return code
        pages.append(folder / name / "report.html")
    (folder / "pages.txt").write_text("".join(f"{page}\n" for page in pages))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
