"""Bounds of what a rule may hold, and of what is said of one."""

import pytest

from flowgrad.rules.bounds import LONGEST_MESSAGE, cut


@pytest.mark.parametrize("length", [0, 1, LONGEST_MESSAGE, LONGEST_MESSAGE + 1, 10 * LONGEST_MESSAGE])
def test_a_message_is_no_longer_than_is_said(length):
    """The text in the place of the middle came on top."""
    assert len(cut("x" * length)) <= LONGEST_MESSAGE
    assert cut("x" * length)[:5] == "x" * min(length, 5)
