"""`experiment=faults_compression`: truths are the losses they say, agreement and wins are counted right."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from flowgrad import Calibration, QuantizationAdvisor, SaliencyAnalyzer
from flowgrad.errors import FlowGradError
from flowgrad.measures.saliency import rank_agreement
from pipelines.benchmarks.compression.agreement import agreement
from pipelines.benchmarks.compression.held_out import HeldOut
from pipelines.benchmarks.compression.job import studies
from pipelines.benchmarks.compression.plans import CHOSEN, MAGNITUDE, RANDOM, UNIFORM, mixed_lines, pruning_lines
from pipelines.benchmarks.compression.scores import ALL, SHOWN, foretelling_lines, plan_lines
from pipelines.benchmarks.compression.singles import pruned_alone, rounded_alone
from pipelines.benchmarks.compression.watching import Watching
from pipelines.benchmarks.gradtracer.compression import compression_advice, pruned_by_peer
from pipelines.benchmarks.gradtracer.embedding import peer_available
from pipelines.trainers.compressible import Compressible

LIMITS = OmegaConf.create({"spearman": 0.7, "p": 0.01, "seconds": 3})
CRITERION = nn.CrossEntropyLoss()


def rows(seed, n=80):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, generator=generator)
    return x, (x[:, 0] * x[:, 1] > 0).long()


@pytest.fixture(scope="module")
def trained():
    """A subject whose held-out rows are those of its calibration, and what watched it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    watching = Watching(peer=peer_available())
    observers = watching(model, optimizer)
    x, y = rows(0)
    for _ in range(40):
        for part in range(0, len(x), 16):
            optimizer.zero_grad()
            loss = CRITERION(model(x[part : part + 16]), y[part : part + 16])
            loss.backward()
            optimizer.step()
            for observer in observers:
                observer.step(loss.detach())
    for observer in observers:
        observer.detach()
    x, y = rows(1)
    pairs = list(zip(x.chunk(4), y.chunk(4), strict=True))

    def held_out(model):
        with torch.no_grad():
            return float(np.mean([float(CRITERION(model(a), b)) for a, b in pairs]))

    subject = Compressible(
        model.eval(), optimizer, Calibration.of_pairs(pairs, CRITERION), held_out, lambda model: None, lambda *a: None
    )
    return subject, watching


@pytest.fixture(scope="module")
def analyzers(trained):
    subject, watching = trained
    given = {"calibration": subject.calibration, "squares": watching.squares}
    return (
        SaliencyAnalyzer(subject.model, subject.optimizer, **given),
        QuantizationAdvisor(subject.model, subject.optimizer, **given),
    )


@pytest.fixture(scope="module")
def weights(trained):
    return {name: p.detach().numpy().copy() for name, p in trained[0].model.named_parameters()}


def test_sgd_is_given_squared_gradients_and_others_are_not(trained):
    assert trained[1].squares is not None
    watching = Watching(peer=False)
    assert watching(nn.Linear(2, 2), torch.optim.Adam(nn.Linear(2, 2).parameters())) == []
    assert watching.squares is None


def test_the_truth_is_the_rise_of_the_held_out_loss_and_the_model_stays(trained, weights):
    subject, _ = trained
    truth = HeldOut(subject)
    assert truth.loss == pytest.approx(subject.held_out(subject.model))
    assert truth.with_values({}) == 0
    halved = {"0.weight": weights["0.weight"] / 2}
    with torch.no_grad():
        subject.model[0].weight.mul_(0.5)
    after = subject.held_out(subject.model)
    with torch.no_grad():
        subject.model[0].weight.mul_(2)
    assert truth.with_values(halved) == pytest.approx((after - truth.loss) / truth.loss)
    assert all(np.array_equal(p.detach().numpy(), weights[n]) for n, p in subject.model.named_parameters())


def test_what_is_measured_on_the_held_out_rows_is_the_truth(trained, analyzers, weights):
    """The calibration rows are the held-out ones here: any other layer, level or mask would show."""
    truth = HeldOut(trained[0])
    bits = rounded_alone(analyzers[1], weights, truth, None)
    assert len(bits) == 3 * 4
    np.testing.assert_allclose(bits["truth"] * truth.loss, bits["measured"], atol=1e-6)
    pruned = pruned_alone(analyzers[0], weights, truth, None)
    assert set(pruned["by"]) == {"second_moment", "obd", "taylor", "fisher", "magnitude"}
    assert len(pruned) == 3 * 3 * 5
    np.testing.assert_allclose(pruned["truth"] * truth.loss, pruned["measured"], atol=1e-6)
    found = agreement(pruned.assign(setting="a", seed=0), "measured")
    assert found.pooled == pytest.approx(1, abs=0.01)


