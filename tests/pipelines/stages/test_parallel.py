"""Workers that die, fail or are interrupted; a run on several processes gives what one gives."""

import ast
import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import closing

import pytest
import torch
from omegaconf import OmegaConf

from flowgrad import exits
from flowgrad.errors import FlowGradError
from pipelines.stages.parallel import Pool, parallel_map, run_isolated, workers_for
from tests.pipelines.stages.sent_work import BIG, Deadly, doubled, failing, killed, os_id, size, slow_first, times


@pytest.fixture(autouse=True)
def workers_are_forked():
    """The pools here are not forked: their workers start as those of a run that finds no process to fork."""


def test_results_come_in_order():
    assert list(parallel_map(times, [1, 2, 3, 4, 5], "ab", 2)) == [2, 4, 6, 8, 10]
    assert (
        list(parallel_map(slow_first, range(4), None, 2))
        == list(parallel_map(slow_first, range(4), None, 1))
        == [0, 1, 2, 3]
    )


def test_work_that_goes_ahead_is_done_before_what_was_begun_earlier(monkeypatch):
    gates, order = {"first": threading.Event(), "all": threading.Event()}, []

    def done(self, work, run):
        order.append(run)
        assert run not in gates or gates[run].wait(60)

    monkeypatch.setattr(Pool, "_done", done)
    with closing(Pool(2, None)) as pool:
        waiting = [pool.begin(times, run) for run in ("all", "first", "later", "last")]
        waiting += [pool.begin(times, run, ahead=True) for run in ("ahead", "next")]
        gates["first"].set()
        for wait in waiting[1:]:
            wait()
        gates["all"].set()
        waiting[0]()
    assert set(order[:2]) == {"all", "first"}
    assert order[2:] == ["ahead", "next", "later", "last"]


AHEAD = """
    import os, sys
    sys.path.insert(0, {tests!r})
    from flowgrad import exits
    from pipelines.stages.parallel import import_ahead, imports_ahead, parallel_map
    from sent_work import told

    def main():
        import_ahead(["colorsys", "numpy"])
        assert imports_ahead()
        print(*parallel_map(told, [0.3, 0.3], None, 2), sep="\\n")
        return 0

    if __name__ == "__main__":
        exits.end(exits.answered(main))
"""


def test_workers_share_what_a_server_imported_but_not_its_randomness(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(AHEAD).format(tests=os.path.dirname(__file__)))
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    (server, here, one), (again, there, other) = (ast.literal_eval(line) for line in done.stdout.splitlines())
    assert (server, here, there) == (again, True, True)
    assert one != other
    for _ in range(100):
        if not is_alive(server):
            return
        time.sleep(0.1)
    raise AssertionError("the server outlives the process that started it")


def test_tensors_that_are_sent_stay_where_they_are():
    """Their memory had been moved to be shared, while training went on in the main thread: arrays over it read what was
    written to freed memory, and a run in some ended with a row of the table that there is not.
    """
    data = torch.arange(100_000)
    lies, over = data.data_ptr(), data.numpy()
    results = list(parallel_map(doubled, [1, 2, 3], data, workers=2))
    assert [int(one[-1]) for one in results] == [99_999, 199_998, 299_997]
    assert data.data_ptr() == lies == over.__array_interface__["data"][0]
    assert not any(one.is_shared() for one in (data, *results))


def test_what_is_larger_than_a_pipe_arrives():
    assert run_isolated(size, BIG) == len(BIG)
    assert list(parallel_map(times, [1, 1], BIG, 2)) == [len(BIG)] * 2


def test_a_worker_that_is_killed_is_told_in_one_line():
    with pytest.raises(FlowGradError, match=r"^killed ended without a result \(exit code -9\); was memory short\?$"):
        list(parallel_map(killed, range(6), None, 2))


def test_a_worker_that_dies_while_it_starts_is_told_too():
    with pytest.raises(FlowGradError, match=r"^times ended without a result \(exit code 7\)"):
        list(parallel_map(times, [1, 2], Deadly(), 2))
    with pytest.raises(FlowGradError, match=r"^size ended without a result \(exit code 7\)"):
        run_isolated(size, Deadly())


def test_an_error_arrives_with_its_place_but_not_in_its_message():
    with pytest.raises(FlowGradError) as caught:
        list(parallel_map(failing, range(3), None, 2))
    assert str(caught.value) == "no such run 1"
    assert "in failing" in caught.value.__notes__[0]
    with pytest.raises(RuntimeError) as caught:
        list(parallel_map(failing, [2, 3], None, 2))
    assert str(caught.value) == "CannotTravelError: left and right"


def test_who_stops_listening_leaves_no_process():
    results = parallel_map(os_id, range(8), None, 2)
    pids = {next(results), next(results)}
    results.close()
    assert all(not is_alive(pid) for pid in pids)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


STARTS_FOR_LONG = """
    import os, sys, time
    import torch  # in each worker too, as one that trains does
    sys.path.insert(0, {tests!r})
    from flowgrad import exits
    from pipelines.stages.parallel import parallel_map
    from sent_work import BIG, slow_first

    def main():
        print("ready", flush=True)
        for result in parallel_map(slow_first, [0] * 500, BIG, 2):
            pass
        return 0

    if __name__ == "__main__":
        sys.exit(exits.answered(main))
"""


@pytest.mark.parametrize("after", [0.02, 0.2, 0.7])
def test_an_interrupt_while_workers_start_is_answered_soon(tmp_path, after):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(STARTS_FOR_LONG).format(tests=os.path.dirname(__file__)))
    words = [sys.executable, str(script)]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, env=environment
    ) as run:
        assert run.stdout.readline() == "ready\n"
        time.sleep(after)
        began = time.monotonic()
        os.killpg(run.pid, signal.SIGINT)
        _, told = run.communicate(timeout=60)
    assert (run.returncode, told) == (130, "interrupted\n")
    assert time.monotonic() - began < 3


def test_an_interrupt_that_was_lost_is_answered_while_a_worker_is_waited_for(monkeypatch):
    """Raised in a finalizer it is ignored there; the parent then waited until a worker had done its work."""
    monkeypatch.setattr(exits, "_came", False)
    timer = threading.Timer(1.0, lambda: setattr(exits, "_came", True))
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_isolated(time.sleep, 60)
    assert time.monotonic() - began < 30
    timer.join()


@pytest.mark.parametrize(
    ("given", "seconds", "expected"),
    [(None, 0.5, 1), (None, 3600.0, 7), (3, 0.5, 3), (1, 3600.0, 1), (None, math.inf, 7)],
)
def test_work_that_takes_less_than_starting_processes_is_done_in_one(monkeypatch, given, seconds, expected):
    monkeypatch.setattr("pipelines.stages.parallel.cores", lambda: 7)
    assert workers_for(OmegaConf.create({"workers": given}), seconds) == expected
    monkeypatch.setattr("pipelines.stages.parallel._ahead", True)
    assert workers_for(OmegaConf.create({"workers": given}), seconds) == (given or 7), "starting takes nothing then"
