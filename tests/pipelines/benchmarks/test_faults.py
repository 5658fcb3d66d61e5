from __future__ import annotations

import math

import pandas as pd
import pytest

from flowgrad.rules import RuleBook
from pipelines.benchmarks.faults.cases import FaultCase
from pipelines.benchmarks.faults.embeddings import Embeddings
from pipelines.benchmarks.faults.observation import DiagnosedRun
from pipelines.benchmarks.faults.repair import repair_rate
from pipelines.benchmarks.faults.scores import Score, f1_interval, row_score, share_interval
from pipelines.benchmarks.faults.scoring import case_table, score_table

BOOK = RuleBook.load()
LARGER = ["dataset=synthetic", "dataset.n_users=150", "dataset.n_items=120", "dataset.n_ratings=6000"]


def test_scores_known_by_hand():
    score = row_score([1, 2, 3, 9], [1, 2, 3, 4, 5])
    assert score == Score(3, 4, 5)
    assert (score.precision, score.recall, score.f1) == (0.75, 0.6, 2 * 3 / 9)
    nothing = Score(0, 0, 0)
    assert all(math.isnan(figure) for figure in (nothing.precision, nothing.recall, nothing.f1))
    assert Score(0, 0, 5).f1 == 0


def test_intervals_hold_the_share():
    low, high = share_interval(9, 10)
    assert low < 0.9 < high
    assert math.isnan(share_interval(0, 0)[0])
    assert all(share_interval(0, n)[0] == 0 and share_interval(n, n)[1] == 1 for n in range(1, 99))
    parts = pd.DataFrame({"seed": [1, 1, 2], "hits": [5, 4, 1], "found": [5, 5, 9], "true": [5, 5, 5]})
    low, high = f1_interval(parts)
    assert low == pytest.approx(2 / 14)
    assert high == pytest.approx(2 * 9 / 20)
    assert math.isnan(f1_interval(parts[parts["seed"] == 1])[0])


def case(kind, fault, rules=(), setting="a", table="", seed=1):
    return FaultCase(kind, fault, fault, setting, table, seed, None, (), (), tuple(rules))


def found(named=None, acting=(), truth=()):
    return DiagnosedRun(tuple(truth), named or {}, tuple(acting), (), 3)


CASES = [
    (case("row", "hot", ["hot_rows"], table="item_emb"), found({("hot_rows", "item_emb"): (1, 2, 9)}, truth=(1, 2, 3))),
    (case("row", "dead", ["dead_rows"], table="item_emb"), found({("frozen_rows", "item_emb"): (4,)}, truth=(4, 5))),
    (case("run", "lr", ["zombie_rows"]), found({("zombie_rows", "u"): ()}, ["zombie_rows"])),
    (case("run", "both", ["zombie_rows"]), found({}, ["zombie_rows", "overfitting"])),
    (case("run", "wrong", ["zombie_rows"]), found({}, ["overfitting"])),
    (case("run", "harmless", ["zombie_rows"], setting="b"), found({}, ["overfitting"])),
    (case("run", "tells", ["stale_momentum"]), found({("stale_momentum", "u"): ()})),
    (case("control", "as_is"), found({("dead_rows", "u"): (1,)})),
    (case("control", "alarmed"), found({("overfitting", "t"): ()}, ["overfitting"])),
]


@pytest.fixture
def table():
    return case_table([c for c, _ in CASES], [f for _, f in CASES], BOOK, Embeddings()).set_index("fault", drop=False)


def test_rows_and_actions_are_counted(table):
    counts = {fault: tuple(line) for fault, line in table[["hits", "found", "true", "confused"]].iterrows()}
    assert counts == {
        "hot": (2, 3, 3, 0),
        "dead": (0, 0, 2, 1),
        "lr": (1, 1, 1, 0),
        "both": (1, 2, 1, 0),
        "wrong": (0, 1, 1, 0),
        "harmless": (0, 1, 1, 0),
        "tells": (1, 1, 1, 0),
        "as_is": (0, 0, 0, 0),
        "alarmed": (0, 1, 0, 0),
    }
    assert table["alarms"]["alarmed"] == "overfitting"
    assert table["alarms"]["as_is"] == ""


def test_harmless_faults_need_not_be_found_and_other_actions_on_them_are_wrong(table):
    scores = score_table(table.reset_index(drop=True), {("harmless", "b")}).set_index("fault")
    assert scores.loc["all runs", ["true", "hits", "found"]].tolist() == [4, 3, 6]
    assert scores.loc["all runs, harmless ones too", ["true", "hits", "found"]].tolist() == [5, 3, 6]
    assert scores.loc["all rows", "f1"] == pytest.approx(2 * 2 / 8)
    assert scores.loc["false alarms", "false_alarm_rate"] == 0.5
    assert scores.loc["all rows", "confused"] == 1


