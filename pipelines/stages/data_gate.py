"""The gate of the data: it checks, before training begins, whether training sees the rows that are validated and tested
on.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from datasets.tables import TEST, TRAIN, VALIDATION
from flowgrad.gate import Objection, columns_of, one_value_objection, pairs_objection, parts_objection, refuse
from pipelines.data.ratings import Data, Examples
from pipelines.data.tables import TableData
from pipelines.trainers.distillation.data import Taught, TaughtData

Rated = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Type of users, items and ratings."""
_PARTS = {"training": TRAIN, "validation": VALIDATION, "test": TEST}

_logger = logging.getLogger(__name__)


def pass_gate(data: Any, *, explains: bool = True) -> Objection | None:
    """Find the objection to data as a trainer loads them. It is logged, and kept for the verdicts: where it blocks,
    nothing is confirmed. Up to 5 % of validation or test rows that training saw are noted.

    Args:
        data: of ratings, a table, or a teacher's pupils; others have no gate, and pass.
        explains: whether the target itself is predicted, so that one value leaves nothing to learn; rankings of
            interactions are learned of one rating too.

    Raises:
        GateError: rows or pairs that are tested on are copies of those trained on; a part whose target is one value.
    """
    found = [one for one in _objections(data, explains) if one is not None]
    for one in found:
        _logger.warning("data: %s", refuse(one))
    blocking = [one for one in found if one.blocks]
    return blocking[0] if blocking else None


def _objections(data: Any, explains: bool) -> list[Objection | None]:
    if isinstance(data, Data):
        parts = {"training": data.train, "validation": data.validation, "test": data.test}
        constant = (
            one_value_objection({name: part.ratings.numpy() for name, part in parts.items()}) if explains else None
        )
        return [constant, *_pairs(*map(_numbers, parts.values()))]
    if isinstance(data, TableData):
        features, target = data.table.features, np.asarray(data.table.targets[data.target])
        rows = {name: data.table.parts == which for name, which in _PARTS.items()}
        constant = one_value_objection({name: target[own] for name, own in rows.items()})
        tables = {name: [*columns_of(features[own]), target[own]] for name, own in rows.items()}
        return [constant, *_seen(tables, data.table.groups)]
    if isinstance(data, TaughtData):
        taught = {"training": data.train, "validation": data.validation, "test": data.test}
        constant = (
            one_value_objection({name: part.target.numpy() for name, part in taught.items()}) if explains else None
        )
        if data.shapes.users:
            return [constant, *_pairs(*map(_pair_columns, taught.values()))]
        return [constant, *_seen({name: _columns(part) for name, part in taught.items()})]
    return []


def _seen(tables: dict[str, list[Any]], groups: Any = None) -> list[Objection | None]:
    return [
        parts_objection(tables[before], tables[after], before=before, after=after, groups=groups)
        for before, after in (("training", "validation"), ("training", "test"), ("validation", "test"))
    ]


def _pairs(train: Rated, validation: Rated, test: Rated) -> list[Objection | None]:
    return [
        pairs_objection(train, validation, after="validation"),
        pairs_objection(train, test),
        pairs_objection(validation, test, before="validation"),
    ]


def _pair_columns(part: Taught) -> Rated:
    users, items = part.inputs.numpy().T
    return users, items, part.target.numpy()


def _numbers(part: Examples) -> Rated:
    return part.users.numpy(), part.items.numpy(), part.ratings.numpy()


def _columns(part: Taught) -> list[Any]:
    return [*columns_of(part.inputs.numpy()), part.target.numpy()]
