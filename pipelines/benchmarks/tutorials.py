"""`python -m pipelines.benchmarks.tutorials`: run the notebooks of docs/tutorials, and write their outputs and pages.

A notebook is what is edited. Its page, which the site shows, has the same cells and outputs as Markdown.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import nbformat

from flowgrad.files import write_atomically
from pipelines.config.code_fingerprint import ROOT

TUTORIALS = ROOT / "docs" / "tutorials"
SECONDS = 300
"""Number of seconds after which a cell is given up."""
_SHOWN = ("text/html", "text/plain")
"""Forms of an output that are kept, the one that a page shows first."""


def read(path: Path) -> Any:
    """Read a notebook."""
    return nbformat.read(path, as_version=4)


def run(notebook: Any) -> Any:
    """Run a copy of a notebook in a fresh kernel, from the root of the repository, and return it with its outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised.
    """
    from nbclient import NotebookClient

    copy = nbformat.from_dict(notebook)
    with tempfile.TemporaryDirectory() as folder:
        own = dict.fromkeys(("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"), folder)
        with mock.patch.dict(os.environ, own | {"OMP_NUM_THREADS": "1"}):
            client = NotebookClient(
                copy,
                timeout=SECONDS,
                kernel_name="python3",
                resources={"metadata": {"path": str(ROOT)}},
                record_timing=False,
                coalesce_streams=True,  # text that is printed comes in pieces of any length
                shutdown_kernel="immediate",  # nothing is left to write: a kernel that is asked to end takes seconds
            )
            kernel = client.create_kernel_manager()
            kernel.transport, kernel.ip = "ipc", f"{folder}/kernel"  # files of its own, not ports that others may take
            client.execute()
    copy.metadata = nbformat.from_dict(notebook.metadata)  # without the kernel's version
    for cell in copy.cells:
        cell.metadata.clear()
        if cell.cell_type == "code":
            cell.outputs = [_kept(output) for output in cell.outputs]
    return copy


def _kept(output: Any) -> Any:
    if "data" in output:
        output["data"] = {form: text for form, text in output["data"].items() if form in _SHOWN}
    return output


def shown(output: Mapping[str, Any]) -> tuple[str, str]:
    """Form and text of an output as its page shows it."""
    if output["output_type"] == "stream":
        return "text/plain", output["text"]
    return next((form, output["data"][form]) for form in _SHOWN if form in output["data"])


def page_of(notebook: Any, name: str) -> str:
    """Write a notebook as the Markdown of its page.

    Args:
        notebook: with outputs.
        name: of its file.
    """
    return "\n\n".join(_blocks(notebook, name)) + "\n"


def _blocks(notebook: Any, name: str) -> Iterator[str]:
    yield f"<!-- Written from {name} by `python -m pipelines.benchmarks.tutorials`. -->"
    for place, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            yield cell.source
        else:
            yield f"```python\n{cell.source}\n```"
            yield from (_block(*shown(output)) for output in cell.outputs)
        if place == 0:
            yield f"This page is a notebook: [{name}]({name})."


def _block(form: str, text: str) -> str:
    if form == "text/plain":
        return f"```text\n{text.rstrip()}\n```"
    lines = "\n".join(line for line in text.splitlines() if line.strip())  # an empty line would end the block
    return f"<div>\n{lines}\n</div>"


def main() -> None:
    """Run all notebooks, and write them and their pages."""
    for path in sorted(TUTORIALS.glob("*.ipynb")):
        notebook = run(read(path))
        write_atomically(path, (nbformat.writes(notebook) + "\n").encode())
        write_atomically(path.with_suffix(".md"), page_of(notebook, path.name).encode())


if __name__ == "__main__":
    main()