def repairs(*pairs):
    verdict = {True: "confirmed", False: "inconclusive"}
    return pd.DataFrame(
        [
            {
                "kind": "run",
                "harmful": True,
                "detected": True,
                "treated_verdict": verdict[own],
                "random_verdict": verdict[random],
            }
            for own, random in pairs
        ]
    )


def test_the_repair_rate_is_that_of_faults_found():
    table = repairs((True, False), (True, False), (True, True), (False, True), (False, False))
    table.loc[len(table)] = {
        "kind": "run", "harmful": True, "detected": False, "treated_verdict": "inconclusive",
        "random_verdict": "confirmed",
    }  # fmt: skip
    rate = repair_rate(table)
    assert (rate.trials, rate.repaired, rate.repaired_at_random) == (5, 3, 2)
    assert rate.p == pytest.approx(0.5)  # two of three or more, of a fair coin


def test_harmless_faults_and_other_kinds_are_left_out_of_the_repair_rate_where_asked():
    table = repairs((True, False), (False, False))
    table.loc[1, "harmful"] = False
    assert [repair_rate(table, harmful=harmful).trials for harmful in (False, True)] == [2, 1]
    table.loc[0, "kind"] = "row"
    assert [repair_rate(table, kinds).trials for kinds in (["run"], ["row"], ["run", "row"])] == [1, 1, 2]


def test_no_difference_is_no_evidence():
    assert repair_rate(repairs((True, True), (False, False))).p == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("job.only=[adam_d7]", "job.only names 'adam_d7'; did you mean 'adam_d8'?"),
        ("job.only_controls=[asis]", "job.only_controls names 'asis'; did you mean 'as_is'?"),
        ("job.only_faults=[lr_x1000]", "job.only_faults names 'lr_x1000'; did you mean 'lr_x100'?"),
        ("job.seeds=[101]", "seeds.diagnosis=101 is also a seed of the proof"),
        ("~rules.hot_rows", "the rules of hot name 'hot_rows', which the rule book lacks"),
    ],
)
def test_what_cannot_be_scored_is_refused(command, override, message):
    code, folder, err = command("experiment=faults_embedding", *LARGER, override, "job.peer=false")
    assert code == 2
    assert message in err
    assert not (folder / "cases.csv").exists()


@pytest.mark.usefixtures("drawn")
def test_a_small_benchmark_from_end_to_end(command):
    code, folder, err = command(
        "experiment=faults_embedding", *LARGER, "job.only=[adam_d8]", "job.only_faults=[frozen,lr_x100]",
        "job.seeds=[1]", "job.peer=false", "seeds.test=[2,3,4,5,6,7]", "workers=1", "job.only_controls=[]",
    )  # fmt: skip
    assert code == 0, err
    assert {f"{name}.csv" for name in ("cases", "scores", "settings", "repairs")} <= {p.name for p in folder.iterdir()}
    scores = pd.read_csv(folder / "scores.csv").set_index("fault")
    assert scores.loc["frozen", "f1"] == 1
    assert scores.loc["lr_x100", "recall"] == 1
    assert scores["kind"].tolist().count("repair") == 4
    repaired = pd.read_csv(folder / "repairs.csv").iloc[0]
    assert repaired["harmful"]
    assert repaired["treated_verdict"] == "confirmed"
    assert repaired["random_fix"]


@pytest.mark.movielens
def test_on_real_ratings_rows_and_runs_are_told_right(command):
    """A small version of the benchmark, on a seed that no threshold was chosen on."""
    code, folder, err = command(
        "experiment=faults_embedding", "job.only=[adam_d32_b4096]", "job.seeds=[21]", "job.peer=false",
        "job.only_faults=[hot,stuck,conflict_flipped,lr_x10]", "job.repair=false", "job.tables=[item_emb]", "workers=1",
    )  # fmt: skip
    assert code == 0, err
    scores = pd.read_csv(folder / "scores.csv").set_index("fault")
    assert scores.loc["stuck", "f1"] == 1
    assert scores.loc["all rows", "f1"] > 0.9
    assert scores.loc["lr_x10", ["precision", "recall"]].tolist() == [1, 1]
    assert scores.loc["false alarms", "found"] == 0
