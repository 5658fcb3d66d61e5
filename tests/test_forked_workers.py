"""Workers that are forked run each test once, and what they see is told as if one process had run them all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.forked_workers import Shares

ROOT = Path(__file__).parents[1]
TESTS = """
import os, signal, warnings
import pytest

@pytest.fixture(scope="module")
def resource():
    yield
    raise OSError("it does not close")

@pytest.mark.parametrize("number", range(20))
def test_passes(number, capfd):
    os.system(f"echo {number} >> ran; echo told")
    assert capfd.readouterr().out == "told\\n"

def test_fails():
    print("it was here")
    assert [1] == [2]

def test_warns():
    warnings.warn("take care")

@pytest.mark.skip(reason="no need")
def test_is_skipped():
    pass

def test_resource(resource):
    pass
"""


@given(st.integers(1, 30), st.integers(1, 4), st.lists(st.integers(0, 3), max_size=60))
def test_each_item_is_taken_once(items, count, turns):
    shares = Shares(items, count)
    taken = [shares.take(turn % count) for turn in turns]
    for number in range(count):
        while (item := shares.take(number)) is not None:
            taken.append(item)
    assert sorted(item for item in taken if item is not None) == list(range(items))


def test_who_has_nothing_left_takes_half_of_what_another_has():
    shares = Shares(16, 2)
    assert [shares.take(0) for _ in range(8)] == list(range(8))
    assert shares.take(0) == 12
    assert [shares.take(1) for _ in range(4)] == [8, 9, 10, 11]


def run(folder, tests, *options):
    """Run tests in a folder of their own: exit code, and what was printed."""
    (folder / "test_it.py").write_text(tests)
    words = ("-p", "tests.forked_workers", "--workers", "2", "-p", "no:cacheprovider", "--rootdir", str(folder))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *words, *options, f"--basetemp={folder}/temporary", "test_it.py"],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_all_is_told(tmp_path):
    code, said = run(tmp_path, TESTS)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "1 failed, 22 passed, 1 skipped, 1 warning, 1 error" in said
    for text in ("it was here", "assert [1] == [2]", "take care", "it does not close"):
        assert said.count(text) >= 1
    assert sorted(map(int, (tmp_path / "ran").read_text().split())) == list(range(20))


def test_a_worker_that_dies_is_told(tmp_path):
    code, said = run(tmp_path, TESTS.replace('print("it was here")', "os.kill(os.getpid(), signal.SIGKILL)"))
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "test_it.py::test_fails - the worker that ran this ended with -9" in said


def test_it_stops_where_it_is_told_to(tmp_path):
    code, said = run(tmp_path, "def test_a():\n    assert 0\n\n\ndef test_b():\n    assert 0\n", "-x")
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "stopping after 1 failures" in said
