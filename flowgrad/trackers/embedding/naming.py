"""The name that a caller already gave to the thing passed in."""

from __future__ import annotations

import ast
import linecache
from types import FrameType
from typing import Any


def argument_name(frame: FrameType | None, value: Any) -> str | None:
    """Last part of the expression that the call running in `frame` passes first: `model.item_emb` -> `item_emb`.

    Where the source is not at hand (a REPL, `python -c`), a name by which `value` is known to a variable of the
    frame, or to a module held by one, serves instead. None where neither is known.
    """
    if frame is None:
        return None
    return _from_source(frame) or _from_variables(frame, value)


def _from_source(frame: FrameType) -> str | None:
    """Read the call's own source text, by the position of the instruction that is running."""
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
    argument = call.args[0] if call.args else keyword
    if isinstance(argument, ast.Attribute):
        return argument.attr
    if isinstance(argument, ast.Name):
        return argument.id
    if isinstance(argument, ast.Subscript):
        return ast.unparse(argument).removeprefix("self.")
    return None


def _from_variables(frame: FrameType, value: Any) -> str | None:
    for name, held in frame.f_locals.items():
        if held is value and name.isidentifier():  # pytest keeps what it asserts under names that are none
            return name
        if hasattr(held, "named_modules") and not isinstance(held, type):
            found = next((path for path, module in held.named_modules() if module is value and path), None)
            if found:
                return found.rpartition(".")[2]
    return None
