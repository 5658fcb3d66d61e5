"""The command `skill install`: writes the skill where an agent looks for it, and never over what others wrote."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flowgrad.errors import FlowGradError
from flowgrad.files import read_bounded, write_atomically

SKILL = Path(__file__).with_name("skill")
"""Folder of the texts that are written."""
NAME = "flowgrad"
PLACES = {"claude": ".claude/skills", "codex": ".agents/skills", "cursor": ".cursor/skills"}
"""Folder in a project in which an agent looks for skills, by its name."""
_CURSOR_RULE = ".cursor/rules/flowgrad.mdc"
_MOST_BYTES = 4 << 20
_SEAL = re.compile(r"\n?<!-- flowgrad: the above is written by it; sha256 ([0-9a-f]{16}) -->\n?\Z")
_BEGIN = re.compile(r"^<!-- flowgrad begin; sha256 ([0-9a-f]{16}) -->$", re.MULTILINE)
_END = "<!-- flowgrad end -->"


@dataclass(frozen=True)
class Written:
    """A file that was installed."""

    path: Path
    what: str
    """`written`, `updated` or `unchanged`."""


def install(agent: str, root: Path) -> list[Written]:
    """Install the skill into a project.

    Args:
        agent: `claude`, `codex` or `cursor`; else a folder, into which `flowgrad/` is written.
        root: folder of the project, in whose AGENTS.md a section is written; not for a folder of one's own.

    Raises:
        FlowGradError: a file of that name was written or edited by somebody else, or nothing can be written there;
            nothing was changed.
    """
    target = root / PLACES[agent] / NAME if agent in PLACES else Path(agent) / NAME
    texts = {target / path.relative_to(SKILL): _sealed(path.read_text("utf-8")) for path in _parts()}
    named = f"`{target.relative_to(root).as_posix()}/SKILL.md`" if agent in PLACES else f"`{NAME}/SKILL.md`"
    if agent == "cursor":
        texts[root / _CURSOR_RULE] = _sealed((SKILL / "cursor.mdc").read_text("utf-8").format(skill=named))
    section = (SKILL / "AGENTS.section.md").read_text("utf-8").format(skill=named)
    notes = (root if agent in PLACES else Path(agent)) / "AGENTS.md"
    planned = [(path, text, _held(path)) for path, text in texts.items()]
    for path, text, held in planned:
        if held is not None and held != text and not _is_own(held):
            raise FlowGradError(f"{path}: somebody else wrote or edited it; move it away, then install again")
    before = _held(notes)
    planned.append((notes, _with_section(notes, before or "", section), before))
    return [_write(path, text, held) for path, text, held in planned]


def _parts() -> Iterator[Path]:
    yield SKILL / "SKILL.md"
    yield from sorted((SKILL / "references").glob("*.md"))


def _held(path: Path) -> str | None:
    """Text of a file; None where there is none."""
    try:
        return read_bounded(path, _MOST_BYTES).decode("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or error) if isinstance(error, OSError) else "it is no UTF-8 text"
        raise FlowGradError(f"{path}: cannot be read: {reason}; move it away, then install again") from error


def _write(path: Path, text: str, held: str | None) -> Written:
    if held == text:
        return Written(path, "unchanged")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
    except OSError as error:
        raise FlowGradError(f"{path}: cannot be written: {error.strerror or error}") from error
    return Written(path, "written" if held is None else "updated")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _sealed(text: str) -> str:
    """Add a last line that shows later whether the text is still as it was written."""
    return f"{text.rstrip()}\n\n<!-- flowgrad: the above is written by it; sha256 {_sha256(text.rstrip())} -->\n"


def _is_own(text: str) -> bool:
    seal = _SEAL.search(text)
    return seal is not None and seal[1] == _sha256(text[: seal.start()].rstrip())


def _with_section(path: Path, text: str, section: str) -> str:
    """Put the section into a text, in the place of the one that an earlier version wrote.

    Raises:
        FlowGradError: the markers of the section are damaged, or somebody edited what is between them.
    """
    body = section.strip()
    block = f"<!-- flowgrad begin; sha256 {_sha256(body)} -->\n{body}\n{_END}"
    marks = list(_BEGIN.finditer(text))
    if not marks and _END not in text and "<!-- flowgrad begin" not in text:
        return f"{text.rstrip()}\n\n{block}\n" if text.strip() else f"{block}\n"
    end = text.find(_END, marks[0].end()) if len(marks) == 1 else -1
    if end < 0 or text.count(_END) != 1 or text.count("<!-- flowgrad begin") != 1:
        raise FlowGradError(f"{path}: the markers of its section `flowgrad` are damaged; take the section out")
    if _sha256(text[marks[0].end() : end].strip()) != marks[0][1]:
        raise FlowGradError(f"{path}: somebody edited its section `flowgrad`; take it out, or move it past the markers")
    return text[: marks[0].start()] + block + text[end + len(_END) :]
