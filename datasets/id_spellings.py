"""Finds ids that were changed on their way into a text file: written in two ways, or rounded by a spreadsheet."""

import re

from pandas import DataFrame, Series

from datasets.ratings_text import shortened

_LEAST_ROWS = 5
_COPIED = 0.5
"""Share of the rows whose pair stands there under another spelling that must be copies, in rating and time, of the
other's: two users whose names differ in case alone have ratings of their own.
"""
_ROUNDED = re.compile(r"\d\.\d+[eE]\+\d\d+", re.ASCII)


def spelled_twice(frame: DataFrame) -> str:
    """Describe ratings that stand there under two spellings of their user or item, such as 196 and 196.0; empty where
    there are none.

    Args:
        frame: one row a rating, with the columns user, item, rating, timestamp (times of the source) and line.
    """
    plain = frame.assign(user=_plain(frame["user"]), item=_plain(frame["item"]))
    met = plain.duplicated(["user", "item"], keep=False) & ~frame.duplicated(["user", "item"], keep=False)
    whole = ["user", "item", "rating", "timestamp"]
    again = plain[met].duplicated(whole)
    count = int(again.sum())
    if count < _LEAST_ROWS or plain[met].duplicated(whole, keep=False).mean() < _COPIED:
        return ""
    second = again.index[again.to_numpy()][0]
    same = (plain[met][whole] == plain.loc[second, whole]).all(axis=1)
    first = same.index[same.to_numpy()][0]
    role = "user" if frame.loc[first, "user"] != frame.loc[second, "user"] else "item"
    ids = f"{shortened(frame.loc[first, role])} and {shortened(frame.loc[second, role])}"
    return (
        f"{count} of {len(frame)} ratings stand there twice, under two spellings of an id, such as {role} {ids} on "
        f"lines {frame.loc[first, 'line']} and {frame.loc[second, 'line']}"
    )


def rounded_ids(frame: DataFrame) -> str:
    """Describe a column of ids that a spreadsheet wrote as rounded numbers, such as 7.91558E+17; empty where there is
    none.
    """
    for role in ("user", "item"):
        ids = Series(frame[role].unique())
        rounded = ids[ids.map(lambda text: bool(_ROUNDED.fullmatch(text.strip())))]
        if len(rounded) > len(ids) / 2:
            return (
                f"{len(rounded)} of {len(ids)} {role} ids are rounded numbers such as {shortened(rounded.iloc[0])}, as "
                "spreadsheets write long ids, so that several ids may have become one; export that column as text"
            )
    return ""


def _plain(ids: Series) -> Series:
    """Ids without what differs between programs: blanks, case, leading zeros, and the .0 of a number."""
    plain = {text: _one(text) for text in ids.unique()}
    return ids.map(plain)


def _one(text: str) -> str:
    text = text.strip().casefold()
    number = text.removesuffix(".0")
    return number.lstrip("0") or "0" if number.isdecimal() else text
