"""Each verb's answer, in JSON and as text: it follows its schema, and is that of the golden files."""

from __future__ import annotations

import functools
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from flowgrad.__main__ import main
from flowgrad.agents import schema
from flowgrad.agents.answers import ANSWERS
from flowgrad.agents.thinning import thinned
from flowgrad.report import CoverageReport, Metric, Place, PlaceList, Report, RowList, RowRecord, Treated, write
from tests.agents.conftest import BASELINE, INF, NAN, OPEN, TREATED, ZOMBIE, observed, proven, reports, table

GOLDEN = Path(__file__).with_name("golden")
RUN, TREATED_REPORT = "outputs/mf/one", "outputs/mf/one/report_treated.xml"
COMMANDS = {
    "findings": ["findings", RUN],
    "explain": ["explain", "gradients_not_cleared"],
    "history": ["history", RUN, "training", "validation_loss", "--arm", "baseline", "--max-points", "12"],
    "history_available": ["history", RUN],
    "rows": ["rows", RUN, "item_emb", "--limit", "3"],
    "compare": ["compare", f"{RUN}/report.xml", TREATED_REPORT],
    "prove": ["prove", RUN],
    "runs": ["runs"],
}


@pytest.fixture
def here(run, monkeypatch):
    """The folder that the run stands in, with times that do not change."""
    monkeypatch.chdir(run.parents[2])
    for path in run.iterdir():
        os.utime(path, (1_790_000_000, 1_790_000_000))
    return run


def check(found):
    """Hold an answer against the shipped schema, and against the types."""
    pytest.importorskip("pydantic")
    typed(found["answer"]).validate_json(json.dumps({"answer": found}), strict=True)
    try:
        validators = valid(""), valid(found["answer"])
    except ImportError:  # of `make test-agents`
        return
    for validator in validators:
        validator.validate(found)


@functools.cache
def typed(verb):
    from pydantic import TypeAdapter

    return TypeAdapter(dict[str, ANSWERS[verb]], config={"extra": "forbid"})


@functools.cache
def valid(verb):
    from jsonschema import Draft202012Validator

    return Draft202012Validator(schema.schema(verb))


def test_the_schema_that_is_shipped_is_that_of_the_types():
    """After a wanted change: `FLOWGRAD_GOLDEN=1 python -m pytest tests/agents`, then read the diff."""
    pytest.importorskip("pydantic")
    if os.environ.get("FLOWGRAD_GOLDEN"):
        schema.SHIPPED.write_text(schema.made(), encoding="utf-8")
    assert schema.SHIPPED.read_text(encoding="utf-8") == schema.made()


@pytest.mark.parametrize("name", COMMANDS)
def test_answers_are_those_of_the_golden_files(name, here, answer, text):
    found = answer(*COMMANDS[name])
    check(found)
    golden = GOLDEN / f"{name}.json"
    written = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    shown = text(*COMMANDS[name])
    if os.environ.get("FLOWGRAD_GOLDEN"):
        golden.write_text(written, encoding="utf-8")
        golden.with_suffix(".txt").write_text(shown, encoding="utf-8")
    assert written == golden.read_text(encoding="utf-8")
    assert shown == golden.with_suffix(".txt").read_text(encoding="utf-8")


def test_findings_come_the_most_severe_first_and_are_counted_whole(run, answer):
    found = answer("findings", run, "--limit", "1")
    assert [one["type"] for one in found["findings"]] == ["ZOMBIE_EMBEDDINGS"]
    assert found["total"] == 2
    assert found["severities"] == {"high": 1, "medium": 1}
    assert [one["type"] for one in answer("findings", run, "--severity", "high")["findings"]] == ["ZOMBIE_EMBEDDINGS"]
    for given in ("LOSS_RISES", "network_rate_high"):
        (one,) = answer("findings", run, "--rule", given)["findings"]
        assert one["candidates"][0]["cause"] == "LEARNING_RATE_TOO_HIGH"
        assert "fix" not in one
    assert answer("findings", run, "--subject", "training")["findings"] == []
    assert answer("findings", run, "--subject", "item_emb")["total"] == 2


