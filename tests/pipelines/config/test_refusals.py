"""Errors of the disk, the memory and the libraries are one line; those of the program keep their traceback."""

from __future__ import annotations

import errno
import os

import pytest
import yaml

from flowgrad import output
from flowgrad.files import write_atomically
from pipelines import run as application
from pipelines.config.refusals import told

SMALL = ["dataset=synthetic", "seeds.test=[1,2,3]", "workers=1"]


class XGBoostError(ValueError):
    """As the library's own."""


ERRORS = {
    "disk full": (OSError(errno.ENOSPC, "", "/run/.report.xml.0123abcd.part"), ["/run/report.xml", "No space left"]),
    "quota": (OSError(errno.EDQUOT, "", "/run/a.csv"), ["/run/a.csv", "quota"]),
    "read-only": (OSError(errno.EROFS, "", "/run/a.csv"), ["/run/a.csv", "Read-only"]),
    "no rights": (PermissionError(errno.EACCES, "", "/run/a.csv"), ["/run/a.csv", "Permission denied"]),
    "folder deleted": (FileNotFoundError(errno.ENOENT, "", "/run/a.csv"), ["/run/a.csv", "deleted"]),
    "name too long": (OSError(errno.ENAMETOOLONG, "", "x" * 5000), ["too long"]),
    "memory": (MemoryError(), ["memory does not suffice", "workers"]),
    "memory of torch": (
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to "
                     "allocate 4398046511104 bytes. Error code 12"),
        ["memory does not suffice", "4.1e+03 GiB"],
    ),
    "size of torch": (RuntimeError("Storage size calculation overflowed with sizes=[1, 2]"), ["memory"]),
    "size of numpy": (ValueError("array is too big; `arr.size * arr.dtype.itemsize` is larger"), ["memory"]),
    "fork": (OSError(errno.ENOMEM, "Cannot allocate memory"), ["memory does not suffice"]),
    "booster": (XGBoostError("[03:05:00] /src/a.cc:12: Check failed: x\nStack trace:\n  [bt]"), ["Check failed: x"]),
    "YAML tag": (yaml.constructor.ConstructorError(None, None, "could not determine a constructor", None), ["tags"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", ERRORS)
def test_one_line_that_names_the_thing(kind):
    """Each of these ended in a traceback."""
    error, named = ERRORS[kind]
    line = told(error)
    assert line is not None
    assert "\n" not in line
    assert len(line) < 1300
    assert all(part in line for part in named), line
    assert "Stack trace" not in line


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), KeyError("x"), ValueError("no"), BrokenPipeError()])
def test_what_is_the_programs_own_fault_is_not_told_as_the_users(error):
    assert told(error) is None


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_told_of_a_real_write():
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomically("/dev/full", b"x" * 100_000)
    assert "No space left" in (told(caught.value) or "")


@pytest.mark.parametrize("kind", ["disk full", "read-only", "folder deleted", "memory", "booster"])
def test_a_run_that_meets_it_ends_with_the_line_and_exit_code_2(command, monkeypatch, kind):
    """41 of 839 overrides, and 12 of 30 full disks, ended in a traceback and exit code 1."""

    def fail(*args):
        raise ERRORS[kind][0]

    monkeypatch.setattr("pipelines.jobs.closed_loop.check_settings", fail)
    code, folder, err = command(*SMALL)
    (line,) = err.splitlines()
    assert code == 2
    assert line.startswith("error: ")
    assert "Traceback" in (folder / "run.log").read_text(encoding="utf-8"), "for whoever looks closer"


def test_a_log_that_cannot_be_written_ends_the_run(command, monkeypatch):
    """`logging` printed a traceback for every record, and went on."""
    monkeypatch.setattr("logging.StreamHandler.flush", lambda handler: _full(handler))
    code, _, err = command(*SMALL)
    assert code == 2
    assert [line for line in err.splitlines() if line.startswith("error: ")]
    assert "Logging error" not in err


def _full(handler):
    if hasattr(handler, "baseFilename"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_nobody_reads_what_is_printed(command, monkeypatch):
    """`... | head -1` ended in a traceback."""

    def fail(*args):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("pipelines.jobs.closed_loop.check_settings", fail)
    code, _, err = command(*SMALL)
    assert code == output.UNREAD
    assert err == ""


@pytest.mark.parametrize("argument", ["dataset.path=a\0b", "dataset.path=a\udcff.csv", "name=\ud800"])
def test_arguments_that_no_other_process_takes(capsys, argument):
    code = application.main(["dataset=ratings_csv", argument])
    (line,) = capsys.readouterr().err.splitlines()
    assert code == 2
    assert line.startswith("error: argument")


@pytest.mark.parametrize("argument", ["optimizer=str(1)", "optimizer=[1]", "model=int(3)", "sampler=1"])
def test_a_choice_that_is_no_name(capsys, argument):
    """It was "argument of type 'int' is not iterable"."""
    assert application.main([argument, "dataset=synthetic"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "must be" in line or "names" in line or "Could not" in line, line


@pytest.mark.parametrize("path", ["..a", ".", "a..b", "..", ""])
def test_a_target_whose_path_is_none(path):
    """One that begins with a dot ended in a TypeError."""
    from flowgrad.errors import FlowGradError
    from pipelines.config.targets import imported

    with pytest.raises(FlowGradError, match="cannot be imported"):
        imported("model._target_", path)


MOVED = {
    "pipelines.boosting.program.Boosting": "pipelines.trainers.boosting.trainer.Boosting",
    "pipelines.training.losses.MeanSquaredError": "pipelines.trainers.factorization.losses.MeanSquaredError",
    "pipelines.models.factorization.MatrixFactorization": (
        "pipelines.trainers.factorization.models.factorization.MatrixFactorization"
    ),
    "pipelines.closed_loop.run": "pipelines.jobs.closed_loop.run",
}


@pytest.mark.parametrize("old", MOVED)
def test_a_target_of_the_version_before_is_followed_with_a_warning(caplog, old):
    from pipelines.config.targets import imported

    assert imported("model._target_", old) is imported("model._target_", MOVED[old])
    imported("model._target_", old)  # which is not told again
    assert [record.message for record in caplog.records] == [f"model._target_={old} has moved: write {MOVED[old]}"]


@pytest.mark.parametrize(
    "name", ["datasets", "os.getcwd", "builtins.print", "builtins.int", "pipelines.jobs.closed_loop.run"]
)
def test_what_is_no_sampler_is_not_called(composed, name):
    """A module as `sampler._target_` ended in a TypeError in the training, of the closed loop and of a recipe's job."""
    from flowgrad.errors import FlowGradError
    from pipelines.stages.check import check_settings

    config = composed("dataset=synthetic", f"sampler._target_={name}", rules=False)
    with pytest.raises(FlowGradError, match=r"sampler\._target_=.* (is no sampler, which is a function|cannot be)"):
        check_settings(config)
