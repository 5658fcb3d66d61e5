"""Measures what `watch` costs: a bare and a watched training of one model, in turns, in one process.

    OMP_NUM_THREADS=1 python tests/watching/measure_cost.py --steps 240

It prints, for each optimizer and schedule, the ratio of the watched to the bare time (CPU time of the process: the
median over pairs of blocks of steps, and all blocks together), and the memory that the trackers hold, as a share of the
tables.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

import flowgrad
from flowgrad.trackers.schedules import every

CRITEO = (
    1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194,
    27, 14992, 5461306, 10, 5652, 2173, 4, 7046547, 18, 15, 286181, 105, 142572,
)  # fmt: skip
"""Number of ids of each categorical column of the Criteo Kaggle set."""


class Ranker(nn.Module):
    """Twenty-six tables 16 wide and a perceptron of three layers of 256."""

    def __init__(self, sizes: tuple[int, ...], sparse: bool) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size, 16, sparse=sparse) for size in sizes)
        wide = 16 * len(sizes) + 13
        layers: list[nn.Module] = []
        for before in (wide, 256, 256):
            layers += [nn.Linear(before, 256), nn.ReLU()]
        self.net = nn.Sequential(*layers, nn.Linear(256, 1))

    def forward(self, ids: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        rows = [table(ids[:, k]) for k, table in enumerate(self.tables)]
        return self.net(torch.cat([*rows, numbers], 1)).squeeze(1)


class Training:
    """One copy of the model with its optimizers."""

    def __init__(self, sizes: tuple[int, ...], sparse: bool, device: str) -> None:
        torch.manual_seed(0)
        self.model = Ranker(sizes, sparse).to(device)
        if sparse:
            tables, rest = self.model.tables.parameters(), self.model.net.parameters()
            self.optimizers = [torch.optim.SparseAdam(tables, 1e-3), torch.optim.Adam(rest, 1e-3)]
        else:
            self.optimizers = [torch.optim.Adam(self.model.parameters(), 1e-3)]
        self.watch: flowgrad.Watch | None = None
        self.criterion = nn.BCEWithLogitsLoss()

    def step(self, ids: torch.Tensor, numbers: torch.Tensor, labels: torch.Tensor) -> None:
        loss = self.criterion(self.model(ids, numbers), labels)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        if self.watch is not None:
            self.watch.log(loss=loss)


def batches(sizes: tuple[int, ...], count: int, device: str) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Batches whose ids are as skewed as those of clicks."""
    random = torch.Generator().manual_seed(1)
    made = []
    for _ in range(count):
        ids = torch.stack([(torch.rand(2048, generator=random) ** 4 * size).long() for size in sizes], 1)
        made.append((ids.to(device), torch.randn(2048, 13, generator=random).to(device),
                     (torch.rand(2048, generator=random) < 0.3).float().to(device)))  # fmt: skip
    return made


def held(watch: flowgrad.Watch) -> int:
    """Number of bytes of the tensors that the trackers hold, each memory once."""
    seen: dict[int, int] = {}
    weights = {p.untyped_storage().data_ptr() for p in watch._model.parameters()}
    grads = {
        p.grad.untyped_storage().data_ptr()
        for p in watch._model.parameters()
        if p.grad is not None and not p.grad.is_sparse
    }
    visited: set[int] = set()
    waiting: list[object] = [watch._attached]
    while waiting:
        one = waiting.pop()
        if id(one) in visited or isinstance(one, nn.Module | torch.optim.Optimizer):
            continue
        visited.add(id(one))
        if isinstance(one, torch.Tensor):
            if one.layout == torch.strided and one.untyped_storage().data_ptr() not in weights | grads:
                seen[one.untyped_storage().data_ptr()] = one.untyped_storage().nbytes()
        elif isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list | tuple | set):
            waiting += one
        elif hasattr(one, "__dict__") and type(one).__module__.startswith("flowgrad"):
            waiting += vars(one).values()
    return sum(seen.values())


def measure(
    sizes: tuple[int, ...], sparse: bool, steps: int, block: int, schedule, device: str
) -> tuple[float, float, float, float]:
    """Ratios of the median block and of the whole, the share of memory, and the bare step in milliseconds."""
    bare, watched = Training(sizes, sparse, device), Training(sizes, sparse, device)
    watched.watch = flowgrad.watch(watched.model, watched.optimizers, schedule=schedule)
    rows = batches(sizes, 16, device)
    clock: Callable[[], float] = time.process_time if device == "cpu" else time.perf_counter
    spent: list[list[float]] = [[], []]
    for start in range(0, steps, block):
        order = (0, 1) if start // block % 2 else (1, 0)
        for which in order:
            training = (bare, watched)[which]
            if device != "cpu":
                torch.cuda.synchronize()
            began = clock()
            for step in range(start, start + block):
                training.step(*rows[step % len(rows)])
            if device != "cpu":
                torch.cuda.synchronize()
            spent[which].append(clock() - began)
    tables = sum(table.weight.nbytes for table in watched.model.tables)
    share = held(watched.watch) / tables
    watched.watch.detach()
    pairs = [b / a for a, b in zip(*spent, strict=True)]
    return (
        statistics.median(pairs[1:]),
        sum(spent[1]) / sum(spent[0]),
        share,
        1000 * statistics.median(spent[0]) / block,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--block", type=int, default=40)
    parser.add_argument("--most", type=int, default=200_000, help="rows of a table at most")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", choices=("sparse", "dense"))
    given = parser.parse_args()
    sizes = tuple(min(size, given.most) for size in CRITEO)
    print(f"{len(sizes)} tables, {sum(sizes):,} rows")
    for sparse in (True, False):
        if given.only and (given.only == "sparse") != sparse:
            continue
        for name, schedule in (("default", None), ("every step", every(1))):
            median, whole, share, bare = measure(sizes, sparse, given.steps, given.block, schedule, given.device)
            print(
                f"{'SparseAdam' if sparse else 'Adam':<11} {name:<11} median {median:.3f}  whole {whole:.3f}  "
                f"memory {share:.1%}  bare step {bare:.1f} ms",
                flush=True,
            )


if __name__ == "__main__":
    main()
