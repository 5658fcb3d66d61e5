"""The fault benchmark of boosters: faults laid in by the config, a small run from end to end, and the peer."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from flowgrad.rules import RuleBook
from flowgrad.statistics import paired_t
from flowgrad.trackers import BoostingTracker
from pipelines.benchmarks.faults.boosters import Boosters
from pipelines.benchmarks.faults.cases import FaultCase
from pipelines.benchmarks.faults.datasets import load_all
from pipelines.benchmarks.faults.observation import DiagnosedRun
from pipelines.benchmarks.faults.scoring import case_table, rule_table
from pipelines.stages.check import check_settings
from pipelines.trainers.boosting.faults import KINDS, inject
from pipelines.trainers.trainer import trainer_of

TUNED = "experiment=movielens_boosting_tuned"
DIABETES = [TUNED, "dataset=diabetes", "task=progression", "model.min_child_weight=10"]
BENCHMARK = ["experiment=faults_boosting", "job.only=[lightgbm_diabetes]", "workers=1"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_laid_and_trained(composed, kind):
    config = composed(*DIABETES, f"fault={kind}", "fault.seed=3", "model.rounds=20")
    check_settings(config)
    trainer = trainer_of(config)
    data = trainer.load()
    faulted = inject(config, data)
    assert set(faulted.data.columns) - set(data.columns) == set(faulted.columns)
    trained = trainer.train(data, 0, watched=True)
    assert set(faulted.columns) < set(trained.measurements[0].tables["rows"].index)
    assert np.isfinite(trainer.evaluate(trained, data, 0).metrics["rmse"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["fault=leak", "fault.kind=leaks"], "fault.kind='leaks' is unknown; use one of leak, "),
        (["fault=leak", "fault.noise=-1"], "fault.noise=-1.0: must be at least 0"),
        (["fault=noise_columns", "fault.strength=0.5"], "noise_columns takes it for a number of columns"),
        (["fault=batch_codes", "fault.strength=0"], "batch_codes takes it for rows a group"),
        (["fault=dominant_column", "fault.strength=0"], "must be above 0 times the best column"),
        (["fault=hot"], "fault: training by Boosting cannot use this choice"),
        (["fault=leak", "training.dropped_columns.booster=[added_2]"], "names 'added_2', which the table lacks"),
        (
            ["fault=leak", "tracker.written_after=[added_2]"],
            "tracker.written_after names 'added_2', which the table lacks",
        ),
    ],
)
def test_faults_that_cannot_be_laid(command, overrides, message):
    code, _, err = command(*DIABETES, *overrides)
    assert code == 2
    assert message in err


def test_a_fault_of_columns_is_none_of_a_factorisation(command):
    code, _, err = command("experiment=movielens_mf", "dataset=synthetic", "fault=leak")
    assert code == 2
    assert "fault: training by Factorization cannot use this choice" in err


def test_each_data_set_is_loaded_once(composed):
    configs = [composed(*DIABETES), composed(*DIABETES, "fault=leak"), composed(TUNED, "dataset=digits", "task=odd")]
    data = load_all(configs)
    assert len(data.by_key) == 2
    assert data.of(configs[0]) is data.of(configs[1])
    assert data.of(configs[2]).columns[0] == "pixel_0_0"
    assert "scikit-learn" in data.source


def case(kind, fault, rules=(), also=()):
    table = "booster" if kind == "row" else ""
    return FaultCase(kind, fault, fault, "a", table, 1, None, (), (), tuple(rules), tuple(also))


def test_columns_and_rules_are_counted():
    cases = [
        case("row", "leak", ["target_leak"], ["column_dominance"]),
        case("row", "leak", ["target_leak"], ["column_dominance"]),
        case("run", "overfitting", ["booster_overfitting", "rows_memorised"], ["column_dominance"]),
        case("control", "as_is", (), ["redundant_columns"]),
    ]
    named = [
        {("target_leak", "booster"): ("x", "y"), ("column_dominance", "booster"): ("x",)},
        {("training_leak", "booster"): ("x",)},
        {("rows_memorised", "booster"): ()},
        {("redundant_columns", "booster"): ("a",), ("column_dominance", "booster"): ("b",)},
    ]
    acting = [("target_leak",), ("training_leak",), ("rows_memorised", "training_leak"), ()]
    truths = [("x",), ("x",), (), ()]
    found = [DiagnosedRun(t, n, a, (), 3) for t, n, a in zip(truths, named, acting, strict=True)]
    table = case_table(cases, found, RuleBook.load(), Boosters())
    assert table[["hits", "found", "true"]].to_numpy().tolist() == [[1, 2, 1], [0, 0, 1], [1, 2, 1], [0, 0, 0]]
    assert table["alarms"].tolist() == ["", "training_leak", "", ""]
    rules = rule_table(cases, found, Boosters()).set_index("rule")
    assert rules.loc["target_leak", ["fired", "right"]].tolist() == [1, 1]
    assert rules.loc["training_leak", "precision"] == 0
    assert rules.loc["column_dominance", ["fired", "right", "wrong_on_controls"]].tolist() == [2, 1, 1]
    assert rules.loc["redundant_columns", "precision"] == 1


def test_a_small_benchmark_from_end_to_end(command):
    code, folder, err = command(
        *BENCHMARK, "job.seeds=[1]", "job.peer=false", "job.only_controls=[as_is]", "seeds.test=[2,3,4,5,6,7]",
        "job.only_faults=[leak,leak_told,ids_in_order,constant_columns,overfitting_strong,too_few_rounds]",
    )  # fmt: skip
    assert code == 0, err
    cases = pd.read_csv(folder / "cases.csv")
    assert (cases["hits"] == cases["true"]).all()
    assert (cases["found"] == cases["true"]).all()
    repairs = pd.read_csv(folder / "repairs.csv").set_index("fault")
    assert set(repairs.index) == {"leak_told", "overfitting_strong", "too_few_rounds"}  # what is asked repairs nothing
    assert repairs.loc["leak_told", "prescription"] == "training.dropped_columns.booster=[added_1]"
    assert repairs.loc["leak_told", "treated"] == pytest.approx(repairs.loc["leak_told", "healthy"], rel=0.05)
    harmful = repairs[repairs["harmful"]]
    assert {"leak_told", "too_few_rounds"} <= set(harmful.index)
    assert (harmful["treated_verdict"] == "confirmed").all()
    # Six splits that share four fifths of their rows: the plain t-test is far surer.
    seen = pd.read_csv(folder / "observations.csv")
    seen = seen[seen["experiment"].str.startswith("leak_told")]
    values = {arm: part.sort_values("seed")["value"].tolist() for arm, part in seen.groupby("arm")}
    plain = paired_t(values["faulted"], values["treated"], metric="rmse", higher_is_better=False)
    assert repairs.loc["leak_told", "p_treated"] > 10 * plain.p
    trials = pd.read_csv(folder / "trials.csv")
    assert set(trials["rule"]) == {"target_leak", "rows_memorised", "booster_stagnation"}


@pytest.mark.movielens
@pytest.mark.parametrize(
    ("setting", "faults"),
    [("xgboost_rating", "leak,target_encoding,batch_codes,too_few_rounds"),
     ("lightgbm_liked", "leak,noise_columns,copied_columns,overfitting_mild")],
)  # fmt: skip
def test_on_real_ratings_columns_and_runs_are_told_right(command, setting, faults):
    """A small version of the benchmark, on a seed that no threshold was chosen on: of a seventh of the users, and at
    the rate of the control `faster`, which takes half of the rounds.
    """
    library, task = setting.split("_")
    small = ["experiment=movielens_boosting_tuned", f"model={library}", f"task={task}", "dataset.keep=0.15"]
    code, folder, err = command(
        "experiment=faults_boosting", f"job.only=[{setting}]", "job.seeds=[21]", "job.peer=false", "job.repair=false",
        f"job.settings.{setting}={[*small, 'model.learning_rate=0.1']}",
        "job.only_controls=[as_is]", "workers=1", f"job.only_faults=[{faults}]",
    )  # fmt: skip
    assert code == 0, err
    scores = pd.read_csv(folder / "scores.csv").set_index("fault")
    assert scores.loc["all rows", ["precision", "recall"]].tolist() == [1, 1]
    assert scores.loc["all runs", ["precision", "recall"]].tolist() == [1, 1]
    assert scores.loc["false alarms", "found"] == 0


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_the_peer_sees_the_same_run_and_names_what_it_has_rules_for(composed, library):
    pytest.importorskip("gradtracer")
    from pipelines.benchmarks.gradtracer.boosting import CREDITS, PeerBoostingTracker, columns_for

    config = composed(*DIABETES, f"model={library}", "fault=leak", "fault.noise=0.01", "model.rounds=30")
    trainer = trainer_of(config)
    data = trainer.load()
    peer = PeerBoostingTracker()
    runs = [trainer.train(data, 0, watched=True, observers=others) for others in ((), (peer,))]
    assert runs[0].validation_losses == runs[1].validation_losses
    found = peer.diagnosis()
    assert found.error == ""
    assert columns_for("leak", found) == ("added_1",)
    assert columns_for("too_few_rounds", found) == ()
    assert {kind for credit in CREDITS.values() for kind in credit} >= {alert.type for alert in found.alerts}


def test_a_booster_of_a_table_without_signal_gets_no_fix_that_drops_columns():
    """Columns that say nothing are no leaks, however many there are and few the rows."""
    lightgbm = pytest.importorskip("lightgbm")
    for seed in range(5):
        rng = np.random.default_rng(seed)
        X, y = pd.DataFrame(rng.normal(size=(200, 30))).add_prefix("x"), rng.normal(size=200)
        tracker = BoostingTracker()
        train, held_out = slice(0, 140), slice(140, 200)
        sets = [lightgbm.Dataset(X[train], y[train])]
        sets.append(lightgbm.Dataset(X[held_out], y[held_out], reference=sets[0]))
        lightgbm.train(
            {"verbose": -1, "num_threads": 1, "learning_rate": 0.05, "max_depth": 3}, sets[0], 60, valid_sets=sets,
            valid_names=["train", "valid"],
            callbacks=[tracker.as_lgb_callback(), lightgbm.early_stopping(20, verbose=False)],
        )  # fmt: skip
        tracker.observe_data(X[train], y[train], X[held_out], y[held_out])
        rules = {finding.rule_id for finding in RuleBook.load().evaluate(tracker.measurements())}
        assert not rules & {"target_leak", "training_leak", "id_memorising"}
