"""Holds the callback of LightGBM's training loop."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from flowgrad.trackers.boosting.boosted_trees import is_lightgbm
from flowgrad.trackers.boosting.callback import TrackerCallback
from flowgrad.trackers.boosting.told import Loop, holds_two_values

if TYPE_CHECKING:
    from flowgrad.trackers.boosting import BoostingTracker

_NONE_OF_ITS_OWN = ("none", "null", "custom", "na")
"""Names by which LightGBM is told to take an objective of the user's."""
_CHECKED = 2
"""Number of rounds in which sets that may hold the training rows are evaluated as these are."""


class LightGBMCallback(TrackerCallback):
    """Passes every round to the tracker. LightGBM recognises a callback by these two attributes."""

    order = 15
    """Order of the callback: before early stopping, which has 30 and leaves the round by an exception."""
    before_iteration = False

    def __init__(self, tracker: BoostingTracker) -> None:
        super().__init__(tracker)
        self._alike: tuple[str, ...] = ()
        """Sets that may hold the training rows, as far as was checked."""

    def __call__(self, env: Any) -> None:
        """Note a round."""
        try:
            number = env.iteration - env.begin_iteration
            results = env.evaluation_result_list or []
            if not number:
                self._alike = _sets_alike(env.model)
                self._tracker.begin(env.model, env.begin_iteration, loop=_loop(env.model, {r[0] for r in results}))
            if self._alike and number < _CHECKED:
                self._alike = _evaluated_alike(env.model, self._alike, results)
                if number == _CHECKED - 1:
                    self._tracker.find_training(self._alike)
            self._tracker.end_round([(r[0], r[1], r[2], r[3]) for r in results], last=False)
        except Exception as error:
            self._tracker._failed("a round", error)


def _loop(model: Any, sets: set[str]) -> Loop:
    """Facts on the training; LightGBM knows the training set by identity, and keeps the name that it has."""
    if not is_lightgbm(model):
        return Loop()
    own = str(model.params.get("objective")) in _NONE_OF_ITS_OWN
    name = getattr(model, "_train_data_name", None)
    return Loop(own, own and holds_two_values(model.train_set.get_label()), (name,) if name in sets else ())


def _sets_alike(model: Any) -> tuple[str, ...]:
    """Names of the sets that have the targets of the training rows, in their order."""
    if not is_lightgbm(model):
        return ()
    target = model.train_set.get_label()
    sets = zip(model.name_valid_sets, model.valid_sets, strict=True)
    return tuple(name for name, rows in sets if np.array_equal(rows.get_label(), target))


def _evaluated_alike(model: Any, sets: tuple[str, ...], results: Any) -> tuple[str, ...]:
    """Keep the sets that every metric of LightGBM's own gives the value of the training rows; none without one."""
    trained = {metric: value for _, metric, value, *_ in model.eval_train()}
    found = []
    for name in sets:
        pairs = [(r[2], trained[r[1]]) for r in results if r[0] == name and r[1] in trained]
        if pairs and all(math.isclose(*pair, rel_tol=1e-9) for pair in pairs):
            found.append(name)
    return tuple(found)
