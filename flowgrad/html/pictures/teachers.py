"""How like each layer of a student is to each of its teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from flowgrad.html.figures import Heat

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("student", "teacher", "paired")


def teacher_picture(table: pd.DataFrame, title: str, files: tuple[str, ...]) -> Heat | None:
    """Draw a grid: lines are the student's layers, columns the teacher's, a frame around each pair that is compared.

    Args:
        table: `student`, `teacher`, `cka`, `paired`.
        title: what the student is called.
        files: that the figures are in.
    """
    if not len(table):
        return None
    students, teachers = (list(dict.fromkeys(table[name].astype(str))) for name in ("student", "teacher"))
    values = np.full((len(students), len(teachers)), np.nan)
    framed, told = [], []
    for one in table.itertuples(index=False):
        place = students.index(str(one.student)), teachers.index(str(one.teacher))
        values[place] = one.cka
        if str(one.paired) == "True":
            framed.append(place)
            told.append(f"{one.student} with {one.teacher} {one.cka:.2f}")
    return Heat(
        f"{title}: student and teacher",
        f"Linear CKA (1: the same up to a rotation) of each layer of the student with each of the teacher. Pairs that "
        f"are compared have a frame: {'; '.join(told) or 'there is none'}.",
        files,
        "layer of the teacher",
        "layer of the student",
        "CKA",
        tuple(students),
        tuple(teachers),
        tuple(tuple(map(float, line)) for line in values),
        value_range=(0.0, 1.0),
        framed=tuple(framed),
    )
