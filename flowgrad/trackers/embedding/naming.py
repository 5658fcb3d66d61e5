"""Finds the name that a caller already gave to the thing passed in."""

from __future__ import annotations

import ast
import dis
import linecache
from collections.abc import Collection, Iterator
from types import FrameType
from typing import Any

_INNER = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>", "<lambda>")
"""Names of frames that hold little but a loop's variable; the things looped over are known outside of them."""
_MOST = 4096
"""Number of things that a list or dict of the caller may hold to be searched."""


def default_name(frame: FrameType | None, value: Any, taken: Collection[str]) -> str:
    """Find a name for `value`, which the call running in `frame` passes first.

    `model.item_emb` gives `item_emb`, and a variable its name. A loop's variable gives the place of its value in a
    model, list or dict of the caller (`embs.0`, `tables.user`), or the expression where it stands in none. Without a
    place, a name that is taken gets a number.

    Args:
        frame: of the caller; None where it is not known.
        value: what is to be named.
        taken: names of others that are watched now.
    """
    argument = None if frame is None else _argument(frame)
    if isinstance(argument, ast.Attribute):
        return argument.attr
    name = None
    if isinstance(argument, ast.Name):
        name = argument.id
    elif isinstance(argument, ast.Subscript):
        name = ast.unparse(argument).removeprefix("self.")
    if name is not None and frame is not None and not _changes(argument, frame):
        return name
    if frame is not None:
        name = _place(frame, value) or _numbered(name or _variable(frame, value) or "embedding", taken)
    return name or _numbered("embedding", taken)


def _changes(argument: ast.expr | None, frame: FrameType) -> bool:
    """Whether an expression means another thing each time: it holds a loop's variable, or an index that is none."""
    if isinstance(argument, ast.Subscript):
        return not isinstance(argument.slice, ast.Constant)
    return isinstance(argument, ast.Name) and argument.id in _loop_variables(frame)


def _numbered(name: str, taken: Collection[str]) -> str:
    number, made = 2, name
    while made in taken:
        made = f"{name}_{number}"
        number += 1
    return made


def _loop_variables(frame: FrameType) -> set[str]:
    """Variables that a loop of the frame's code sets."""
    found, from_loop = set(), False
    for one in dis.get_instructions(frame.f_code):
        if one.opname.startswith("STORE_") and from_loop:
            found.add(str(one.argval))
        elif one.opname not in ("UNPACK_SEQUENCE", "CACHE", "EXTENDED_ARG"):
            from_loop = one.opname == "FOR_ITER"
    return found


def _argument(frame: FrameType) -> ast.expr | None:
    """First argument in the call's own source text, located by the position of the instruction that is running."""
    positions = list(frame.f_code.co_positions())[frame.f_lasti // 2]
    first, last, start, end = positions
    if first is None or last is None or start is None or end is None:
        return None
    lines = [linecache.getline(frame.f_code.co_filename, n, frame.f_globals).encode() for n in range(first, last + 1)]
    if not all(lines):
        return None
    # Columns are byte offsets; the end is cut first, for it may stand on the same line as the start.
    lines[-1] = lines[-1][:end]
    lines[0] = lines[0][start:]
    try:
        call = ast.parse(b"(" + b"".join(lines) + b")", mode="eval").body
    except SyntaxError:
        return None
    if not isinstance(call, ast.Call):
        return None
    keyword = next((k.value for k in call.keywords if k.arg == "layer"), None)
    return call.args[0] if call.args else keyword


def _place(frame: FrameType, value: Any) -> str | None:
    """Path of `value` in something that the caller holds, from its last name on: `item_emb`, `embs.0`."""
    for holder in _frames(frame):
        for name, held in holder.f_locals.items():
            path = _path(held, value)
            if path:
                return _from_last_name(f"{name}.{path}")
    return None


def _frames(frame: FrameType) -> Iterator[FrameType]:
    """The caller's frame, and where that is a comprehension's, the ones around it."""
    yield frame
    while frame.f_code.co_name in _INNER and frame.f_back is not None:
        frame = frame.f_back
        yield frame


def _path(held: Any, value: Any) -> str | None:
    if isinstance(held, type):
        return None
    if hasattr(held, "named_modules"):
        return next((path for path, module in held.named_modules() if module is value and path), None)
    if isinstance(held, dict | list | tuple) and len(held) > _MOST:
        return None
    if isinstance(held, dict):
        return next((str(key) for key, item in list(held.items()) if item is value), None)
    if isinstance(held, list | tuple):
        return next((str(index) for index, item in enumerate(held) if item is value), None)
    return None


def _from_last_name(path: str) -> str:
    """The end of a path from its last part on that is no number."""
    parts = path.split(".")
    start = next((i for i in range(len(parts) - 1, -1, -1) if not parts[i].isdigit()), 0)
    return ".".join(parts[start:])


def _variable(frame: FrameType, value: Any) -> str | None:
    """Name of a variable of the frame that holds `value`."""
    # pytest keeps what it asserts under names that are none
    return next((name for name, held in frame.f_locals.items() if held is value and name.isidentifier()), None)
