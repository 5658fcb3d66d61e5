"""`experiment=faults_features`: counts are right, broken methods and broken tests show, bad input is named."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from datasets.null_tables import make_null
from datasets.planted import Planted, plant, synthetic_features
from flowgrad.errors import FlowGradError
from pipelines.benchmarks.features import methods, nulls, peer, screening
from pipelines.benchmarks.features.cases import Columns, NullCase, PlantedCase, RealTables, null_cases, planted_cases
from pipelines.benchmarks.features.methods import METHODS, Method
from pipelines.benchmarks.features.nulls import PROMISED, PROTOCOLS, NullRun
from pipelines.benchmarks.features.scores import (
    ALL,
    JUDGED,
    SHOWN,
    case_table,
    null_lines,
    p_table,
    recall_interval,
    screening_lines,
    speed_lines,
)
from pipelines.benchmarks.features.screening import PROVE, Screened, Screening, screen
from pipelines.benchmarks.features.speed import Cost, Size, cost, peer_columns
from pipelines.benchmarks.gradtracer.embedding import peer_available
from pipelines.stages.parallel import run_isolated

NO_TABLES = RealTables({})
LIMITS = OmegaConf.create({"recall": 0.85, "false_alarms": 0.08, "seconds": 60})
COLUMNS = Columns(None, 600, 6, 0.0)
PRODUCTS = PlantedCase("products", COLUMNS, ("product", "product"), 0.2, 1.0)
LINEAR = NullCase("linear", COLUMNS, "linear")
SMALL = [
    "experiment=faults_features", "workers=1", "job.first_seed=3", "job.runs=2", "job.slow_runs=1", "job.null_runs=2",
    "job.planted.mixed.rows=600", "job.planted.diabetes.columns=6", "job.nulls.linear.rows=300",
    "job.only=[mixed,diabetes,linear,permuted_diabetes]",
]  # fmt: skip


def given_pairs(monkeypatch, pairs):
    monkeypatch.setitem(METHODS, "given", Method(lambda table, top, seed: pairs(table)[:top]))
    return screen(Screening(PRODUCTS, 0, "given"), NO_TABLES)


def test_recall_counts_twice_as_many_pairs_and_precision_as_many(monkeypatch):
    right = lambda table: [one.pair for one in table.truth]  # noqa: E731
    wrong = [frozenset((f"a{n}", f"b{n}")) for n in range(9)]
    seen = given_pairs(monkeypatch, right)
    assert (seen.found, seen.named, seen.right) == ((True, True), 2, 2)
    seen = given_pairs(monkeypatch, lambda table: [*wrong[:2], *right(table)])
    assert (seen.found, seen.right) == ((True, True), 0)
    seen = given_pairs(monkeypatch, lambda table: [*wrong[:3], *right(table)])
    assert (seen.found, seen.right) == ((True, False), 0)
    seen = given_pairs(monkeypatch, lambda table: [])
    assert (seen.found, seen.named, seen.right) == ((False, False), 2, 0)


def test_partial_f_finds_strong_products_and_prove_names_no_other():
    for method in (JUDGED, PROVE):
        seen = screen(Screening(PRODUCTS, 1, method), NO_TABLES)
        assert seen.found == (True, True), method
        assert (seen.named, seen.right) == (2, 2)
        assert all(text.endswith(": product") for text in seen.truth)


def screened(case, seed, method, found, right=0):
    run = Screening(PlantedCase(case, COLUMNS, ("product",) * len(found), 0.1, 1.0), seed, method)
    return run, Screened(("a & b: product",) * len(found), found, len(found), right, 0.5)


def test_lines_pool_settings_and_judge_the_default_alone():
    done = [
        screened("a", 1, JUDGED, (True, True), 2), screened("a", 2, JUDGED, (True, False), 1),
        screened("b", 1, JUDGED, (True,) * 16), screened("b", 1, "fast", (False,)),
    ]  # fmt: skip
    runs, found = zip(*done, strict=True)
    lines = pd.DataFrame(screening_lines(runs, found, LIMITS), columns=SHOWN).set_index(["method", "setting"])
    assert lines.loc[(JUDGED, "a"), "recall"] == 0.75
    assert lines.loc[(JUDGED, ALL), "recall"] == 19 / 20
    assert lines.loc[(JUDGED, ALL), "precision"] == 3 / 20
    assert lines.loc[(JUDGED, ALL), "within"]
    assert lines["within"].notna().sum() == 1
    cases = case_table(runs, found)
    assert len(cases) == 21
    assert cases["found"].sum() == 19


def test_a_recall_below_the_limit_is_not_within():
    runs, found = zip(screened("a", 1, JUDGED, (True, False)), strict=True)
    assert not screening_lines(runs, found, LIMITS)[0]["within"]


def test_the_interval_draws_whole_seeds():
    """All that varies between seeds widens it; what varies within one does not."""
    alike = pd.DataFrame({"seed": [1, 1, 2, 2], "hits": [4, 0, 4, 0], "true": 4})
    apart = pd.DataFrame({"seed": [1, 1, 2, 2], "hits": [4, 4, 0, 0], "true": 4})
    assert recall_interval(alike) == (0.5, 0.5)
    assert recall_interval(apart) == (0.0, 1.0)
    assert all(math.isnan(end) for end in recall_interval(alike[:2]))


def test_null_tables_tell_the_test_that_lies_from_those_that_keep_their_level():
    runs = [NullRun(LINEAR, seed, top=4) for seed in range(16)]
    table = p_table(runs, [nulls.tested(run, NO_TABLES) for run in runs])
    assert list(dict.fromkeys(table["protocol"])) == list(PROTOCOLS)
    lines = pd.DataFrame(null_lines(table, 0.05, LIMITS), columns=SHOWN).set_index(["method", "setting"])
    assert (lines["runs"] == 16).all()
    for protocol in PROMISED:
        assert lines.loc[(protocol, ALL), "low"] < 0.05, protocol
    lies = lines.loc[("top pairs, same rows", ALL)]
    assert lies["low"] > 0.2
    assert lies["within"] is None or np.isnan(lies["within"])


def test_what_was_not_tested_is_no_rejection_and_too_many_are_not_within():
    runs = [NullRun(NullCase(name, COLUMNS, "linear"), seed, 4) for name in "ab" for seed in range(10)]
    nothing, eager = {PROTOCOLS[0]: math.nan}, {PROTOCOLS[0]: 0.01}
    lines = null_lines(p_table(runs, [nothing] * 10 + [eager] * 2 + [nothing] * 8), 0.05, LIMITS)
    assert [(line["setting"], line["rejections"], line["rate"]) for line in lines] == [
        (ALL, 2, 0.1), ("a", 0, 0.0), ("b", 2, 0.2)
    ]  # fmt: skip
    assert lines[0]["within"] is False
    assert "within" not in lines[1]


def test_same_rows_are_the_same_and_halves_share_none():
    table = make_null(synthetic_features(101, 4, 0), "linear", 0)
    one, other = nulls._halves(table, 7)
    assert (len(one.target), len(other.target)) == (50, 51)
    assert not set(one.features.index) & set(other.features.index)
    for part in (one, other):
        assert np.array_equal(part.target, table.target[part.features.index])


def test_a_real_table_keeps_rows_and_target_together():
    features = pd.DataFrame(np.random.default_rng(0).normal(size=(200, 4)), columns=list("abcd"))
    features.iloc[:50, 0] = np.nan
    table = SimpleNamespace(features=features, targets={"y": np.arange(200.0)})
    tables = RealTables({"t": SimpleNamespace(table=table, target="y", source="here", sha256="0")})
    made = NullCase("permuted", Columns("t", 100, 4, 0.0), None).make(tables, 0)
    assert len(made.target) == 100
    assert set(made.target) == set(made.features.index.to_numpy(dtype=float))
    assert "t: here" in tables.source


def test_speed_is_measured_in_a_process_of_its_own():
    size = Size(rows=3000, columns=12, top=3, seed=0)
    found = run_isolated(cost, size)
    assert found.seconds > 0
    assert found.data_bytes == 3000 * 13 * 8
    if found.peak_bytes is not None:
        assert found.peak_bytes >= 0
    slow = Cost(61.0, None, 1)
    ours, theirs = speed_lines(size, slow, 20, LIMITS)
    assert (ours["within"], ours["columns"], theirs["columns"]) == (False, 12, 20)
    assert math.isnan(ours["peak_mib"])
    assert len(speed_lines(size, found, None, LIMITS)) == 1


@pytest.mark.skipif(not peer_available(), reason="the peer library is not installed")
def test_the_peer_through_its_own_interface(capsys):
    table = plant(synthetic_features(500, 5, 0), ["product"], 0.5, 0.1, 0)
    for name in ("peer_permutation", "peer_suggest"):
        found = METHODS[name].pairs(table, 3, 0)
        assert len(found) <= 3
        assert len(set(found)) == len(found)
        assert all(len(pair) == 2 and pair <= set(table.features) for pair in found), name
    assert METHODS["peer_permutation"].pairs(table, 1, 0) == [table.truth[0].pair]
    assert peer_columns(Size(2000, 40, 1, 0)) == 20
    assert capsys.readouterr() == ("", "")


def test_the_experiment_end_to_end(command):
    code, folder, errors = command(*SMALL, "job.methods=[partial_f]")
    assert code == 0, errors
    scores, settings = (pd.read_csv(folder / f"{stem}.csv") for stem in ("scores", "settings"))
    assert set(scores["setting"]) == {ALL}
    assert list(scores["kind"]) == ["synthetic", "planted"] * 2 + ["null table"] * len(PROTOCOLS)
    assert set(settings["setting"]) == {"mixed", "diabetes", "linear", "permuted_diabetes"}
    cases = pd.read_csv(folder / "cases.csv")
    assert set(cases["seed"]) == {3, 4}
    assert len(cases) == 2 * 2 * (6 + 4)
    found = cases[(cases["method"] == "partial_f") & (cases["setting"] == "mixed")]["found"].mean()
    line = settings[(settings["method"] == "partial_f") & (settings["setting"] == "mixed")].iloc[0]
    assert line["recall"] == pytest.approx(found)
    assert len(pd.read_csv(folder / "nulls.csv")) == 2 * 2 * len(PROTOCOLS)
    assert "recall" in (folder / "scores.md").read_text()
    # A part of it again, on two processes: neither order nor process decides anything, but the time taken.
    part = ("diabetes", "linear")
    code, other, errors = command(
        *SMALL, "job.methods=[partial_f]", f"job.only=[{','.join(part)}]", "workers=2", folder="again"
    )
    assert code == 0, errors
    for stem in ("settings", "nulls"):
        tables = (pd.read_csv(place / f"{stem}.csv") for place in (folder, other))
        first, again = (table.drop(columns="seconds", errors="ignore") for table in tables)
        first = first[first["setting"].isin(part)].reset_index(drop=True)
        assert len(first) > 1
        pd.testing.assert_frame_equal(first, again, check_dtype=False)


def test_a_method_that_is_not_installed_is_left_out(command, monkeypatch):
    def missing():
        raise FlowGradError("the peer library is not installed: pip install 'flowgrad[bench]'")

    monkeypatch.setitem(METHODS, "peer_suggest", Method(peer.suggested_pairs, missing, slow=True))
    code, folder, errors = command(*SMALL, "job.methods=[partial_f,peer_suggest]", "job.only=[diabetes]")
    assert code == 0, errors
    assert "warning: peer_suggest is left out: the peer library is not installed" in errors
    assert set(pd.read_csv(folder / "scores.csv")["method"]) == {"partial_f", PROVE}
    assert not (folder / "nulls.csv").exists()


def test_a_missing_extra_is_named(monkeypatch):
    def pair_scores(*_):
        raise ImportError("method='fast' needs interpret: pip install 'flowgrad[interpret]'")

    monkeypatch.setattr(methods.FeatureAnalyzer, "interactions", pair_scores)
    with pytest.raises(FlowGradError, match=r"flowgrad\[interpret\]"):
        METHODS["fast"].check()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("job.runs=0", "job.runs=0: must be at least 1"),
        ("job.methods=[partial]", "job.methods names 'partial'"),
        ("job.only=[mixt]", "job.only names 'mixt'"),
        ("job.only=[]", "leave nothing to run"),
        ("job.limits.recall=1.2", "job.limits.recall=1.2: must be at most 1"),
        ("job.limits.seconds=0", "job.limits.seconds=0"),
        ("job.planted.mixed.strength=1", "job.planted.mixed.strength=1"),
        ("job.planted.mixed.shapes=[]", "job.planted.mixed.shapes is empty"),
        ("job.planted.mixed.shapes=[prodct]", "names 'prodct'"),
        ("+job.planted.mixed.main=-1", "job.planted.mixed.main=-1"),
        ("job.planted.mixed.rows=5", "job.planted.mixed.rows=5: must be at least 20"),
        ("job.planted.mixed.rows=100", "job.planted.mixed, seed 3: 100 rows are too few"),
        ("job.planted.mixed.columns=3", "3 columns have 3 pairs"),
        ("+job.planted.mixed.correlation=1", "job.planted.mixed.correlation=1"),
        ("+job.planted.diabetes.correlation=0.5", "a real table has its own"),
        ("job.planted.diabetes.table=diabtes", "job.planted.diabetes.table='diabtes'"),
        ("job.nulls.linear.target=lin", "job.nulls.linear.target='lin'"),
        ("job.nulls.linear.target=null", "job.nulls.linear: give a target"),
        ("job.tables.diabetes=['dataset=none']", "job.tables.diabetes"),
        ("job.tables.diabetes=['dataset=diabetes']", "they choose no task"),
        ("+job.planted.mixed.seed=3", "job.planted.mixed={"),
        ("job.planted.mixed.strength=much", "job.planted.mixed={"),
        ("+job.planted.mine={rows: 100}", "job.planted.mine.columns is missing"),
        ("job.planted.mixed=3", "job.planted.mixed=3"),
    ],
)
def test_bad_input_is_named_before_the_work(command, override, message):
    only = ["job.only=null"] if "mine" in override else []
    code, folder, errors = command(*SMALL, "job.methods=[partial_f]", *only, override)
    assert code == 2
    assert message in errors
    assert len(errors.strip().splitlines()) == 1
    assert not (folder / "scores.csv").exists()


def test_one_name_for_two_cases_is_refused(command):
    code, _, errors = command(*SMALL, "+job.nulls.mixed={target: linear, rows: 100, columns: 5}")
    assert code == 2
    assert "'mixed' is in job.planted and in job.nulls" in errors


def test_every_shipped_case_makes_a_table(composed):
    """But those whose columns are MovieLens', which have a test of their own."""
    job = composed("experiment=faults_features").job
    cases = [*planted_cases(job), *null_cases(job)]
    assert len({case.name for case in cases}) == len(job.planted) + len(job.nulls)
    for case in cases:
        if case.columns.table is None:
            made = case.make(NO_TABLES, 0)
            assert isinstance(made, Planted)
            assert len(made.truth) == (len(case.shapes) if isinstance(case, PlantedCase) else 0)


def test_prove_is_not_a_method_of_the_config():
    assert PROVE not in METHODS
    assert screening.PROVE == "prove"
