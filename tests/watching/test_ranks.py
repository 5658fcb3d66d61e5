"""Two ranks of a distributed run: counts are those of both after `all_reduce`, and of one before, which is said."""

from __future__ import annotations

import os

import torch
from torch import distributed

import flowgrad
from tests.forked import run_two
from tests.watching_loops import criterion, data, made


def rank_of_two(rank, folder):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    model = torch.nn.parallel.DistributedDataParallel(made())
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    watch = flowgrad.watch(model, optimizer)
    ids, labels = data()
    for x, y in zip(ids[rank::2].split(32), labels[rank::2].split(32), strict=True):
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        watch.log(loss=loss)
    alone = watch.to_dict()["flowgrad_watch_report"]
    watch.all_reduce()
    both = watch.to_dict()["flowgrad_watch_report"]
    torch.save([list(watch.tables), alone, both], os.path.join(folder, f"{rank}.pt"))
    watch.detach()
    distributed.destroy_process_group()


def test_counts_of_ranks_are_summed(tmp_path):
    run_two(rank_of_two, str(tmp_path))
    for rank in range(2):
        names, alone, both = torch.load(tmp_path / f"{rank}.pt", weights_only=False)
        assert names == ["tables.0", "tables.1", "tables.2"]
        counts = [{one["name"]: one["value"] for one in report["coverage"]["seen"]} for report in (alone, both)]
        assert [one["lookups"] for one in counts] == [320 * 3, 640 * 3]
        assert [one["steps"] for one in counts] == [10, 10]
        missing = [{one["name"] for one in report["coverage"]["unseen"]} for report in (alone, both)]
        assert "ranks" in missing[0]
        assert "ranks" not in missing[1]
