"""`report.html` and `report.json` of runs: from the files of the folder alone, and never at the cost of the run."""

from __future__ import annotations

import csv
import json
import logging
import math
import re
import time

import pytest
from lxml import html

from flowgrad.html import folder_page, to_html, to_json
from pipelines.output import pages

SMALL = ["experiment=movielens_mf", "dataset=synthetic", "seeds.test=[1,2,3]", "workers=1"]
MOST_BYTES = 150_000


def six(text):
    """The number that a text spells, to six digits; None where it spells none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return f"{value:.6g}" if math.isfinite(value) else None


def figures_in(folder):
    """Every number in the tables, reports and settings of a folder."""
    found = set()
    for path in sorted(folder.iterdir()):
        if path.suffix == ".csv":
            with path.open(newline="") as file:
                found |= {six(cell) for row in csv.reader(file) for cell in row}
        elif path.suffix in (".xml", ".yaml") and path.is_file():
            found |= {six(word) for word in re.split(r"[^0-9eE.+-]+", path.read_text())}
    return found


def figures_of(value):
    if isinstance(value, dict):
        for item in value.values():
            yield from figures_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from figures_of(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


@pytest.fixture
def finished(command_once):
    code, folder, err, _ = command_once(*SMALL)
    assert code == 0, err
    return folder


def test_the_page_of_a_run_is_small_and_its_twin_has_the_same_verdict(finished):
    page, twin = (finished / "report.html").read_bytes(), json.loads((finished / "report.json").read_text())
    assert len(page) < MOST_BYTES
    root = html.document_fromstring(page.decode())
    assert root.xpath("string(//h1)") == twin["verdict"]["headline"]
    assert twin["verdict"]["state"] == "confirmed"
    assert not twin["missing"]


def test_no_figure_is_in_the_page_that_is_not_in_the_files(finished):
    twin, known = json.loads((finished / "report.json").read_text()), figures_in(finished)
    told = {name: twin[name] for name in ("verdict", "steps", "findings", "later", "gaps")}
    told["tests"] = [table for section in twin["sections"] for table in section["tables"]]
    counted = {"others", "level", "rows"}

    def without(value):
        if isinstance(value, dict):
            return {
                key: without(item)
                for key, item in value.items()
                if key not in counted or (key == "rows" and "columns" in value)
            }
        return [without(item) for item in value] if isinstance(value, list) else value

    odd = {value for value in figures_of(without(told)) if six(value) not in known}
    assert not odd


def test_the_page_is_made_of_the_files_alone(finished):
    """So that `flowgrad html` makes it again, to the byte."""
    page = folder_page(finished)
    assert to_html(page) == (finished / "report.html").read_bytes()
    assert to_json(page) == (finished / "report.json").read_bytes()


def test_making_the_page_takes_a_fraction_of_a_second(finished):
    folder_page(finished)
    spent = []
    for _ in range(3):
        began = time.process_time()
        to_json(folder_page(finished)), to_html(folder_page(finished))
        spent.append(time.process_time() - began)
    assert min(spent) < 0.6  # twice what a run pays


def test_a_page_that_cannot_be_made_is_told_and_ends_nothing(tmp_path, monkeypatch, caplog):
    """What an earlier run left is not shown as this one's."""
    for name in ("report.html", "report.json"):
        (tmp_path / name).write_text("old")

    def broken(folder):
        raise RuntimeError("no such\ncolour")

    monkeypatch.setattr(pages, "folder_page", broken)
    with caplog.at_level(logging.WARNING):
        pages.write_page(tmp_path)
    assert [record.message for record in caplog.records] == [
        f"{tmp_path / 'report.html'} is not there, for its page could not be made: no such colour"
    ]
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full_is_an_error_as_for_every_file(tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pages, "write_atomically", full)
    with pytest.raises(OSError, match="No space left"):
        pages.write_page(tmp_path)


def test_a_sweep_has_a_page(command_once):
    code, folder, err, _ = command_once(
        "-m", *SMALL[:2], "seeds.test=[1,2]", "rounds=1", "workers=1", "optimizer.lr=0.005,0.05"
    )
    assert code == 0, err
    twin = json.loads((folder / "report.json").read_text())
    assert twin["kind"] == "sweep"
    assert len(next(section for section in twin["sections"] if section["small"])["figures"]) == 2
    assert all((job / "report.html").is_file() for job in folder.iterdir() if job.is_dir() and job.name[0] != ".")
