"""Pages of folders: a run, a sweep, claims, tables of another job; and files in them that somebody damaged."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from lxml import html

from flowgrad.__main__ import main
from flowgrad.errors import ReportError
from flowgrad.html import folder_page, to_html, to_json
from flowgrad.report import Claim, ClaimsReport, RunReport, write
from tests.html.test_pages import FINDING, HEALTHY, REPORT, RUN

TESTS = {
    "comparison": ["treated_vs_baseline", "treated_vs_baseline", "aa"],
    "metric": ["mse"] * 3,
    "test": ["paired_t", "wilcoxon", "paired_t"],
    "n": [3] * 3,
    "baseline": [2.0, 2.0, 2.0],
    "treated": [1.0, 1.0, 2.1],
    "difference": [-1.0, -1.0, 0.1],
    "ci_low": [-1.25, None, -0.5],
    "ci_high": [-0.75, None, 0.7],
    "p": [0.001, 0.1, 0.5],
    "p_adjusted": [0.002, 0.2, 0.5],
    "wins": [3, 3, 1],
    "alpha": [0.05] * 3,
    "unit": ["seed"] * 3,
    "verdict": ["confirmed", "inconclusive", "inconclusive"],
    "family": ["rounds", "rounds", "control"],
    "baseline_arm": ["baseline"] * 3,
    "treated_arm": ["treated", "treated", "aa"],
    "detectable": [0.4, None, 0.4],
}
PRESCRIPTION = """experiment: mf
rounds:
- overrides: [optimizer.lr=0.005]
  rules: [zombie_rows]
  was: {optimizer.lr: 0.05}
