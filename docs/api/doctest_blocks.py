"""For the API pages of the site (zensical.toml): examples in docstrings become blocks of code."""

from __future__ import annotations

import re
from typing import Any

import griffe

_DOCTEST = re.compile(r"^(?P<indent> *)>>> .*(?:\n(?P=indent)\S.*|\n(?P=indent) +\S.*)*", re.MULTILINE)


def fenced(text: str) -> str:
    r"""A docstring whose doctests stand between fences, and whose `Example::` is a sentence.

    >>> print(fenced("Doubles.\n\n>>> double(2)\n4"))
    Doubles.
    <BLANKLINE>
    ```pycon
    >>> double(2)
    4
    ```
    """
    text = re.sub(r"^( *)Example::$", r"\1For example:", text, flags=re.MULTILINE)
    return _DOCTEST.sub(lambda m: f"{m['indent']}```pycon\n{m[0]}\n{m['indent']}```", text)


class DoctestBlocks(griffe.Extension):
    """Rewrites every docstring before it is parsed."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called by griffe for each object that it has read."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)
