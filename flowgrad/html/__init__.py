"""Pages: a run, a report or a sweep as one file of HTML that a person opens, and its twin in JSON."""

from flowgrad.html.page import Page
from flowgrad.html.rendering import to_fragment, to_html, to_json
from flowgrad.html.report_page import report_page
from flowgrad.html.run_page import run_page

__all__ = ["Page", "report_page", "run_page", "to_fragment", "to_html", "to_json"]