def test_random_masks_take_the_share_and_every_plan_has_a_line(trained, analyzers, weights):
    subject, _ = trained
    truth = HeldOut(subject)
    lines = pd.DataFrame(pruning_lines(analyzers[0], subject, truth, None, 0))
    wanted = {"second_moment", "layer_adaptive", "obd", "taylor", "fisher", "motion", CHOSEN, MAGNITUDE, RANDOM}
    assert (lines.groupby("level")["score"].apply(set) == wanted).all()
    assert lines["rise"].notna().all()
    mixed = pd.DataFrame(mixed_lines(analyzers[1], weights, truth, None)).set_index(["level", "score"])["rise"]
    for bits in (4.0, 3.0, 2.0):
        assert mixed[bits, CHOSEN] <= mixed[bits, UNIFORM] + 1e-6  # the rows it was chosen on


@pytest.mark.skipif(not peer_available(), reason="the peer is not installed")
def test_the_peer_prunes_a_copy_by_about_the_share(trained, weights):
    subject, watching = trained
    advice = compression_advice(watching.peer)
    assert advice.error == ""
    names = {"0.weight", "2.weight", "4.weight"}
    assert names <= set(advice.bit_sensitivity)
    assert names <= set(advice.saliency)
    assert names <= set(advice.fisher)
    assert set(advice.bits.values()) <= {4, 8, 16}
    pruned = pruned_by_peer(watching.peer, subject.model, 0.7)
    zeros = sum(int((p == 0).sum()) for n, p in pruned.named_parameters() if n in names)
    assert zeros / sum(weights[name].size for name in names) == pytest.approx(0.7, abs=0.03)
    assert all(np.array_equal(p.detach().numpy(), weights[n]) for n, p in subject.model.named_parameters())


# --- counting --------------------------------------------------------------------------------------------------------


def singles(scores, truths, setting="a", seed=0, levels=None):
    return pd.DataFrame(
        {
            "setting": setting,
            "seed": seed,
            "what": "bits",
            "layer": [str(n) for n in range(len(truths))],
            "level": levels or 4.0,
            "truth": truths,
            "second_moment": scores,
        }
    )


def test_units_of_a_model_do_not_matter_and_one_model_is_plain_spearman():
    rng = np.random.default_rng(0)
    score, truth = rng.random(12), rng.random(12)
    one = singles(score, truth)
    assert agreement(one, "second_moment").pooled == pytest.approx(rank_agreement(score, truth))
    both = pd.concat([one, singles(1e6 * score, 1e-6 * truth, "b")])
    assert agreement(both, "second_moment").pooled == pytest.approx(rank_agreement(score, truth))
    assert agreement(both, "second_moment").models == 2
    assert agreement(both, "second_moment").points == 24


def test_a_score_of_the_levels_alone_says_nothing_of_layers():
    levels = [8.0] * 4 + [2.0] * 4
    known = singles([1.0] * 4 + [9.0] * 4, [0.1, 0.2, 0.3, 0.4, 1.1, 1.2, 1.3, 1.4], levels=levels)
    found = agreement(known, "second_moment")
    assert found.pooled > 0.8
    assert math.isnan(found.at_level)


def test_what_is_not_finite_is_left_out():
    known = singles([1.0, 2.0, 3.0, np.nan, 0.0], [1.0, 2.0, 3.0, -9.0, np.inf])
    found = agreement(known, "second_moment")
    assert (found.pooled, found.points) == (pytest.approx(1), 3)
    assert agreement(known[:2], "second_moment").models == 0


def test_the_interval_draws_settings_and_seeds():
    up, down = ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]), ([4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0])
    alike = pd.concat([singles(*up, setting, seed) for setting in "ab" for seed in range(3)])
    found = agreement(alike, "second_moment")
    assert (found.low, found.high) == (pytest.approx(1), pytest.approx(1))
    apart = pd.concat(
        [singles(*(up if setting == "a" else down), setting, seed) for setting in "ab" for seed in (0, 1)]
    )
    found = agreement(apart, "second_moment")
    assert (found.low, found.pooled, found.high) == (pytest.approx(-1), pytest.approx(0), pytest.approx(1))


