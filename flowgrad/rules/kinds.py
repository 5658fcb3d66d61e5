"""Kinds of subjects beside the library's own: a class that measures something new declares what rules may name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from flowgrad.errors import FlowGradError
from flowgrad.measurements import Measure
from flowgrad.measures import VOCABULARY

_OWNERS: dict[str, str] = {}
"""Kind -> the class that declared it, of kinds that are not the library's own."""
_KIND = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_NAME = re.compile(r"[A-Za-z_]\w*")


def declare(kind: str, measures: Sequence[Measure], owner: str) -> None:
    """Make a kind of subject known to rules and reports; `flowgrad.subject.Subject` does so for every subclass.

    Args:
        kind: the `subject` of its rules.
        measures: everything that a rule on it may name.
        owner: the class that measures it, with its module; it may declare the kind anew.

    Raises:
        FlowGradError: the kind is no lower-case identifier, another class has it, or a measure stands in it twice.
    """
    if not isinstance(kind, str) or not _KIND.fullmatch(kind):
        raise FlowGradError(f"{owner}: KIND={kind!r} must be lower snake case such as layer_norms")
    names = [measure.name for measure in measures]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise FlowGradError(f"{owner}: MEASURES hold {twice!r} twice; each name stands for one figure")
    known = _OWNERS.get(kind, "flowgrad" if kind in VOCABULARY else owner)
    if known != owner and tuple(measures) != VOCABULARY[kind]:
        raise FlowGradError(f"{owner}: KIND={kind!r} is that of {known}, which measures something else; choose another")
    if known == owner:
        _OWNERS[kind], VOCABULARY[kind] = owner, tuple(measures)


def is_own(kind: str) -> bool:
    """Whether a class outside the library declared the kind."""
    return kind in _OWNERS


def lenient_vocabulary(rules: Mapping[str, Any]) -> dict[str, Sequence[Measure]]:
    """The vocabulary that rules of a run are read by where the code of the user's own trackers is not run, as by
    `flowgrad validate`: every name in rules on a kind that nothing here measures is taken for a figure.
    """
    told: dict[str, set[str]] = {}
    shares = {str(rule.get("share")) for rule in rules.values() if isinstance(rule, Mapping)}
    for rule in rules.values():
        kind = rule.get("subject") if isinstance(rule, Mapping) else None
        if isinstance(kind, str) and kind not in VOCABULARY:
            text = " ".join(str(value) for key, value in rule.items() if key != "subject")
            told.setdefault(kind, set()).update(set(_NAME.findall(text)) - shares)
    foreign: dict[str, Sequence[Measure]] = {
        kind: tuple(Measure(name, "", "", per_row) for name in sorted(names) for per_row in (False, True))
        for kind, names in told.items()
    }
    return {**VOCABULARY, **foreign}
