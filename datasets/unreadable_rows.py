"""Counts rows of a ratings file that cannot be read, quotes them, and refuses the file where they are many."""

import logging
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets.ratings import LARGEST_RATING
from datasets.ratings_text import named, shortened
from flowgrad.errors import FlowGradError

BAD_RATING = "rating is not a finite number"
LARGE_RATING = f"rating is larger than {LARGEST_RATING:g}"
BAD_TIME = "timestamp is"
BAD_LENGTH = "wrong number of fields"
"""Reasons, or how they start, for which there are settings that may help."""

_DECIMAL_COMMA = re.compile(r"\s*[-+]?\d*,\d+\s*", re.ASCII)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used."""

    line: int
    reason: str
    """The reason, in words that rows of the same kind share."""
    value: str
    """Text of the row or field; empty where there is none."""


def refuse_or_warn(file: Path, dropped: list[BadRow], n_kept: int, max_bad_share: float, decimal: str) -> None:
    """Log a warning about the dropped rows, or refuse the file for them.

    Args:
        file: for messages.
        dropped: in the order of the file.
        n_kept: how many rows can be used.
        max_bad_share: the largest share of rows that may be dropped.
        decimal: the decimal mark that ratings were read with.

    Raises:
        FlowGradError: a larger share is dropped, or no row can be used.
    """
    n_rows = len(dropped) + n_kept
    if not n_kept:
        what = f"{n_rows} of {n_rows} rows: {reasons(dropped)}" if dropped else "there is only a header"
        ways = _ways_out(dropped, decimal) or "check the file, dataset.columns and dataset.separator"
        raise FlowGradError(f"{named(file)}: no row can be used ({what}); {ways}")
    if len(dropped) > max_bad_share * n_rows:
        share = math.ceil(1000 * len(dropped) / n_rows) / 1000
        raise FlowGradError(
            f"{named(file)}: {len(dropped)} of {n_rows} rows cannot be read ({reasons(dropped)}); "
            f"{_ways_out(dropped, decimal)}; dataset.max_bad_share={share:g} leaves them out"
        )
    if dropped:
        _logger.warning("%s: dropped %d of %d rows (%s)", named(file), len(dropped), n_rows, reasons(dropped))


def refuse_few_left(
    file: Path, dropped: list[BadRow], n_rows: int, n_left: int, max_dropped_share: float, repeated: str
) -> None:
    """Refuse a file of which too little is left, whatever was allowed of each kind of row.

    Args:
        file: for messages.
        dropped: rows that could not be read.
        n_rows: all rows of the file.
        n_left: those that are left.
        max_dropped_share: the largest share of them that may be dropped.
        repeated: text on repeated pairs; empty where there are none, or all are kept.

    Raises:
        FlowGradError: the message says how many rows were dropped, why, and quotes one of each kind.
    """
    gone = n_rows - n_left
    if gone <= max_dropped_share * n_rows:
        return
    why = "; ".join(part for part in (reasons(dropped), repeated.partition(": ")[2]) if part)
    share = math.ceil(1000 * gone / n_rows) / 1000
    raise FlowGradError(
        f"{named(file)}: {gone} of {n_rows} rows would be dropped, and {n_left} be left ({why}); check dataset.columns "
        f"and dataset.separator, or say that it is meant with dataset.max_dropped_share={share:g}"
    )


def reasons(dropped: Sequence[BadRow]) -> str:
    """List each reason with how many rows and the first of them, the most frequent reason first."""
    firsts: dict[str, BadRow] = {}
    for bad in dropped:
        firsts.setdefault(bad.reason, bad)
    counts = Counter(bad.reason for bad in dropped)
    return "; ".join(
        f"{reason}: {count}, first {shortened(firsts[reason].value) + ' ' if firsts[reason].value else ''}"
        f"on line {firsts[reason].line}"
        for reason, count in counts.most_common()
    )


def _ways_out(dropped: list[BadRow], decimal: str) -> str:
    """The settings that may read these rows."""
    ways = []
    ratings = [bad.value for bad in dropped if bad.reason == BAD_RATING]
    times = [bad.value for bad in dropped if bad.reason.startswith(BAD_TIME)]
    if decimal == "." and any(_DECIMAL_COMMA.fullmatch(value) for value in (*ratings, *times)):
        ways.append("""'dataset.decimal=","' reads a decimal comma""")
    elif ratings:
        ways.append("put numbers there, or name another column with dataset.columns.rating (null: none)")
    if any(bad.reason == LARGE_RATING for bad in dropped):
        ways.append("ratings are of another scale, or of another column: dataset.columns.rating")
    if times:
        ways.append(
            """give their form as in 'dataset.timestamp_format="%d.%m.%y %H:%M"', or name another column with """
            "dataset.columns.timestamp (null: none)"
        )
    if any(bad.reason.startswith((BAD_LENGTH, "not CSV")) for bad in dropped):
        ways.append("check dataset.separator and dataset.quote (null: quotes are text)")
    if any(bad.reason.startswith("missing") for bad in dropped):
        ways.append("check dataset.columns")
    return "; ".join(ways)
