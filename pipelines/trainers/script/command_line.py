"""Puts seed, folder and parameters into the command line of a script."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flowgrad.errors import FlowGradError

SEED, FOLDER, ASSIGNED = "seed", "folder", "assigned"
_OWN = (SEED, FOLDER, ASSIGNED)
"""Names with a meaning of their own, which no parameter can have."""
_PLACE = re.compile(r"\{(\w+)(?::([^{}|]*)(?:\|([^{}|]*))?)?\}")
_PYTHON = re.compile(r"python(3(\.\d+)?)?(\.exe)?")


def words_of(command: str) -> list[str]:
    """Words of a command line, as a shell splits it.

    Raises:
        FlowGradError: a quote has no end, or there is no word.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise FlowGradError(f"training.command={command!r}: {error}; close each quote") from error
    if not words:
        raise FlowGradError("training.command is empty; give e.g. 'python train.py --lr {lr} --seed {seed}'")
    return words


def check_places(words: Sequence[str], parameters: Mapping[str, Any], *, assigned: bool) -> None:
    """Refuse a command in which a name is unknown, or a parameter or the seed has no place.

    Args:
        words: of the command.
        parameters: their values by name.
        assigned: whether seed and parameters are put into a copy of the script instead.

    Raises:
        FlowGradError: names what is missing or unknown.
    """
    named = {match[1] for word in words for match in _PLACE.finditer(word)}
    if unknown := sorted(named - {*_OWN, *parameters}):
        known = ", ".join(["seed", "folder", *parameters])
        raise FlowGradError(f"training.command: {{{unknown[0]}}} is unknown; there are {known}")
    if assigned:
        if ASSIGNED not in named:
            raise FlowGradError("training.command has no {assigned}; write it where the script's path would stand")
        return
    if SEED not in named:
        raise FlowGradError("training.command has no {seed}: all runs would be one; give the script its seed")
    if idle := sorted(set(parameters) - named):
        raise FlowGradError(f"parameters.{idle[0]}: training.command has no {{{idle[0]}}}, so it would change nothing")


def filled(words: Sequence[str], values: Mapping[str, Any]) -> list[str]:
    """The words with values in their places. A word that was nothing but an empty one is left out.

    >>> filled(["train.py", "--lr={lr}", "{biases:--biases}"], {"lr": 0.05, "biases": False})
    ['train.py', '--lr=0.05']
    """

    def value(match: re.Match[str]) -> str:
        held = values[match[1]]
        if match[2] is not None:
            return match[2] if held else match[3] or ""
        return text(held)

    made = [(word, _PLACE.sub(value, word)) for word in words]
    return [after for before, after in made if after or not _PLACE.fullmatch(before)]


def text(value: Any) -> str:
    """Write a value as a script reads it: true and false in lower case, None as nothing."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def python_of(words: Sequence[str]) -> list[str]:
    """The words with this Python for a first word `python`, which may be another one on the path."""
    return [sys.executable, *words[1:]] if words[0] in ("python", "python3") else list(words)


def is_python(word: str) -> bool:
    """Whether a first word names a Python, which `flowgrad run` can take the place of."""
    return word == sys.executable or _PYTHON.fullmatch(Path(word).name) is not None
