"""Asks a library about the training itself: how its rounds add up, what it ranks, and which rounds it keeps."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any, Final

from flowgrad.trackers.boosting.boosted_trees import comes_from, is_catboost, is_lightgbm, is_xgboost

BOOSTED: Final = "boosted"
"""Each round corrects those before it, and stays as it is."""
FOREST: Final = "forest"
"""Trees are independent of each other: LightGBM's `boosting=rf`, one round of XGBoost's `num_parallel_tree`."""
DART: Final = "dart"
"""Trees are left out at random and scaled anew: later rounds change earlier ones."""
LINEAR: Final = "linear"
"""Rounds are steps of a linear model: XGBoost's `booster=gblinear`."""
_CATBOOST_RANKS = (
    "YetiRank",
    "PairLogit",
    "QueryRMSE",
    "QuerySoftMax",
    "QueryCrossEntropy",
    "StochasticRank",
    "LambdaMart",
)
_LIGHTGBM_LINES = re.compile(
    r"^\[(boosting|objective|learning_rate|min_sum_hessian_in_leaf|num_leaves|scale_pos_weight|is_unbalance): "
    r"(\S+)\]$",
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
    most_leaves: float = math.nan
    """Number of leaves that a tree may have; infinite where it is not limited."""
    positive_weight: float = math.nan
    """Weight of rows of the positive class over that of the others, by the settings; infinite where the library makes
    both classes weigh alike, 1 where the objective is no binary log-loss, NaN where none is stated.
    """
    categorical: frozenset[int] | None = None
    """Places of the columns, from 0, that the library takes for categories; None where it does not tell."""
    cuts: bool = True
    """Whether every way to predict stops at that round. XGBoost's `Booster.predict` takes all trees."""


def told_by(model: Any) -> StatedFacts:
    """Ask this booster, or the boosters of a cross-validation; one that is still training answers as far as it can."""
    if is_catboost(model):
        return _told_by_catboost(model)
    if comes_from(model, "lightgbm", "Booster", "CVBooster"):
        return _told_by_lightgbm(model)
    if comes_from(model, "xgboost", "Booster", "_PackedBooster"):
        return _told_by_xgboost(model)
    return StatedFacts()


def _told_by_xgboost(model: Any) -> StatedFacts:
    one = model if is_xgboost(model) else model.cvfolds[0].bst
    learner = json.loads(one.save_config())["learner"]
    booster = learner["gradient_booster"]
    settings = booster.get("tree_train_param", {})
    parallel = int(booster.get("gbtree_model_param", {}).get("num_parallel_tree", 1))
    rounds = one.num_boosted_rounds()
    mode = {"gblinear": LINEAR, "dart": DART}.get(booster["name"], FOREST if parallel > 1 and rounds == 1 else BOOSTED)
    best, score = model.attr("best_iteration"), model.attr("best_score")
    return StatedFacts(
        framework="xgboost",
        mode=mode,
        ranks=learner["objective"]["name"].startswith("rank:"),
        rate=float(settings.get("eta", math.nan)),
        least_hessian=float(settings.get("min_child_weight", math.nan)),
        most_leaves=_most_leaves(settings),
        positive_weight=_weight_in_xgboost(learner["objective"]),
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
    least, leaves = (float(said.get(key, math.nan)) for key in ("min_sum_hessian_in_leaf", "num_leaves"))
    best = max(int(model.best_iteration), 0)
    weight = math.inf if said.get("is_unbalance") == "1" else float(said.get("scale_pos_weight", math.nan))
    return StatedFacts(
        "lightgbm",
        mode,
        ranks,
        best,
        rate=rate,
        least_hessian=least,
        most_leaves=leaves,
        positive_weight=weight if said.get("objective") == "binary" else 1.0 if "objective" in said else math.nan,
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
    return StatedFacts(
        "catboost",
        BOOSTED,
        ranks,
        int(model.tree_count_),
        rate=rate,
        positive_weight=weight,
        categorical=categorical,
    )


def _weight_in_catboost(settings: dict[str, Any]) -> float:
    """Weight of the positive class, which CatBoost keeps as two weights of classes however it was given."""
    if settings.get("loss_function") != "Logloss":
        return 1.0 if "loss_function" in settings else math.nan
    weights = settings.get("class_weights") or (1.0, 1.0)
    return float(weights[1]) / float(weights[0]) if len(weights) == 2 and float(weights[0]) > 0 else math.nan
