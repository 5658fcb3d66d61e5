"""Reads YAML in memory bounded by its text: a few hundred bytes of aliases can stand for gigabytes."""

from __future__ import annotations

from typing import Any

import yaml
from yaml.composer import Composer

MOST_DEPTH = 50
"""Depth of collections within each other, aliases followed."""
MOST_REPEATED = 1 << 18
"""Number of characters and values that all aliases and merge keys of a text stand for."""
MOST_KEYS = 10_000
"""Number of keys of one mapping. Whole numbers can be chosen so that each is compared with every other."""
MOST_DIGITS = 100
"""Number of characters of a number; a longer one is text."""
MOST_VALUES = 1_000_000
"""Number of values as written; a loader may have another bound."""
_NUMBERS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("int", "float"))


class UnboundedYamlError(yaml.MarkedYAMLError):
    """A text that stands for more than is read; `problem` says what."""


class _Bounds(Composer):
    """PyYAML's composer, which counts."""

    most_values = MOST_VALUES
    _depth = _deepest = _size = _repeated = _values = 0
    _anchored: dict[int, tuple[int, int]]
    """Number of characters and values that each anchored node stands for, and its depth, by its `id`."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node as PyYAML does, counted."""
        event = self.peek_event()  # type: ignore[attr-defined]
        self._values += 1
        if self._values > self.most_values:
            raise _error(f"more than {self.most_values} values", event)
        self._depth += 1
        self._deeper(self._depth)
        if isinstance(event, yaml.AliasEvent):
            node = super().compose_node(parent, index)
            size, height = self._anchored.get(id(node), (1, 0))  # a node within itself is refused when it is made
            self._size += size
            self._repeated += size
            self._deeper(self._depth + height)
            if self._repeated > MOST_REPEATED:
                raise _error(f"aliases stand for more than {MOST_REPEATED} characters and values", event)
        else:
            self._check_number(event)
            before, outer = self._size, self._deepest
            self._deepest = self._depth
            node = super().compose_node(parent, index)
            value = [] if node is None else node.value
            self._size += 1 + (len(value) if isinstance(value, str) else 0)
            if isinstance(node, yaml.MappingNode) and len(value) > MOST_KEYS:
                raise _error(f"a mapping of more than {MOST_KEYS} keys", event)
            if event.anchor is not None:
                self._anchored[id(node)] = (self._size - before, self._deepest - self._depth)
            self._deepest = max(outer, self._deepest)
        self._depth -= 1
        return node

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        """Resolve a tag as PyYAML does, but for numbers that are too long."""
        if kind is yaml.ScalarNode and len(value) > MOST_DIGITS and isinstance(implicit, tuple):
            implicit = (False, implicit[1])
        return str(super().resolve(kind, value, implicit))  # type: ignore[misc]

    def _deeper(self, depth: int) -> None:
        self._deepest = max(self._deepest, depth)
        if depth > MOST_DEPTH:
            raise UnboundedYamlError(problem=f"nested too deeply, more than {MOST_DEPTH} levels")

    @staticmethod
    def _check_number(event: Any) -> None:
        if event.tag in _NUMBERS and len(getattr(event, "value", "")) > MOST_DIGITS:
            raise _error(f"a number of more than {MOST_DIGITS} characters", event)


UNFIT = (ValueError, OverflowError, LookupError, AttributeError, TypeError)
"""Errors that PyYAML raises where a tag and its text do not agree: `!!bool maybe`, `!!int ""`, `!!timestamp soon`."""


class _PlainLoader(_Bounds, yaml.SafeLoader):
    """The loader that PyYAML has in Python."""

    def __init__(self, stream: str | bytes) -> None:
        super().__init__(stream)
        self._anchored = {}


BoundedLoader: Any = _PlainLoader
"""PyYAML's safe loader with bounds: `MOST_DEPTH`, `MOST_REPEATED`, `MOST_KEYS`, `MOST_DIGITS`, `MOST_VALUES`. Where it
was built with libyaml, text is split by that, which is ten times as fast."""
if yaml.__with_libyaml__:

    class _FastLoader(_Bounds, yaml.CSafeLoader):
        """The loader that PyYAML has from libyaml."""

        def __init__(self, stream: str | bytes) -> None:
            Composer.__init__(self)
            yaml.CSafeLoader.__init__(self, stream)
            self._anchored = {}

    BoundedLoader = _FastLoader


def load_yaml(text: str | bytes, most: int) -> Any:
    """Load the content of one YAML document.

    Args:
        text: the document.
        most: characters (or bytes) that it may have.

    Raises:
        yaml.YAMLError: whatever is wrong with it, or beyond a bound.
    """
    if len(text) > most:
        raise UnboundedYamlError(problem=f"it is longer than the {most} characters that are read of such a text")
    try:
        loader = BoundedLoader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except (RecursionError, *UNFIT) as error:
        unfit = isinstance(error, LookupError | AttributeError | TypeError)
        said = "a value does not fit its tag, such as !!timestamp" if unfit else str(error)
        raise yaml.YAMLError(said or type(error).__name__) from error


def _error(problem: str, event: yaml.Event) -> UnboundedYamlError:
    mark: Any = event.start_mark
    return UnboundedYamlError(problem=problem, problem_mark=mark)
