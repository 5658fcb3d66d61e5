"""What watching costs: everything but the times themselves, which no test can hold."""

from __future__ import annotations

import doctest
import functools
import math
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import nn

from flowgrad.errors import FlowGradError
from flowgrad.trackers.embedding import EmbeddingTracker
from pipelines.benchmarks.overhead import job, measurement, ratios, table
from pipelines.benchmarks.overhead.blocks import Measured
from pipelines.benchmarks.overhead.cases import OPTIMIZERS, TableArm, TableCase, ZipfBatches
from pipelines.benchmarks.overhead.checks import checked_cases
from pipelines.benchmarks.overhead.measurement import TablePlan, measure
from pipelines.benchmarks.overhead.memory import held_bytes
from pipelines.benchmarks.overhead.ratios import median_interval, paired_ratio
from pipelines.benchmarks.overhead.watchers import attacher, has_peer
from pipelines.stages.parallel import run_isolated

pytestmark = pytest.mark.usefixtures("garbage_is_left")

CPU = torch.device("cpu")
WATCHERS = ["tracker", *(["peer", "peer_interval"] if has_peer() else [])]
MINE = "+job.cases.mine={rows: 50, dim: 4, optimizer: sparse_adam, batch: 16}"
SMALL = ["experiment=tracker_overhead", MINE, "job.only=[mine]", "job.steps=20", "job.block=5", "job.warmup=2"]


def case(optimizer="adam", rows=50, dim=4, batch=16):
    return TableCase("c", rows, dim, optimizer, batch, steps=20)


def batches(exponent=1.0, seed=0, **sizes):
    return ZipfBatches(case(**sizes), exponent, seed, CPU)


@pytest.mark.parametrize("module", [ratios, measurement])
def test_examples_in_docstrings(module):
    assert doctest.testmod(module).failed == 0


def test_ratios_known_by_hand():
    """A block with periodic work shows in the mean alone; a second arm that is always faster shows in neither."""
    bare, watched = [1.0, 0.5] * 10, [0.55, 1.1] * 10
    ratio = paired_ratio(bare, watched)
    assert (ratio.median, ratio.low, ratio.high, ratio.mean) == pytest.approx((1.1, 1.1, 1.1, 1.1))
    watched[8] += 9
    ratio = paired_ratio(bare, watched)
    assert (ratio.median, ratio.low, ratio.high) == pytest.approx((1.1, 1.1, 1.1))
    assert ratio.mean == pytest.approx((15 * 1.1 + 9) / 15)


