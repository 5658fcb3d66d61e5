"""What watching a network costs: the machinery of `experiment=layers_overhead`, not its times."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from flowgrad.errors import FlowGradError
from pipelines.benchmarks.overhead.blocks import Measured
from pipelines.benchmarks.overhead.networks import job, table
from pipelines.benchmarks.overhead.networks.cases import CLASSES, Batches, NetworkArm, NetworkCase, mlp
from pipelines.benchmarks.overhead.networks.checks import checked_cases
from pipelines.benchmarks.overhead.networks.measurement import NetworkPlan, measure
from pipelines.benchmarks.overhead.networks.ranker import SIZES
from pipelines.benchmarks.overhead.networks.watchers import NONE, OTHERS, OWN, WATCHES, attaching, installed, suits

pytestmark = pytest.mark.usefixtures("garbage_is_left")

CPU = torch.device("cpu")
MINE = "+job.cases.mine={network: mlp, depth: 3, width: 6, batch: 5}"
SMALL = [
    "experiment=layers_overhead", MINE, "job.only=[mine]", "job.steps=8", "job.block=2", "job.warmup=2",
    "job.watchers=[flow,flow_default,peer]",
]  # fmt: skip


def case(network="mlp", depth=3, width=6, batch=5, tokens=None, teacher=None, optimizer="adam", rows=None):
    return NetworkCase("c", network, depth, width, batch, tokens, 8, teacher, optimizer, rows)


CASES = {
    "mlp": case(),
    "transformer": case("transformer", depth=2, width=64, batch=2, tokens=3),
    "student": case(teacher=9),
    "sgd": case(optimizer="sgd"),
    "ranker": case("ranker", depth=2, rows=30),
    "sparse ranker": case("ranker", depth=2, rows=30, optimizer="sparse_adam"),
}


def draw(which, count, seed=0):
    return Batches(which, seed, CPU).draw(count)


def weights_of(arm):
    return [weight.detach().clone() for weight in arm.model.parameters()]


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", CASES)
def test_arm_and_twin_are_one_training(name):
    """Steps taken in turns by an arm and its twin lead where the same steps of one arm alone lead."""
    alone, arm = (NetworkArm(CASES[name], 0, CPU) for _ in range(2))
    drawn = draw(CASES[name], 20)
    alone.train(drawn)
    arm.train(drawn[:4])
    twin = arm.twin()
    assert [w.data_ptr() for w in twin.weights()] == [w.data_ptr() for w in arm.weights()]
    for k in range(4, 20, 4):
        (arm if k % 8 else twin).train(drawn[k : k + 4])
    assert equal(weights_of(alone), weights_of(arm))


def test_networks_have_the_sizes_that_the_case_says():
    count = lambda arm: sum(weight.numel() for weight in arm.weights())  # noqa: E731
    assert count(NetworkArm(case(depth=5, width=7), 0, CPU)) == 4 * (7 * 7 + 7) + 7 * CLASSES + CLASSES
    assert mlp(case(width=6), 9)[2].weight.shape == (9, 9)
    one = {"attention": 4 * 64 * 64 + 4 * 64, "between": 8 * 64 * 64 + 5 * 64, "norms": 4 * 64}
    assert count(NetworkArm(CASES["transformer"], 0, CPU)) == 2 * sum(one.values()) + 64 * CLASSES + CLASSES


def test_batches_follow_from_the_seed():
    one, same, other = (draw(case(), 2, seed) for seed in (0, 0, 1))
    assert equal([t for batch in one for t in batch], [t for batch in same for t in batch])
    assert not torch.equal(one[0][0], other[0][0])
    assert not torch.equal(one[0][0], one[1][0])
    assert one[0][0].shape == (5, 6)
    assert draw(CASES["transformer"], 1)[0][0].shape == (2, 3, 64)


def test_ids_are_of_their_tables_and_skewed():
    ids = draw(case("ranker", batch=4000, rows=1000), 1)[0][0]
    assert ids.shape == (len(SIZES), 4000)
    for column, size in zip(ids, SIZES, strict=True):
        assert 0 <= int(column.min()) <= int(column.max()) < min(size, 1000)
        assert float((column < min(size, 1000) / 2).double().mean()) > 0.8  # .5 ** .25 = .84


def test_a_watch_looks_at_every_step_of_both_optimizers_or_as_the_default_says(place):
    looks = []
    for watcher in WATCHES:
        arm = NetworkArm(CASES["sparse ranker"], 0, CPU)
        with attaching(watcher, place) as attach:
            arm.watcher = attach(arm)
        arm.train(draw(CASES["sparse ranker"], 60))
        watch = arm.watcher.watch
        assert watch.steps == 60
        assert len(watch.tables) == len(SIZES)
        looks.append(watch.network.measurements().scalars["looks"])
    assert looks[0] == 60
    assert looks[1] < 60


@pytest.fixture
def place(monkeypatch, tmp_path):
    """What the peer and `wandb` set for their process is undone."""
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "matplotlib"))
    for kind in ("", "CACHE_", "CONFIG_", "DATA_", "ARTIFACT_"):
        monkeypatch.setenv(f"WANDB_{kind}DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def needs(name):
    if not installed(name):
        pytest.skip(f"{name} is not installed")


@pytest.mark.parametrize("watcher", [*OWN, *OTHERS])
@pytest.mark.parametrize("name", CASES)
def test_watched_and_bare_end_with_the_same_bits(name, watcher, place):
    needs(watcher)
    if not suits(watcher, CASES[name]):
        pytest.skip("another kind of case")
    bare, watched = (NetworkArm(CASES[name], 0, CPU) for _ in range(2))
    start = weights_of(bare)
    with attaching(watcher, place) as attach:
        watched.watcher = attach(watched)
        for arm in (bare, watched):
            arm.train(draw(CASES[name], 6))
    assert equal(weights_of(bare), weights_of(watched))
    assert not equal(weights_of(bare), start)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("watcher", [NONE, "flow", "peer"])
def test_what_a_comparison_gives(watcher, place):
    needs(watcher)
    seen = measure(NetworkPlan(case(), watcher, 7, block=2, warmup=2, seed=0, threads=1, device="cpu", folder=place))
    assert seen.steps == 8
    assert len(seen.bare_ms) == len(seen.watched_ms) == 4
    assert min(*seen.bare_ms, *seen.watched_ms, seen.cpu_ratio) > 0
    assert seen.weight_bytes == 4 * (2 * (6 * 6 + 6) + 6 * CLASSES + CLASSES)
    assert (seen.held_bytes == 0) == (watcher == NONE)


def test_every_step_is_looked_at_or_as_the_default_says(place):
    looks = []
    for watcher in ("flow", "flow_default"):
        arm = NetworkArm(case(), 0, CPU)
        with attaching(watcher, place) as attach:
            arm.watcher = attach(arm)
        arm.train(draw(case(), 60))
        looks.append(arm.watcher.measurements().scalars["looks"])
    assert looks[0] == 60
    assert looks[1] < 60


def measured(bare, watched, cpu_ratio=1.0):
    return Measured(tuple(bare), tuple(watched), len(bare) * 5, 100, 400, None, cpu_ratio)


@pytest.mark.parametrize(
    ("watched", "cpu_ratio", "limit", "within"),
    [
        ([1.0] * 12, 1.0, 1.1, True),
        ([1.2] * 12, 1.0, 1.1, False),
        ([1.0] * 12, 1.2, 1.1, False),  # a typical step keeps to it; what is done once in a while does not
        ([1.0] * 10 + [9.0] * 2, 1.0, 1.1, True),  # what another process interrupts is not held against it
        ([9.0] * 12, 9.0, None, None),
    ],
)
def test_within_limits(watched, cpu_ratio, limit, within):
    line = table.row(case(), "flow", measured([1.0] * 12, watched, cpu_ratio), measured([1.0] * 12, [1.0] * 12), limit)
    assert line["within"] is within
    assert line["held_share"] == 0.25
    assert line["parameters"] == 100
    assert line["aa_ratio"] == 1
    assert set(table.SHOWN) < set(line)


@pytest.mark.parametrize(("memory_limit", "within"), [(0.3, True), (0.2, False), (None, True)])
def test_within_the_limit_of_memory(memory_limit, within):
    """A watcher that is fast enough and holds more than it may is not within its limits."""
    same = measured([1.0] * 12, [1.0] * 12)
    line = table.row(case(), "watch", same, same, 1.1, memory_limit)
    assert line["held_share"] == 0.25
    assert line["within"] is within


@pytest.fixture
def here(monkeypatch):
    """Comparisons in this process, without the peer: what is tested is not the times."""
    monkeypatch.setattr(job, "run_isolated", lambda function, plan: function(plan))
    monkeypatch.setattr(job, "installed", lambda name: name in OWN)


def test_the_whole_job(command, here, monkeypatch):
    shown = []
    monkeypatch.setattr(job.tables, "show", lambda figures, folder, note, headings: shown.append(note))
    code, folder, err = command(*SMALL)
    assert code == 0, err
    figures = pd.read_csv(folder / "overhead.csv")
    assert list(figures["watcher"]) == ["flow", "flow_default"]
    assert set(figures["case"]) == {"mine"}
    assert {"device", "threads", "torch", *table.SHOWN} <= set(figures.columns)
    assert list(figures["ratio_limit"]) == [1.1, 1.02]
    assert (folder / "overhead.md").read_text().count("\n") == 4
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == [
        "config.yaml", "overhead.csv", "overhead.md", "overhead.tex", "report.html", "report.json", "run.log",
    ]  # fmt: skip
    assert shown == ["not installed, so not measured: peer"]


def test_students_are_watched_by_the_tracker_of_students(composed):
    (student,) = [c for c in checked_cases(composed("experiment=layers_overhead").job) if c.teacher]
    assert [name for name in (*OWN, *OTHERS) if suits(name, student)] == ["distillation"]
    assert not suits("distillation", case())


def test_squared_gradients_are_kept_of_sgd_alone(composed):
    (sgd,) = [c for c in checked_cases(composed("experiment=layers_overhead").job) if c.optimizer == "sgd"]
    assert [name for name in (*OWN, *OTHERS) if suits(name, sgd)] == ["squares"]
    assert not suits("squares", case())


def test_others_get_fewer_steps(composed, tmp_path):
    config = composed("experiment=layers_overhead", "job.steps=100", "job.other_steps=10", MINE)
    (mine,) = [one for one in checked_cases(config.job) if one.id == "mine"]
    steps = {name: job._plan(config, mine, name, tmp_path).steps for name in (NONE, "flow", "peer")}
    assert steps == {NONE: 100, "flow": 100, "peer": 10}


def test_a_case_may_be_measured_in_several_processes(composed, monkeypatch, tmp_path):
    """Their blocks are put together; of others, one is enough."""
    calls = []

    def isolated(function, plan):
        calls.append(plan.watcher)
        return measured([1.0, float(len(calls))], [2.0, 2.0], cpu_ratio=float(len(calls)))

    monkeypatch.setattr(job, "run_isolated", isolated)
    monkeypatch.setattr(job, "installed", lambda name: name in ("flow", "peer"))
    mine = MINE.replace("}", ", processes: 3}")
    job.run(composed("experiment=layers_overhead", "job.only=[mine]", mine), [], [], tmp_path)
    assert [calls.count(name) for name in (NONE, "flow", "peer")] == [3, 3, 1]
    figures = pd.read_csv(tmp_path / "overhead.csv").set_index("watcher")
    assert figures.loc["flow", "steps"] == 3 * 10
    assert figures.loc["flow", "cpu_ratio"] == pytest.approx((4 + 5 + 6) / 3)


def test_the_table_fits_120_columns(capsys, tmp_path):
    seen = measured([1.2345] * 12, [12.345678] * 12, 1.2345678)
    lines = [table.row(case(), name, seen, seen, 1.1) for name in (*OWN, *OTHERS)]
    table_ = pd.DataFrame(lines)
    job.tables.show(table_, tmp_path, "a note", table.HEADINGS)
    out = capsys.readouterr().out
    assert "10.001-10.001" in out
    assert max(map(len, out.replace(str(tmp_path), "").splitlines())) <= 120


MISTAKES = {
    "network": (["+job.cases.x={network: cnn, depth: 1, width: 1, batch: 1}"], ["job.cases.x.network=cnn", "mlp"]),
    "no tokens": (["+job.cases.x={network: transformer, depth: 1, width: 64, batch: 1}"], ["job.cases.x.tokens=None"]),
    "tokens": (["+job.cases.mlp.tokens=3"], ["job.cases.mlp.tokens=3", "transformer"]),
    "depth": (["job.cases.mlp.depth=0"], ["job.cases.mlp.depth=0", "at least 1"]),
    "width": (["job.cases.mlp.width=1.5"], ["job.cases.mlp.width=1.5", "whole"]),
    "teacher": (["job.cases.student.teacher=0"], ["job.cases.student.teacher=0"]),
    "key": (["+job.cases.x={network: mlp}"], ["job.cases.x", "depth"]),
    "more keys": (["+job.cases.mlp.colour=1"], ["job.cases.mlp", "nothing else"]),
    "no mapping": (["+job.cases.x=3"], ["job.cases.x=3", "network"]),
    "only": (["job.only=[x]"], ["job.only", "'x'", "mlp"]),
    "no case": (["job.only=[]"], ["job.only", "at least one"]),
    "no watcher": (["job.watchers=[]"], ["job.watchers", "at least one"]),
    "watcher": (["job.watchers=[cockpit]"], ["'cockpit'", "flow_default"]),
    "limit": (["job.limits.flow=0.5"], ["job.limits.flow=0.5", "at least 1"]),
    "limit of nothing": (["+job.limits.x=1.5"], ["'x'"]),
    "steps": (["job.steps=0"], ["job.steps=0", "at least 1"]),
    "processes": (["+job.cases.mlp.processes=0"], ["job.cases.mlp.processes=0", "at least 1"]),
    "device": (["job.device=tpu"], ["job.device=tpu", "cpu or cuda"]),
    "no rows": (["+job.cases.x={network: ranker, depth: 1, width: 1, batch: 1}"], ["job.cases.x.rows=None", "ranker"]),
    "rows": (["+job.cases.mlp.rows=3"], ["job.cases.mlp.rows=3", "ranker"]),
    "sparse": (["+job.cases.mlp.optimizer=sparse_adam"], ["job.cases.mlp.optimizer=sparse_adam", "use adam"]),
    "memory": (["+job.memory_limits.x=1.5"], ["memory_limits", "'x'"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named(composed, mistake, tmp_path):
    arguments, named = MISTAKES[mistake]
    with pytest.raises(FlowGradError) as raised:
        job.run(composed("experiment=layers_overhead", *arguments), [], [], tmp_path)
    assert "\n" not in str(raised.value)
    assert all(part in str(raised.value) for part in named), raised.value


def test_the_sizes_that_the_bars_are_set_for(composed):
    settings = composed("experiment=layers_overhead").job
    cases = {one.id: one for one in checked_cases(settings)}
    first, last = cases["mlp"], cases["transformer"]
    assert (first.depth, first.width, first.batch) == (5, 512, 256)
    assert (last.depth, last.width) == (12, 256)
    assert dict(settings.limits) == {"flow": 1.10, "flow_default": 1.02, "squares": 1.02}
    assert cases["mlp_deep"].depth > first.depth
    assert cases["mlp_wide"].width > first.width


def test_the_sizes_that_the_bars_of_a_watch_are_set_for(composed):
    settings = composed("experiment=watch_overhead").job
    cases = {one.id: one for one in checked_cases(settings)}
    for name in ("sparse", "dense"):
        assert (cases[name].depth, cases[name].width, cases[name].batch, cases[name].rows) == (3, 256, 2048, 200_000)
    assert cases["sparse"].optimizer == "sparse_adam"
    assert dict(settings.limits) == {"watch": 1.10, "watch_default": 1.05}
    assert set(dict(settings.memory_limits).values()) == {0.15}