@pytest.mark.parametrize("make", ["folder", "document", "watch", "single"])
def test_whatever_writes_a_report_it_is_read(make, run, tmp_path, answer):
    """A run folder, a document of several reports, that of a watch, and that of one tracker."""
    given = {"folder": run, "document": run / "report.xml"}.get(make, tmp_path / "own.xml")
    if make == "watch":
        found = ZOMBIE.__class__(**{**vars(ZOMBIE), "places": PlaceList(2, 5, (Place("users", "embedding"),))})
        write(Report("watch", "train.py", findings=(found,)), given)
    elif make == "single":
        write(Report("embedding", "item_emb", findings=(ZOMBIE,)), given)
    found = answer("findings", given)
    check(found)
    assert found["findings"][0]["type"] == "ZOMBIE_EMBEDDINGS"
    if make == "watch":
        assert answer("findings", given, "--subject", "users")["total"] == 1
        assert answer("rows", given, "users")["groups"][0]["rows"][0]["id"] == 242


def test_a_number_that_is_not_finite_is_null_and_named(run, answer):
    found = answer("findings", run)
    assert found["training"]["loss_last"] is None
    assert found["training"]["not_finite"] == {"loss_last": "INF"}
    growth = found["findings"][0]["evidence"][1]
    assert (growth["value"], growth["not_finite"]) == (None, {"value": "INF"})
    series = answer("history", run, "item_emb", "median_velocity")["series"][0]
    assert series["points"] == [[1.0, None], [2.0, None]]
    assert series["not_finite"] == {"1": "NaN", "2": "NaN"}
    (run / "rows_item_emb.csv").unlink()
    rows = answer("rows", run, "item_emb")
    assert rows["groups"][0]["rows"][0]["not_finite"] == {"jitter": "INF"}
    assert "No such file" in rows["problems"][0]
    check(rows)


def test_texts_and_lists_of_a_report_have_an_end(tmp_path, answer):
    long = ZOMBIE.__class__(**{**vars(ZOMBIE), "premise": "x" * 10_000, "candidates": OPEN.candidates * 80, "fix": (),
                               "plain": ()})  # fmt: skip
    unseen = CoverageReport(unseen=tuple(CoverageReport().unseen))
    write(Report("embedding", "t", findings=(long,) * 30, coverage=unseen), tmp_path / "r.xml")
    found = answer("findings", tmp_path / "r.xml")
    check(found)
    first = found["findings"][0]
    assert len(found["findings"]) == 20
    assert len(first["premise"]) == 2000
    assert first["cut"] == {"premise": 10_000, "candidates": 80}
    assert len(json.dumps(found)) < 300_000


def test_a_report_of_things_that_were_not_seen_is_no_health(tmp_path, answer):
    write(Report("embedding", "t", coverage=CoverageReport(blind="step() was never called")), tmp_path / "r.xml")
    found = answer("findings", tmp_path / "r.xml")
    assert found["status"] == "NOT_OBSERVED"
    assert found["blind"][0]["because"] == "step() was never called"


@pytest.mark.parametrize("given", ["ZOMBIE_EMBEDDINGS", "zombie_rows"])
def test_a_rule_is_explained_by_its_id_and_by_its_type(given, answer):
    found = answer("explain", given)
    check(found)
    assert "zombie_rows" in [rule["rule"] for rule in found["rules"]]


def test_every_shipped_rule_is_explained(answer, text):
    from flowgrad.rules import RuleBook

    for rule in RuleBook.load():
        check(answer("explain", rule))
        assert text("explain", rule).startswith(f"{rule} [")


def test_a_rule_of_ones_own_is_explained(tmp_path, answer, refused):
    (tmp_path / "mine.yaml").write_text(
        "mine:\n  subject: training\n  type: MINE\n  condition: epochs > 3\n  premise: '{epochs:.0f}'\n"
        "  implies: a\n  action: B\n  expected_effect: c\n"
    )
    assert answer("explain", "mine", "--rules", tmp_path / "mine.yaml")["rules"][0]["type"] == "MINE"
    assert "--rules FILE" in refused("explain", "mine_own_rule_of_another_name_altogether")