def test_only_the_default_score_of_bits_is_judged():
    table = pd.concat([singles([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], seed=seed) for seed in (0, 1)])
    table = pd.concat([table.assign(peer=[3.0, 2.0, 1.0] * 2), table.assign(what="pruned")])
    table["combined"] = table["second_moment"]
    lines = pd.DataFrame(foretelling_lines(table, LIMITS), columns=SHOWN).set_index(["what", "score", "setting"])
    assert lines["within"].dropna().to_dict() == {("rise of bits", "combined", ALL): True}
    assert lines.loc[("rise of bits", "peer", ALL), "spearman"] == pytest.approx(-1)


def plans(rises, setting, what="pruned", level=0.8):
    return pd.DataFrame(
        [
            {"setting": setting, "seed": seed, "what": what, "level": level, "score": score, "rise": rise}
            for score, values in rises.items()
            for seed, rise in enumerate(values)
        ]
    )


def test_wins_are_counted_by_model_and_by_setting():
    clear = {CHOSEN: [0.1, 0.11, 0.12, 0.1], MAGNITUDE: [0.5, 0.52, 0.51, 0.5], RANDOM: [2.0, 2.0, 2.0, 2.0]}
    close = {CHOSEN: [0.1, 0.4, 0.1, 0.4], MAGNITUDE: [0.2, 0.3, 0.2, 0.35], RANDOM: [2.0, 2.0, 2.0, 2.0]}
    table = pd.concat([plans(clear, "a"), plans(close, "b")])
    lines = pd.DataFrame(plan_lines(table, LIMITS), columns=SHOWN).set_index(["score", "against", "setting"])
    assert set(lines.index.get_level_values("score")) == {CHOSEN}
    pooled = lines.loc[(CHOSEN, MAGNITUDE, ALL)]
    assert (pooled["models"], pooled["wins"], pooled["better"], pooled["sure"]) == (8, 6, "2/2", "1/2")
    assert not pooled["within"]
    assert lines.loc[(CHOSEN, MAGNITUDE, "a"), "p"] < 0.01 < lines.loc[(CHOSEN, MAGNITUDE, "b"), "p"]
    assert next(iter(plan_lines(plans(clear, "a"), LIMITS)))["within"]


# --- the job ---------------------------------------------------------------------------------------------------------

SMALL = [
    "experiment=faults_compression", "workers=1", "job.seeds=[0,1]", "job.only=[tiny]",
    "+job.settings.tiny=['experiment=layers_digits_tuned','dataset=diabetes','task=progression','model.width=6',"
    "'model.depth=2','training.epochs=3']",
]  # fmt: skip


def test_the_job_writes_its_tables(command):
    code, folder, _ = command(*SMALL)
    assert code == 0
    scores = pd.read_csv(folder / "scores.csv")
    assert {"rise of bits", "rise of pruning", "pruned 70%", "mixed bits, 3"} <= set(scores["what"])
    assert (scores["models"] == 2).all()
    assert (scores.loc[scores["spearman"].notna(), "spearman"].abs() <= 1).all()
    models = pd.read_csv(folder / "models.csv")
    assert (models["seconds"] > 0).all()
    assert set(pd.read_csv(folder / "settings.csv")["setting"]) == {"tiny"}
    for stem in ("scores", "settings"):
        assert (folder / f"{stem}.md").exists()
        assert (folder / f"{stem}.tex").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["job.only=[mlp_d3_adm]"], "job.only names 'mlp_d3_adm'; did you mean 'mlp_d3_adam'"),
        (["job.seeds=[1,1]"], "all must be different"),
        (["job.seeds=[]"], "leave nothing to run"),
        (["job.only=[bad]", "+job.settings.bad=['model=xgboost']"], "job.settings.bad: model"),
        (["+job.settings.mlp_d4_adamw=['model=mf']"], "'mlp_d4_adamw' is in job.settings and in job.apart"),
    ],
)
def test_bad_input_is_named(composed, overrides, message):
    config = composed("experiment=faults_compression", *overrides)
    with pytest.raises(FlowGradError, match=message):
        studies(config, [], peer=False)
