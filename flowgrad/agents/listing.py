"""The verb `runs`: run folders with what each found and proved."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from flowgrad.agents.answers import SCHEMA_VERSION, RunLine, RunList
from flowgrad.agents.findings import counts, status_of
from flowgrad.agents.plain import plain
from flowgrad.agents.run_files import REPORT, parts_of, run_files
from flowgrad.agents.tables import SIGNIFICANCE, lines_of, primary_of
from flowgrad.errors import FlowGradError
from flowgrad.files import read_bounded

MOST_RUNS = 500
_MOST_FOLDERS = 20_000
"""Number of folders that are looked into."""
_DEEPEST = 6
_MARKS = (REPORT, SIGNIFICANCE, "config.yaml")
"""Files that make a folder one of a run."""
_CONFIG_BYTES = 4 << 20
_NAME = re.compile(rb"^name: *['\"]?([\w .-]{1,200}?)['\"]? *\r?$", re.MULTILINE)


def runs(folder: str = "outputs", *, limit: int = 20) -> RunList:
    """Answer which run folders there are, the newest first.

    Args:
        folder: where they lie, at any depth up to six; links are not followed.
        limit: number of runs told.

    Raises:
        FlowGradError: there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FlowGradError(f"{folder}: there is no such folder; name one that holds run folders")
    found, complete = _run_folders(root)
    found.sort(key=lambda pair: (-pair[1], str(pair[0])))
    told = found[: max(0, min(limit, MOST_RUNS))]
    answer = {
        "answer": "runs",
        "schema_version": SCHEMA_VERSION,
        "folder": folder,
        "total": len(found),
        "runs": [_line(path, when) for path, when in told],
        "incomplete": not complete,
    }
    return cast(RunList, answer)


def _run_folders(root: Path) -> tuple[list[tuple[Path, float]], bool]:
    """Run folders with the time of their last change, and whether all were looked for."""
    waiting, found = [(root, 0)], list[tuple[Path, float]]()
    looked, complete = 0, True
    while waiting:
        folder, depth = waiting.pop()
        looked += 1
        if looked > _MOST_FOLDERS:
            return found, False
        try:
            with os.scandir(folder) as entries:
                inside = list(entries)
            marks = [entry for entry in inside if entry.name in _MARKS and not entry.is_symlink()]
            times = [entry.stat(follow_symlinks=False).st_mtime for entry in marks]
        except OSError:
            complete = False
            continue
        if times:
            found.append((folder, max(times)))
        below = sorted(e.path for e in inside if e.is_dir(follow_symlinks=False) and not e.name.startswith("."))
        if depth < _DEEPEST:
            waiting += [(Path(path), depth + 1) for path in below]
        elif below:
            complete = False
    return found, complete


def _line(folder: Path, when: float) -> RunLine:
    line: dict[str, Any] = {
        "path": str(folder),
        "experiment": _experiment(folder),
        "when": datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    problems = []
    for part in (_reported, _proven):
        try:
            line |= part(folder)
        except FlowGradError as error:
            problems.append(str(error))
    return cast(RunLine, plain(line | ({"problem": "; ".join(problems)} if problems else {})))


def _reported(folder: Path) -> dict[str, Any]:
    files = run_files(folder)
    if not files.reports or files.report.is_symlink():
        return {}
    _, parts = parts_of(files.report)
    severities = counts(found for part in parts for found in part.findings)
    return {"status": status_of(parts), "findings": sum(severities.values()), "severities": severities}


def _proven(folder: Path) -> dict[str, Any]:
    path = folder / SIGNIFICANCE
    if not path.is_file() or path.is_symlink():
        return {}
    tested: Iterator[dict[str, str]] = iter(primary_of(lines_of(path, ("test", "metric", "verdict"))))
    first = next(tested, None)
    return {} if first is None else {"verdict": first["verdict"], "metric": first["metric"]}


def _experiment(folder: Path) -> str:
    """Name of the experiment, that of the folder above where no config says it."""
    path, named = folder / "config.yaml", None
    if not path.is_symlink():
        with suppress(OSError):
            named = _NAME.search(read_bounded(path, _CONFIG_BYTES))
    return named[1].decode() if named else folder.resolve().parent.name