def test_extremes_of_a_series_are_kept(run, answer):
    values = [(arm, seed, epoch, 1.0) for arm in ("a",) for seed in (1,) for epoch in range(1, 1001)]
    values[400] = ("a", 1, 401, 99.0)
    values[700] = ("a", 1, 701, -3.0)
    values[555] = ("a", 1, 556, "nan")
    table(run / "curves.csv", ["arm", "seed", "epoch", "validation_loss"], values)
    (series,) = answer("history", run, "training", "validation_loss", "--max-points", "10")["series"]
    points = dict(map(tuple, series["points"]))
    assert len(points) <= 10
    assert series["count"] == 1000
    assert (points[401], points[701], points[556]) == (99.0, -3.0, None)
    assert {1, 1000} <= set(points)
    assert series["not_finite"] == {"556": "NaN"}


@pytest.mark.parametrize("count", [1, 3, 4, 5, 17, 100, 1003])
@pytest.mark.parametrize("most", [5, 6, 9, 10, 50])
def test_thinning_keeps_what_it_says(count, most):
    values = [float((n * 7919) % 104729) for n in range(count)]
    kept = thinned(values, most)
    assert kept == sorted(set(kept))
    assert len(kept) <= most
    assert {0, count - 1, values.index(min(values)), values.index(max(values))} <= set(kept)
    assert thinned([NAN] * count, most)[0] == 0
    assert set(thinned([*values, INF, *values], 5)) >= {count}


def test_max_points_bound_all_series_together(run, answer):
    found = answer("history", run, "training", "validation_loss", "--max-points", "20")
    assert found["total"] == 4
    assert sum(len(series["points"]) for series in found["series"]) <= 20
    assert {(series["arm"], series["seed"]) for series in found["series"]} == {
        (arm, seed) for arm in ("baseline", "treated") for seed in (1, 2)
    }
    (one,) = answer("history", run, "training", "validation_loss", "--arm", "treated", "--seed", "2")["series"]
    assert (one["arm"], one["seed"], len(one["points"])) == ("treated", 2, 30)
    least = answer("history", run, "training", "validation_loss", "--max-points", "5")
    assert (len(least["series"]), least["total"]) == (1, 4)


def test_figures_are_told_by_round(run, answer):
    (series,) = answer("history", run, "item_emb", "zombie_share")["series"]
    assert series["points"] == [[1.0, 0.83], [2.0, 0.01]]
    (series,) = answer("history", run, "baseline", "mse")["series"]
    assert series["points"] == [[float(seed), value] for seed, value in BASELINE.items()]


def test_rows_are_those_of_the_table_beside_the_report(run, answer):
    found = answer("rows", run, "item_emb", "--limit", "3")
    (group,) = found["groups"]
    assert [(row["id"], row["row"]) for row in group["rows"]] == [("movie 0", 0), ("movie 1", 1), ("movie 2", 2)]
    assert group["rows"][2]["figures"] == {"exposures": 98.0}
    assert group["count"] == 4


def test_findings_that_went_came_and_stayed(run, tmp_path, answer):
    other = tmp_path / "other.xml"
    write(reports(ZOMBIE.__class__(**{**vars(ZOMBIE), "severity": "low"}), figure=0.5), other)
    found = answer("compare", run, other)
    check(found)
    assert [one["type"] for one in found["gone"]] == ["LOSS_RISES"]
    assert [(one["severity"], one["was"]) for one in found["kept"]] == [("low", "high")]
    back = answer("compare", other, run, "--fail-on", "medium", code=1)
    assert [one["type"] for one in back["new"]] == ["LOSS_RISES"]
    assert found["untested"].endswith("so there are no values by seed")
    assert {(one["name"], one["before"], one["after"]) for one in found["figures"]} >= {("zombie_share", 0.83, 0.5)}


