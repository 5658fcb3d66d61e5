"""Pruning of a prescription, with runs whose metric is a sum of what each override does."""

from __future__ import annotations

import zlib
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from flowgrad.errors import FlowGradError
from flowgrad.prescription import Prescription
from flowgrad.report import Override
from flowgrad.rules import RuleBook
from pipelines.stages import subsets, treat
from pipelines.stages.diagnose import Diagnosis
from pipelines.stages.experiment import Experiment
from pipelines.stages.outcomes import Outcome
from pipelines.stages.prune import prune
from pipelines.stages.pruned import Pruned
from pipelines.stages.treatment import Treatment, report_stem
from pipelines.trainers.trainer import trainer_of

SMALL = ("experiment=movielens_mf", "dataset=synthetic")
LR, BIASES, L2, STOP, EPOCHS = (
    "optimizer.lr=0.005", "model.biases=true", "loss.l2=0.1", "training.early_stopping=true", "training.epochs=100",
)  # fmt: skip
ROUNDS = [{"zombie_rows": [LR]}, {"row_effects": [BIASES]}, {"overfitting": [L2, STOP, EPOCHS]}]


def has(config, override):
    path, _, value = override.partition("=")
    held = config
    for name in path.split("."):
        held = held[name]
    return str(held).lower() == value


@pytest.fixture
def pruned(composed):
    """Prune these rounds where a run's error is what `error` makes of the overrides that its config has."""
    trained = []

    def run(error, rounds=ROUNDS, *changes, noise=0.001, length=100):
        config = composed(*SMALL, *changes)
        experiment = Experiment(config, (*SMALL, *changes), RuleBook({}), None)
        data = trainer_of(config).load()
        experiment = Experiment(config, (*SMALL, *changes), experiment.book, data)

        def outcomes(config, seeds):
            said = {name for acting in rounds for rule in acting.values() for name in rule if has(config, name)}
            for seed in seeds:
                trained.append((frozenset(said), seed))
                rng = np.random.default_rng([seed, zlib.crc32(repr(sorted(said)).encode())])
                yield Outcome({"mse": error(said) + noise * rng.normal()}, (), ())

        def seeing(of):
            assert of(data, config).test is data.validation
            return runs

        runs = SimpleNamespace(
            seeing=seeing, start=lambda workers: None, begin=lambda config, seeds: None, outcomes=outcomes
        )
        diagnoses = [
            SimpleNamespace(config=config, experiment=experiment, overrides=experiment.overrides, round=number,
                            prescription=prescribed(acting), trained=SimpleNamespace(validation_losses=(1.0,) * length))
            for number, acting in enumerate([*rounds, {}], start=1)
        ]  # fmt: skip
        run.trained = trained
        return prune(diagnoses, runs, lambda count: 1)

    return run


def prescribed(acting):
    overrides = tuple(dict.fromkeys(one for rule in acting.values() for one in rule))
    by_rule = {rule: tuple(Override(*one.split("=")) for one in changes) for rule, changes in acting.items()}
    return Prescription(overrides, tuple(acting), {}, by_rule)


def added(**worth):
    """An error that each override lowers by so much."""
    known = {"lr": LR, "biases": BIASES, "l2": L2, "stop": STOP, "epochs": EPOCHS}
    return lambda said: 2.0 - sum(by for name, by in worth.items() if known[name] in said)


def test_an_override_that_does_nothing_is_dropped_and_the_others_stay(pruned):
    found = pruned(added(lr=1.0, l2=0.2, stop=0.1, epochs=0.1))
    assert found.dropped == (BIASES,)
    assert found.kept == (LR, L2, STOP, EPOCHS)
    told = found.ablations("hash")
    assert told[BIASES].outcome == "dropped"
    assert abs(told[BIASES].share) < 0.01
    assert told[LR].outcome == "kept"
    assert told[LR].share == pytest.approx(1.0 / 1.4, abs=0.01)
    assert told[LR].share_low < told[LR].share < told[LR].share_high
    assert told[LR].left_out_of == "without model.biases"


