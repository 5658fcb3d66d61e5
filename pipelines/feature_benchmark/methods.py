"""Methods that name pairs of columns, the strongest interaction first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from datasets.planted import Planted
from flowgrad.analyzers import FeatureAnalyzer
from flowgrad.errors import FlowGradError
from pipelines.feature_benchmark import peer

Pairs = list[frozenset[str]]


@dataclass(frozen=True)
class Method:
    """One way to look for interactions."""

    pairs: Callable[[Planted, int, int], Pairs]
    """(table, at most so many pairs, seed) -> pairs in order."""
    check: Callable[[], None] = lambda: None
    """Raises ImportError or FlowGradError, which say what to install, where the method cannot run."""
    slow: bool = False
    """It is run on fewer tables."""


def _analyzed(method: str) -> Callable[[Planted, int, int], Pairs]:
    def pairs(table: Planted, top: int, seed: int) -> Pairs:
        found = FeatureAnalyzer(table.features, table.target, seed=seed).interactions(method, top)
        return [frozenset(pair) for pair in zip(found["first"], found["second"], strict=True)]

    return pairs


def _needs(package: str) -> Callable[[], None]:
    def check() -> None:
        try:
            import_module(package)
        except ImportError as error:
            raise FlowGradError(f"{package} is not installed: pip install {package}") from error

    return check


METHODS: dict[str, Method] = {
    "partial_f": Method(_analyzed("partial_f")),
    "fast": Method(_analyzed("fast"), _needs("interpret")),
    "xgboost_shap": Method(_analyzed("xgboost_shap"), _needs("xgboost"), slow=True),
    "peer_permutation": Method(peer.permutation_pairs, peer.check_peer, slow=True),
    "peer_suggest": Method(peer.suggested_pairs, peer.check_peer, slow=True),
}
"""By name: three methods of `FeatureAnalyzer.interactions`, and two of the peer library."""
