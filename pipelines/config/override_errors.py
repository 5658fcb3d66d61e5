"""Explains overrides that Hydra's grammar does not take as they were meant, in one line that can be pasted into a
shell.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException, OverrideParseException

_AMBIGUOUS = re.compile(r"Ambiguous value for argument '(.*)'$", re.MULTILINE)
_UNKNOWN = re.compile(r"""[^\w/\-\\+.$%*@?|:,()\[\]{}=\s"']|[^\x00-\x7f]""")
"""Pattern of a character that Hydra takes between quotes only."""
_SHOWN = 80
_SWEEP_FLAGS = {"-m", "--multirun"}


def explained(error: BaseException, given: Sequence[str] = ()) -> str:
    """Explain what is wrong with an argument, and how it is written; empty if the error is about something else.

    Args:
        error: as Hydra raised it.
        given: all arguments in their order, for a value that a space broke into two.
    """
    if isinstance(error, OverrideParseException):
        return _refused(str(error.override), str(error), given)
    if isinstance(error, HydraException) and (found := _AMBIGUOUS.search(str(error))):
        return _several_values(found[1])
    return ""


def file_swept_over(given: Sequence[str]) -> str:
    """Complain where a sweep would split the name of a file at its commas; empty if there is none.

    >>> file_swept_over(["-m", "model.dim=8,16"])
    ''
    """
    if not _SWEEP_FLAGS & set(given):
        return ""
    for argument in given:
        value = argument.partition("=")[2]
        if "," in value and (parsed := _parsed(argument)) and parsed.is_sweep_override():
            try:
                exists = Path(value).expanduser().exists()
            except OSError:  # too long for a path
                exists = False
            if exists:
                return (
                    f"argument {argument} would be swept over, though {value!r} is one file; "
                    f"quote it: {_as_text(argument) or argument}"
                )
    return ""


def fault_of(argument: str) -> str:
    """Explain the fault in the form of one override that a config holds; empty if nothing is.

    >>> fault_of("model.dim=8")
    ''
    """
    try:
        OverridesParser.create().parse_overrides([argument])
    except OverrideParseException as error:
        return _refused(argument, str(error), ())
    except HydraException as error:
        return " ".join(str(error).split())
    return ""


def unwritable(given: Sequence[str]) -> str:
    """A complaint about the first argument that could be passed on to no other process; empty if there is none.

    >>> unwritable(["dataset.path=a.csv"])
    ''
    """
    for argument in given:
        shown = argument if len(argument) <= _SHOWN else f"{argument[:_SHOWN]}..."
        if "\0" in argument:
            return f"argument {shown!r} holds a character NUL, which no text or path can; leave it out"
        try:
            argument.encode()
        except UnicodeEncodeError:
            return f"argument {shown!r} holds bytes that are no UTF-8; rename what it names"
    return ""


def _refused(argument: str, message: str, given: Sequence[str]) -> str:
    told = f"argument {' '.join(argument.split())} cannot be read ({_reason(argument, message)})"
    key, equals, value = argument.partition("=")
    if not equals:
        return f"{told}; expected KEY=VALUE{_joined(argument, given)}"
    written = _as_text(argument)
    if not written:
        return f"{told}; expected KEY=VALUE, and {key!r} is no key"
    if _is_container(value):
        quoted = _elements_quoted(key, value) or """'KEY=["a=b"]' or 'KEY={name: "a=b"}'"""
        return f"{told}; quote the texts in it: {quoted}; or quote all of it if it is one text: {written}"
    shorter = f"{key}={value.rstrip(',; ')}"
    if shorter != argument and value.rstrip(",; ") and _parsed(shorter):
        way = f"leave out what stands at its end: {shlex.quote(shorter)}; or, if it is a text, quote it: {written}"
        return f"{told}; {way}"
    return f"{told}; quote it: {written}"


def _elements_quoted(key: str, value: str) -> str:
    """The argument with those elements of its list quoted that Hydra cannot read else; empty if that does not help."""
    elements = [element.strip() for element in value.strip("[] ").split(",")]
    kept = [one if _parsed(f"key={one}") else QuotedString(one, Quote.double).with_quotes() for one in elements]
    argument = f"{key}=[{', '.join(kept)}]"
    return shlex.quote(argument) if value.startswith("[") and _parsed(argument) else ""


def _reason(argument: str, message: str) -> str:
    """Reason why Hydra's parser failed, without the list of all that it might have expected."""
    lines = message.splitlines()
    reason = lines[1] if lines[0].startswith("Error parsing override") and len(lines) > 1 else lines[0]
    if reason.startswith("LexerNoViableAlt"):
        key, equals, value = argument.partition("=")
        if found := re.search(r"[^\w.$/@:+~-]", key):
            return f"unexpected {found[0]!r} in the key" if equals else "it has no ="
        found = _UNKNOWN.search(value)
        return f"unexpected {found[0]!r}" if found else "a quote is not closed"
    if "=" not in argument:
        return "it has no ="
    return " ".join(reason.partition(" expecting ")[0].split())


def _is_container(value: str) -> bool:
    """Whether the value is meant as a list or dict: its bracket is closed at the end, or not at all."""
    closing = {"[": "]", "{": "}"}.get(value[:1])
    return closing is not None and (value.rstrip().endswith(closing) or closing not in value)


def _several_values(argument: str) -> str:
    key, _, value = argument.partition("=")
    return (
        f"argument {argument} holds several values; for one text, quote it: {_as_text(argument) or argument}; "
        f"for a list: {shlex.quote(f'{key}=[{value}]')}; to try each in a run of its own, add -m to pipelines.run"
    )


def _as_text(argument: str) -> str:
    """The argument with its value quoted for Hydra, and all of it for the shell; empty if that does not read either."""
    key, _, value = argument.partition("=")
    quoted = f"{key}={QuotedString(value, Quote.double).with_quotes()}"
    parsed = _parsed(quoted)
    if parsed is None or parsed.value() != value:
        return ""
    return shlex.quote(quoted)


def _joined(argument: str, given: Sequence[str]) -> str:
    """Hint that the argument belongs to the one before it, after which stands a space."""
    place = next((n for n, one in enumerate(given) if one == argument), 0)
    # A space made several words of one value; the first that is an override starts it.
    start = next((n for n in range(place - 1, -1, -1) if "=" in given[n]), None)
    if start is None or any(one.startswith("-") for one in given[start:place]):
        return ""
    end = next((n for n in range(place, len(given)) if "=" in given[n] or given[n].startswith("-")), len(given))
    whole = _as_text(" ".join(given[start:end]))
    return f"; if it is part of {given[start]}, quote both: {whole}" if whole else ""


def _parsed(argument: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(argument)
    except HydraException:
        return None
