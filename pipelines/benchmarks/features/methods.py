"""Methods that name pairs of columns, the strongest interaction first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from datasets.null_tables import make_null
from datasets.planted import Planted, synthetic_features
from flowgrad.errors import FlowGradError
from flowgrad.features import FeatureAnalyzer
from pipelines.benchmarks.features import peer

Pairs = list[frozenset[str]]


@dataclass(frozen=True)
class Method:
    """One way to search for interactions."""

    pairs: Callable[[Planted, int, int], Pairs]
    """Function (table, number of pairs at most, seed) -> pairs in order."""
    check: Callable[[], None] = lambda: None
    """Function that raises FlowGradError, which says what to install, where a package is missing."""
    slow: bool = False
    """Whether it is run on fewer tables."""


def _analyzed(method: str) -> Callable[[Planted, int, int], Pairs]:
    def pairs(table: Planted, top: int, seed: int) -> Pairs:
        found = FeatureAnalyzer(table.features, table.target, seed=seed).interactions(method, top)
        return [frozenset(pair) for pair in zip(found["first"], found["second"], strict=True)]

    return pairs


def _tried(method: str) -> Callable[[], None]:
    def check() -> None:
        try:
            _analyzed(method)(make_null(synthetic_features(40, 3, 0), "linear", 0), 1, 0)
        except ImportError as error:
            raise FlowGradError(str(error)) from error

    return check


METHODS: dict[str, Method] = {
    "partial_f": Method(_analyzed("partial_f")),
    "fast": Method(_analyzed("fast"), _tried("fast")),
    "xgboost_shap": Method(_analyzed("xgboost_shap"), _tried("xgboost_shap"), slow=True),
    "peer_permutation": Method(peer.permutation_pairs, peer.check_peer, slow=True),
    "peer_suggest": Method(peer.suggested_pairs, peer.check_peer, slow=True),
}
"""Methods by name: three of `FeatureAnalyzer.interactions`, and two of the peer library."""
