"""Ctrl-C on the command line: one line, exit code 130, whenever it comes."""

import signal
import subprocess
import sys
import textwrap

import pytest

CAUGHT_ELSEWHERE = """
    def main():
        try:
            print("ready", flush=True)
            while True:
                pass
        except BaseException:  # as code that is not ours may do
            pass
        exits.raise_again()
        return 0
"""
IN_AN_IMPORT = """
    def main():
        with exits.leaving_quietly():
            try:
                print("ready", flush=True)
                while True:
                    pass
            except BaseException:
                pass
        return 0
"""
THROUGH_C = """
    def main():
        # What C code runs as a string, as torch does while it is imported; Python then notes an interrupt for its end.
        import ctypes
        ctypes.pythonapi.PyRun_SimpleString(b"print('ready', flush=True)\\nwhile True: pass")
        raise KeyboardInterrupt
"""
WAITS_FOR_EVER = """
    exits.PATIENCE = 0.5

    def main():
        import threading
        try:
            print("ready", flush=True)
            while True:
                pass
        finally:
            lock = threading.Lock()
            lock.acquire()
            lock.acquire()  # of somebody who never lets go
"""
AT_THE_END = """
    import atexit

    def main():
        return 0

    def wait():
        print("ready", flush=True)
        while True:
            pass

    atexit.register(wait)
"""


def interrupted(code):
    """Exit status and standard error of a program that is interrupted once it says that it is ready."""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    return process.returncode, said


@pytest.mark.parametrize("main", [CAUGHT_ELSEWHERE, IN_AN_IMPORT, THROUGH_C, WAITS_FOR_EVER, AT_THE_END])
def test_an_interrupt_is_answered_once_and_by_130(main):
    code = "import sys\nfrom flowgrad import exits\n" + textwrap.dedent(main) + "\nsys.exit(exits.answered(main))"
    status, said = interrupted(code)
    assert status == 130, said
    assert said.splitlines()[-1] == "interrupted"


def test_a_command_that_ends_well_gives_its_code():
    code = "import sys\nfrom flowgrad import exits\nsys.exit(exits.answered(lambda: 3))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 3


def test_the_end_of_a_process_waits_for_its_threads_and_does_what_was_registered():
    """Python's own end is left out: it takes all modules down."""
    code = """if True:
        import atexit, threading, time
        from flowgrad import exits
        class Kept:
            def __del__(self):
                print("taken down", flush=True)
        kept = Kept()
        atexit.register(lambda: print("registered", end=""))
        threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
        print("main")
        exits.end(exits.answered(lambda: 3))
    """
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (3, "main\nthread\nregistered", "")


def test_the_command_of_reports_is_interrupted_while_it_imports():
    """Pandas alone takes most of a second."""
    code = """if True:
        import runpy, sys
        class Slow:
            def find_spec(self, name, path=None, target=None):
                if name == "pandas":
                    print("ready", flush=True)
                    while True:
                        pass
        sys.meta_path.insert(0, Slow())
        sys.argv = ["flowgrad", "evidence", "show"]
        runpy.run_module("flowgrad", run_name="__main__")
    """
    assert interrupted(code) == (130, "interrupted\n")


@pytest.mark.parametrize("redirected", [">/dev/full", ">/dev/full 2>&-", ">&-", "2>/dev/full", "| true"])
def test_standard_output_of_the_flowgrad_command_that_cannot_be_written(redirected):
    """A full disk ended in a traceback, and so did a closed standard output."""
    told = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m flowgrad evidence show {redirected}; echo code ${{PIPESTATUS[0]}} >&2"],
        capture_output=True,
        text=True,
        check=False,
    ).stderr
    assert "Traceback" not in told
    assert "Exception" not in told
    wanted = {">/dev/full": "error: standard output cannot be written: No space left on device\ncode 2\n"}
    assert told in (wanted.get(redirected), "code 0\n", "code 2\n")
