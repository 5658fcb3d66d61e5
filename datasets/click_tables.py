"""Makes logs of clicks tables: columns of categories as codes, amounts as they are, one target of 0 and 1."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pandas import DataFrame

from datasets.tables import Table, content_sha256

MISSING = ""
"""Value that stands for a category that is not known."""


def click_table(
    name: str,
    source: str,
    frame: DataFrame,
    categorical: Sequence[str],
    numerical: Sequence[str],
    targets: Mapping[str, ArrayLike],
    parts: NDArray[np.int8],
) -> Table:
    """Make a table of one row an impression. Codes follow the sorted texts of a column's values.

    Args:
        name: short name of the data set.
        source: origin of this copy, for people to read.
        frame: the columns named below; others are left out.
        categorical: columns of categories, in any type; a missing value is a category of its own, `MISSING`.
        numerical: columns of amounts; NaN where one is not known.
        targets: clicked (1) or not (0), by name of the target, shape (rows,) each.
        parts: part of each row (`datasets.tables`).

    Raises:
        FlowGradError: as `Table`.
    """
    columns, categories = {}, {}
    for column in categorical:
        texts = frame[column].astype(object).where(frame[column].notna(), MISSING).astype(str)
        codes, values = pd.factorize(texts.to_numpy(dtype=object), sort=True)
        columns[column], categories[column] = codes.astype(np.float64), np.asarray(values, dtype=object)
    for column in numerical:
        columns[column] = frame[column].to_numpy(dtype=np.float64, na_value=np.nan)
    features = DataFrame(columns)
    known = {key: np.asarray(values, dtype=np.float64) for key, values in targets.items()}
    return Table(
        name=name,
        source=source,
        features=features,
        targets=known,
        parts=parts,
        groups=None,
        sha256=content_sha256(features, known, categories),
        categories=categories,
    )
