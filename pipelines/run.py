"""`python -m pipelines.run experiment=movielens_mf`: one experiment, all arms, all seeds."""

from __future__ import annotations

if __name__ == "__main__":  # the imports take a second
    import gc
    import os

    # NumPy's products are small: threads of their own, one a core in each process, mostly wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

    from flowgrad import exits, output

    gc.disable()  # until all is imported, which makes no garbage, and a lot to search for it

    output.keep_open()
    exits.leave_quietly()

import gc
import hashlib
import logging
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.hydra import Hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from flowgrad import exits, output
from flowgrad.files import without_waiting
from pipelines.config.command_line import flags_first, one_line, with_shipped
from pipelines.config.override_errors import file_swept_over, unwritable
from pipelines.config.own_folders import check_hidden
from pipelines.config.refusals import told
from pipelines.config.schema import register
from pipelines.output import interrupts
from pipelines.sweeps.job_record import FILE, write_record

CONF = str(Path(__file__).parents[1] / "conf")
"""Folder of the configs as an absolute path, so that it is found however this module was started."""

_state = {"composed": False}


def _mode_given(self: Hydra, config_name: str | None, overrides: list[str]) -> RunMode | None:
    """Read `hydra.mode` of the overrides; no config here sets it. Hydra would compose the whole config to learn
    that.
    """
    given = [value for key, _, value in (one.partition("=") for one in overrides) if key.lstrip("+") == "hydra.mode"]
    return RunMode[given[-1]] if given and given[-1] in RunMode.__members__ else None


Hydra.get_mode = _mode_given  # type: ignore[method-assign]


@hydra.main(version_base="1.3", config_path=CONF, config_name="config")
def job(config: DictConfig) -> Any:
    """Run one job: a run, or one of a sweep. It returns the value that a search minimises; None for other jobs."""
    exits.raise_again()
    interrupts.end_with_sweep()
    # After Hydra has checked the command line: torch is slow to import.
    with exits.leaving_quietly():
        from pipelines.config.cache import cache_folder
        from pipelines.config.targets import job_of
        from pipelines.config.values import check_values
        from pipelines.output import loggers, pages

    _state["composed"] = True
    context = HydraConfig.get()
    folder = Path(context.runtime.output_dir)
    given = list(context.overrides.task)
    sources = [f"{s.schema}://{s.path}" if "://" not in s.path else s.path for s in context.runtime.config_sources]
    swept = context.mode is RunMode.MULTIRUN
    if swept:
        (folder / FILE).unlink(missing_ok=True)
    try:
        with _logging_to(folder / "run.log"):
            check_hidden({str(group): name for group, name in context.runtime.choices.items()}, sources)
            check_values(config)
            loggers.check_loggers(config)
            # matplotlib's list of fonts would go to the home folder.
            os.environ.setdefault("MPLCONFIGDIR", str(cache_folder(config) / "matplotlib"))
            with exits.leaving_quietly():
                do = job_of(config)
            _search_for_garbage()
            objective = do(config, given, list(reversed(sources)), folder)
            pages.write_page(folder)
            if config.logger:
                loggers.send(config, folder)
    except BrokenPipeError as error:
        raise SystemExit(output.UNREAD) from error  # of which Hydra would print a line
    except Exception as error:
        line = told(error)
        if line is None and not swept:
            raise
        if line is not None:
            _tell(line, folder / "run.log")
        if not swept:
            # The error is not passed on to Hydra, which would print a line of its own.
            raise SystemExit(2) from error
        reason = line or f"{type(error).__name__}: {one_line(error)}"
    else:
        if swept:
            write_record(folder, config, given, objective=objective)
        return objective
    # A job that fails does not take the sweep with it.
    write_record(folder, config, given, reason=reason)
    return float("nan")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code. 0: done, whatever the verdict. 1: a job of a sweep failed. 2: bad
    input, named in one line on standard error; so is a disk that is full, or memory that does not suffice. 141: the
    output is not read any more.
    """
    return output.settled(_main(sys.argv[1:] if arguments is None else list(arguments)))


def _main(given: list[str]) -> int:
    if complaint := unwritable(given):
        print(f"error: {complaint}", file=sys.stderr)
        return 2
    register()
    _state["composed"] = False
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hands us the exception; Hydra's own way is several lines and exit code 1
    os.environ["FLOWGRAD_RUN_ID"] = _run_id(given)  # the environment reaches the workers of a sweep too
    os.environ[interrupts.SWEEP] = str(os.getpid())
    os.environ["FLOWGRAD_COMMAND"] = shlex.join(["python", "-m", "pipelines.run", *given])
    sys.argv = ["python -m pipelines.run", *with_shipped(flags_first(given))]
    if complaint := file_swept_over(given):
        print(f"error: {complaint}", file=sys.stderr)
        return 2
    try:
        job()
    except BrokenPipeError:
        return output.UNREAD
    except Exception as error:
        line = told(error, given)
        # Until a config is composed all there is to go wrong is the command line; Hydra raises plain ValueErrors too.
        if line is None and _state["composed"]:
            raise
        print(f"error: {line or _of_arguments(error)}", file=sys.stderr)
        return 2
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except KeyboardInterrupt:
        print("interrupted; what was finished is in the run folder", file=sys.stderr)
        return 130
    return 0


def _of_arguments(error: Exception) -> str:
    """Message for an error that Hydra raises while it composes, such as a choice of a group that is a number."""
    said = one_line(error)
    if isinstance(error, RecursionError):
        return "a config refers to itself, in its defaults or by an alias, or is nested too deeply; take that out"
    if isinstance(error, UnicodeDecodeError):
        return f"a config is no UTF-8 text ({said}); save it as such"
    if isinstance(error, ValueError):
        return said or type(error).__name__
    return (
        f"the arguments cannot be composed ({said or type(error).__name__}); the choice of a group must be a name, "
        "and a config file hold a mapping"
    )


_LOTS = 20_000, 20, 400
"""Number of new objects that bring on a search of them, and of searches of each kind that bring on one of more."""


def _search_for_garbage() -> None:
    """Search for it from now on, where that was put off: among what is made from here, and not in imported modules,
    which took an eighth of a short run; and in larger lots than Python does, for a config has thousands of nodes.
    """
    if not gc.isenabled():
        gc.freeze()
        gc.set_threshold(*_LOTS)
        gc.enable()


def _tell(line: str, log: Path) -> None:
    """Write the line to the terminal, and to the run's log where that can be written."""
    try:
        with _logging_to(log, mode="a"):
            logging.getLogger(__name__).error("%s", line)
    except OSError:
        print(f"error: {line}", file=sys.stderr)


