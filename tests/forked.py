"""Processes of tests that are forked from one that has imported torch and used nothing of it: a fresh Python takes four
seconds until it trains.
"""

from __future__ import annotations

import fcntl
import os
import runpy
import subprocess
import sys
from multiprocessing import reduction

from torch import multiprocessing

IMPORTED = (
    "torch._dynamo",
    "torch.distributed",
    "torch.nn.parallel",
    "pytest",
    "flowgrad.testing",
    "flowgrad.watching",
    "flowgrad.integrations.session",
    "hydra",
    "pipelines.stages.check",
)
"""Modules that the process that is forked imports."""


def forked_from():
    """The context of `multiprocessing` whose processes are forked from that one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*IMPORTED])
    return context


def run_two(work, *arguments):
    """Call `work(rank, *arguments)` in a process for each of two ranks, and raise what one raised."""
    forked_from()
    multiprocessing.start_processes(work, arguments, 2, start_method="forkserver")


def run_forked(work, *arguments):
    """Call `work(*arguments)` in a process of its own; returns what it returns, and raises what it raised."""
    with forked_from().Pool(1) as pool:
        return pool.apply(work, arguments)


class ForkedPopen:
    """Takes the place of `subprocess.Popen` for a program of Python: `python FILE ...`, `python -m MODULE ...` or
    `python -c CODE ...`, which writes into files, in a session of its own.
    """

    def __init__(self, words, *, cwd, env, stdout, stderr=subprocess.STDOUT, pass_fds=(), **how):
        outputs = [stdout.name, stdout.name if stderr == subprocess.STDOUT else stderr.name]
        given = (words[1:], str(cwd), dict(env), outputs, [_Descriptor(number) for number in pass_fds])
        self._process = forked_from().Process(target=_run_program, args=given)
        self._process.start()
        self.pid = self._process.pid

    def wait(self, timeout=None):
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("python", timeout)
        return self._process.exitcode

    def poll(self):
        return self._process.exitcode

    def kill(self):
        self._process.kill()


class _Descriptor:
    """A descriptor of a file on its way to another process, which gets it under the same number."""

    def __init__(self, number):
        self._number = number

    def __reduce__(self):
        return _Handed, (self._number, reduction.DupFd(self._number))


class _Handed:
    def __init__(self, number, sent):
        self._number = number
        self._held = fcntl.fcntl(sent.detach(), fcntl.F_DUPFD, 200)  # out of the way of what others are to be

    def settle(self):
        os.dup2(self._held, self._number)
        os.close(self._held)


def _run_program(words, folder, environment, outputs, handed):
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for place, output in enumerate(outputs, 1):
        with open(output, "ab") as stream:
            os.dup2(stream.fileno(), place)
    for one in handed:
        one.settle()
    if words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        sys.path.insert(0, "")
        exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
    elif words[0] == "-m":
        sys.argv = [*words[1:]]
        sys.path[:0] = [folder, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [*words]
        sys.path.insert(0, os.path.dirname(os.path.abspath(words[0])))
        runpy.run_path(words[0], run_name="__main__")
