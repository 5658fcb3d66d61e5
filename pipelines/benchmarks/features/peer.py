"""Calls the peer's feature analyzer, through its own API and silenced."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

import numpy as np

from datasets.planted import Planted
from flowgrad.errors import FlowGradError

ALL = 10**9
"""Value of `top_k` that asks for everything it has."""
_ROUNDS, _DEPTH, _LEARNING_RATE = 200, 4, 0.1
"""Rounds, depth and learning rate of the booster that it is given, for it analyses a model; all signals of the
benchmark are within its reach.
"""


def check_peer() -> None:
    """Refuse to go on where it is not installed.

    Raises:
        FlowGradError: says how to install it.
    """
    from pipelines.benchmarks.gradtracer.embedding import peer_available  # takes torch, which features need not

    if not peer_available():
        raise FlowGradError("the peer library is not installed: pip install 'flowgrad[bench]'")


def permutation_pairs(table: Planted, top: int, seed: int) -> list[frozenset[str]]:
    """Pairs by its `interactions()`, with its own defaults: by how much permuting two columns together hurts the model
    more, or less, than permuting either. It reads 1,000 rows, and at 20 columns where there are more than 500 pairs.
    """
    with _silenced():
        found = _analyzer(table, _booster(table, seed)).interactions(top_k=ALL)
    return _first_pairs(found, top)


def suggested_pairs(table: Planted, top: int, seed: int) -> list[frozenset[str]]:
    """Pairs of its `suggest_features()`, with its own defaults, in order; a pair in several expressions stands once."""
    with _silenced():
        found = _analyzer(table, _booster(table, seed)).suggest_features(top_k=ALL)
    return _first_pairs(found, top)


def columns_looked_at(table: Planted) -> int:
    """Number of columns that its `interactions()` covers."""
    from sklearn.linear_model import LinearRegression

    with _silenced():
        model = LinearRegression().fit(table.features.to_numpy(), table.target)
        found = _analyzer(table, model).interactions(top_k=ALL)
    return len({name for one in found for name in (one["feat_a"], one["feat_b"])})


def _analyzer(table: Planted, model: Any) -> Any:
    from gradtracer.analyzers.features import FeatureAnalyzer

    names = [str(name) for name in table.features.columns]
    return FeatureAnalyzer(model, table.features.to_numpy(), table.target, feature_names=names, task="regression")


def _booster(table: Planted, seed: int) -> Any:
    from xgboost import XGBRegressor

    model = XGBRegressor(
        n_estimators=_ROUNDS, max_depth=_DEPTH, learning_rate=_LEARNING_RATE, random_state=seed, n_jobs=1
    )
    return model.fit(table.features.to_numpy(), table.target)


def _first_pairs(found: list[dict[str, Any]], top: int) -> list[frozenset[str]]:
    return list(dict.fromkeys(frozenset((one["feat_a"], one["feat_b"])) for one in found))[:top]


@contextmanager
def _silenced() -> Iterator[None]:
    with (
        redirect_stdout(StringIO()),
        redirect_stderr(StringIO()),
        warnings.catch_warnings(),
        np.errstate(all="ignore"),
    ):
        warnings.simplefilter("ignore")
        yield