def test_each_set_is_trained_once_on_the_seeds_of_pruning_alone(pruned):
    found = pruned(added(lr=1.0, l2=0.2, stop=0.1, epochs=0.1))
    assert {seed for _, seed in pruned.trained} == {701, 702, 703}
    assert len(set(pruned.trained)) == len(pruned.trained)
    arms = found.observations["arm"].unique()
    assert len(pruned.trained) == 3 * len(arms)
    assert list(arms[:2]) == ["baseline", "stacked"]


def test_what_trains_far_longer_is_tried_only_where_nothing_shorter_decides(pruned):
    found = pruned(added(lr=1.0, l2=0.2), length=20)
    assert found.dropped == (BIASES, STOP, EPOCHS)
    long = {LR, BIASES, L2, EPOCHS}
    assert long not in [set(said) for said, _ in pruned.trained]
    pruned.trained.clear()
    kept = pruned(added(lr=1.0, l2=0.2, biases=0.2, stop=0.2, epochs=0.2), length=20)
    assert kept.ablations("hash")[STOP].outcome == "kept"
    order = [set(said) for said, _ in pruned.trained]
    assert order.index(long) > max(
        order.index({LR, BIASES, L2, STOP, EPOCHS} - {one}) for one in (LR, BIASES, L2, EPOCHS)
    )


def test_of_two_that_do_the_same_one_stays(pruned):
    found = pruned(lambda said: 1.0 if {STOP, EPOCHS} & said else 2.0, [{"overfitting": [L2, STOP, EPOCHS]}])
    assert len(found.kept) == 1
    assert found.kept[0] in (STOP, EPOCHS)


def test_two_that_only_work_together_and_do_nothing_together_go_as_a_group(pruned):
    """Either of them alone did harm, so that leaving one out at a time kept both."""
    rounds = [{"zombie_rows": [LR]}, {"overfitting": [STOP, EPOCHS]}]
    found = pruned(lambda said: (1.0 if LR in said else 2.0) + len({STOP, EPOCHS} & said) % 2, rounds)
    assert found.kept == (LR,)
    assert {part.overrides for part in found.parts if part.outcome == "dropped"} == {f"{STOP} {EPOCHS}"}
    assert found.ablations("hash")[STOP].outcome == "dropped"


def test_small_losses_do_not_add_up_beyond_the_margin(pruned):
    found = pruned(added(lr=1.0, biases=0.012, l2=0.012, stop=0.012, epochs=0.012), ROUNDS, noise=1e-5)
    assert len(found.dropped) == 1
    assert max(part.lost for part in found.parts if part.outcome == "dropped") <= 0.02


def test_the_margin_is_a_setting(pruned):
    found = pruned(added(lr=1.0, biases=0.1), [{"a": [LR], "b": [BIASES]}], "pruning.margin=0.2")
    assert found.dropped == (BIASES,)


def test_one_without_which_the_config_is_refused_stays_and_says_why(pruned, monkeypatch):
    def refuse(config):
        if config.training.early_stopping and not config.loss.l2:
            raise FlowGradError("stops only with a penalty")

    monkeypatch.setattr(subsets, "check_settings", refuse)
    found = pruned(added(lr=1.0, stop=0.5), [{"a": [LR], "b": [L2], "c": [STOP]}])
    assert found.kept == (LR, L2, STOP)
    told = found.ablations("hash")[L2]
    assert "stops only with a penalty" in told.because
    assert (told.arm, told.n, told.share) == ("without loss.l2", 0, None)


@pytest.mark.parametrize(
    ("error", "changes", "reason"),
    [
        (lambda said: float("nan") if not said else 1.0, (), "not finite"),
        (lambda said: 1.0, (), "no gain"),
        (added(lr=-1.0), (), "no gain"),
        (added(lr=1.0), ("pruning.enabled=false",), ""),
        (added(lr=1.0), ("trial=['model.dim=8']",), ""),
    ],
)
def test_everything_is_kept_where_validation_rows_cannot_tell_or_nobody_asked(pruned, error, changes, reason):
    found = pruned(error, ROUNDS, *changes)
    assert found.kept == (LR, BIASES, L2, STOP, EPOCHS)
    assert not found.dropped
    assert not found.parts
    assert reason in found.reason
    assert bool(found.reason) == bool(reason)


