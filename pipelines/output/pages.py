"""Writes `report.html`, which people open, and `report.json` with the same content, from the files of a folder."""

from __future__ import annotations

import logging
from pathlib import Path

from flowgrad.files import write_atomically
from flowgrad.html import folder_page, to_html, to_json

HTML, JSON = "report.html", "report.json"

_logger = logging.getLogger(__name__)


def write_page(folder: Path) -> None:
    """Write the page of whatever a folder holds when its job is done.

    All figures are in other files by then: a page that cannot be made is named in a warning, and ends nothing. A file
    that cannot be written is an error, as each other file's is.

    Raises:
        OSError: nothing can be written there.
    """
    try:
        page = folder_page(folder)
        made = {HTML: to_html(page), JSON: to_json(page)}
    except OSError:
        raise
    except Exception as error:
        _logger.warning(
            "%s is not there, for its page could not be made: %s", folder / HTML, " ".join(str(error).split())[:300]
        )
        _logger.info("the page of %s", folder, exc_info=error)
        for name in (HTML, JSON):
            (folder / name).unlink(missing_ok=True)
        return
    for name, content in made.items():
        write_atomically(folder / name, content)
