"""Reports and what lies beside them: `flowgrad validate` calls no forged figure valid."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from lxml import etree

from flowgrad import __main__ as flowgrad_command
from pipelines.benchmarks.robustness.attack import Attack, Fault, Place, Refused
from pipelines.benchmarks.robustness.damage import bytes_damaged, lines_damaged

_COPIED = ("report.xml", "observations.csv", "significance.csv", "config.yaml", "prescription.yaml")
_PROVEN = ("validation", "confidence", "run")
"""Elements of which every figure follows from the files beside the report."""
_FREE = {"seed", "round", "data_sha256"}
"""Attributes of a run that nothing beside the report tells again."""


def draw(rng: np.random.Generator, base: Path) -> Attack:
    """A figure, a name or a hash forged; a file beside the report edited or gone; bytes damaged."""
    source = base / "reported"
    way = int(rng.integers(10))
    if way < 5:
        return _forged(rng, source)
    if way == 5:
        return _observed(rng, source)
    name = ("report.xml", "report.xml", *_COPIED)[int(rng.integers(7))]
    data = (source / name).read_bytes()
    if way == 6:
        return _attack(source, f"{name} is gone", {name: None})
    if way == 7:
        text, tried = lines_damaged(data.decode(), rng)
        return _attack(source, f"{name}: {tried}", {name: text.encode()})
    made, tried = bytes_damaged(data, rng)
    return _attack(source, f"{name}: {tried}", {name: made})


def _forged(rng: np.random.Generator, source: Path) -> Attack:
    tree = etree.fromstring((source / "report.xml").read_bytes())
    found = [
        (element, name)
        for element in tree.iter(*_PROVEN)
        for name in element.attrib
        if not (element.tag == "run" and name in _FREE)
    ]
    element, given = found[int(rng.integers(len(found)))]
    name, was = str(given), str(element.attrib[given])
    pool = [one for one in _other(was) if one != was]
    new = pool[int(rng.integers(len(pool)))]
    if rng.random() < 0.1:
        del element.attrib[name]
        tried = f"{element.tag}: {name} left out"
    else:
        element.set(name, new)
        tried = f"{element.tag}: {name}={new[:40]} for {was[:40]}"
    return _attack(source, tried, {"report.xml": etree.tostring(tree)}, must=True)


def _other(was: str) -> list[str]:
    """What may stand there instead."""
    try:
        value = float(was)
    except ValueError:
        return ["", "nothing", was[:-1], was[::-1], was.upper(), was + "x", "refuted", "tost", "0" * 64]
    whole = [str(int(value) + 1), str(int(value) * 10 + 7)] if value == int(value) else []
    near = [repr(value * 1.01 + 1e-3), repr(value * 0.5 - 1e-3), repr(-value - 1e-3), "NaN", "INF", "1e-300", "٣"]
    return whole + near


def _observed(rng: np.random.Generator, source: Path) -> Attack:
    """A value of a run that was observed, changed: its hash is another then."""
    lines = (source / "observations.csv").read_text().splitlines()
    at = int(rng.integers(1, len(lines)))
    fields = lines[at].split(",")
    fields[4] = repr(float(fields[4]) * 0.9)
    lines[at] = ",".join(fields)
    return _attack(
        source, f"observations.csv: line {at + 1}", {"observations.csv": "\n".join(lines).encode()}, must=True
    )


def _attack(source: Path, tried: str, changed: dict[str, bytes | None], *, must: bool = False) -> Attack:
    def perform(place: Place) -> None:
        for name in _COPIED:
            data = changed.get(name, b"")
            if name not in changed:
                shutil.copy(source / name, place.given / name)
            elif data is not None:
                (place.given / name).write_bytes(data)
        judge(place, ["validate", str(place.given / "report.xml")], must=must)

    return Attack(f"report: {tried}", perform)


def judge(place: Place, arguments: list[str], *, must: bool) -> Any:
    """Run `python -m flowgrad` and raise what came of it."""
    code = flowgrad_command.main(arguments)
    text = printed(place)
    if "Traceback" in text:
        raise Fault("traceback", text[-400:])
    if code not in (0, 1, 2):
        raise Fault("traceback", f"exit code {code}: {text[-400:]}")
    if code:
        if not text.strip():
            raise Fault("traceback", f"exit code {code} without a word")
        raise Refused(text.splitlines()[0])
    if must:
        raise Fault("accepted", f"a forgery was taken: {text[-300:]}")


def printed(place: Place) -> str:
    """Text that the attack printed so far."""
    import sys

    sys.stdout.flush()
    sys.stderr.flush()
    return place.out.read_text(errors="backslashreplace") + place.err.read_text(errors="backslashreplace")
