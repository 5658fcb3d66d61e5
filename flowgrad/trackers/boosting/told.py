"""Asks a library about the training itself: how its rounds add up, what it ranks, and which rounds it keeps."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from flowgrad.trackers.boosting.boosted_trees import comes_from, is_catboost, is_lightgbm, is_xgboost

BOOSTED: Final = "boosted"
"""Each round corrects those before it, and stays as it is."""
FOREST: Final = "forest"
"""Trees are independent of each other: LightGBM's `boosting=rf`, one round of XGBoost's `num_parallel_tree`."""
DART: Final = "dart"
"""Trees are left out at random and scaled anew: later rounds change earlier ones."""
LINEAR: Final = "linear"
"""Rounds are steps of a linear model: XGBoost's `booster=gblinear`."""
TRAINING_ROWS: Final = ""
"""Name of the training rows among evaluation sets, which have names of their own."""
_CATBOOST_RANKS = (
    "YetiRank",
    "PairLogit",
    "QueryRMSE",
    "QuerySoftMax",
    "QueryCrossEntropy",
    "StochasticRank",
    "LambdaMart",
)
_GROWN_BY_LEAF = ("Depthwise", "Lossguide")
_WITHOUT_LINK = frozenset(
    ("reg:squarederror", "reg:squaredlogerror", "reg:pseudohubererror", "reg:absoluteerror", "reg:quantileerror")
)
"""Objectives of XGBoost that give metrics the scores as they are."""
_LIGHTGBM_LINES = re.compile(
    r"^\[(boosting|objective|learning_rate|min_sum_hessian_in_leaf|min_data_in_leaf|min_gain_to_split|num_leaves|"
    r"max_depth|scale_pos_weight|is_unbalance): (\S+)\]$",
    re.MULTILINE,
)
_LIGHTGBM_VALUES = re.compile(r"^feature_infos=(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class StatedFacts:
    """Facts that one library states about a training. A field is empty where the library does not state it."""

    framework: str = ""
    """`xgboost`, `lightgbm` or `catboost`."""
    mode: str = ""
    """`boosted`, `forest`, `dart` or `linear`; empty where it is not known."""
    ranks: bool = False
    """Whether the objective is one of ranking, whose gains do not shrink as errors do."""
    best: int | None = None
    """Round that early stopping keeps, from 1, those before the tracker was attached included; 0 where the last is
    kept, None where that is not known.
    """
    score: float = math.nan
    """Value of the metric of early stopping in that round, where the library states it (XGBoost)."""
    rate: float = math.nan
    """Learning rate that the library trains at."""
    least_hessian: float = math.nan
    """Sum of hessians that each leaf has to have."""
    least_rows: float = 0.0
    """Number of training rows that each leaf has to have, of CatBoost's on the mean; 0 where there is no such setting
    (XGBoost).
    """
    least_gain: float = math.nan
    """Gain that each split has to have; 0 where the library has no such setting (CatBoost)."""
    most_leaves: float = math.nan
    """Number of leaves that a tree may have; infinite where it is not limited."""
    squares: bool = False
    """Whether the squared error is what each tree is fitted to."""
    positive_weight: float = math.nan
    """Weight of rows of the positive class over that of the others, by the settings; infinite where the library makes
    both classes weigh alike, 1 where the objective is no binary log-loss, NaN where none is stated.
    """
    categorical: frozenset[int] | None = None
    """Places of the columns, from 0, that the library takes for categories; None where it does not tell."""
    raw_scores: bool = False
    """Whether the library's own metrics are given raw scores, of a loss whose link to the target it does not know."""
    two_classes: bool = False
    """Whether these are raw scores of two classes, by the name of the objective (XGBoost's `binary:logitraw`)."""
    cuts: bool = True
    """Whether every way to predict stops at that round. XGBoost's `Booster.predict` takes all trees."""


@dataclass(frozen=True)
class Loop:
    """Facts on a training loop that its booster does not state."""

    own_objective: bool = False
    """Whether the user's own objective is trained by."""
    two_values: bool = False
    """Whether the training target has two values; only looked at where that matters."""
    training: tuple[str, ...] = ()
    """Evaluation sets that hold the training rows."""


def holds_two_values(target: Any) -> bool:
    """Whether a target has two values at most."""
    return len(np.unique(np.asarray(target))) <= 2


def told_by(model: Any, *, own_objective: bool = False) -> StatedFacts:
    """Ask this booster, or the boosters of a cross-validation; one that is still training answers as far as it can.

    Args:
        model: the booster or boosters.
        own_objective: whether the user's own objective is trained by, which a booster of XGBoost does not know.
    """
    if is_catboost(model):
        return _told_by_catboost(model)
    if comes_from(model, "lightgbm", "Booster", "CVBooster"):
        return _told_by_lightgbm(model)
    if comes_from(model, "xgboost", "Booster", "_PackedBooster"):
        return _told_by_xgboost(model, own_objective)
    return StatedFacts()


def starts_given(model: Any) -> dict[str, bool]:
    """Whether the rows of each evaluation set, and those of training under `TRAINING_ROWS`, were given initial scores.

    LightGBM tells it while it trains; XGBoost does not, and nothing is found. CatBoost refuses a baseline of one part.
    """
    trained = getattr(model, "train_set", None) if is_lightgbm(model) else None
    if trained is None:
        return {}
    sets = {TRAINING_ROWS: trained, **dict(zip(model.name_valid_sets, model.valid_sets, strict=True))}
    return {name: rows.get_field("init_score") is not None for name, rows in sets.items()}


def _told_by_xgboost(model: Any, own_objective: bool) -> StatedFacts:
    """Ask XGBoost, which gives its metrics what the objective that is set makes of the scores, also where trees are
    fitted to another that is the user's: raw scores by default, probabilities where `binary:logistic` is set beside it
    (seen in 3.2.0: `tests/trackers/test_boosting_own_objectives.py`).
    """
    one = model if is_xgboost(model) else model.cvfolds[0].bst
    learner = json.loads(one.save_config())["learner"]
    booster = learner["gradient_booster"]
    settings = booster.get("tree_train_param", {})
    parallel = int(booster.get("gbtree_model_param", {}).get("num_parallel_tree", 1))
    rounds = one.num_boosted_rounds()
    mode = {"gblinear": LINEAR, "dart": DART}.get(booster["name"], FOREST if parallel > 1 and rounds == 1 else BOOSTED)
    best, score = model.attr("best_iteration"), model.attr("best_score")
    objective = learner["objective"]["name"]
    return StatedFacts(
        framework="xgboost",
        mode=mode,
        ranks=objective.startswith("rank:"),
        rate=float(settings.get("eta", math.nan)),
        least_hessian=float(settings.get("min_child_weight", math.nan)),
        least_gain=float(settings.get("min_split_loss", math.nan)),
        most_leaves=_most_leaves(settings),
        squares=objective == "reg:squarederror" and not own_objective,
        positive_weight=1.0 if own_objective else _weight_in_xgboost(learner["objective"]),
        raw_scores=objective == "binary:logitraw" or (own_objective and objective in _WITHOUT_LINK),
        two_classes=objective == "binary:logitraw",
        best=0 if best is None else int(best) + 1,
        score=math.nan if score is None else float(score),
        categorical=frozenset(place for place, kind in enumerate(one.feature_types or ()) if kind == "c"),
        cuts=best is None or rounds <= int(best) + 1,  # `save_best` has cut it
    )


def _weight_in_xgboost(objective: dict[str, Any]) -> float:
    if objective["name"] not in ("binary:logistic", "binary:logitraw", "reg:logistic"):
        return 1.0
    return float(objective.get("reg_loss_param", {}).get("scale_pos_weight", 1.0))


def _most_leaves(settings: dict[str, str]) -> float:
    """Number of leaves that XGBoost's settings allow a tree, where 0 is no limit."""
    depth, leaves = (float(settings.get(key, math.nan)) or math.inf for key in ("max_depth", "max_leaves"))
    return min(2**depth, leaves)


def _told_by_lightgbm(model: Any) -> StatedFacts:
    one = model if is_lightgbm(model) else model.boosters[0]
    text = one.model_to_string(num_iteration=1)
    said = dict(_LIGHTGBM_LINES.findall(text))
    mode = {"rf": FOREST, "dart": DART}.get(said.get("boosting", ""), BOOSTED)
    ranks = said.get("objective") in ("lambdarank", "rank_xendcg")
    rate = float(said.get("learning_rate", math.nan))
    least, rows, gain, leaves, depth = (
        float(said.get(key, math.nan))
        for key in ("min_sum_hessian_in_leaf", "min_data_in_leaf", "min_gain_to_split", "num_leaves", "max_depth")
    )
    best = max(int(model.best_iteration), 0)
    weight = math.inf if said.get("is_unbalance") == "1" else float(said.get("scale_pos_weight", math.nan))
    return StatedFacts(
        "lightgbm",
        mode,
        ranks,
        best,
        rate=rate,
        least_hessian=least,
        least_rows=rows,
        least_gain=gain,
        most_leaves=min(leaves, 2**depth) if depth > 0 else leaves,
        positive_weight=weight if said.get("objective") == "binary" else 1.0 if "objective" in said else math.nan,
        squares=said.get("objective") == "regression",
        # LightGBM applies no link where it has no objective of its own (`objective == nullptr` in its metrics).
        raw_scores=said.get("objective") == "custom",
        categorical=_categories_in_lightgbm(text),
    )


def _categories_in_lightgbm(text: str) -> frozenset[int] | None:
    """Places of the columns whose values LightGBM lists (`3:1:2`); of a number it writes the range (`[0:9]`)."""
    found = _LIGHTGBM_VALUES.search(text)
    if found is None:
        return None
    return frozenset(place for place, of in enumerate(found[1].split()) if of[0] not in "[n")


def _told_by_catboost(model: Any) -> StatedFacts:
    """Ask CatBoost, which drops the trees after the best round, unless `use_best_model=False`."""
    settings = model.get_all_params()
    ranks = str(settings.get("loss_function", "")).startswith(_CATBOOST_RANKS)
    rate = float(settings.get("learning_rate", math.nan))
    weight = _weight_in_catboost(settings)
    categorical = frozenset(map(int, model.get_cat_feature_indices()))
    # CatBoost heeds it where trees are not symmetric, and asks it of the leaf that is split: of its halves, half of it.
    rows = float(settings.get("min_data_in_leaf", 1)) / 2 if settings.get("grow_policy") in _GROWN_BY_LEAF else 0.0
    leaves = min(float(settings.get("max_leaves", math.inf)), 2.0 ** float(settings.get("depth", math.inf)))
    return StatedFacts(
        "catboost",
        BOOSTED,
        ranks,
        int(model.tree_count_),
        rate=rate,
        least_rows=rows,
        least_gain=0.0,
        most_leaves=leaves,
        positive_weight=weight,
        squares=settings.get("loss_function") == "RMSE",
        categorical=categorical,
    )


def _weight_in_catboost(settings: dict[str, Any]) -> float:
    """Weight of the positive class, which CatBoost keeps as two weights of classes however it was given."""
    if settings.get("loss_function") != "Logloss":
        return 1.0 if "loss_function" in settings else math.nan
    weights = settings.get("class_weights") or (1.0, 1.0)
    return float(weights[1]) / float(weights[0]) if len(weights) == 2 and float(weights[0]) > 0 else math.nan
