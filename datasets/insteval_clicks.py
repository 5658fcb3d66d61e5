"""Makes InstEval a log of clicks: does a student like a lecture, by who gives it and where?"""

from pathlib import Path

import numpy as np

from datasets.click_tables import click_table
from datasets.insteval import TABLE
from datasets.rdatasets import load_frame
from datasets.tables import Table, at_random

NAME = "insteval-clicks"
CATEGORICAL = ("student", "lecturer", "department", "semesters", "age", "service")
"""Columns of categories: `semesters` of the student, `age` of the lecture in semesters, `service` for others."""
LIKED = 4
"""Rating from which a lecture counts as liked."""
_NAMES = {"s": "student", "d": "lecturer", "dept": "department", "studage": "semesters", "lectage": "age"}


def load_insteval_clicks(path: str | Path | None = None, cache: str | Path | None = None, split_seed: int = 0) -> Table:
    """Load the 73,421 ratings, each an impression of a lecture; the target `liked` is 1 from `LIKED` on.

    There are no times: 70 % of the rows are to train, 10 % to validate and 20 % to test, at random by `split_seed`.

    Raises:
        FlowGradError: as `datasets.rdatasets.load_frame`.
    """
    frame, source = load_frame(TABLE, path, cache)
    liked = (frame["y"].to_numpy() >= LIKED).astype(float)
    parts = at_random(len(frame), validation_share=0.1, test_share=0.2, seed=split_seed, classes=liked)
    return click_table(NAME, source, frame.rename(columns=_NAMES), CATEGORICAL, (), {"liked": np.array(liked)}, parts)
