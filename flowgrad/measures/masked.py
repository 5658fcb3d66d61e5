"""Arrays of which some values are masked: what is hidden is missing."""

from __future__ import annotations

from typing import Any

import numpy as np


def unmasked(values: Any) -> Any:
    """Numbers with NaN where a masked array hides them; anything else as it is.

    `numpy.asarray` takes what lies under the mask.
    """
    if not isinstance(values, np.ma.MaskedArray) or values.dtype.kind not in "fiub":
        return values
    numbers: Any = values.astype(float)
    return numbers.filled(np.nan)
