"""Makes a copy of a script in which names that it assigns at its top have other values."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from flowgrad.errors import FlowGradError


def assigned(source: str, values: Mapping[str, Any], where: str) -> str:
    r"""The source with the value of each name in the statement at its top that assigns a constant to it. The case of
    letters does not matter: the parameter `lr` is `LR` there.

    Raises:
        FlowGradError: the source is no Python, or a name is not assigned so, or more than once.

    >>> assigned("SEED = 0\\nlr = 0.1  # rate\\n", {"seed": 7, "lr": 0.01}, "train.py")
    'SEED = 7\\nlr = 0.01  # rate\\n'
    """
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise FlowGradError(f"training.assigns={where}: line {error.lineno}: {error.msg}") from error
    found: list[tuple[str, ast.expr]] = []
    for one in statements:
        target = one.targets[0] if isinstance(one, ast.Assign) and len(one.targets) == 1 else None
        if isinstance(one, ast.AnnAssign) and one.value is not None:
            target = one.target
        if isinstance(target, ast.Name) and _is_constant(value := one.value):  # type: ignore[attr-defined]
            found.append((target.id, value))
    lines = source.splitlines(keepends=True)
    places = []
    for name, value in values.items():
        named = [held for spelled, held in found if spelled.lower() == name.lower()]
        if len(named) != 1:
            raise FlowGradError(
                f"training.assigns={where}: {name} is assigned a constant {len(named)} times at its top; do so once"
            )
        places.append((named[0], value))
    for held, value in sorted(places, key=lambda place: (-place[0].lineno, -place[0].col_offset)):
        line = lines[held.lineno - 1].encode()
        assert held.end_col_offset is not None
        lines[held.lineno - 1] = (line[: held.col_offset] + repr(value).encode() + line[held.end_col_offset :]).decode()
    return "".join(lines)


def _is_constant(value: ast.expr) -> bool:
    try:
        ast.literal_eval(value)
    except ValueError:
        return False
    return value.lineno == value.end_lineno
