"""Loads small real tables that scikit-learn ships, in the form of `datasets.tables`."""

from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn
from numpy.typing import NDArray
from pandas import DataFrame
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

from datasets.tables import Table, at_random, content_sha256
from flowgrad.errors import FlowGradError


def _diabetes() -> tuple[Any, dict[str, NDArray]]:
    data = load_diabetes(scaled=False)
    return data, {"progression": data.target}


def _breast_cancer() -> tuple[Any, dict[str, NDArray]]:
    data = load_breast_cancer()
    return data, {"malignant": data.target == 0}


def _digits() -> tuple[Any, dict[str, NDArray]]:
    data = load_digits()
    return data, {"digit": data.target, "odd": data.target % 2}


_TABLES: dict[str, Callable[[], tuple[Any, dict[str, NDArray]]]] = {
    "diabetes": _diabetes,
    "breast_cancer": _breast_cancer,
    "digits": _digits,
}


def load_small_table(name: str, test_share: float = 0.2, validation_share: float = 0.2, split_seed: int = 0) -> Table:
    """Load one of scikit-learn's tables, split at random (of classes, each its share).

    - `diabetes`: 442 patients, 10 columns; `progression` of the disease a year on
    - `breast_cancer`: 569 tumours, 30 columns; `malignant` or not
    - `digits`: 1,797 images of 64 pixels; the `digit` as a number, and whether it is `odd`

    Raises:
        FlowGradError: no such table, or shares that leave no row to train on.
    """
    if name not in _TABLES:
        raise FlowGradError(f"dataset.name={name!r} is unknown; use {', '.join(_TABLES)}")
    for key, share in (("test_share", test_share), ("validation_share", validation_share)):
        if not 0 < share < 1:
            raise FlowGradError(f"dataset.{key}={share}: must lie between 0 and 1")
    if test_share + validation_share >= 1:
        raise FlowGradError(
            f"dataset.test_share={test_share} and dataset.validation_share={validation_share} leave no row to train on"
        )
    data, found = _TABLES[name]()
    features = DataFrame(data.data, columns=[str(column) for column in data.feature_names]).astype(np.float64)
    targets = {key: np.asarray(values, dtype=np.float64) for key, values in found.items()}
    first = next(iter(targets.values()))
    classes = first if len(np.unique(first)) <= 10 else None
    return Table(
        name=name,
        source=f"scikit-learn {sklearn.__version__}",
        features=features,
        targets=targets,
        parts=at_random(len(features), validation_share, test_share, split_seed, classes),
        groups=None,
        sha256=content_sha256(features, targets),
    )
