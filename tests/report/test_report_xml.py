import math
import os
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lxml import etree

from flowgrad.errors import ReportError
from flowgrad.report import Metric, Report, RowRecord, RunIdentity, RunReport, from_xml, read, to_xml, write

GOLDEN = Path(__file__).with_name("golden")


@pytest.mark.parametrize("name", ["full", "healthy", "composite", "feature", "distillation"])
def test_golden(name, request):
    """The bytes are those of `golden/NAME.xml`.

    After a wanted change of the format: `FLOWGRAD_GOLDEN=1 python -m pytest tests/report`, then read the diff.
    """
    report = request.getfixturevalue(name)
    path = GOLDEN / f"{name}.xml"
    if os.environ.get("FLOWGRAD_GOLDEN"):
        path.write_bytes(to_xml(report))
    assert to_xml(report) == path.read_bytes()
    assert from_xml(path.read_bytes()) == report


def test_bytes_repeat(full):
    assert to_xml(full) == to_xml(from_xml(to_xml(full)))


def test_types_survive(run):
    """Ints, floats and texts of `<training>` come back as what they were; versions stay text."""
    training = {"optimizer": "Adam", "lr": 1.0, "batch_size": 8, "note": "1.10", "tag": "inf", "loss_last": math.nan}
    run = replace(run, training=training, environment={"python": "3.11", "n": "5"})
    back = from_xml(to_xml(Report("embedding", "e", run))).run
    types = {name: type(value) for name, value in back.training.items()}
    assert types == {"optimizer": str, "lr": float, "batch_size": int, "note": str, "tag": str, "loss_last": float}
    assert back.environment == {"python": "3.11", "n": "5"}
    assert back == run


def test_numpy_values():
    run = RunIdentity("r", seed=np.int64(3), training={"lr": np.float32(0.1), "steps": np.int32(7), "nesterov": True})
    metrics = (Metric("a", np.float64("nan")), Metric("b", np.float32(0.1)), Metric("c", 2))
    report = Report("embedding", "e", run, metrics)
    back = from_xml(to_xml(report))
    assert back == report
    assert hash(back) == hash(report)
    assert [type(metric.value) for metric in back.measurements] == [float] * 3
    assert type(back.run.seed) is int


@pytest.mark.parametrize(
    "text",
    ["", " ", "\n", "\t \n", "\r", "a\r\nb", " a ", "<&>\"'", "]]>", "\x85\u2028", "é 漢 \U0001f600", "5", "-0"],
)
def test_text_survives(text, full, zombie):
    """Whole, also white space, in attributes and in elements."""
    finding = replace(zombie, premise=text, risk=text, rule=text)
    run = replace(full.run, id=text, arm=text, environment={"x": text}, training={"x": text})
    report = replace(full, layer=text, run=run, findings=(finding,))
    back = from_xml(to_xml(report))
    assert back == report
    found = back.findings[0]
    assert [found.premise, found.risk, found.rule, back.run.id, back.run.environment["x"], back.layer] == [text] * 6


def test_characters_xml_cannot_hold(full):
    report = replace(full, layer="a\x00b\x1b\ud800\ufffe\uffff\x0b")
    back = from_xml(to_xml(report))
    assert back.layer == "a\ufffdb" + "\ufffd" * 5
    assert back == report


def test_equality_tells_apart(full, zombie):
    assert full != replace(full, layer="other")
    assert full != replace(full, findings=(replace(zombie, premise="other"),))
    assert Metric("a", 1.0) != Metric("a", float("nan"))
    assert Metric("a", float("nan")) == Metric("a", float("nan"))
    assert Metric("5", 1.0) != Metric("5.0", 1.0)
    assert Metric("a", 1.0) != "a"
    assert RowRecord(5) == RowRecord("5") != RowRecord("05")
    assert RunIdentity("r", training={"a": 1, "b": 2}) == RunIdentity("r", training={"b": 2.0, "a": "1"})


