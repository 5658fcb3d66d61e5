"""`validate` and `evidence add` on the folders of runs that somebody edited, cut or took files out of."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

import pandas as pd
import pytest
import yaml

from flowgrad.__main__ import main
from flowgrad.evidence.confidence import Confidence
from flowgrad.evidence.ledger import Ledger
from flowgrad.report import Claim, ClaimsReport, read, write
from flowgrad.statistics import holm
from tests.evidence_folders import RULES, write_run

KINDS = {
    "rounds": {},
    "one": {"rounds": 1},
    "one_metric": {"rounds": 3, "tested": ("mae",)},
    "splits": {"overlap": 0.8},
    "harmless": {"harmless": True},
}


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def run(request, tmp_path):
    write_run(tmp_path / "r", **request.param)
    return tmp_path / "r"


@pytest.fixture
def rounds(tmp_path):
    write_run(tmp_path / "r")
    return tmp_path / "r"


def validate(folder, *more):
    return main(["validate", str(folder / "report.xml"), *more])


def add(folder, *more):
    return main(["evidence", "add", str(folder), "--into", str(folder.parent / "mine.csv"), *more])


def rewrite(folder, identity=None, finding=None, proof=None):
    """Change the report of a run: its identity, each finding, each validation."""
    report = read(folder / "report.xml")
    (part,) = report.reports
    found = tuple(
        replace(one, **(finding or {}), validation=replace(one.validation, **(proof or {}))) for one in part.findings
    )
    write(
        replace(report, run=replace(report.run, **(identity or {})), reports=(replace(part, findings=found),)),
        folder / "report.xml",
    )


def refused(folder, capsys, told=""):
    assert validate(folder) == 1
    out = capsys.readouterr().out
    assert re.search(told, out), out
    assert add(folder) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not (folder.parent / "mine.csv").exists()


def test_a_run_as_it_was_left(run, capsys):
    assert validate(run) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{run}/report.xml: valid; {len(RULES)} verdict(s) follow from observations.csv\n"
    assert captured.err == ""
    assert add(run) == 0
    assert len(Ledger.load(run.parent / "mine.csv").trials) == len(RULES)


def edited(folder, change):
    path = folder / "significance.csv"
    change(pd.read_csv(path)).to_csv(path, index=False)


def test_a_family_whose_other_lines_were_deleted(rounds, capsys):
    """The family came from the table, which no hash covers: with its other lines gone, p needs no adjustment."""
    proof = read(rounds / "report.xml").reports[0].findings[0].validation
    assert proof.p < proof.p_adjusted
    edited(rounds, lambda t: t[(t["comparison"] == proof.comparison) & (t["metric"] == proof.metric)])
    edited(rounds, lambda t: t.assign(p_adjusted=t["p"]))
    rewrite(rounds, proof={"p_adjusted": proof.p})
    refused(rounds, capsys, "p_adjusted is")


def test_a_family_of_another_name(rounds, capsys):
    proof = read(rounds / "report.xml").reports[0].findings[0].validation
    edited(rounds, lambda t: t[(t["comparison"] == proof.comparison)].assign(family="mine"))
    edited(rounds, lambda t: t.assign(p_adjusted=t["p"]))
    rewrite(rounds, proof={"p_adjusted": proof.p, "family": "mine"})
    refused(rounds, capsys, "the arm 'round1' was observed|the arm 'treated' was observed")


def test_the_table_is_not_needed_where_config_and_arms_tell(rounds, capsys):
    (rounds / "significance.csv").unlink()
    assert validate(rounds) == 0
    rewrite(rounds, proof={"p_adjusted": 1e-9})
    refused(rounds, capsys, "p_adjusted is 1e-09")


def test_metrics_that_were_observed_count_where_no_config_says_otherwise(rounds, capsys):
    (rounds / "config.yaml").unlink()
    refused(rounds, capsys, "'rmse' was observed.*put it beside the report")


@pytest.mark.parametrize(
    "proof",
    [
        {"effect_size": -9.0},
        {"difference": -9.0},
        {"ci_low": -9.0},
        {"ci_high": 9.0},
        {"n": 80},
        {"p": 1e-9},
        {"p_adjusted": float("nan")},
        {"baseline": float("nan")},
        {"treated": 0.0},
        {"unit": "user"},
        {"unit": "split"},
        {"alpha": 0.9},
        {"alpha": 5.0},
        {"alpha": float("nan")},
        {"alpha": None},
        {"overlap": 0.5},
        {"metric": "mae"},
        {"metric": "rmse"},
        {"test": "sign"},
        {"test": "no_worse"},
        {"test": "no_worse", "margin": 10.0},
        {"margin": 10.0, "test": "tost"},
        {"comparison": "aa", "treated_arm": "aa", "family": "control"},
        {"baseline_arm": "tuned"},
        {"reason": "the data are copies"},
        {"verdict": "refuted"},
        {"verdict": "inconclusive", "reason": "the data are copies"},
    ],
    ids=str,
)
def test_a_validation_that_was_edited(rounds, capsys, proof):
    rewrite(rounds, proof=proof)
    refused(rounds, capsys)


def test_swapped_arms(run, capsys):
    proof = read(run / "report.xml").reports[0].findings[0].validation
    rewrite(run, proof={"baseline_arm": proof.treated_arm, "treated_arm": proof.baseline_arm})
    refused(run, capsys, "no comparison")


def test_a_margin_of_ones_own(tmp_path, capsys):
    """Anything is no worse by ten times itself."""
    write_run(tmp_path / "r", harmless=True)
    rewrite(tmp_path / "r", proof={"margin": 10.0})
    refused(tmp_path / "r", capsys, r"margin is 10\.0 in the report; config\.yaml says 0\.02")


def test_an_overlap_that_was_left_out(tmp_path, capsys):
    write_run(tmp_path / "r", overlap=0.8)
    rewrite(tmp_path / "r", proof={"overlap": None, "unit": "seed", "test": "paired_t"})
    refused(tmp_path / "r", capsys, r"overlap is None in the report; config\.yaml says 0\.8")


@pytest.mark.parametrize(
    ("confidence", "told"),
    [
        (Confidence(0.1, "measured", 1, 1, 0.146746, 0.999614), "value is 0.1, outside of its interval"),
        (Confidence(0.75, "measured", 1, 1, 0.146746, 0.7), "value is 0.75, outside of its interval"),
        (Confidence(0.75, "prior", 1, 1, 0.146746, 0.999614), "basis is 'prior'"),
        (Confidence(0.75, "measured", 1, 2, 0.146746, 0.999614), "confirmed=2 must lie between 0 and trials=1"),
        (Confidence(0.75, "measured", 1, 1, 0.146746, 0.999614, 1), "refuted=1"),
        (Confidence(0.75, "measured", 1, 1, 0.146746, 0.999614, tried_on="A on x: 1; B on x: 1"), "tried_on is"),
        (Confidence(0.75, "measured", 1, 1, 0.146746, 0.999614, tried_on="A on x: many"), "tried_on is"),
    ],
)
def test_a_confidence_that_does_not_follow_from_its_trials(rounds, capsys, confidence, told):
    rewrite(rounds, finding={"confidence": confidence})
    refused(rounds, capsys, re.escape(told))


@pytest.mark.parametrize(
    ("finding", "told"),
    [
        ({"rule": "row_effect"}, "row_effect: it has a validation, and prescription.yaml does not name it"),
        ({"rule": "dead_rows"}, "rule_sha256 is"),
        ({"rule_sha256": "0" * 16}, "another condition or fix"),
        ({"type": "DEAD_ROWS"}, "type is 'DEAD_ROWS'"),
    ],
)
def test_a_rule_that_is_none(rounds, capsys, finding, told):
    rewrite(rounds, finding=finding)
    refused(rounds, capsys, re.escape(told))


def test_a_rule_that_was_misspelt(rounds, capsys):
    (rounds / "prescription.yaml").unlink()
    rewrite(rounds, finding={"rule": "row_effect"})
    assert validate(rounds) == 0
    assert "not checked: row_effect: the rule (no rule of the book has this id; did you mean" in capsys.readouterr().err
    assert add(rounds) == 2


def test_a_rule_that_was_not_prescribed(rounds, capsys):
    text = (rounds / "prescription.yaml").read_text()
    (rounds / "prescription.yaml").write_text(text.replace("popularity_skew", "hot_rows"))
    refused(rounds, capsys, "popularity_skew: it has a validation, and prescription.yaml does not name it")


@pytest.mark.parametrize("content", ["", "[", "rounds: 3", "\0"])
def test_a_prescription_that_is_none(rounds, capsys, content):
    (rounds / "prescription.yaml").write_text(content)
    refused(rounds, capsys, "it is no prescription")


def test_a_rule_without_hash_is_told_and_does_not_count(rounds, capsys):
    rewrite(rounds, finding={"rule_sha256": ""})
    assert validate(rounds) == 0
    assert "not checked: row_effects: the rule (it has no rule_sha256)" in capsys.readouterr().err
    assert add(rounds) == 2
    assert "a rule is not taken on trust" in capsys.readouterr().err


def test_rules_of_ones_own_are_named(rounds, capsys, tmp_path):
    """A rule whose threshold was changed for the run is known by the rule book that is given."""
    from flowgrad.rules.rulebook import SHIPPED

    mine = {}
    for path in SHIPPED.glob("*.yaml"):
        mine |= {name: rule for name, rule in yaml.safe_load(path.read_text()).items() if name in RULES}
    for rule in mine.values():
        rule["condition"] = f"({rule['condition']}) and 1 < 2"
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(mine))
    assert validate(rounds, "--rules", str(tmp_path / "mine.yaml")) == 1
    assert "another condition or fix" in capsys.readouterr().out
    assert validate(rounds, "--rules", str(tmp_path / "none.yaml")) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert add(rounds, "--rules", str(SHIPPED)) == 0


@pytest.mark.parametrize(
    ("identity", "told"),
    [
        ({"id": "movielens_mf-000000"}, "config_sha256 begins with"),
        ({"id": "another-000000"}, "config_sha256 begins with"),
        ({"config_sha256": "0" * 64}, "config_sha256 begins with"),
        ({"config_sha256": "0" * 64, "id": "movielens_mf-000000"}, "config.yaml has another"),
        ({"id": "nothing"}, "a run of config.yaml has the id"),
        ({"id": "642a68-fm_sneleivom"}, "a run of config.yaml has the id"),
        ({"config_sha256": ""}, "a run of config.yaml has the id"),
        ({"arm": "nothing"}, "observations.csv has"),
        ({"arm": ""}, "observations.csv has"),
    ],
)
def test_a_run_that_is_another(rounds, capsys, identity, told):
    rewrite(rounds, identity=identity)
    refused(rounds, capsys, re.escape(told))


def test_a_run_of_another_experiment(rounds, capsys):
    sha256 = read(rounds / "report.xml").run.config_sha256
    rewrite(rounds, identity={"id": f"another-{sha256[:6]}"})
    refused(rounds, capsys, "config.yaml is of 'movielens_mf'")


@pytest.mark.parametrize("change", [{"alpha": 0.9}, {"metrics": ["mse"]}, {"aa_offset": 7}])
def test_a_config_that_was_edited(rounds, capsys, change):
    config = yaml.safe_load((rounds / "config.yaml").read_text())
    config["comparison"] |= change
    (rounds / "config.yaml").write_text(yaml.safe_dump(config))
    refused(rounds, capsys, "config.yaml has another")


@pytest.mark.parametrize("content", [b"", b"7", b"[", b"\xff", b"a: &x [*x]", b"{" * 3000])
def test_a_config_that_is_none(rounds, capsys, content):
    (rounds / "config.yaml").write_bytes(content)
    refused(rounds, capsys, "config.yaml")


def test_the_same_observations_under_another_run_id_count_once(rounds):
    """They counted twice."""
    assert add(rounds) == 0
    trials = Ledger.load(rounds.parent / "mine.csv").trials
    again = Ledger(trials).plus(replace(one, experiment="another run", metric="mae") for one in trials)
    assert again.trials == trials


def spoiled(folder, how):
    """Observations changed, with the hash in the report brought into line."""
    path = folder / "observations.csv"
    table = how(pd.read_csv(path, dtype={"value": object}))
    table.to_csv(path, index=False)
    rewrite(folder, proof={"observations_sha256": hashlib.sha256(path.read_bytes()).hexdigest()})


@pytest.mark.parametrize(
    "how",
    [
        lambda t: pd.concat([t, t.iloc[:1]]),
        lambda t: t.iloc[1:],
        lambda t: t.iloc[:0],
        lambda t: t.assign(value="high"),
        lambda t: t.assign(value=None),
        lambda t: t.assign(higher_is_better="no"),
        lambda t: t.assign(higher_is_better=True),
        lambda t: t.drop(columns="seed"),
        lambda t: t.assign(arm=t["arm"].replace({"treated": "baseline", "baseline": "treated"})),
        lambda t: t.assign(arm=t["arm"].replace({"round1": "round7"})),
        lambda t: t[t["arm"] != "round1"],
        lambda t: t[t["metric"] != "mae"],
        lambda t: t.assign(experiment="another"),
        lambda t: t.assign(seed=1),
        lambda t: t.assign(value=t["value"].where(t.index != 0, "nan")),
        lambda t: t.assign(value=t["value"].where(t.index != 0, "inf")),
    ],
)
def test_observations_that_were_edited_and_hashed_again(rounds, capsys, how):
    spoiled(rounds, how)
    refused(rounds, capsys)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"a\n1\n", b'"', b"a,b\n1\n", b"\0\0"])
@pytest.mark.parametrize("name", ["observations.csv", "significance.csv"])
def test_tables_that_are_none(rounds, capsys, name, content):
    (rounds / name).write_bytes(content)
    if name == "observations.csv":
        rewrite(rounds, proof={"observations_sha256": hashlib.sha256(content).hexdigest()})
    refused(rounds, capsys, name)


@pytest.mark.parametrize("column", ["p", "p_adjusted", "verdict", "n", "unit", "ci_low", "test"])
def test_a_table_that_says_something_else(rounds, capsys, column):
    edited(
        rounds, lambda t: t.assign(**{column: "confirmed, really" if column in ("verdict", "unit", "test") else 0.25})
    )
    refused(rounds, capsys, "significance.csv")


def test_claims_adjusted_together_by_themselves(tmp_path, capsys):
    def write_claims(adjusted):
        claims = [
            Claim(f"c{n}", "s", "confirmed", "t", 3, 1.0, 0.0, 2.0, p, one, 1.0, "c")
            for n, (p, one) in enumerate(zip(ps, adjusted, strict=True))
        ]
        write(ClaimsReport("quick", tuple(claims)), tmp_path / "report.xml")

    ps = [0.01, 0.04, float("nan"), 0.2]
    write_claims(holm(ps))
    assert validate(tmp_path) == 0
    write_claims(ps)
    assert validate(tmp_path) == 1
    assert "c0: p_adjusted is 0.01 in the report; Holm's" in capsys.readouterr().out
