"""The rooms of the application: what each may know of, held by reading the imports in its source."""

import ast
from pathlib import Path

import pytest

import pipelines

ROOT = Path(pipelines.__file__).parent
# Room -> the rooms it may import. Rooms further down know those further up, never the other way round.
ROOMS = {
    "config": set(),
    "output": {"config"},
    "data": {"config"},
    "trainers": {"config", "data"},
    "sweeps": {"config", "output"},
    "stages": {"config", "data", "output", "trainers"},
    "jobs": {"config", "data", "output", "stages", "trainers"},
    "run": {"config", "output", "sweeps"},
    "benchmarks": {"config", "data", "jobs", "output", "run", "stages", "sweeps", "trainers"},
    "reproduce": {"benchmarks", "config", "output", "run"},
    "publish": {"benchmarks", "config", "output", "run"},
}
MODULES = sorted(ROOT.rglob("*.py"))


def room(path):
    """`config/compose.py` -> `config`, `run.py` -> `run`."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path):
    """Rooms that a module imports from, anywhere in it, with the line of each."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from ((name.split(".")[1], node.lineno) for name in names if name.startswith("pipelines."))


def test_the_top_shows_the_rooms_and_no_more():
    tops = {room(path) for path in MODULES} - {"__init__"}
    assert tops == set(ROOMS)
    assert len(tops) <= 12


def test_the_rooms_have_no_circle():
    known = set()
    for _ in ROOMS:
        known |= {name for name, targets in ROOMS.items() if targets <= known}
    assert known == set(ROOMS)


def test_nothing_of_the_application_knows_the_benchmarks():
    assert {name for name, targets in ROOMS.items() if "benchmarks" in targets} == {"reproduce", "publish"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_up(path):
    for target, line in imported(path):
        if target != room(path):
            assert target in ROOMS[room(path)], f"{path}:{line}: {room(path)} imports {target}"
