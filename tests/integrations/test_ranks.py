"""Two processes that train together: each callback tells of both, and none waits for one that never comes."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from torch import distributed

import flowgrad
from flowgrad.integrations import ranks
from flowgrad.integrations.session import Session
from flowgrad.report import from_xml
from tests.forked import run_two
from tests.watching_loops import batches, criterion, made

ROOT = Path(__file__).parents[2]
NET = """
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.rows, self.top = nn.Embedding(40, 4), nn.Linear(4, 1)

        def forward(self, ids, labels=None):
            scores = self.top(self.rows(ids)).squeeze(1)
            loss = nn.functional.binary_cross_entropy_with_logits(scores, labels)
            return {"loss": loss, "logits": scores}

    ids = torch.randint(40, (512,), generator=torch.Generator().manual_seed(0))
    labels = (ids % 2).float()
"""
LIGHTNING = """
    import pytorch_lightning as pl
    from torch.utils.data import DataLoader, TensorDataset
    from net import Net, ids, labels, torch
    from flowgrad.integrations.lightning import FlowGradCallback

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = Net()
        def training_step(self, batch, index):
            return self.net(*batch)["loss"]
        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 0.01)

    if __name__ == "__main__":
        loader = DataLoader(TensorDataset(ids, labels), batch_size=32)
        pl.Trainer(
            max_epochs=3, accelerator="cpu", devices=2, strategy="ddp_spawn", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, callbacks=[FlowGradCallback(show=False, path="report.xml")],
        ).fit(Module(), loader)
"""
TRAINER = """
    from transformers import Trainer, TrainingArguments
    from net import Net, ids, labels
    from flowgrad.integrations.transformers import FlowGradCallback

    rows = [{"ids": one, "labels": label} for one, label in zip(ids, labels)]
    arguments = TrainingArguments(
        "out", num_train_epochs=3, per_device_train_batch_size=32, report_to=[], use_cpu=True, save_strategy="no",
        disable_tqdm=True, learning_rate=0.01,
    )
    Trainer(Net(), arguments, train_dataset=rows, callbacks=[FlowGradCallback(show=False, path="report.xml")]).train()
"""
LAUNCHED = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29641")


@pytest.mark.parametrize(
    ("package", "code", "launch"), [("pytorch_lightning", LIGHTNING, ()), ("transformers", TRAINER, LAUNCHED)]
)
def test_the_report_of_two_ranks_tells_of_both(package, code, launch, tmp_path):
    """Its counts were those of one, and half of the lookups were missing."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "flowgrad").symlink_to(ROOT / "flowgrad")
    (tmp_path / "net.py").write_text(textwrap.dedent(NET))
    (tmp_path / "train.py").write_text(textwrap.dedent(code))
    done = subprocess.run(
        [sys.executable, *launch, "train.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(tmp_path / "link")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    report = from_xml((tmp_path / "report.xml").read_bytes())
    counts = {one.name: one.value for one in report.coverage.seen}
    assert counts["steps"] == 24
    assert counts["lookups"] == 3 * 512
    assert not {"ranks", "ranks_apart"} & {one.name for one in report.coverage.unseen}


def rank_of_two(rank, folder, late):
    import torch

    torch.set_num_threads(1)
    ranks.WAIT = 1.0 if late in ("late", "failed") else 100.0
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    model = made()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    session = Session(lambda: flowgrad.watch(model, optimizer), None, {})
    for ids, labels in batches():
        optimizer.zero_grad()
        criterion(model(ids), labels).backward()
        optimizer.step()
    if rank == 1:
        if late == "stopped":
            session.log(1.0)
            session.log(torch.ones(3))
            assert session.watch.stopped
        elif late == "failed":
            session.end("an error")
            distributed.destroy_process_group()
            return
        elif late == "late":
            until = time.monotonic() + 100
            while not (Path(folder) / "0").exists() and time.monotonic() < until:  # the other has waited long enough
                time.sleep(0.05)
    report = session.end()
    lookups = {one.name: one.value for one in report.coverage.seen}["lookups"]
    reasons = {one.name: one.because for one in report.coverage.unseen}
    (Path(folder) / str(rank)).write_text(f"{lookups:.0f} {reasons.get('ranks_apart', '')}")


@pytest.mark.parametrize(
    ("late", "lookups", "reason"),
    [
        ("", 2 * 640 * 3, ""),
        ("late", 640 * 3, "some did not come to the end"),
        ("failed", 640 * 3, "some did not come to the end"),
    ],
)
def test_a_rank_that_never_comes_is_not_waited_for(tmp_path, late, lookups, reason):
    run_two(rank_of_two, str(tmp_path), late)
    for file in [one for one in tmp_path.iterdir() if one.name in ("0", "1")]:
        counted, _, told = file.read_text().partition(" ")
        assert int(counted) == lookups
        assert reason in told
        assert bool(told) == bool(reason)


def test_ranks_of_which_one_stopped_are_left_apart(tmp_path):
    run_two(rank_of_two, str(tmp_path), "stopped")
    for rank in range(2):
        assert "a rank stopped watching, or watches other tables" in (tmp_path / str(rank)).read_text()