def test_one_override_alone_is_not_left_out(pruned):
    assert pruned(added(lr=1.0), ROUNDS[:1]).kept == (LR,)
    assert not pruned.trained


def test_an_override_that_flatters_validation_rows_is_not_judged_by_them(pruned, monkeypatch):
    """A column that leaks lowers the error on validation rows: what takes it out seemed to do harm."""
    from pipelines.trainers.factorization.trainer import Factorization

    monkeypatch.setattr(Factorization, "UNJUDGED", ("model.biases",))
    found = pruned(added(lr=1.0, biases=-5.0, l2=0.0), [{"leak": [BIASES], "zombie_rows": [LR], "overfitting": [L2]}])
    assert found.kept == (BIASES, LR)
    assert found.dropped == (L2,)
    told = found.ablations("hash")[BIASES]
    assert (told.outcome, told.arm, told.n) == ("kept", "", 0)
    assert "cannot tell" in told.because


def test_the_last_round_that_sets_a_path_counts(pruned):
    rounds = [{"zombie_rows": ["optimizer.lr=0.05"]}, {"zombie_rows": [LR]}, {"row_effects": [BIASES]}]
    found = pruned(added(lr=1.0), rounds)
    assert found.kept == (LR,)
    assert found.dropped == (BIASES,)


def test_the_table_has_a_line_a_part_with_its_figures(pruned):
    found = pruned(added(lr=1.0, l2=0.2, stop=0.1, epochs=0.1))
    table = found.table()
    assert list(table.columns[:3]) == ["overrides", "outcome", "metric"]
    assert set(table["outcome"]) == {"kept", "dropped"}
    assert (table["n"] == 3).all()
    assert len(table) == len(found.parts)
    assert f"{L2} {STOP} {EPOCHS}" in set(table["overrides"])


def test_arms_and_reports_of_a_run_with_and_without_what_was_left_out():
    rounds = tuple(SimpleNamespace(round=number) for number in (1, 2, 3))
    assert list(Treatment(rounds[:1]).arms()) == ["baseline"]
    assert list(Treatment(rounds).arms()) == ["baseline", "round1", "treated"]
    whole = Treatment(rounds, Pruned((LR,), (BIASES,)), SimpleNamespace(round=4))
    assert list(whole.arms()) == ["baseline", "round1", "stacked", "treated"]
    assert whole.arms()["stacked"] is rounds[-1]
    assert whole.final is whole.minimal
    assert whole.kept([LR, BIASES]) == [LR]
    stems = [report_stem(arm) for arm in whole.arms()]
    assert stems == ["report", "report_round2", "report_stacked", "report_treated"]


def test_what_was_dropped_is_not_prescribed_again_and_what_is_new_is_told(composed, monkeypatch):
    """A rule whose fix was left out fires again on the config without it; the console asked for another round of it."""
    config = composed(*SMALL)
    seen = prescribed({"row_effects": [BIASES], "overfitting": [L2]})
    found = Diagnosis(0, None, None, (), replace(seen, was={"model.biases": False, "loss.l2": 0.0}))
    monkeypatch.setattr(
        treat, "diagnose", lambda experiment, number: replace(found, round=number, experiment=experiment)
    )
    experiment = Experiment(config, SMALL, RuleBook({}), None)
    rounds = [Diagnosis(number, experiment, None, (), prescribed({})) for number in (1, 2, 3)]
    begun = []
    last = treat.treat_with(rounds, Pruned((LR,), (BIASES,)), begun.append)
    assert begun[0] is last.config, "what is begun before it is diagnosed is found by its config"
    assert last.round == 4
    assert (last.config.optimizer.lr, last.config.model.biases) == (0.005, False)
    assert last.overrides == (*SMALL, LR)
    assert last.prescription.overrides == (L2,)
    assert last.prescription.rules == ("overfitting",)
    assert dict(last.prescription.was) == {"loss.l2": 0.0}
    assert "left out again" in last.prescription.overruled["row_effects"]