def test_named_rows(full, zombie):
    rows = replace(zombie.rows, shown=(RowRecord("age", {"gain": 1.5}), RowRecord("007")))
    report = replace(full, findings=(replace(zombie, rows=rows),))
    assert from_xml(to_xml(report)) == report
    assert [row.id for row in from_xml(to_xml(report)).findings[0].rows.shown] == ["age", "007"]


@pytest.mark.parametrize("name", ["a b", "1a", "", "a:b", "{u}a", "xmlns", "a<", "\ud800"])
def test_names_xml_cannot_hold(name):
    with pytest.raises(ReportError, match="environment"):
        to_xml(Report("embedding", "e", RunIdentity("r", environment={name: "1"})))


def test_row_measure_named_id(full, zombie):
    rows = replace(zombie.rows, shown=(RowRecord(1, {"id": 2.0}),))
    with pytest.raises(ReportError, match="'id' is taken"):
        to_xml(replace(full, findings=(replace(zombie, rows=rows),)))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Report("gardening", "e"), "flowgrad_gardening_report"),
        (Report("a b", "e"), "kind='a b'"),
        (Report("embedding", None), "layer=None: expected text"),
        (Report("embedding", "e", RunIdentity("r", seed=2.7)), "seed=2.7"),
        (Report("embedding", "e", RunIdentity("r", round=-1)), "nonNegativeInteger"),
        (Report("embedding", "e", RunIdentity("r", training={"lr": "high"})), "lr"),
        (Report("embedding", "e", RunIdentity("r", environment={"torch": 2})), "torch=2: expected text, got int"),
        (Report("embedding", "e", measurements=(Metric("a", "x"),)), "value='x'"),
        (Report("embedding", "e", measurements=(Metric("a", 10**400),)), "too large"),
        (RunReport(()), "flowgrad_report"),
    ],
)
def test_reports_that_cannot_be_written(broken, message):
    with pytest.raises(ReportError, match=message):
        to_xml(broken)


def test_foreign_details_are_passed_over():
    """Comments, processing instructions, CDATA and `xsi:` hints change nothing."""
    data = b"""<?xml version="1.0"?><?x y?><!-- a -->
    <flowgrad_flow_report layer="l" schema_version="1.0"
        xmlns:i="http://www.w3.org/2001/XMLSchema-instance" i:noNamespaceSchemaLocation="http://localhost:9/no.xsd">
      <run id="r"><training i:noNamespaceSchemaLocation="x" lr=" 0.1 " /></run>
      <measurements><metric name="a" value=" 1E1 "/><!-- b --></measurements>
      <status>HEAL<!-- c --><![CDATA[THY]]></status>
    </flowgrad_flow_report>"""
    report = from_xml(data)
    assert report.measurements == (Metric("a", 10.0),)
    assert list(report.run.training) == ["lr"]
    assert report.healthy


def test_write_is_whole_or_nothing(tmp_path, full, healthy):
    path = tmp_path / "report.xml"
    write(full, path)
    assert read(path) == full
    with pytest.raises(ReportError):
        write(replace(healthy, kind="no"), path)
    assert read(str(path)) == full
    write(healthy, path)
    assert read(path) == healthy
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.xml"]
    (tmp_path / "plain").write_text("")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_write_leaves_no_temporary_file(tmp_path, healthy):
    (tmp_path / "report.xml").mkdir()
    with pytest.raises(OSError, match=r"report\.xml"):
        write(healthy, tmp_path / "report.xml")
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.xml"]


def test_read_names_the_file(tmp_path):
    path = tmp_path / "report.xml"
    path.write_bytes(b"<a>")
    with pytest.raises(ReportError, match=r"report\.xml: line 1: not XML"):
        read(path)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.xml")


def test_indented_by_two(full):
    lines = to_xml(full).decode().splitlines()
    assert lines[0].startswith("<?xml")
    assert lines[2].startswith("  <run ")
    assert lines[3].startswith("    <training ")
    assert etree.fromstring(to_xml(full)).getroottree().docinfo.encoding == "UTF-8"
