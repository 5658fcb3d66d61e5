"""Errors that whoever started a run can put right, and what is said of them: one line, without a traceback."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from pathlib import Path

import yaml
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from flowgrad.errors import FlowGradError
from pipelines.command_line import one_line

BAD_INPUT = (FlowGradError, HydraException, OmegaConfBaseException)
"""What says itself what is wrong."""

_BOOSTERS = ("XGBoostError", "LightGBMError", "CatBoostError")
_NO_MEMORY = re.compile(
    r"can't allocate memory|out of memory|not enough memory|bad.?alloc|Storage size calculation overflowed|"
    r"integer multiplication overflow|Maximum allowed dimension exceeded|array is too big|can't start new thread|"
    r"Unable to allocate"
)
_BYTES = re.compile(r"allocate (\d+) bytes")
_PART = re.compile(r"\.(.*)\.[0-9a-f]{8}\.part")
"""Name of the temporary file that `flowgrad.files.write_atomically` writes first."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)
_IN_THE_WAY = (errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP, errno.ENXIO)
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)
_LONGEST = 300
"""Characters of what a library says."""


def told(error: BaseException, given: Sequence[str] = ()) -> str | None:
    """The line for an error that is not the program's: of the input, the memory, the disk, or a booster that refuses
    its parameters. None for any other.

    Args:
        error: what was raised, here or in a worker.
        given: the arguments of the command line, where the error may be about one of them.
    """
    if isinstance(error, BAD_INPUT):
        return one_line(error, given)
    if isinstance(error, BrokenPipeError):
        return None  # nobody reads what is printed: there is nobody to tell
    if _is_of_memory(error):
        return _of_memory(error)
    if isinstance(error, OSError) and error.errno is not None:
        return _of_file(error)
    if type(error).__name__ in _BOOSTERS:
        return _of_booster(error)
    if isinstance(error, yaml.YAMLError):
        return f"{one_line(error)}; a config holds plain values, lists and mappings, and no tags"
    return None


def _is_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    known = isinstance(error, RuntimeError | ValueError) or type(error).__name__ in _BOOSTERS
    return known and bool(_NO_MEMORY.search(str(error)))


def _of_memory(error: BaseException) -> str:
    text = _shortened(_first_line(str(error)))
    if found := _BYTES.search(str(error)):
        text = f"{int(found[1]) / 2**30:.3g} GiB more were asked for"
    return (
        f"memory does not suffice{f' ({text})' if text else ''}; make the model, the batches or the data smaller, "
        "or run with fewer workers"
    )


def _of_file(error: OSError) -> str:
    place = _place(error)
    why = os.strerror(error.errno or 0)
    if error.errno in _FULL:
        return f"{place} cannot be written: {why}; make room, or write elsewhere with hydra.run.dir=FOLDER"
    if error.errno in _FORBIDDEN:
        return f"{place} cannot be used: {why}; change its rights, or write elsewhere with hydra.run.dir=FOLDER"
    if error.errno in _GONE:
        return f"{place} is not there, or not any more: {why}; was a folder deleted or moved while this ran?"
    if error.errno in _IN_THE_WAY:
        return (
            f"{place} cannot be written: {why}; move away what is there, or write elsewhere with hydra.run.dir=FOLDER"
        )
    return f"{place}: {why}"


def _place(error: OSError) -> str:
    if not isinstance(error.filename, str | bytes | os.PathLike):
        return "what a run leaves or prints" if error.filename is None else f"descriptor {error.filename}"
    path = Path(os.fsdecode(error.filename))
    if found := _PART.fullmatch(path.name):
        path = path.with_name(found[1])
    return _shortened(str(path))


def _of_booster(error: BaseException) -> str:
    library = type(error).__module__.partition(".")[0]
    said = re.sub(r"^(\[[\d:]+\] )?\S+:\d+: ", "", _first_line(str(error)))
    return f"{library} refuses what it is given: {_shortened(said)}; change model.* or the data"


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
