"""Runs tests in processes that are forked once all are collected: `pytest -p tests.forked_workers --workers 2`.

Workers of pytest-xdist each import and collect all tests, and in a fresh clone rewrite all of their modules. Give
`OMP_NUM_THREADS=1`: threads that modules start while they are imported are not there in a fork.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import traceback
from multiprocessing import Pipe, get_context
from multiprocessing.connection import wait

import pytest

NOBODY = -1
"""The item of a worker that runs none."""


def pytest_addoption(parser):
    parser.addoption("--workers", type=int, default=1, help="processes that run the tests")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    """Take the place of pytest's loop over all items."""
    count = min(session.config.getoption("workers"), len(session.items))
    if count < 2 or session.config.option.collectonly or session.testsfailed:
        return None
    workers = Workers(session, count)
    try:
        workers.listen()
    finally:
        workers.end()
    return True


class Shares:
    """Items that each worker has before it, a run of neighbours, and the one that it runs. Who has none left takes the
    latter half of what another has.
    """

    def __init__(self, items, count):
        bounds = [items * number // count for number in range(count + 1)]
        self._count = count
        self._held = get_context("fork").Array("l", [*bounds[:-1], *bounds[1:], *[NOBODY] * count])

    def take(self, number):
        """The next item of a worker; None if none is left."""
        with self._held.get_lock():
            start, end = self._of(number)
            if start == end:
                other = max(range(self._count), key=lambda other: self._left(other))
                start, end = self._of(other)
                start = end - (end - start) // 2
                if start == end:
                    return None
                self._held[self._count + other] = start
                self._held[self._count + number] = end
            self._held[number] = start + 1
            return start

    def begin(self, number, item):
        self._held[2 * self._count + number] = item

    def running(self, number):
        return self._held[2 * self._count + number]

    def _of(self, number):
        return self._held[number], self._held[self._count + number]

    def _left(self, number):
        start, end = self._of(number)
        return end - start


class Workers:
    """The processes, as the one that forked them knows them."""

    def __init__(self, session, count):
        self._session = session
        self._shares = Shares(len(session.items), count)
        self._processes = {}
        session.config._tmp_path_factory.getbasetemp()
        if forked := sys.modules.get("tests.forked"):
            forked.share()
        for number in range(count):
            here, there = Pipe(duplex=False)
            process = os.fork()
            if not process:
                here.close()
                work(session, number, self._shares, there)
            there.close()
            self._processes[here] = number, process

    def listen(self):
        """Pass on what the workers tell, until all have ended.

        Raises:
            Session.Failed: so many tests failed that the rest is not to be run.
            Session.Interrupted: something else ends the session.
        """
        hook, config = self._session.config.hook, self._session.config
        while self._processes:
            for connection in wait([*self._processes]):
                try:
                    told = connection.recv()
                except EOFError:
                    self._buried(connection)
                    continue
                for name, arguments in told:
                    if name == "pytest_runtest_logreport":
                        data = arguments["report"]
                        arguments = {"report": hook.pytest_report_from_serializable(config=config, data=data)}
                    call = getattr(hook, name)
                    call.call_historic(kwargs=arguments) if call.is_historic() else call(**arguments)
            if self._session.shouldfail:
                raise self._session.Failed(self._session.shouldfail)
            if self._session.shouldstop:
                raise self._session.Interrupted(self._session.shouldstop)

    def end(self):
        """End workers that still run."""
        for connection, (_, process) in self._processes.items():
            os.kill(process, signal.SIGTERM)
            os.waitpid(process, 0)
            connection.close()

    def _buried(self, connection):
        number, process = self._processes.pop(connection)
        connection.close()
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        place = self._shares.running(number)
        if code == 0 and place == NOBODY:
            return
        item = self._session.items[place]
        said = f"the worker that ran this ended with {code}; what it had before it may not have been run"
        report = pytest.TestReport(item.nodeid, item.location, {}, "failed", said, "call")
        self._session.config.hook.pytest_runtest_logreport(report=report)


class Telling:
    """What a worker sends: calls of hooks, by name and arguments, those of one test at once."""

    def __init__(self, config, connection):
        self._config, self._connection, self._calls = config, connection, []

    def pytest_runtest_logstart(self, nodeid, location):
        self._calls.append(("pytest_runtest_logstart", {"nodeid": nodeid, "location": location}))

    def pytest_runtest_logreport(self, report):
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._calls.append(("pytest_runtest_logreport", {"report": data}))

    def pytest_runtest_logfinish(self, nodeid, location):
        self._calls.append(("pytest_runtest_logfinish", {"nodeid": nodeid, "location": location}))
        self.send()

    def pytest_warning_recorded(self, warning_message, when, nodeid, location):
        warning_message.source = None
        told = {"warning_message": warning_message, "when": when, "nodeid": nodeid, "location": location}
        self._calls.append(("pytest_warning_recorded", told))

    def send(self):
        self._connection.send(self._calls)
        self._calls = []


def work(session, number, shares, connection):
    """Run items in this process until none is left, and end it."""
    code = 1
    try:
        config = session.config
        config.pluginmanager.unregister(name="terminalreporter")
        capture = config.pluginmanager.getplugin("capturemanager")
        capture.stop_global_capturing()
        capture.start_global_capturing()
        factory = config._tmp_path_factory
        factory._basetemp = factory.getbasetemp() / f"worker{number}"
        factory._basetemp.mkdir(mode=0o700)
        telling = Telling(config, connection)
        config.pluginmanager.register(telling)
        following = shares.take(number)
        while following is not None and not (session.shouldfail or session.shouldstop):
            current, following = following, shares.take(number)
            shares.begin(number, current)
            after = None if following is None else session.items[following]
            config.hook.pytest_runtest_protocol(item=session.items[current], nextitem=after)
        session._setupstate.teardown_exact(None)
        shares.begin(number, NOBODY)
        telling.send()
        atexit._run_exitfuncs()
        code = 0
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
    finally:
        os._exit(code)
