"""Checks paths as somebody typed them, before anything is opened by them."""

import os
from pathlib import Path

from flowgrad.errors import FlowGradError

LONGEST = 4095
"""Number of bytes of a path that Linux takes."""
LONGEST_NAME = 255
"""Number of bytes of each of its parts."""
_SHOWN = 60


def given_path(key: str, text: str | os.PathLike[str]) -> Path:
    """Check a path, and expand `~` to the home folder.

    Args:
        key: what errors name it by, such as `dataset.path`.
        text: as it was given.

    Raises:
        FlowGradError: it is empty, holds NUL or what no file system can, is too long, or names a user that is not
            known.
    """
    plain = os.fspath(text)
    shown = repr(plain if len(plain) <= _SHOWN else f"{plain[:_SHOWN]}...")
    if not plain.strip():
        raise FlowGradError(f"{key}={shown} is empty; give a path, or leave it out")
    if "\0" in plain:
        raise FlowGradError(f"{key}={shown} holds a character NUL, which no path can; leave it out")
    try:
        size = len(os.fsencode(plain))
    except UnicodeEncodeError as error:
        raise FlowGradError(f"{key}={shown} holds a character that no path can; rename the file") from error
    if size > LONGEST or any(len(os.fsencode(part)) > LONGEST_NAME for part in Path(plain).parts):
        raise FlowGradError(
            f"{key}={shown} is too long for a path: {size} bytes, of which {LONGEST} are possible, and {LONGEST_NAME} "
            "in each of its parts; give a shorter one"
        )
    try:
        return Path(plain).expanduser()
    except RuntimeError as error:
        user = plain.partition("/")[0]
        raise FlowGradError(f"{key}={shown}: there is no user {user[1:]!r} here; write ./{user} for a file") from error
