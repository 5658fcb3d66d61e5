"""Fixes: what a rule may prescribe, checked before anything is trained."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

from flowgrad.errors import RuleError
from flowgrad.rules.expression import UnknownNameError
from flowgrad.rules.rule import Fix
from flowgrad.rules.suggestion import did_you_mean

TARGETS = tuple(
    f"torch.optim.{name}"
    for name in ("Adadelta", "Adagrad", "Adam", "Adamax", "AdamW", "NAdam", "RAdam", "RMSprop", "SGD", "SparseAdam")
)
"""Names of code that a fix may give by `_target_`: the named code is imported and called."""
_PARTS = tuple(field.name for field in fields(Fix))
_CONFIG_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")


def read_fix(content: Mapping[Any, Any], known: Collection[str]) -> Fix:
    """Read the fix in `content`; `known` are the measured names that `copy` may use.

    Whether the config has the paths is not known here: see `RuleBook.check_fix_paths`.

    Raises:
        UnknownNameError: (a RuleError) `copy` of a name outside `known`.
        RuleError: any other fault, naming the path.
    """
    parts: dict[str, Any] = {}
    seen: set[str] = set()
    for part, overrides in content.items():
        if part not in _PARTS:
            raise RuleError(f"unknown key {part!r}{did_you_mean(str(part), _PARTS)}")
        if part == "rows":
            overrides = _row_paths(overrides)
        if not isinstance(overrides, Mapping):
            raise RuleError(f"{part} must be a mapping of config path to value, got {overrides!r}")
        for path, value in overrides.items():
            if not isinstance(path, str) or not _CONFIG_PATH.fullmatch(path):
                raise RuleError(f"{part}: {path!r} is no dotted config path such as optimizer.lr")
            if path in seen:
                raise RuleError(f"{part}: the path {path!r} stands twice in this fix")
            seen.add(path)
            _check_override(part, path, value, known)
        parts[part] = tuple(overrides) if part == "rows" else dict(overrides)
    if not seen:
        raise RuleError("changes nothing; leave it out, or give set, scale, copy or rows a path")
    return Fix(**parts)


def _row_paths(paths: Any) -> dict[Any, None]:
    if not isinstance(paths, list):
        raise RuleError(f"rows must be a list of config paths, got {paths!r}")
    return dict.fromkeys(paths)


def _check_override(part: str, path: str, value: Any, known: Collection[str]) -> None:
    _check_code(part, path, path.rpartition(".")[2], value)
    if part == "scale":
        if not _is_finite_number(value):
            raise RuleError(f"scale {path!r}: must be a finite factor such as 0.1, got {value!r}")
    elif part == "copy":
        if not isinstance(value, str):
            raise RuleError(f"copy {path!r}: must be a measured name, got {value!r}")
        if value not in known:
            raise UnknownNameError(value, f"copy {path!r}: unknown name {value!r}{did_you_mean(value, known)}")
    elif not isinstance(value, (str, int, float, list, Mapping, type(None))):
        raise RuleError(f"set {path!r}: must be a config value, got {value!r}")


def _check_code(part: str, path: str, key: Any, value: Any) -> None:
    """Refuse keys that Hydra takes for its own (`_target_`, `_args_`), but for a `_target_` among `TARGETS`."""
    if isinstance(key, str) and key.startswith("_") and key.endswith("_"):
        if key != "_target_" or part != "set":
            raise RuleError(f"{part} {path!r}: a fix may not change {key!r}; it may set a _target_")
        if value not in TARGETS:
            raise RuleError(f"set {path!r}: a fix may name {', '.join(TARGETS)} and no other code, got {value!r}")
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, one in inner:
        _check_code(part, path, name, one)


def _is_finite_number(value: Any) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False
