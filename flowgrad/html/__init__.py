"""Pages: a run, a report or a sweep as one file of HTML that a person opens, and its twin in JSON."""

from typing import TYPE_CHECKING

from flowgrad.lazy import lazy_names

if TYPE_CHECKING:
    from flowgrad.html.figures import Figure
    from flowgrad.html.forms import ENDINGS, HTML, report_bytes
    from flowgrad.html.of_folder import folder_page
    from flowgrad.html.of_report import report_page
    from flowgrad.html.page import Page
    from flowgrad.html.rendering import to_fragment, to_html, to_json

__all__ = [
    "ENDINGS",
    "HTML",
    "Figure",
    "Page",
    "folder_page",
    "report_bytes",
    "report_page",
    "to_fragment",
    "to_html",
    "to_json",
]

_HOMES = {
    "figures": ("Figure",),
    "of_folder": ("folder_page",),
    "forms": ("ENDINGS", "HTML", "report_bytes"),
    "page": ("Page",),
    "rendering": ("to_fragment", "to_html", "to_json"),
    "of_report": ("report_page",),
}
__getattr__ = lazy_names(__name__, {name: f"{__name__}.{home}" for home, names in _HOMES.items() for name in names})
