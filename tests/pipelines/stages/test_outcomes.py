"""Runs that are begun ahead, and how their seeds are divided."""

from __future__ import annotations

import os
import time
from contextlib import closing

import pytest

from pipelines.stages import outcomes
from pipelines.stages.outcomes import Runs, divided
from pipelines.stages.parallel import Pool
from pipelines.trainers.trainer import trainer_of


class Counted:
    """A trainer's stack size, without data."""

    def __init__(self, size):
        self.size = size

    def stack_size(self, data):
        return self.size


@pytest.mark.parametrize(
    ("size", "seeds", "expected"),
    [
        (1, 3, [1, 1, 1]),
        (3, 3, [3]),
        (3, 7, [2, 2, 3]),
        (6, 10, [5, 5]),
        (16, 10, [10]),
    ],
)
def test_seeds_are_divided_into_few_stacks_of_about_one_size(monkeypatch, size, seeds, expected):
    monkeypatch.setattr("pipelines.trainers.trainer.trainer_of", lambda config: Counted(size))
    found = divided(None, range(seeds), None)
    assert [len(part) for part in found] == expected
    assert [seed for part in found for seed in part] == list(range(seeds))


def test_what_is_begun_is_trained_once(composed, monkeypatch):
    config = composed("dataset=synthetic", "training.epochs=1", rules=False)
    data = trainer_of(config).load()
    made = []
    monkeypatch.setattr(outcomes, "Pool", lambda *given: made.append(Recorded(*given)) or made[-1])
    with closing(Runs(data)) as runs:
        runs.begin(config, [1, 2])
        runs.start(1)
        assert not made, "no process was asked for"
        runs.start(2)
        runs.start(3)
        runs.begin(config, [1, 2])
        runs.begin(config, (1, 2))
        found = list(runs.outcomes(config, [1, 2]))
    (pool,) = made
    assert pool.workers == 2
    assert pool.begun == [[1, 2]]
    assert pool.closed
    assert [one.metrics for one in found] == [one.metrics for one in Runs(data).outcomes(config, [1, 2])]


class Recorded(Pool):
    """A pool that does its work here, and tells what it was asked for."""

    def __init__(self, workers, data):
        super().__init__(1, data)
        self.workers, self.begun, self.closed = workers, [], False

    def begin(self, work, run, ahead):
        self.begun.append(list(run[1]))
        return super().begin(work, run, ahead=ahead)

    def close(self):
        self.closed = True
        super().close()


def waited(run, data):
    time.sleep(run)
    return os.getpid()


def test_a_pool_that_is_closed_ends_its_processes():
    """Work goes on in the background, and what is not done by then is not waited for."""
    with closing(Pool(2, None)) as pool:
        pids = {wait() for wait in [pool.begin(waited, 0.3), pool.begin(waited, 0.3)]}
        assert len(pids) == 2
        assert os.getpid() not in pids
        pool.begin(waited, 600)
        began = time.monotonic()
    assert time.monotonic() - began < 60
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