def test_arms_of_one_run_are_tested_as_they_are_reported_on(run, answer):
    found = answer("compare", run / "report.xml", run / "report_treated.xml")
    (test,) = found["tests"]
    assert (test["verdict"], test["n"], test["wins"]) == ("confirmed", 5, 5)
    assert test["ci_low"] < test["difference"] < test["ci_high"] < 0
    assert answer("compare", run / "report_treated.xml", run / "report.xml")["tests"][0]["verdict"] == "refuted"


def other_run(tmp_path, values, **changes):
    folder = tmp_path / "other"
    folder.mkdir()
    write(reports(**changes), folder / "report.xml")
    observed(folder, {"mine": values})
    return folder


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({1: 1.0, 2: 1.1}, "2 seed(s) in common"),
        ({seed + 50: value for seed, value in TREATED.items()}, "0 seed(s) in common"),
        (BASELINE, "A's to the last bit"),
    ],
)
def test_seeds_that_do_not_pair_are_no_test(values, named, run, tmp_path, answer):
    folder = other_run(tmp_path, values, arm="mine")
    found = answer("compare", run, folder)
    check(found)
    assert found["tests"] == []
    assert named in found["untested"]


def test_values_that_are_one_run_are_inconclusive_with_the_reason_of_the_gate(run, tmp_path, answer):
    folder = other_run(tmp_path, dict.fromkeys(BASELINE, 1.234567891234), arm="mine")
    (test,) = answer("compare", run, folder)["tests"]
    assert test["verdict"] == "inconclusive"
    assert "pairs are no" in test["reason"]
    assert (test["p"], test["not_finite"]["p"]) == (None, "NaN")


def test_runs_on_other_data_are_no_pairs(run, tmp_path, answer):
    folder = other_run(tmp_path, TREATED, arm="mine", data="other")
    found = answer("compare", run, folder)
    assert "not the same" in found["untested"]
    assert found["cautions"]


def test_the_one_arm_of_a_table_needs_no_name(run, tmp_path, answer, text):
    """A script of one's own writes a table with an arm of any name."""
    folders = []
    for name, values in (("before", BASELINE), ("after", TREATED)):
        folder = tmp_path / name
        folder.mkdir()
        write(Report("watch", "train.py", measurements=(Metric("steps", 10.0),)), folder / "report.xml")
        observed(folder, {"mine": values})
        folders.append(folder)
    found = answer("compare", *folders)
    check(found)
    assert found["tests"][0]["verdict"] == "confirmed"
    assert "confirmed" in text("compare", *folders)


@pytest.mark.parametrize(
    ("treated", "verdict", "code"),
    [(TREATED, "confirmed", 0), ({s: v + 3 + s / 9 for s, v in BASELINE.items()}, "refuted", 1),
     ({1: 1.9, 2: 2.0, 3: 1.85, 4: 1.99, 5: 1.9}, "inconclusive", 1)],
)  # fmt: skip
def test_a_proof_is_told_with_its_interval_and_its_exit_code(treated, verdict, code, run, answer):
    proven(run, {"baseline": BASELINE, "treated": treated})
    found = answer("prove", run, code=code)
    check(found)
    assert (found["verdict"], found["checked"]) == (verdict, True)
    proof = found["proofs"][0]
    assert proof["ci_low"] < proof["difference"] < proof["ci_high"]
    assert found["overrides"] == [["optimizer.lr=0.005"]]


def test_a_proof_that_was_edited_is_refused(run, refused):
    text = (run / "significance.csv").read_text().replace("confirmed", "refuted")
    (run / "significance.csv").write_text(text)
    assert "do the run again" in refused("prove", run)


def test_a_proof_without_observations_says_that_it_was_not_checked(run, answer):
    (run / "observations.csv").unlink()
    found = answer("prove", run)
    assert (found["checked"], found["unchecked"]) == (False, "there is no observations.csv beside it")
    assert answer("prove", run, "--no-check")["unchecked"] == "it was not asked for"