command: python -m pipelines.run optimizer.lr=0.005
"""
POINTS = {
    "row": [1, 2, 3],
    "rank": [1, 2, 3],
    "exposures": [90, 20, 0],
    "coherence": [-0.5, 0.3, None],
    "jitter": [0.2, 0.01, None],
}


SHARES = {
    "overrides": ["optimizer.lr=0.005", "model.biases=true", "a=1"],
    "outcome": ["kept", "dropped", "kept"],
    "metric": ["mse"] * 3,
    "n": [5, 5, None],
    "loss": [0.9, 0.001, None],
    "share": [0.9, 0.001, None],
    "share_low": [0.8, -0.01, None],
    "share_high": [1.0, 0.01, None],
    "because": ["", "", "without it the config is refused"],
    **{name: [0.5, 0.5, None] for name in ("with_it", "without", "ci_low", "ci_high", "p", "lost")},
}


@pytest.fixture
def folder(tmp_path):
    """A run of one round, with a file of each kind."""
    write(RunReport((REPORT, HEALTHY), RUN), tmp_path / "report.xml")
    write(RunReport((HEALTHY,), RUN), tmp_path / "report_treated.xml")
    (tmp_path / "prescription.yaml").write_text(PRESCRIPTION)
    pd.DataFrame(TESTS).to_csv(tmp_path / "significance.csv", index=False)
    seeds = [
        ("mf", arm, seed, "mse", value, False)
        for arm, value in (("baseline", 2.0), ("treated", 1.0))
        for seed in (1, 2, 3)
    ]
    names = ["experiment", "arm", "seed", "metric", "value", "higher_is_better"]
    pd.DataFrame(seeds, columns=names).to_csv(tmp_path / "observations.csv", index=False)
    losses = [
        (arm, seed, epoch, 3.0 / epoch)
        for arm in ("baseline", "treated", "aa")
        for seed in (1, 2)
        for epoch in (1, 2, 3)
    ]
    pd.DataFrame(losses, columns=["arm", "seed", "epoch", "validation_loss"]).to_csv(
        tmp_path / "curves.csv", index=False
    )
    pd.DataFrame(POINTS).to_csv(tmp_path / "points_item_emb.csv", index=False)
    pd.DataFrame({"rule": ["zombie_rows"], "id": [1], "row": [1]}).to_csv(tmp_path / "rows_item_emb.csv", index=False)
    layers = [(step, f"l{n}", 0.1, 1e-3) for step in (1, 2) for n in (0, 1)]
    pd.DataFrame(layers, columns=["step", "layer", "gradient", "update_ratio"]).to_csv(
        tmp_path / "layers_net.csv", index=False
    )
    pairs = [("a", "x", 0.5, True), ("a", "y", 0.25, False)]
    pd.DataFrame(pairs, columns=["student", "teacher", "cka", "paired"]).to_csv(tmp_path / "teacher_s.csv", index=False)
    rounds = [(held, "rmse", at, 1 / at) for held in ("train", "valid") for at in (1, 2, 3)]
    pd.DataFrame(rounds, columns=["set", "metric", "round", "value"]).to_csv(
        tmp_path / "booster_curves.csv", index=False
    )
    pd.DataFrame({"column": ["a", "b"], "round": [3, 3], "gain": [1, 3]}).to_csv(
        tmp_path / "booster_gain.csv", index=False
    )
    pd.DataFrame({"arm": ["dense", "prune_9"], "loss": [0.1, 0.2], "bytes": [2048, 1024]}).to_csv(
        tmp_path / "arms.csv", index=False
    )
    (tmp_path / "config.yaml").write_text("rules: {zombie_rows: {rows: coherence < -0.15 and jitter > 0.1}}\n")
    return tmp_path


def shown(page):
    return html.document_fromstring(to_html(page).decode())


def test_a_run_tells_its_verdict_its_rounds_and_its_pictures(folder):
    page = folder_page(folder)
    assert not page.missing
    assert page.title == "mf"
    assert page.verdict.headline == "The change helped: mse 2 → 1"
    for text in ("−1.25 to −0.75", "3 of 3 seeds", "p 0.002", "lower is better"):
        assert text in page.verdict.detail
    assert [step.name for step in page.steps] == ["Round 1", "After"]
    assert page.steps[0].change.text == "optimizer.lr=0.005"
    assert page.steps[0].change.note == "optimizer.lr was 0.05"
    assert page.steps[0].verdict == "confirmed"
    assert [one.acted for one in page.findings] == [True, False]
    titles = [one.title for section in page.sections for one in section.figures]
    for what in (
        "Learning curves by epoch",
        "Effect on mse",
        "mse by seed",
        "item_emb, before: how often",
        "rows that circle",
        "gradient flow",
        "update against weight",
        "student and teacher",
        "rmse by round",
        "columns bring the gain",
        "Size against loss",
    ):
        assert any(what in title for title in titles), what


def test_every_picture_says_which_files_its_figures_are_in(folder):
    for section in folder_page(folder).sections:
        for figure in section.figures:
            assert figure.files
            assert all((folder / name).is_file() for name in figure.files if name != "report.xml")


DAMAGE = {
    "empty": b"",
    "no UTF-8": b"\xff\xfe\x00\x01",
    "another": b"a,b\n1,2\n",
    "words for numbers": lambda text: text.replace(b"1", b"one").replace(b"0", b"none"),
    "gaps": lambda text: b"\n".join(
        re.sub(rb"[^,<>\n]+(?=,|$)", b"", line) if n % 2 else line for n, line in enumerate(text.split(b"\n"))
    ),
    "no lines": lambda text: text.split(b"\n")[0] + b"\n",
    "huge": lambda text: re.sub(rb"(?<=,)\d[\d.]*", b"1e308", text),
}
DAMAGED = [
    "significance.csv",
    "observations.csv",
    "curves.csv",
    "points_item_emb.csv",
    "rows_item_emb.csv",
    "layers_net.csv",
    "teacher_s.csv",
    "booster_curves.csv",
    "booster_gain.csv",
    "arms.csv",
    "prescription.yaml",
    "report_treated.xml",
]


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_file_that_cannot_be_read_is_named_and_the_rest_is_shown(folder, name, damage):
    make = DAMAGE[damage]
    (folder / name).write_bytes(make if isinstance(make, bytes) else make((folder / name).read_bytes()))
    page = folder_page(folder)
    assert page.findings
    to_html(page)
    told = to_json(page).decode()
    assert "nan%" not in told
    if isinstance(make, bytes):
        assert any(one.startswith(name) for one in page.missing)


def test_a_run_that_was_ended_before_its_proof_says_so(folder):
    for name in ("significance.csv", "observations.csv", "curves.csv"):
        (folder / name).unlink()
    verdict = folder_page(folder).verdict
    assert verdict.state == "untested"
    assert verdict.change.text == "optimizer.lr=0.005"


def test_a_run_without_a_prescription_tells_its_worst_finding(folder):
    (folder / "prescription.yaml").write_text("experiment: mf\nrounds: []\n")
    (folder / "report_treated.xml").unlink()
    pd.DataFrame(TESTS).query("comparison == 'aa'").to_csv(folder / "significance.csv", index=False)
    page = folder_page(folder)
    assert page.verdict.state == "findings"
    assert page.verdict.headline == "ZOMBIE_EMBEDDINGS on item_emb"
    assert page.steps[0].change.text == "optimizer.lr=0.005"


@pytest.mark.parametrize("kind", ["diverged", "tied"])
def test_figures_that_are_not_known_are_said_to_be(folder, kind):
    table = pd.DataFrame(TESTS)
    if kind == "diverged":
        table.loc[0, ["treated", "difference", "ci_low", "ci_high"]] = [float("nan")] * 4
        table.loc[0, ["test", "verdict"]] = ["sign", "inconclusive"]
    else:
        table.loc[0, ["wins", "p_adjusted"]] = float("nan")
    table.to_csv(folder / "significance.csv", index=False)
    page = folder_page(folder)
    told = f"{page.verdict.headline} {page.verdict.detail}"
    assert "nan" not in told.lower()
    assert ("diverged" in told) == (kind == "diverged")


def test_a_control_that_finds_a_difference_is_told_with_the_verdict(folder):
    table = pd.DataFrame(TESTS)
    assert "Beware" not in folder_page(folder).verdict.detail
    table.loc[2, "verdict"] = "refuted"
    table.to_csv(folder / "significance.csv", index=False)
    assert "two arms of the same configuration differ in mse" in folder_page(folder).verdict.detail


SWEEP = {
    "job": ["0", "1", "2"],
    "overrides": ["lr=1", "lr=2", "<b>"],
    "comparison": ["t", "t", None],
    "metric": ["mse", "mse", None],
    "n": [3, 3, None],
    "baseline": [2, 2, None],
    "treated": [1, 3, None],
    "difference": [-1, 1, None],
    "ci_low": [-2, 0.5, None],
    "ci_high": [-0.5, 2, None],
    "p": [0.01, 0.02, None],
    "p_sweep": [0.02, 0.02, None],
    "family": ["jobs of this sweep"] * 2 + [None],
    "verdict": ["confirmed", "refuted", "failed"],
    "objective": [None] * 3,
    "prescribed": ["a=1", "a=1", None],
    "reason": [None, None, "out of <memory>"],
}


def test_a_sweep_shows_its_jobs_beside_each_other(tmp_path):
    pd.DataFrame(SWEEP).to_csv(tmp_path / "sweep.csv", index=False)
    for job, scale in (("0", 1.0), ("1", 50.0)):
        (tmp_path / job).mkdir()
        lines = [("baseline", 1, epoch, scale / epoch) for epoch in (1, 2, 3)]
        table = pd.DataFrame(lines, columns=["arm", "seed", "epoch", "validation_loss"])
        table.to_csv(tmp_path / job / "curves.csv", index=False)
    page = folder_page(tmp_path)
    assert page.kind == "sweep"
    assert page.verdict.headline == "3 jobs: 1 confirmed, 1 refuted, 1 failed"
    assert "out of <memory>" in page.verdict.detail
    small = next(section for section in page.sections if section.small)
    assert [one.title for one in small.figures] == ["lr=1", "lr=2"]
    assert len({(one.x_range, one.y_range) for one in small.figures}) == 1
    assert "out of <memory>" in shown(page).text_content()


def test_a_search_tells_the_best_job(tmp_path):
    table = pd.DataFrame(
        {**SWEEP, "objective": [0.5, 0.25, None], "verdict": ["done", "done", "failed"], "difference": [None] * 3}
    )
    table.to_csv(tmp_path / "sweep.csv", index=False)
    page = folder_page(tmp_path)
    assert "Best: lr=2 with 0.25." in page.verdict.detail
    assert any(one.title == "Objective by job" for section in page.sections for one in section.figures)


@pytest.mark.parametrize(
    ("verdicts", "state"),
    [
        (["confirmed", "confirmed"], "confirmed"),
        (["confirmed", "inconclusive"], "inconclusive"),
        (["confirmed", "failed"], "failed"),
    ],
)
def test_claims_are_counted_and_those_that_fell_come_first(tmp_path, verdicts, state):
    nan = float("nan")
    claims = tuple(
        Claim(
            f"c{n}",
            "It <helps>",
            verdict,
            "t",
            3,
            1.0,
            0.5,
            nan,
            0.01,
            0.02,
            9.5,
            "run me",
            "broke" if verdict == "failed" else "",
        )
        for n, verdict in enumerate(verdicts)
    )
    write(ClaimsReport("quick", claims, {"torch": "2"}), tmp_path / "claims.xml")
    page = folder_page(tmp_path)
    assert page.kind == "claims"
    assert page.verdict.state == state
    assert page.verdict.headline == f"{verdicts.count('confirmed')} of 2 claims confirmed"
    assert ("Not confirmed" in [one.title for one in page.sections]) == (state != "confirmed")
    assert "It <helps>" in shown(page).text_content()


def test_tables_of_another_job_are_shown_those_that_sum_it_up_first(tmp_path):
    (tmp_path / "config.yaml").write_text("name: faults_layers\n")
    pd.DataFrame({"case": range(300)}).to_csv(tmp_path / "cases.csv", index=False)
    pd.DataFrame({"rule": ["<a>"], "recall": [0.5]}).to_csv(tmp_path / "scores.csv", index=False)
    page = folder_page(tmp_path)
    assert page.title == "faults_layers"
    assert [one.title for one in page.sections] == ["Scores", "Cases"]
    assert page.sections[1].tables[0].note == "the first 100 of 300 lines"


def test_calibration_is_drawn_against_its_level(tmp_path):
    table = pd.DataFrame(
        {
            "setting": ["all", None],
            "metric": ["mse", None],
            "test": ["paired_t", "sign"],
            "rate": [0.04, None],
            "level": [0.05, 0.05],
            "low": [0.01, None],
            "high": [0.1, None],
            "within": [True, None],
        }
    )
    table.to_csv(tmp_path / "calibration.csv", index=False)
    figure = folder_page(tmp_path).sections[0].figures[0]
    assert figure.reference == 0.05
    assert [one.verdict for one in figure.rows] == ["holds"]


def test_a_round_whose_report_cannot_be_read_is_not_told_to_have_found_nothing(folder):
    (folder / "prescription.yaml").write_text(
        PRESCRIPTION.replace("command", "- overrides: [a=1]\n  rules: [x]\ncommand")
    )
    (folder / "report_round2.xml").write_text("<broken")
    page = folder_page(folder)
    assert [step.name for step in page.steps] == ["Round 1", "Round 2", "After"]
    assert page.steps[1].found == ("not known: report_round2.xml cannot be read",)
    assert page.steps[2].found == ()
    (folder / "report.xml").write_text("<broken")
    with pytest.raises(ReportError, match=r"report\.xml: line 1: not XML"):
        folder_page(folder)


def test_an_empty_folder_has_a_page_that_says_so(tmp_path):
    assert folder_page(tmp_path).verdict.state == "failed"


def test_the_command_refuses_a_folder_that_holds_nothing(tmp_path, capsys):
    """An empty folder, or one with a mistyped name, got a page on a job that had failed, and exit code 0."""
    assert main(["html", str(tmp_path)]) == 2
    assert "no report.xml and no table is in it" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_a_folder_with_a_report_alone_has_the_page_of_the_report(folder, capsys):
    """`flowgrad run --report out/report.xml` and `flowgrad html out` told of a job that had failed, with 0 tables."""
    for path in folder.iterdir():
        if path.name != "report.xml":
            path.unlink()
    assert folder_page(folder) == folder_page(folder, "report.xml")
    assert main(["html", str(folder)]) == 0
    assert folder_page(folder).findings


def test_the_command_writes_the_page_and_its_twin(folder, capsys):
    assert main(["html", str(folder / "report.xml"), "--json", str(folder / "twin.json")]) == 0
    assert capsys.readouterr().out.splitlines() == [str(folder / "report.html"), str(folder / "twin.json")]
    assert (folder / "report.html").read_bytes() == to_html(folder_page(folder))
    assert json.loads((folder / "twin.json").read_text())["verdict"]["state"] == "confirmed"
    assert main(["html", str(folder), "--out", str(folder / "again.html")]) == 0
    assert (folder / "again.html").read_bytes() == (folder / "report.html").read_bytes()
    assert main(["html", str(folder / "report_treated.xml"), "--out", str(folder / "other.html")]) == 0
    assert "Nothing was found wrong" in (folder / "other.html").read_text()


@pytest.mark.parametrize(("content", "code"), [(b"<a/>", 1), (b"", 1), (b"\x00", 1), (None, 2)])
def test_the_command_refuses_what_is_no_report(tmp_path, capsys, content, code):
    if content is not None:
        (tmp_path / "r.xml").write_bytes(content)
    assert main(["html", str(tmp_path / "r.xml")]) == code
    assert not (tmp_path / "r.html").exists()
    captured = capsys.readouterr()
    assert len((captured.out + captured.err).splitlines()) == 1


def test_the_command_names_a_page_that_cannot_be_written(folder, capsys):
    assert main(["html", str(folder / "report.xml"), "--out", str(folder / "no" / "page.html")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_file_that_is_none_is_named(tmp_path):
    with pytest.raises(ReportError, match="cannot be read"):
        folder_page(tmp_path, "missing.xml")


def test_a_page_is_made_without_torch_and_hydra(folder):
    code = (
        "import sys\nfrom flowgrad.html import folder_page, to_html\nfrom pathlib import Path\n"
        f"to_html(folder_page(Path({str(folder)!r})))\n"
        "print(sorted({'torch', 'hydra', 'matplotlib', 'pipelines'} & {one.partition('.')[0] for one in sys.modules}))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"


def test_a_finding_of_a_fix_that_no_config_holds_is_told_in_plain_words(tmp_path):
    write(RunReport((REPORT,), RUN), tmp_path / "report.xml")
    page = folder_page(tmp_path, "report.xml")
    assert page.kind == "report"
    assert [one.text for one in page.findings[0].changes] == ["optimizer.lr=0.005", FINDING.plain[0].text]


def test_what_was_left_out_is_a_step_of_its_own_and_each_override_has_its_share(folder):
    dropped = PRESCRIPTION.replace("- overrides", "- dropped: [model.biases=true]\n  overrides")
    (folder / "prescription.yaml").write_text(dropped)
    pd.DataFrame(SHARES).to_csv(folder / "shares.csv", index=False)
    tests = pd.DataFrame(TESTS)
    others = tests.iloc[[0, 0]].assign(
        comparison=["round1_vs_baseline", "treated_vs_stacked"], verdict=["confirmed", "inconclusive"],
        baseline_arm=["baseline", "stacked"], treated_arm=["stacked", "treated"],
    )  # fmt: skip
    pd.concat([tests, others]).to_csv(folder / "significance.csv", index=False)
    page = folder_page(folder)
    assert [step.name for step in page.steps] == ["Round 1", "Left out", "After"]
    assert page.steps[0].change.text == "optimizer.lr=0.005"
    assert "model.biases=true was left out again" in page.steps[0].change.note
    assert page.steps[0].verdict == "confirmed"
    assert (page.steps[1].change.text, page.steps[1].verdict) == ("model.biases=true", "")
    assert page.steps[1].proof is not None
    assert page.verdict.change.text == "optimizer.lr=0.005"
    (worth,) = [one for one in page.sections if one.title == "What each override is worth"]
    (picture,) = worth.figures
    assert [(row.label, row.verdict) for row in picture.rows] == [
        ("optimizer.lr=0.005", "kept"), ("model.biases=true", "dropped"), ("a=1", "kept"),
    ]  # fmt: skip
    assert "without it the config is refused" in to_html(page).decode()
    assert not page.missing


def test_a_round_of_which_nothing_is_kept_shows_what_it_tried(folder):
    text = PRESCRIPTION.replace("overrides: [optimizer.lr=0.005]", "overrides: []\n  dropped: [optimizer.lr=0.005]")
    (folder / "prescription.yaml").write_text(text.replace("was: {optimizer.lr: 0.05}", "was: {}"))
    page = folder_page(folder)
    assert page.steps[0].change.text == "optimizer.lr=0.005"
    assert page.verdict.change is None
