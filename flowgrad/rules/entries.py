"""Reads rules as written: YAML files become entries that still know where each key stands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from flowgrad.bounded_yaml import UNFIT, BoundedLoader
from flowgrad.errors import RuleError
from flowgrad.files import read_bounded, told_size
from flowgrad.rules.bounds import cut

MOST_BYTES = 1 << 19
"""Number of bytes of one file of rules."""
MOST_FILES = 1_000
"""Number of files of rules in one folder."""
MOST_IN_ALL = 8 << 20
"""Number of bytes of all files of one book."""
_SCIENTIFIC = re.compile(r"[-+]?([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9][0-9_]*)[eE][-+]?[0-9]+$")


@dataclass(frozen=True)
class Entry:
    """One rule as written, before anything is checked."""

    id: Any
    """Key of the entry; a string, unless the author erred."""
    content: Any
    """Value of the entry; a mapping, unless the author erred."""
    source: str
    """Place of the entry, e.g. `FILE:LINE` or `command line`."""
    key_sources: Mapping[str, str] = field(default_factory=dict)
    """Place of each key of the content, by the key as text; `source` for keys left out."""

    def error(self, message: str, key: Any = None) -> RuleError:
        """The error to raise about this rule, or about one of its keys."""
        return RuleError(cut(f"{self.key_sources.get(str(key), self.source)}: rule {self.id!r}: {message}"))


class _RuleLoader(BoundedLoader):
    """Reads scalars as OmegaConf does, so that Hydra and `RuleBook.load` see the same rule: 1e-3 is a number
    (YAML 1.1 wants 1.0e-3) and 2020-01-01 is text.
    """

    most_values = 10_000


_RuleLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_RuleLoader.add_implicit_resolver("tag:yaml.org,2002:float", _SCIENTIFIC, list("-+.0123456789"))


def read_entries(*paths: str | Path) -> dict[Any, Entry]:
    """Read all rules in files and folders (every `*.yaml`, by name); a later file's rule replaces an earlier one's.

    Raises:
        RuleError: a path that cannot be read, text that is no YAML, a file that is no mapping, a key written twice.
    """
    entries: dict[Any, Entry] = {}
    left = MOST_IN_ALL
    for file in (file for path in paths for file in _files(Path(path))):
        data = _bytes(file)
        left -= len(data)
        if left < 0:
            raise RuleError(f"{file}: with it the files hold more than the {told_size(MOST_IN_ALL)} read of one book")
        entries |= {entry.id: entry for entry in _read_file(file, data)}
    return entries


def _bytes(path: Path) -> bytes:
    try:
        return read_bounded(path, MOST_BYTES)
    except OSError as error:
        raise RuleError(f"{path}: cannot be read: {error.strerror}") from None


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(path.glob("*.yaml"))
    if not files:
        raise RuleError(f"{path}: the folder holds no *.yaml file")
    if len(files) > MOST_FILES:
        raise RuleError(f"{path}: the folder holds {len(files)} *.yaml files; at most {MOST_FILES} are read of one")
    return files


def _read_file(path: Path, data: bytes) -> Iterator[Entry]:
    loader, root = _compose(path, data)
    if not isinstance(root, yaml.MappingNode):
        wrong = "is empty" if root is None else f"holds {_kind(root)}"
        raise RuleError(f"{path}: {wrong}; expected a mapping of rule id to rule ({{}} for no rules)")
    first_lines: dict[Any, int] = {}
    for key, value in root.value:
        source = f"{path}:{_line(key)}"
        if not isinstance(key, yaml.ScalarNode):
            raise RuleError(f"{source}: {_kind(key)} cannot be a rule's id; expected an identifier such as zombie_rows")
        rule_id = _construct(loader, key, source)
        if rule_id in first_lines:
            message = f"is written twice in this file, first on line {first_lines[rule_id]}"
            raise Entry(rule_id, None, source).error(message)
        first_lines[rule_id] = _line(key)
        yield _entry(rule_id, loader, value, source, path)


def _compose(path: Path, data: bytes) -> tuple[_RuleLoader, yaml.Node | None]:
    try:
        loader = _RuleLoader(data)
        return loader, loader.get_single_node()
    except (yaml.YAMLError, RecursionError) as error:
        raise RuleError(f"{_place(error, str(path))}: is not YAML: {_problem(error)}") from None


def _entry(rule_id: Any, loader: _RuleLoader, node: yaml.Node, source: str, path: Path) -> Entry:
    duplicate = next(_duplicates(node, set()), None)
    if duplicate is not None:
        raise RuleError(f"{path}:{_line(duplicate)}: rule {rule_id!r}: key {duplicate.value!r} is written twice")
    keys = node.value if isinstance(node, yaml.MappingNode) else ()
    key_sources = {key.value: f"{path}:{_line(key)}" for key, _ in keys if isinstance(key, yaml.ScalarNode)}
    return Entry(rule_id, _construct(loader, node, f"{source}: rule {rule_id!r}"), source, key_sources)


def _construct(loader: _RuleLoader, node: yaml.Node, where: str) -> Any:
    try:
        return loader.construct_object(node, deep=True)
    except (yaml.YAMLError, RecursionError, *UNFIT) as error:
        raise RuleError(f"{where}: {_problem(error)}") from None


def _duplicates(node: yaml.Node, seen: set[int]) -> Iterator[yaml.ScalarNode]:
    """Yield keys written twice in one mapping, at any depth. PyYAML would silently keep the last one."""
    if id(node) in seen:  # an alias
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in keys:
                    yield key
                keys.add(key.value)
            yield from _duplicates(value, seen)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _duplicates(item, seen)


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return "a mapping" if isinstance(node, yaml.MappingNode) else "plain text"


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _place(error: Exception, path: str) -> str:
    mark = getattr(error, "problem_mark", None)
    return path if mark is None else f"{path}:{mark.line + 1}"


def _problem(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, LookupError | AttributeError | TypeError):
        return "a value does not fit its tag, such as !!timestamp"
    parts = [getattr(error, "context", None), getattr(error, "problem", None)]
    return ", ".join(part for part in parts if part) or str(error).replace("\n", " ")