def test_runs_are_listed_the_newest_first(run, tmp_path, answer):
    older, broken = run.parent / "two", run.parent / "three"
    for folder in (older, broken):
        folder.mkdir()
    write(reports(), older / "report.xml")
    (broken / "report.xml").write_text("<half")
    os.utime(older / "report.xml", (1, 1))
    os.utime(broken / "report.xml", (2, 2))
    found = answer("runs", tmp_path / "outputs")
    check(found)
    assert [Path(one["path"]).name for one in found["runs"]] == ["one", "three", "two"]
    first, second, third = found["runs"]
    assert (first["experiment"], first["verdict"], first["findings"]) == ("mf", "confirmed", 2)
    assert "not XML" in second["problem"]
    assert (third["status"], third["when"], third["experiment"]) == ("HEALTHY", "1970-01-01T00:00:01Z", "mf")
    assert len(answer("runs", tmp_path / "outputs", "--limit", "1")["runs"]) == 1


def test_rows_of_many_findings_have_an_end(run, answer):
    write(reports(*[ZOMBIE] * 200), run / "report.xml")
    found = answer("rows", run, "item_emb", "--limit", "6")
    check(found)
    assert (len(found["groups"]), found["cut"]) == (50, {"groups": 200})
    assert sum(len(group["rows"]) for group in found["groups"]) == 6


def test_a_question_that_no_finding_answers_is_told_from_a_run_without_findings(run, text, capsys):
    """A mistyped rule or subject was answered as if there were nothing to tell."""
    assert "No finding is as asked for" in text("findings", run, "--rule", "zombie_row")
    assert "No finding is as asked for" not in text("findings", run)
    assert main(["findings", str(run), "--subject", "item_em"]) == 2
    assert "did you mean 'item_emb'?" in capsys.readouterr().err


def test_no_command_leads_to_rows_where_none_is_named(tmp_path, answer, text):
    """A finding whose rows are none was told as "Rows 0", and `next` led to an answer without any."""
    found = replace(ZOMBIE, rows=RowList(0, (), "rows_t.csv"))
    write(Report("embedding", "t", findings=(found,)), tmp_path / "r.xml")
    assert not [command for command in answer("findings", tmp_path / "r.xml")["next"] if " rows " in command]
    assert "  Rows " not in text("findings", tmp_path / "r.xml")


def test_the_text_of_findings_names_the_later_reports_of_the_run(run, text):
    """Findings of later rounds stand in reports of their own, which only the JSON named."""
    assert "report_treated.xml" in " ".join(text("findings", run).split())


def test_rows_that_have_no_table_are_those_of_the_report(tmp_path, answer):
    found = ZOMBIE.__class__(**{**vars(ZOMBIE), "rows": RowList(9, (RowRecord("a b", {"f": 1.0}),))})
    write(Report("embedding", "t", findings=(found,)), tmp_path / "r.xml")
    (group,) = answer("rows", tmp_path / "r.xml", "t")["groups"]
    assert (group["count"], group["rows"][0]["id"]) == (9, "a b")


def test_changes_that_findings_made_are_told(tmp_path, answer, text):
    change = Treated(21, "learning_rate", "item_emb", "0.1", "0.01", "ZOMBIE_EMBEDDINGS")
    write(Report("watch", "model", treated=(change,)), tmp_path / "report.xml")
    found = answer("findings", str(tmp_path / "report.xml"))
    check(found)
    assert found["changed"] == [vars(change)]
    told = text("findings", str(tmp_path / "report.xml"))
    assert "  Changed    learning_rate at step 21: 0.1 → 0.01, for ZOMBIE_EMBEDDINGS" in told


def test_what_is_safe_in_a_run_is_told_with_its_rule(answer, text):
    (rule,) = answer("explain", "zombie_rows")["rules"]
    assert rule["in_training"] == {"learning_rate": 0.1}
    assert "  In a run   learning_rate 0.1" in text("explain", "zombie_rows")
