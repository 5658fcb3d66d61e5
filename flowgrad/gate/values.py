"""Checks targets that carry no information: one value, or values that are not finite."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from flowgrad.gate.objection import REFUSED, Objection


def one_value_objection(targets: Mapping[str, ArrayLike]) -> Objection | None:
    """Find a part whose target holds a value that is not finite, or one value alone; the first such part.

    Args:
        targets: name of each part -> its target, shape (rows,). A part of a single row is not asked to vary.
    """
    for name, given in targets.items():
        target = np.asarray(given, dtype=float)
        bad = np.flatnonzero(~np.isfinite(target))
        if len(bad):
            return Objection(
                "target not finite",
                REFUSED,
                f"the target is NaN or infinite in {len(bad):,} of {len(target):,} {name} rows",
                "leave out the rows without a target",
                len(bad),
                len(target),
                examples=tuple(bad[:3].tolist()),
            )
        if len(target) > 1 and (target == target[0]).all():
            return Objection(
                "one value",
                REFUSED,
                f"the target is {target[0]:.6g} in all {len(target):,} {name} rows",
                "split the rows so that each part holds several values, e.g. at random or by class",
                len(target),
                len(target),
            )
    return None
