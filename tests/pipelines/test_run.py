"""The process of `python -m pipelines.run`."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PRINTS_ITS_THREADS = """
import os, runpy, sys
end = os._exit
os._exit = lambda code: (print(os.environ["OMP_NUM_THREADS"], flush=True), end(code))
sys.argv = ["pipelines.run", "="]
runpy.run_module("pipelines.run", run_name="__main__")
"""


@pytest.mark.parametrize(("given", "threads"), [({}, "1"), ({"OMP_NUM_THREADS": "3"}, "3")], ids=["default", "given"])
def test_products_of_numpy_take_one_thread_unless_others_are_asked_for(given, threads):
    """Two runs at once, of which each product took all cores, waited for each other most of the time: 115 s of CPU for
    what takes 17.
    """
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"} | given
    done = subprocess.run(
        [sys.executable, "-c", PRINTS_ITS_THREADS], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1:] == [threads], done.stderr
    assert done.returncode == 2
