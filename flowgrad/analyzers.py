"""Names that moved, for one version: `flowgrad.features` and `flowgrad.compression.planning` hold them now."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

_MOVED = {
    "Calibration": "flowgrad.compression.planning.calibration",
    "FeatureAnalyzer": "flowgrad.features",
    "FeatureProof": "flowgrad.features",
    "QuantizationAdvisor": "flowgrad.compression.planning.quantization",
    "SaliencyAnalyzer": "flowgrad.compression.planning.saliency",
    "Suggestion": "flowgrad.features",
    "Term": "flowgrad.features",
    "parse_term": "flowgrad.features",
    "term_values": "flowgrad.features",
}


def __getattr__(name: str) -> Any:
    if name not in _MOVED:
        raise AttributeError(f"module 'flowgrad.analyzers' has no attribute {name!r}")
    warnings.warn(f"flowgrad.analyzers.{name} is in {_MOVED[name]}", DeprecationWarning, stacklevel=2)
    return getattr(import_module(_MOVED[name]), name)
