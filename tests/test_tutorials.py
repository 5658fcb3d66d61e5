"""Every notebook of docs/tutorials runs, prints what it shows, and is what its page shows."""

from __future__ import annotations

import io
import os
import re
import time
from types import SimpleNamespace

import pytest

from pipelines.benchmarks.tutorials import TUTORIALS, page_of, read, run, shown
from tests.forked import ForkedPopen
from tests.shown_output import alike, words

NOTEBOOKS = sorted(TUTORIALS.glob("*.ipynb"))
MOST_BYTES = 150_000
_FOREIGN = re.compile(r"(?<![\w.])/(?:root|home|usr|tmp|work|opt)/|site-packages| at 0x|Warning|\x1b|it/s")
"""What tells of one machine or of one run: paths, addresses, warnings, progress bars."""


class ForkedKernel(ForkedPopen):
    """The process of a kernel, which is killed with all of its group."""

    stdout = stderr = None

    def __init__(self, words, *, cwd, env, **how):
        nowhere, self.stdin = SimpleNamespace(name=os.devnull), io.BytesIO()
        super().__init__([word for word in words if not word.startswith("-X")], cwd=cwd, env=env, stdout=nowhere)
        while os.getpgid(self.pid) != self.pid:  # until then it is in the group of these tests
            time.sleep(0.001)


@pytest.fixture(autouse=True)
def kernels_are_forked(monkeypatch):
    """A fresh kernel imports for two seconds what all of them use."""
    monkeypatch.setattr("jupyter_client.launcher.Popen", ForkedKernel)


def differing(stored, fresh):
    """Cells whose outputs are not alike: texts by words and numbers, HTML by words alone."""
    for place, (old, new) in enumerate(zip(stored.cells, fresh.cells, strict=True), 1):
        if old.cell_type != "code":
            continue
        before, after = ([shown(output) for output in cell.outputs] for cell in (old, new))
        if [form for form, _ in before] != [form for form, _ in after]:
            yield place, before, after
            continue
        for (form, left), (_, right) in zip(before, after, strict=True):
            same = words(left) == words(right) if form == "text/html" else alike(left, right, rtol=0.25, atol=0.002)
            if not same:
                yield place, left, right


@pytest.mark.movielens
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_and_prints_what_it_shows(path):
    """Another processor rounds otherwise, which a training enlarges: numbers may differ by a quarter, or by .002, words
    may not.
    """
    notebook = read(path)
    told = list(differing(notebook, run(notebook)))
    assert not told, told


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_page_is_the_notebook(path):
    written = path.with_suffix(".md").read_text(encoding="utf-8")
    assert written == page_of(read(path), path.name), "run python -m pipelines.benchmarks.tutorials"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_its_outputs_are_short_and_of_no_one_machine(path):
    assert path.stat().st_size < MOST_BYTES
    cells = read(path).cells
    assert len(cells) <= 25
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for output in (output for cell in code for output in cell.outputs):
        assert output["output_type"] != "error"
        assert output.get("name") != "stderr"
        form, text = shown(output)
        assert not _FOREIGN.search(text), text
        assert form == "text/html" or all(len(line) <= 120 for line in text.splitlines())


def test_other_words_and_other_numbers_are_told():
    import nbformat
    from nbformat.v4 import new_code_cell, new_notebook, new_output

    def notebook(text):
        return new_notebook(cells=[new_code_cell(outputs=[new_output("stream", text=text)])])

    stored = notebook("p = 0.20: confirmed")
    assert not list(differing(stored, notebook("p = 0.21: confirmed")))
    for other in ("p = 0.20: inconclusive", "p = 0.40: confirmed"):
        assert [place for place, *_ in differing(stored, notebook(other))] == [1]
    assert [place for place, *_ in differing(stored, nbformat.from_dict(new_notebook(cells=[new_code_cell()])))] == [1]


def test_a_cell_that_raises_is_told():
    from nbclient.exceptions import CellExecutionError
    from nbformat.v4 import new_code_cell, new_notebook

    with pytest.raises(CellExecutionError, match="no such rate"):
        run(new_notebook(cells=[new_code_cell("raise ValueError('no such rate')")]))