class _LowerCase(logging.Formatter):
    """Formats records as `warning: ...` and `error: ...`, as other command line tools write them."""

    def format(self, record: logging.LogRecord) -> str:
        level, _, message = super().format(record).partition(":")
        return f"{level.lower()}:{message}"


class _RunLog(logging.FileHandler):
    """Log of a run; where it cannot be written the run ends, while `logging` would print a traceback and go on."""

    def _open(self) -> TextIOWrapper:
        """A pipe in its place is not waited for."""
        stream: Any = open(  # noqa: SIM115
            self.baseFilename, self.mode, encoding=self.encoding, errors=self.errors, opener=without_waiting
        )
        return stream

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Raise the error."""
        raise


def _run_id(arguments: Sequence[str]) -> str:
    """Name of a run's folder: time, hash of the overrides, and process, for two may start at once."""
    what = hashlib.sha256("\n".join(arguments).encode()).hexdigest()[:8]
    return f"{datetime.now():%Y%m%d-%H%M%S}-{what}-{os.getpid()}"


@contextmanager
def _logging_to(path: Path, mode: str = "w") -> Iterator[None]:
    """Send everything to the run's log; warnings to the terminal as well."""
    root = logging.getLogger()
    file = _RunLog(path, mode=mode, encoding="utf-8", errors="backslashreplace")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    terminal = logging.StreamHandler()
    terminal.setLevel(logging.WARNING)
    terminal.setFormatter(_LowerCase("%(levelname)s: %(message)s"))
    level = root.level
    root.setLevel(logging.INFO)
    handlers = (file, terminal)
    for handler in handlers:
        root.addHandler(handler)
    try:
        yield
    except Exception:
        root.removeHandler(terminal)  # Python prints the traceback there
        with suppress(OSError):
            root.exception("the run failed")
        raise
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            with suppress(OSError):  # unwritten text stays in its buffer
                handler.close()
        root.setLevel(level)


if __name__ == "__main__":
    interrupts.end_with_lifeline()
    exits.end(exits.answered(main))
