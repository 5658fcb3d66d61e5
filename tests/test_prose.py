"""Docstrings are sentences with a subject, and public numbers say their unit."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(path for part in ("flowgrad", "pipelines", "datasets") for path in (ROOT / part).rglob("*.py"))
FOLDERS = sorted({path.parent for path in FILES})
LIBRARY = [folder for folder in FOLDERS if folder.is_relative_to(ROOT / "flowgrad")]
FRAGMENTS = {"Of", "As", "That", "By", "Those"}
"""First words that leave a docstring without a subject: `Of Adam.` for `Learning rate of Adam.`"""
UNITS = (
    # counts and amounts
    "number", "count", "bytes", "seconds", "milliseconds", "bits", "nats",
    # parts and comparisons
    "share", "ratio", "rate", "probability", "p-value", "correlation", "coefficient", "logarithm", "flag",
    # statistics, and distances in their own scale
    "r2", "f statistic", "standard errors", "standard deviations",
    # codes
    "exit code", "exit status", "checksum", "hash",
    # another quantity's unit, or bounds such as `in [0, 1]`
    "in units of", "in its own unit", "in their unit", "in [", "in (",
)  # fmt: skip
"""Words of which one at least stands in the docstring of a public function that returns a number."""
_UNIT = re.compile("|".join(rf"(?<!\w){re.escape(unit)}(?:(?<=[\[(])|s?(?!\w))" for unit in UNITS), re.IGNORECASE)
_FIRST = re.compile(r"\W*(\w+)")


@functools.cache
def trees_in(folder):
    """(name, tree) of each file in a folder, parsed once; a test of each file would take longer than reading it."""
    return [(name_of(path), ast.parse(path.read_text("utf-8"))) for path in FILES if path.parent == folder]


def name_of(path):
    """The path from the repository's root, which names a test's case and, with the line, a complaint."""
    return path.relative_to(ROOT).as_posix()


def docstrings(tree):
    """(line, text) of each string that stands as a statement: of modules, classes, functions and attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


def fragments(tree, path):
    """A complaint for each docstring that begins without a subject."""
    for line, text in docstrings(tree):
        first = _FIRST.match(text)
        if first and first[1] in FRAGMENTS:
            yield f"{path}:{line}: begins with {first[1]!r}; say what it is: {' '.join(text.split())[:60]!r}"


def without_unit(tree, path):
    """A complaint for each public function, method or property that returns a number and names no unit."""
    for owner in (tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))):
        if getattr(owner, "name", "").startswith("_"):
            continue
        for node in owner.body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
                continue
            if node.returns is not None and ast.unparse(node.returns).strip("'\"") in ("float", "int"):
                text = " ".join((ast.get_docstring(node) or "").split())
                if not _UNIT.search(text):
                    yield f"{path}:{node.lineno}: {node.name}() returns a number and names no unit: {text[:60]!r}"


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_docstrings_have_a_subject(folder):
    assert not [complaint for name, tree in trees_in(folder) for complaint in fragments(tree, name)]


@pytest.mark.parametrize("folder", LIBRARY, ids=name_of)
def test_public_numbers_have_a_unit(folder):
    assert not [complaint for name, tree in trees_in(folder) for complaint in without_unit(tree, name)]


def test_there_is_something_to_read():
    assert len(FILES) > 400


@pytest.mark.parametrize(
    "source",
    [
        '"""Of the whole module."""',
        'class Settings:\n    """As `Other`."""',
        'def f():\n    """By name."""',
        'class Settings:\n    lr: float = 0.1\n    """Of Adam."""',
        'MOST = 3\n"""Those that count."""',
        'class C:\n    def f(self):\n        self.x = 1\n        """That trained the model."""',
        'async def f():\n    """\n    Of a batch.\n    """',
    ],
)
def test_a_docstring_without_a_subject_is_named(source):
    """Modules, classes, functions, fields, constants and attributes of an instance are all read."""
    (complaint,) = fragments(ast.parse(source), "f.py")
    assert re.match(r"f\.py:\d+: begins with '(Of|As|That|By|Those)'", complaint)


@pytest.mark.parametrize(
    "source",
    [
        '"""Learning rate of Adam, by that of its group."""',
        'def f():\n    """Offset of a row."""\n    return "Of no docstring"',
        'x = "Of a value"',
        'def f():\n    """`of` a batch."""',
    ],
)
def test_a_docstring_with_a_subject_passes(source):
    """Only the first word of a docstring counts, and values are no docstrings."""
    assert not list(fragments(ast.parse(source), "f.py"))


@pytest.mark.parametrize(
    "source",
    [
        'def size() -> int:\n    """Size of the model."""',
        "def size() -> int: ...",
        'class C:\n    @property\n    def rise(self) -> float:\n        """Rise of the loss."""',
        'async def wait() -> "float":\n    """Time that it takes."""',
        'def f() -> float:\n    """Generation of the accounts."""',
    ],
)
def test_a_number_without_a_unit_is_named(source):
    """Functions, methods and properties are read, with and without a docstring; parts of words are no unit."""
    (complaint,) = without_unit(ast.parse(source), "f.py")
    assert complaint.startswith("f.py:")


@pytest.mark.parametrize(
    "source",
    [
        'def size() -> int:\n    """Size of the model in bytes."""',
        'def shares() -> float:\n    """Ratios of two losses."""',
        'def cosine() -> float:\n    """Cosine, in [-1, 1]."""',
        'def p() -> float:\n    """P-value of the test."""',
        'def _size() -> int:\n    """Size."""',
        'class _C:\n    def size(self) -> int:\n        """Size."""',
        'def sizes() -> list[int]:\n    """Sizes."""',
        "def f():\n    def inner() -> float: ...",
    ],
)
def test_a_number_with_a_unit_passes(source):
    """Private functions and those that return something else than a number are not asked."""
    assert not list(without_unit(ast.parse(source), "f.py"))