@pytest.mark.parametrize("n", [5, 6, 9, 40])
def test_interval_of_the_median_is_the_shortest_that_covers(n):
    """Coverage of [x_k, x_(n+1-k)] is P(k <= values below the median <= n-k)."""
    low, high = median_interval([float(value) for value in range(1, n + 1)])
    below = stats.binom(n, 0.5)
    ks = [k for k in range(1, n // 2 + 1) if below.cdf(n - k) - below.cdf(k - 1) >= 0.95]
    if ks:
        assert (low, high) == (max(ks), n + 1 - max(ks))
    else:
        assert math.isnan(low)
        assert math.isnan(high)


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value


class Holder:
    def __init__(self, **parts):
        self.__dict__.update(parts)

    def method(self):
        return self


def closure_over(value):
    return lambda: value


WRAPPED = {
    "itself": lambda t: t,
    "attribute": lambda t: Holder(a=t),
    "twice": lambda t: [t, (t,)],
    "view": lambda t: [t, t[1:], t.view(-1)],
    "view alone": lambda t: t[1:],
    "detached": lambda t: Holder(a=t, b=t.detach()),
    "as array": lambda t: [t, t.numpy(), t.numpy()[2:]],
    "array alone": lambda t: t.numpy()[2:],
    "own array": lambda t: Holder(a=t.numpy().copy()),
    "dict": lambda t: {"a": {"b": t}},
    "slots": lambda t: Slotted(t),
    "closure": closure_over,
    "bound method": lambda t: Holder(a=t).method,
    "partial": lambda t: functools.partial(print, t),
}


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_each_buffer_counts_once(wrapped):
    tensor = torch.zeros(10, 3)
    assert held_bytes(WRAPPED[wrapped](tensor)) == 10 * 3 * 4


def test_indices_of_a_sparse_tensor_count_too():
    ids, values = torch.zeros((1, 5), dtype=torch.int64), torch.zeros(5, 3)
    sparse = torch.sparse_coo_tensor(ids, values, (7, 3), check_invariants=True)
    assert held_bytes(sparse) == 5 * 8 + 5 * 3 * 4
    assert held_bytes(sparse, [sparse]) == 0


def test_arrays_of_objects_hold_their_objects():
    objects = np.array([None, Holder(a=torch.zeros(4)), "text"], dtype=object)
    assert held_bytes(objects[1:]) == objects.nbytes + 16


def test_circles_end_and_what_belongs_to_others_does_not_count():
    own, other = torch.zeros(4), torch.zeros(100)
    first, second = Holder(own=own, other=other), Holder()
    first.friend, second.friend = second, first
    second.view = other[5:]
    assert held_bytes(first, [other]) == 16
    assert held_bytes(first) == 416


def test_a_layer_holds_its_weight_and_gradient():
    layer = nn.Embedding(10, 3)
    layer(torch.tensor([1])).sum().backward()
    assert held_bytes(Holder(layer=layer)) == 2 * 10 * 3 * 4
    assert held_bytes(Holder(layer=layer), [layer.weight, layer.weight.grad]) == 0


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_tracker_holds_what_its_attributes_hold(optimizer):
    """Against a plain sum over the tensors of the tracker and its parts; table, gradient and optimizer are not its."""
    arm = TableArm(case(optimizer), 0, CPU)
    arm.watcher = tracker = EmbeddingTracker(arm.table, name="t")
    arm.train(batches().draw(40))
    held = held_bytes(tracker, arm.tensors())
    everything = held_bytes(tracker)
    assert 0 < held < everything
    gradient = arm.table.weight.grad
    of_gradient = held_bytes(gradient)
    assert everything - held == arm.table.weight.nbytes + of_gradient


def test_zipf():
    drawn = torch.cat([ids for ids, _ in batches(rows=20, batch=5000).draw(20)])
    counts = np.sort(np.bincount(drawn.numpy(), minlength=20))[::-1]
    expected = 1 / np.arange(1, 21)
    assert counts / counts.sum() == pytest.approx(expected / expected.sum(), rel=0.1)
    flat = torch.cat([ids for ids, _ in batches(0.0, rows=20, batch=5000).draw(20)])
    assert np.bincount(flat.numpy(), minlength=20) / len(flat) == pytest.approx(np.full(20, 0.05), rel=0.1)


def test_batches_follow_from_the_seed_and_popular_rows_lie_apart():
    one, same, other = (batches(seed=seed).draw(3) for seed in (0, 0, 1))
    assert all(
        torch.equal(a, b) for left, right in zip(one, same, strict=True) for a, b in zip(left, right, strict=True)
    )
    assert not torch.equal(one[0][0], other[0][0])
    assert not torch.equal(one[0][0], one[1][0])
    ids = torch.cat([ids for ids, _ in batches(rows=1000).draw(200)])
    assert int(torch.bincount(ids).argmax()) != 0


@pytest.mark.parametrize("watcher", WATCHERS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_watched_and_bare_end_with_the_same_bits(optimizer, watcher):
    bare, watched = (TableArm(case(optimizer), 0, CPU) for _ in range(2))
    start = bare.table.weight.detach().clone()
    watched.watcher = attacher(watcher, epoch_steps=10)(watched.table)
    for arm in (bare, watched):
        arm.train(batches().draw(40))
    assert torch.equal(bare.table.weight, watched.table.weight)
    assert not torch.equal(bare.table.weight, start)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_arm_and_twin_are_one_training(optimizer):
    """Steps taken in turns by an arm and its twin lead where the same steps of one arm alone lead."""
    alone_, arm = (TableArm(case(optimizer), 0, CPU) for _ in range(2))
    drawn = batches().draw(40)
    alone_.train(drawn)
    arm.train(drawn[:10])
    twin = arm.twin()
    assert twin.table.weight.data_ptr() == arm.table.weight.data_ptr()
    for k in range(10, 40, 5):
        (arm if k % 2 else twin).train(drawn[k : k + 5])
    assert torch.equal(alone_.table.weight, arm.table.weight)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_hooks_on_the_twin_do_not_see_the_arm(optimizer):
    arm, drawn = TableArm(case(optimizer), 0, CPU), batches().draw(30)
    arm.train(drawn[:10])
    twin = arm.twin()
    tracker = twin.watcher = EmbeddingTracker(twin.table, name="t")
    arm.train(drawn[10:20])
    assert not arm.table._forward_hooks
    twin.train(drawn[20:])
    expected = torch.bincount(torch.cat([ids for ids, _ in drawn[20:]]), minlength=50)
    assert tracker.row_table()["exposures"].tolist() == expected.tolist()
    assert (tracker.row_table()["gradient_steps"] > 0).sum() == (expected > 0).sum()


def test_an_epoch_is_announced_every_so_many_steps(monkeypatch):
    ended = []
    monkeypatch.setattr(EmbeddingTracker, "end_epoch", lambda self: ended.append(self._steps))
    arm = TableArm(case(), 0, CPU)
    arm.watcher = attacher("tracker", 8)(arm.table)
    arm.train(batches().draw(20))
    assert ended == [8, 16]


@pytest.mark.parametrize("watcher", ["none", *WATCHERS])
def test_what_a_comparison_gives(watcher):
    plan = TablePlan(
        case("sparse_adam"), watcher, 20, 5, 2, exponent=1.0, seed=0, threads=1, device="cpu", epoch_steps=None
    )
    seen = measure(plan)
    assert seen.steps == (100 if watcher == "peer_interval" else 20)
    assert len(seen.bare_ms) == len(seen.watched_ms) == seen.steps // 5
    assert min(*seen.bare_ms, *seen.watched_ms) > 0
    assert seen.weight_bytes == 50 * 4 * 4
    assert (seen.held_bytes == 0) == (watcher == "none")


def measured(bare, watched, held=100):
    return Measured(tuple(bare), tuple(watched), len(bare) * 5, held, 1000, None, 1.0)


@pytest.mark.parametrize(
    ("watched", "held", "limit", "within"),
    [
        ([1.0] * 10, 100, 1.1, True),
        ([1.2] * 10, 100, 1.1, False),
        ([1.0] * 9 + [3.0], 100, 1.1, False),  # a typical step keeps to it, the mean does not
        ([1.0] * 10, 200, 1.1, False),
        ([9.0] * 10, 100, None, None),
    ],
)
def test_within_limits(composed, watched, held, limit, within):
    limits = composed("experiment=tracker_overhead").job.limits
    limits.ratio = {} if limit is None else {"b16": limit}
    seen = {"tracker": measured([1.0] * 10, watched, held), "none": measured([1.0] * 10, [1.0] * 10)}
    line = table.row(case(), seen, limits)
    assert line["within"] is within
    assert line["memory_share"] == held / 1000
    assert line["aa_ratio"] == 1
    assert all(math.isnan(line[name]) for name in ("peer_ms", "peer_ratio", "peer_interval100_ratio", "peer_mib"))


def test_figures_of_the_peer(composed):
    limits = composed("experiment=tracker_overhead").job.limits
    bare = [1.0] * 10
    seen = {"tracker": measured(bare, bare), "none": measured(bare, bare), "peer": measured(bare, [2.0] * 10, 2**20)}
    seen["peer_interval"] = measured(bare, [1.0] * 9 + [5.0])
    line = table.row(case(), seen, limits)
    assert (line["peer_ms"], line["peer_ratio"], line["peer_mib"]) == (2, 2, 1)
    assert line["peer_interval100_ratio"] == pytest.approx(1.4)


@pytest.fixture
def here(monkeypatch):
    """Comparisons in this process, without the peer: what is tested is not the times."""
    monkeypatch.setattr(job, "run_isolated", lambda function, plan: function(plan))
    monkeypatch.setattr(job, "has_peer", lambda: False)


def test_the_whole_job(command, here):
    code, folder, err = command(*SMALL)
    assert code == 0, err
    figures = pd.read_csv(folder / "overhead.csv")
    assert list(figures["case"]) == ["mine"]
    assert set(table.SHOWN) < set(figures.columns)
    assert {"device", "threads", "torch"} <= set(figures.columns)
    line = figures.iloc[0]
    assert (line["rows"], line["dim"], line["batch"], line["steps"]) == (50, 4, 16, 20)
    assert line[["peer_ms", "peer_ratio", "peer_interval100_ratio", "peer_mib", "within", "ratio_limit"]].isna().all()
    assert line["table_mib"] * line["memory_share"] == pytest.approx(line["tracker_mib"])
    assert (folder / "overhead.md").read_text().count("\n") == 3
    assert "mine" in (folder / "overhead.tex").read_text()
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == [
        "config.yaml", "overhead.csv", "overhead.md", "overhead.tex", "report.html", "report.json", "run.log",
    ]  # fmt: skip


def test_what_is_printed(command, here, monkeypatch):
    printed = []
    monkeypatch.setattr(table, "show", lambda figures, folder, note: printed.append(note))
    assert command(*SMALL)[0] == 0
    assert "pip install 'flowgrad[bench]'" in printed[0]
    assert command(*SMALL, "job.peer_steps=0")[0] == 0
    assert printed[1] == ""


def test_the_table_fits_120_columns(capsys, tmp_path, composed):
    limits = composed("experiment=tracker_overhead").job.limits
    seen = dict.fromkeys(("tracker", "none", "peer", "peer_interval"), measured([1.2345] * 12, [12.345678] * 12))
    table.show(pd.DataFrame([table.row(case(), seen, limits)]), tmp_path, "a note")
    out = capsys.readouterr().out
    assert "…" not in out
    assert "10.001-10.001" in out
    assert max(map(len, out.replace(str(tmp_path), "").splitlines())) <= 120
    assert "a note" in out


MISTAKES = {
    "rows": (["+job.cases.x={rows: 0, dim: 1, optimizer: adam, batch: 1}"], ["job.cases.x.rows=0", "at least 1"]),
    "dim": (["+job.cases.x={rows: 1, dim: 1.5, optimizer: adam, batch: 1}"], ["job.cases.x.dim=1.5", "whole"]),
    "batch": (["job.cases.r1m_b1024.batch=-1"], ["job.cases.r1m_b1024.batch=-1", "at least 1"]),
    "case steps": (["job.cases.r1m_b1024.steps=true"], ["job.cases.r1m_b1024.steps=True"]),
    "optimizer": (["job.cases.r1m_b1024.optimizer=x"], ["job.cases.r1m_b1024.optimizer=x", "sparse_adam"]),
    "optimizer of no kind": (["job.cases.r1m_b1024.optimizer=[1]"], ["job.cases.r1m_b1024.optimizer=[1]"]),
    "key": (["+job.cases.x={rows: 1}"], ["job.cases.x", "optimizer"]),
    "more keys": (["+job.cases.r1m_b1024.colour=1"], ["job.cases.r1m_b1024", "nothing else"]),
    "no mapping": (["+job.cases.x=3"], ["job.cases.x=3", "rows"]),
    "only": (["job.only=[x]"], ["job.only", "'x'", "r1m_b1024"]),
    "no case": (["job.only=[]"], ["job.only", "at least one"]),
    "steps": (["job.steps=0"], ["job.steps=0", "at least 1"]),
    "epoch": (["job.epoch_steps=0"], ["job.epoch_steps=0"]),
    "exponent": (["job.exponent=nan"], ["job.exponent=nan"]),
    "device": (["job.device=tpu"], ["job.device=tpu", "cpu or cuda"]),
    "ratio": (["+job.limits.ratio.b64=0.5"], ["job.limits.ratio.b64=0.5", "at least 1"]),
    "ratio of a batch": (["job.limits.ratio.b1024=inf"], ["job.limits.ratio.b1024=inf"]),
    "ratio of nothing": (["+job.limits.ratio.1024=1.1"], ["job.limits.ratio.1024", "b1024"]),
    "share": (["job.limits.memory_share=0"], ["job.limits.memory_share=0.0"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named(composed, mistake, tmp_path):
    arguments, named = MISTAKES[mistake]
    with pytest.raises(FlowGradError) as raised:
        job.run(composed("experiment=tracker_overhead", *arguments), [], [], tmp_path)
    assert "\n" not in str(raised.value)
    assert all(part in str(raised.value) for part in named), raised.value


def test_no_gpu_is_a_mistake_too(composed, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(FlowGradError, match=r"job\.device=cuda: .* use cpu"):
        checked_cases(composed("experiment=tracker_overhead", "job.device=cuda").job)


def test_a_mistake_ends_the_command_with_one_line(command):
    code, folder, err = command("experiment=tracker_overhead", "job.cases.r1m_b1024.rows=0")
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert not (folder / "overhead.csv").exists()


def test_ids_of_cases_differ_in_what_they_name(composed):
    cases = checked_cases(composed("experiment=tracker_overhead").job)
    assert len({one.id for one in cases}) == len(cases) == 8
    assert all((a.rows, a.batch) != (b.rows, b.batch) for a, b in combinations(cases, 2))


def test_a_process_of_its_own():
    """What the function gives and what it raises come back; a killed process is an error and not a wait for ever."""
    with ThreadPoolExecutor() as pool:
        value, raised, killed = (
            pool.submit(run_isolated, *call) for call in ((math.sqrt, 4.0), (int, "x"), (os._exit, 9))
        )
    assert value.result() == 2
    with pytest.raises(ValueError, match="invalid literal"):
        raised.result()
    with pytest.raises(FlowGradError, match="exit code 9"):
        killed.result()
