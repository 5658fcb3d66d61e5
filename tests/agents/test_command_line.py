"""The verbs as commands: exit codes, hostile input, what is imported, pipes that nobody reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flowgrad.__main__ import _parser, main
from flowgrad.agents.answers import ANSWERS
from flowgrad.agents.command_line import failed
from flowgrad.report import ClaimsReport, CoverageReport, Metric, Report, write
from tests.agents.conftest import ZOMBIE, reports

ROOT = Path(__file__).parents[2]
VERBS = {
    "findings": ["RUN"],
    "history": ["RUN", "item_emb", "zombie_share"],
    "rows": ["RUN", "item_emb"],
    "compare": ["RUN", "RUN"],
    "prove": ["RUN"],
}
"""Verbs that take a run, with arguments that succeed on a whole one."""


def called(verb, run):
    return [verb, *(str(run) if word == "RUN" else word for word in VERBS[verb])]


@pytest.mark.parametrize(
    ("severities", "status", "fail_on", "code"),
    [
        ({"high": 1}, "FINDINGS", None, 0),
        ({"high": 1}, "FINDINGS", "high", 1),
        ({"high": 1}, "FINDINGS", "info", 1),
        ({"high": 1}, "FINDINGS", "critical", 0),
        ({}, "HEALTHY", "info", 0),
        ({}, "NOT_OBSERVED", "critical", 3),
        ({}, "NOT_OBSERVED", None, 0),
    ],
)
def test_exit_codes_tell(severities, status, fail_on, code):
    assert failed({"severities": severities, "status": status}, fail_on) == code


def test_fail_on_looks_at_all_findings_not_only_at_those_told(run, answer):
    assert answer("findings", run, "--severity", "critical", "--fail-on", "high", code=1)["findings"] == []
    assert answer("findings", run, "--rule", "network_rate_high", "--fail-on", "high", code=1)["total"] == 1


def test_a_comparison_with_what_was_not_observed_ends_with_3(run, tmp_path, answer):
    write(Report("embedding", "t", coverage=CoverageReport(blind="no step")), tmp_path / "blind.xml")
    found = answer("compare", run, tmp_path / "blind.xml", "--fail-on", "high", code=3)
    assert "was not looked for" in found["cautions"][0]


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_no_run_is_refused_in_one_line(verb, tmp_path, refused):
    empty, text, picture = tmp_path / "empty", tmp_path / "a.txt", tmp_path / "report.json"
    empty.mkdir()
    text.write_text("no report")
    picture.write_text("{}")
    for given in (tmp_path / "missing", empty, text, picture, "", "a\x00b", "x" * 5000):
        if verb == "history" and given == empty:
            continue
        refused(*called(verb, given))
    if verb == "history":
        assert "holds no series" in refused("history", empty, "a", "b")
    if verb != "prove":
        assert "XML" in refused(*called(verb, picture))


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "prove"])
@pytest.mark.parametrize("damage", ["half", "empty", "bytes", "doctype", "text", "claims", "huge", "pipe", "folder"])
def test_a_damaged_report_is_refused_in_one_line(verb, damage, run, refused):
    path = run / "report.xml"
    whole = path.read_bytes()
    content = {
        "half": whole[: len(whole) // 2], "empty": b"", "bytes": bytes(range(256)) * 9,
        "doctype": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>',
        "text": whole.replace(b'threshold="0.25"', b'threshold="much"'), "huge": b" " * ((32 << 20) + 1),
    }  # fmt: skip
    if damage in content:
        path.write_bytes(content[damage])
    elif damage == "claims":
        write(ClaimsReport("quick", ()), path)
    else:
        path.unlink()
        os.mkfifo(path) if damage == "pipe" else path.mkdir()
    words = called(verb, path if damage in ("pipe", "folder") else run)
    assert "report.xml" in refused(*words)


@pytest.mark.parametrize("name", ["significance.csv", "prescription.yaml"])
@pytest.mark.parametrize("damage", ["half", "empty", "bytes", "wide", "huge", "pipe"])
def test_a_damaged_proof_is_refused_in_one_line(name, damage, run, refused, answer):
    path = run / name
    whole = path.read_bytes()
    content = {
        "half": whole[: len(whole) // 2], "empty": b"", "bytes": bytes(range(256)) * 9, "wide": b"a," * 40_000 + b"\n1",
        "huge": b"a: b\n" * (4 << 20),
    }  # fmt: skip
    if damage in content:
        path.write_bytes(content[damage])
    else:
        path.unlink()
        os.mkfifo(path)
    if name == "prescription.yaml" and damage in ("empty", "half", "wide"):
        main(["prove", str(run)])  # YAML may well be cut and still be some
        return
    refused("prove", run)


@pytest.mark.parametrize("name", ["observations.csv", "curves.csv"])
def test_a_damaged_table_is_named_where_its_series_are_asked_for(name, run, refused):
    (run / name).write_text((run / name).read_text().replace(",1,", ",one,"))
    assert f"{name}: 'one' stands where a number is needed" in refused("history", run)
    (run / name).write_bytes((run / name).read_bytes()[:-9])
    assert name in refused("history", run)


def test_a_table_that_a_report_names_elsewhere_is_not_read(run, tmp_path, answer):
    """A report that somebody sent names /etc/passwd, or a file above its folder, as its table of rows."""
    for name in ("/etc/passwd", "../../secret.csv", "..", ".", "a/b"):
        rows = ZOMBIE.rows.__class__(4, ZOMBIE.rows.shown, name)
        write(
            Report("embedding", "t", findings=(ZOMBIE.__class__(**{**vars(ZOMBIE), "rows": rows}),)), run / "report.xml"
        )
        found = answer("rows", run, "t")
        assert found["groups"][0]["source"].endswith("report.xml")
        assert "is no name of a file in its folder" in found["problems"][0]


HOSTILE = "\x1b[31mred\x07\x9b2J\u202etxt\u2028a\tb\rc"


def test_names_of_others_do_not_act_on_a_terminal(tmp_path, text, answer, refused):
    folder = tmp_path / f"run {HOSTILE}"
    folder.mkdir()
    named = ZOMBIE.__class__(**{**vars(ZOMBIE), "premise": f"a {HOSTILE}"})
    write(Report("embedding", HOSTILE, None, (Metric(HOSTILE, 1.0),), (named,)), folder / "report.xml")
    (folder / "observations.csv").write_text(
        f'experiment,arm,seed,metric,value,higher_is_better\na,"{HOSTILE}",1,m,1.0,True\n', newline=""
    )
    layer = answer("findings", folder)["findings"][0]["layer"]
    for words in (["findings", folder], ["history", folder], ["rows", folder, layer], ["compare", folder, folder],
                  ["runs", tmp_path], ["history", folder, layer, HOSTILE.replace("\x1b", "\ufffd")]):  # fmt: skip
        for form in ([], ["--json"]):
            main([*map(str, words), *form])
    for form in ([], ["--json"]):
        printed = text("findings", folder, *form)
        assert printed.replace("\n", "").isprintable()
        assert "\u202e" not in printed
    refused("findings", folder / f"missing {HOSTILE}")
    refused("explain", HOSTILE)
    refused("rows", folder, HOSTILE * 9)


@pytest.mark.parametrize(
    "words",
    [
        ["findings"], ["findings", "a", "b"], ["findings", "a", "--limit", "0"], ["findings", "a", "--limit", "-1"],
        ["findings", "a", "--limit", "١"], ["findings", "a", "--severity", "bad"], ["explain"], ["prove"],
        ["prove", "a", "--run", "b"], ["history", "a", "b", "c", "--seed", "x"], ["rows", "a"], ["compare"],
        ["skill"], ["skill", "install"], ["skill", "install", "--claude", "--codex"],
    ],
)  # fmt: skip
def test_wrong_use_ends_with_2(words, capsys):
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    assert "usage: " in capsys.readouterr().err


@pytest.mark.parametrize("points", ["1", "4", "10001"])
def test_a_number_of_points_that_cannot_be_kept_is_refused(points, run, refused):
    assert "must lie between" in refused("history", run, "--max-points", points)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["history", "RUN", "item_em"], "did you mean 'item_emb'?"),
        (["history", "RUN", "item_emb", "zombie_shar"], "did you mean 'zombie_share'?"),
        (["history", "RUN", "baseline", "mse", "--arm", "other"], "is not told of that arm"),
        (["rows", "RUN", "item_em"], "did you mean 'item_emb'?"),
        (["explain", "zombie_row"], "did you mean 'zombie_rows'?"),
        (["explain", "ZOMBIE_EMBEDDING"], "did you mean 'ZOMBIE_EMBEDDINGS'?"),
        (["schema", "finding"], "there are findings, explain"),
        (["prove", "--run", "experiment=a"], "no pipelines/run.py"),
        (["runs", "RUN/missing"], "there is no such folder"),
    ],
)
def test_an_error_names_the_way_out(words, named, run, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert named in refused(*(word.replace("RUN", str(run)) for word in words))


def test_no_experiment_is_refused_before_anything_is_run(monkeypatch, refused):
    monkeypatch.chdir(ROOT)
    assert "name what is run" in refused("prove", "--run", "trial=[a=1]")


def test_the_schema_is_printed(text):
    assert json.loads(text("schema"))["oneOf"]
    for verb in ANSWERS:
        assert json.loads(text("schema", verb))["$ref"] == f"#/$defs/{ANSWERS[verb].__name__}"


def test_every_answer_has_a_verb():
    (commands,) = [action for action in _parser()._actions if action.dest == "command"]
    assert set(ANSWERS) <= set(commands.choices)


@pytest.mark.parametrize("verb", ["findings", "explain", "history", "rows", "runs"])
def test_a_verb_answers_without_what_takes_long_to_import(verb, run):
    """Answers come in less than one and a half times of what importing pandas takes."""
    words = {"explain": ["explain", "zombie_rows"], "runs": ["runs", str(run.parent)]}.get(verb)
    code = (
        "import runpy, sys; sys.argv = ['flowgrad', *sys.argv[1:]]\n"
        "try: runpy.run_module('flowgrad', run_name='__main__')\n"
        "except SystemExit as left: assert not left.code\n"
        "heavy = {'torch', 'pandas', 'statsmodels', 'omegaconf', 'hydra', 'pipelines', 'mcp', 'pydantic'}\n"
        "heavy &= {*sys.modules}\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *(words or called(verb, run))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_output_that_nobody_reads_ends_quietly(form, run):
    write(reports(*[ZOMBIE] * 400), run / "report.xml")
    process = subprocess.Popen(
        [sys.executable, "-m", "flowgrad", "findings", str(run), "--limit", "400", *form],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait() == 141
    assert errors == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is full")
def test_output_that_cannot_be_written_is_named(run):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "flowgrad", "findings", str(run)],
            cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "error: standard output cannot be written: No space left on device\n"


def test_output_that_is_closed_is_no_error(run):
    done = subprocess.run(
        ["/bin/sh", "-c", '"$0" -m flowgrad findings "$1" >&-', sys.executable, str(run)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_the_installed_command_minds_its_output_too():
    """`flowgrad` on the path called `main` itself, and printed a traceback where `| head` had read enough."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"flowgrad": "flowgrad.__main__:console"}
    code = "import sys; from flowgrad.__main__ import console; sys.argv = ['flowgrad', 'schema']; sys.exit(console())"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    errors = process.stderr.read()
    assert (process.wait(), errors) == (141, b"")


def test_without_the_extra_the_error_names_the_way_out():
    code = """if True:
        import sys
        class Without:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] == "mcp":
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        sys.meta_path.insert(0, Without())
        from flowgrad.__main__ import main
        sys.exit(main(["mcp"]))
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: flowgrad mcp needs a package that is missing: pip install 'flowgrad[mcp]'\n"
