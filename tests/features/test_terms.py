"""A suggestion's name is all that computing it takes."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flowgrad.errors import FlowGradError
from flowgrad.features import Term, parse_term, term_values
from flowgrad.features.terms import KINDS

FRAME = pd.DataFrame({"user mean": [1.0, 2.0, 3.0], "item-mean": [4.0, 0.0, -2.0], 7: [True, False, True]})


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("user mean * item-mean", [4, 0, -6]),
        ("user mean / item-mean", [0.25, np.nan, -1.5]),
        ("user mean + item-mean", [5, 2, 1]),
        ("user mean - item-mean", [-3, 2, 5]),
        ("item-mean ^ 2", [16, 0, 4]),
        ("user mean * 7", [1, 0, 3]),
    ],
)
def test_values_by_hand(name, values):
    np.testing.assert_array_equal(term_values(name, FRAME), values)


@given(
    st.lists(st.text("ab *+-/^2", min_size=1, max_size=8), min_size=2, max_size=4, unique=True), st.sampled_from(KINDS)
)
def test_a_name_is_read_as_what_it_was_made_of(columns, kind):
    """Also where columns hold spaces and signs; where two readings fit, that is said."""
    term = Term(kind, columns[0], None if kind == "square" else columns[1])
    try:
        found = parse_term(term.name, columns)
    except FlowGradError as error:
        assume("can be read as" not in str(error))
        raise
    assert found == term


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("user mean * itm-mean", r"needs the column 'itm-mean', which is not there; did you mean 'item-mean'\?"),
        ("age ^ 2", "needs the column 'age'"),
        ("user mean", r"'user mean' is no term; write 'a \* b'"),
        ("user mean*item-mean", "is no term"),
        ("", "is no term"),
    ],
)  # fmt: skip
def test_bad_names_say_what_is_wrong(name, message):
    with pytest.raises(FlowGradError, match=message):
        term_values(name, FRAME)


def test_two_readings_are_an_error():
    with pytest.raises(FlowGradError, match="can be read as difference of 'a' and 'b - c' or difference of 'a - b'"):
        parse_term("a - b - c", ["a", "b - c", "a - b", "c"])
