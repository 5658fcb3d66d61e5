"""Says what a tracker of boosters saw, what it could not see, and how that can be seen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from flowgrad.measurements import Coverage, Judged
from flowgrad.trackers.boosting.told import DART, FOREST, LINEAR, StatedFacts

NOT_WATCHED = (
    "no round was seen: give as_xgb_callback(), as_lgb_callback() or as_catboost_callback() to the training that is "
    "meant, or the fitted model to from_model(model). Searches such as GridSearchCV train copies of an estimator, and "
    "its callbacks are copies too: give best_estimator_ to from_model"
)
_MODES = {
    FOREST: "the trees are a forest: none corrects another, so that no round is too many and no rate too low",
    DART: "DART scales trees anew in later rounds: what was evaluated in a round is no longer there to stop at",
    LINEAR: "it is linear: it has rounds and no trees, and rules on overfitting and stagnation are about trees",
}


@dataclass(frozen=True)
class Sight:
    """State of the tracker's knowledge at one moment."""

    rounds: int
    trees: int
    """Number of trees that were read."""
    readable: bool
    """Whether the trees could be read, or will be."""
    curves: int
    """Number of values a round: one for each evaluation set and metric."""
    columns: int
    """Number of columns that the trees or the data have."""
    training: str | None
    """Evaluation set of the training rows; None where there is none, or it is not known."""
    without_link: tuple[str, ...]
    """Metrics whose values are none of the model, for they are given raw scores."""
    rows: float
    """Number of validation rows observed; NaN where they were not."""
    judged: Judged | None
    told: StatedFacts
    kept: int | None
    """Round that is kept; None where it is not known."""
    of_columns: Mapping[str, str]
    """Figures on columns that are not known, each with the reason."""
    groups: bool = False
    """Whether groups of a ranking were told."""
    before: int = 0
    """Number of rounds that the booster had before it was watched."""
    others: int = 0
    """Number of trainings that were passed over, because one had been watched."""
    copies: int = 0
    """Number of copies of a callback, each with a tracker of its own."""


def coverage(sight: Sight) -> Coverage:
    """The coverage of a report."""
    seen = {
        "rounds": float(sight.rounds),
        "trees": float(sight.trees),
        "evaluations": float(sight.curves),
        **({f"values of {sight.judged}": float(sight.rounds)} if sight.judged else {}),
        "columns": float(sight.columns),
        **({} if math.isnan(sight.rows) else {"validation_rows": sight.rows}),
    }
    if not sight.rounds:
        because = f"no round was seen: {_of_copies(sight.copies)}" if sight.copies else NOT_WATCHED
        return Coverage(seen, dict(sight.of_columns), because)
    unseen = {**_of_evaluations(sight), **_of_trees(sight), **_of_data(sight), **_of_others(sight)}
    return Coverage(seen, unseen, "" if _judges(sight) else f"{_WITHOUT}: {_why_not(unseen)}")


_WITHOUT = "no fault of the training or of the columns could have shown"


def _judges(sight: Sight) -> bool:
    """Whether some rule on the course of the training, or on the columns, has what it needs."""
    judged = sight.judged
    directed = judged is None or (judged.direction != "unknown" and judged.metric not in sight.without_link)
    return not math.isnan(sight.rows) or (directed and sight.told.mode not in _MODES)


def _why_not(unseen: Mapping[str, str]) -> str:
    return "; ".join(
        unseen[name] for name in ("metric_direction", "raw_scores", "rounds_as_corrections", "data") if name in unseen
    )


def _of_others(sight: Sight) -> dict[str, str]:
    found = {}
    if sight.others:
        found["other_trainings"] = (
            f"{sight.others} more were given to this tracker, which tells of the first alone; take a new one for each, "
            "or give best_estimator_ of a search to from_model of a new one"
        )
    if sight.copies:
        found["copies"] = _of_copies(sight.copies)
    return found


def _of_copies(copies: int) -> str:
    return (
        f"the callback was copied {copies} times, as searches and cross-validation copy an estimator, and each copy "
        "has a tracker of its own: best_estimator_.callbacks[0].tracker, or give best_estimator_ to from_model of a "
        "new one"
    )


def _of_evaluations(sight: Sight) -> dict[str, str]:
    if sight.judged is None:
        ways = "evals=[(train, 'train'), (valid, 'valid')], valid_sets=… or eval_set=…"
        only = f" ({sight.training} holds the training rows)" if sight.training else ""
        return {"validation_set": f"no held-out rows were evaluated{only}; train with {ways}"}
    found = {}
    judged = sight.judged
    if judged.direction == "unknown":
        found["metric_direction"] = (
            f"nobody told whether {judged.metric!r} is better when higher; say "
            f"higher_is_better={{{judged.metric!r}: True}}, or False"
        )
    if sight.told.raw_scores:
        found["raw_scores"] = _of_raw_scores(judged.metric, sight.without_link)
    if sight.training is None:
        found["training_evaluation"] = (
            "the training rows were not evaluated, or it is not known which set holds them; evaluate them too, under a "
            "name such as 'train', or say training='validation_0'. Of a fitted estimator, observe_data after "
            "from_model finds the set"
        )
    if sight.kept is None:
        found["kept_round"] = "CatBoost's callback is not told which round is kept; give the fitted model to from_model"
    elif not sight.told.cuts:
        found["prediction"] = (
            f"round {sight.kept} is judged, which XGBoost's estimators predict by; Booster.predict takes all "
            f"{sight.rounds} rounds unless iteration_range=(0, booster.best_iteration + 1) is given, or "
            "EarlyStopping(save_best=True) cuts the booster, which is seen where the tracker's callback stands after it"
        )
    return found


def _of_raw_scores(judged: str, without_link: tuple[str, ...]) -> str:
    given = "the library knows no link of this objective, so that its own metrics are given raw scores"
    none = f"values of {', '.join(without_link)} are none of the model"
    if judged in without_link:
        way = "give a metric of your own that applies the link, or one of the order of rows, such as auc"
        return f"{given}: {none}, and nothing is judged by them; {way}"
    beside = f", and {none}" if without_link else ""
    return (
        f"{given}: {judged} is judged, as one of your own, of the order of rows, or of scores that are on the target's "
        f"own scale{beside}"
    )


def _of_trees(sight: Sight) -> dict[str, str]:
    found = {}
    if sight.told.mode in _MODES:
        found["rounds_as_corrections"] = _MODES[sight.told.mode]
    if sight.before:
        found["first_rounds"] = (
            f"the booster had {sight.before} rounds before it was watched, so that nothing is held against its first "
            "ones: whether it was cut short is not judged"
        )
    if not sight.readable:
        found["trees"] = (
            "no tree could be read: a linear booster has none, cross-validation has several boosters, CatBoost's "
            "callback shows none (give the fitted model to from_model), and models of text are not exported"
        )
    return found


def _of_data(sight: Sight) -> dict[str, str]:
    if math.isnan(sight.rows):
        return {"data": "never observed; call observe_data(X, y, X_validation, y_validation)"}
    found = dict(sight.of_columns)
    if sight.told.ranks and not sight.groups:
        found["groups"] = (
            "never told; with observe_data(…, groups=…, groups_validation=…), sizes as the booster has them, it is "
            "seen whether rows of one query stand together"
        )
    return found
