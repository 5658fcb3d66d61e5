"""Renders a page as one file of HTML, and the same content as JSON."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from flowgrad.errors import FlowGradError
from flowgrad.html.drawing import Drawing, draw
from flowgrad.html.figures import Cell, Figure
from flowgrad.html.page import Page
from flowgrad.html.verdicts import in_words, values_of
from flowgrad.lines import unturned
from flowgrad.report.codec import clean

_TEMPLATES = Path(__file__).parent / "templates"
MOST_BYTES = 1_000_000
"""Number of bytes of a page at most: findings, tables and pictures beyond it are left out, and the page says so."""
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.csv")


def to_html(page: Page) -> bytes:
    """Render the page as a file that needs no other, of `MOST_BYTES` at most. The same page gives the same bytes.

    Raises:
        FlowGradError: jinja2 is not installed.
    """
    for shorter in _shortened(page):
        text = _environment().get_template("page.html").render(page=shorter, **_assets())
        if len(data := unturned(clean(text)).encode()) <= MOST_BYTES:
            return data
    return data


def to_fragment(page: Page) -> str:
    """Render findings and coverage without style, script and pictures, for a notebook.

    Raises:
        FlowGradError: as `to_html`.
    """
    return unturned(str(_environment().get_template("fragment.html").render(page=page)))


def to_json(page: Page) -> bytes:
    """Write everything that the page says as JSON, a part a line. Numbers have six digits; an unknown one is null."""
    parts = (f"{json.dumps(name)}:{_dumped(value)}" for name, value in _plain(page).items())
    return ("{\n" + ",\n".join(parts) + "\n}\n").encode()


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _shortened(page: Page) -> Iterator[Page]:
    """The page, and then with less and less of what takes much room."""
    yield page
    told = "{} left out here, for a page has 1 MB at most; the report has them"
    left = told.format("findings of later rounds, and all but the first 60 of findings and of what was not seen, are")
    shorter = replace(page, later=(), findings=page.findings[:60], gaps=page.gaps[:60], missing=(*page.missing, left))
    yield shorter
    sections = tuple(replace(one, tables=()) for one in page.sections)
    shorter = replace(shorter, sections=sections, missing=(*page.missing, left, told.format("tables are")))
    yield shorter
    yield replace(shorter, sections=(), findings=page.findings[:5], gaps=page.gaps[:5])


@cache
def _environment() -> Any:
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("jinja2", "markupsafe"):
            raise
        raise FlowGradError(
            "a page of HTML needs jinja2, which is not installed: pip install 'flowgrad[html]'"
        ) from error
    made = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(
        {
            "figure": _figure,
            "cell": _cell,
            "words": _words,
            "class": _class,
            "proof": in_words,
            "values": values_of,
            "draw": _drawn,
            "file": _link,
            "names": _names,
        }
    )
    return made


@cache
def _assets() -> dict[str, Any]:
    """Style and script, and the hashes by which the page allows these and no others."""
    from markupsafe import Markup

    found: dict[str, Any] = {}
    for name, file in (("style", "style.css"), ("script", "script.js")):
        text = (_TEMPLATES / file).read_text("utf-8")
        found[name] = Markup(text)
        found[f"{name}_sha256"] = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return found


def _drawn(figure: Figure, name: str) -> Drawing:
    from markupsafe import Markup

    made = draw(figure, name)
    return Drawing(Markup(made.svg), made.legend)


def _link(name: str) -> Any:
    """A link to a table beside the page, where its name is that of one: a report from elsewhere may name anything."""
    from markupsafe import Markup

    return Markup('<a href="{0}">{0}</a>').format(name) if _FILE.fullmatch(name) else name


def _names(text: str) -> Any:
    """Text whose names between backticks are shown as code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _figure(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "not known"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if isinstance(value, int) or (value == round(value) and abs(value) < 1e15):
        text = f"{value:,.0f}"
    else:
        text = f"{value:.4g}"
    return text.replace("-", "−", 1) if text.startswith("-") else text


def _cell(value: Cell) -> str:
    """A cell of a table, empty where it is not known."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _figure(value) if isinstance(value, int | float) else str(value)


def _words(name: str) -> str:
    """A name such as `NOT_OBSERVED` in words."""
    text = name.replace("_", " ")
    return text.capitalize() if name.isupper() or name.islower() else text


def _class(name: str) -> str:
    """A name as a class of the style; texts from reports may hold anything."""
    return re.sub(r"[^a-z]", "", name.lower())


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        number = float(f"{value:.6g}")  # as in the XML
        return number if math.isfinite(number) else None if math.isnan(number) else "INF" if number > 0 else "-INF"
    return clean(str(value))
