"""SaliencyAnalyzer: scores read from any optimizer, plans, rows of tables, and models it must refuse or treat."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from flowgrad import Calibration, EmbeddingTracker, FlowGradError, FlowTracker, SaliencyAnalyzer, apply_recipe
from flowgrad.compression.planning.second_moment import moments_of
from flowgrad.measurements import Measurements
from flowgrad.measures.saliency import second_moment
from flowgrad.report import from_xml, validate
from flowgrad.rules import RuleBook
from flowgrad.trackers.squared_gradients import SquaredGradients


def data(seed=0, n=96):
    """A target of the first four of twelve inputs."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 12, generator=generator)
    return x, (x[:, :4].sum(1) + x[:, 0] * x[:, 1] > 0).long()


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))


def train(model, optimizer, tracker=None, epochs=8):
    x, y = data()
    for _ in range(epochs):
        for part in range(0, len(x), 16):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x[part : part + 16]), y[part : part + 16])
            loss.backward()
            optimizer.step()
            if tracker is not None:
                tracker.step(loss)
    return model


def calibration(seed=1):
    x, y = data(seed)
    return Calibration.of_pairs([(x[i : i + 24], y[i : i + 24]) for i in range(0, 96, 24)], nn.CrossEntropyLoss())


@pytest.fixture(scope="module")
def tracker():
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    tracker = FlowTracker(model, optimizer, name="demo")
    train(model, optimizer, tracker)
    return tracker


@pytest.fixture(scope="module")
def analyzer(tracker):
    return SaliencyAnalyzer(tracker)


@pytest.fixture(scope="module")
def calibrated(tracker):
    return SaliencyAnalyzer(tracker, calibration=calibration())


# --- the second moment ----------------------------------------------------------------------------------------------


def averaged(gradients, decay):
    """Weighted mean of squares with the newest weighing most, the slow way."""
    weights = np.array([decay ** (len(gradients) - 1 - k) for k in range(len(gradients))])
    return np.einsum("k,k...->...", weights / weights.sum(), np.square(gradients))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda p: torch.optim.Adam(p, 0.01), lambda g: averaged(g, 0.999)),
        (lambda p: torch.optim.AdamW(p, 0.01, betas=(0.8, 0.9), amsgrad=True), lambda g: averaged(g, 0.9)),
        (lambda p: torch.optim.NAdam(p, 0.01), lambda g: averaged(g, 0.999)),
        (lambda p: torch.optim.RAdam(p, 0.01), lambda g: averaged(g, 0.999)),
        (lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.9), lambda g: averaged(g, 0.99)),
        (lambda p: torch.optim.Adadelta(p), lambda g: averaged(g, 0.9)),
        (
            lambda p: torch.optim.Adagrad(p, 0.01, initial_accumulator_value=0.5),
            lambda g: np.mean(np.square(g), axis=0),
        ),
    ],
)
def test_second_moment_is_the_mean_of_squares_of_the_gradients_seen(make, expected):
    parameter = nn.Parameter(torch.ones(2, 3))
    optimizer = make([parameter])
    seen = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)
    for gradient in seen:
        parameter.grad = torch.from_numpy(gradient.copy())
        optimizer.step()
    found = moments_of(optimizer, parameter)
    assert found.steps == 5
    np.testing.assert_allclose(found.second, expected(seen), rtol=1e-4)


def test_of_adafactor_the_rank_one_estimate_is_read():
    parameter = nn.Parameter(torch.ones(2, 3))
    optimizer = torch.optim.Adafactor([parameter])
    rank_one = np.outer([1.0, 2.0], [3.0, 1.0, 0.5]).astype(np.float32)
    for _ in range(3):
        parameter.grad = torch.from_numpy(rank_one.copy())
        optimizer.step()
    np.testing.assert_allclose(moments_of(optimizer, parameter).second, rank_one**2, rtol=1e-3)


@pytest.mark.parametrize("sparse", [False, True])
def test_squared_gradients_of_sgd(sparse):
    torch.manual_seed(0)
    table = nn.Embedding(6, 2, sparse=sparse)
    optimizer = torch.optim.SGD(table.parameters(), 0.1)
    squares = SquaredGradients(optimizer, decay=0.5, schedule=lambda step: step != 2)
    seen = []
    for step, ids in enumerate([[0, 1, 1], [2, 2, 2], [1, 3, 0], [5, 5, 1]], start=1):
        optimizer.zero_grad()
        table(torch.tensor(ids)).pow(2).sum().backward()
        if step != 2:
            gradient = table.weight.grad
            seen.append((gradient.to_dense() if sparse else gradient).clone().numpy())
        optimizer.step()
    mean, second, looks = squares.of(table.weight)
    assert looks == 3
    np.testing.assert_allclose(second.numpy(), averaged(seen, 0.5), rtol=1e-5)
    weights = np.array([0.25, 0.5, 1]) / 1.75
    np.testing.assert_allclose(mean.numpy(), np.einsum("k,k...->...", weights, seen), rtol=1e-5, atol=1e-7)
    squares.detach()
    optimizer.step()
    assert squares.of(table.weight)[2] == 3


def test_squared_gradients_do_not_disturb():
    plain, watched = network(), network()
    train(plain, torch.optim.SGD(plain.parameters(), 0.1))
    optimizer = torch.optim.SGD(watched.parameters(), 0.1)
    squares = SquaredGradients(optimizer)
    train(watched, optimizer)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), watched.parameters(), strict=True))
    assert SaliencyAnalyzer(watched, optimizer, squares=squares).pruning_plan(0.5).score == "second_moment"


# --- pruning plans ---------------------------------------------------------------------------------------------------


def test_scores_are_those_of_the_measures(tracker, analyzer):
    state = tracker.optimizer.state[tracker.model[0].weight]
    v = state["exp_avg_sq"].numpy() / (1 - 0.999 ** float(state["step"]))
    found = analyzer.weight_saliency()["0.weight"]
    np.testing.assert_allclose(found, second_moment(tracker.model[0].weight.detach().numpy(), v), rtol=1e-5)


def test_a_plan_drops_the_least_salient_weights(analyzer):
    plan = analyzer.pruning_plan(0.6)
    assert plan.reached == pytest.approx(0.6, abs=1 / plan.entries)
    scores = analyzer.weight_saliency()
    gone = np.concatenate([scores[mask.name][~mask.keep] for mask in plan.layers])
    kept = np.concatenate([scores[mask.name][mask.keep] for mask in plan.layers])
    assert np.median(gone) < np.median(kept)
    assert gone.max() <= kept.min()
    assert analyzer.pruning_plan(0.0).layers == ()


def test_no_layer_is_cut_through(tracker):
    """All saliency in one layer: the others keep something still."""
    plan = SaliencyAnalyzer(tracker).pruning_plan(0.97, least_kept=0.05)
    kept = {mask.name: int(mask.keep.sum()) for mask in plan.layers}
    for name, weight in tracker.model.named_parameters():
        if weight.dim() == 2:
            assert kept.get(name, weight.numel()) >= 0.05 * weight.numel()


@pytest.mark.parametrize("score", ["second_moment", "obd", "taylor", "magnitude", "motion"])
def test_every_score_makes_a_plan(analyzer, score):
    plan = analyzer.pruning_plan(0.5, score=score)
    assert (plan.score, plan.reason) == (score, "asked for")
    assert plan.pruned == round(0.5 * plan.entries)


def test_neurons_go_with_their_biases_and_outputs_stay(tracker, analyzer):
    plan = analyzer.pruning_plan(0.3, "neurons")
    names = {mask.name for mask in plan.layers}
    assert names <= {"0.weight", "0.bias", "2.weight", "2.bias"}
    model = apply_recipe(tracker.model, plan).model
    for mask in plan.layers:
        if mask.name.endswith("weight"):
            gone = ~mask.keep.any(axis=1)
            assert (mask.keep.all(axis=1) == ~gone).all()
            bias = dict(model.named_parameters())[mask.name.replace("weight", "bias")]
            assert (bias.detach().numpy()[gone] == 0).all()
    assert 0 < plan.reached <= 0.3


def test_rows_of_all_but_the_output_layer(analyzer):
    plan = analyzer.pruning_plan(0.3, "rows")
    assert {mask.name for mask in plan.layers} <= {"0.weight", "2.weight"}


def test_excluded_layers_stay(analyzer):
    plan = analyzer.pruning_plan(0.9, exclude=["0.weight"])
    assert "0.weight" not in {mask.name for mask in plan.layers}
    with pytest.raises(FlowGradError, match=r"exclude: there is no '0.wight'; did you mean '0.weight'"):
        analyzer.pruning_plan(0.9, exclude=["0.wight"])


def test_a_calibration_chooses_the_score(calibrated):
    plan = calibrated.pruning_plan(0.7)
    rises = {s: calibrated.pruning_plan(0.7, score=s).calibration_rise for s in ("second_moment", "obd", "magnitude")}
    assert plan.calibration_rise == rises[plan.score]
    assert plan.calibration_rise <= rises["second_moment"]
    assert plan.reason.startswith("lowest calibration loss of second_moment")


def test_the_rise_is_that_of_the_model_with_the_plan_applied(tracker, calibrated):
    plan = calibrated.pruning_plan(0.5, "neurons", score="magnitude")
    x, y = data(1)

    def loss(model):
        return float(nn.functional.cross_entropy(model(x), y))

    with torch.no_grad():
        before, after = loss(tracker.model), loss(apply_recipe(tracker.model, plan).model)
    assert plan.calibration_rise == pytest.approx((after - before) / before, rel=1e-4)


def test_nothing_is_changed_by_looking(tracker):
    model, state = tracker.model, tracker.optimizer.state_dict()["state"]
    weights = {name: p.clone() for name, p in model.named_parameters()}
    kept = {i: s["exp_avg_sq"].clone() for i, s in state.items()}
    model.train()
    random = torch.get_rng_state()
    SaliencyAnalyzer(tracker, calibration=calibration()).report()
    assert model.training
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(weights[name], p) for name, p in model.named_parameters())
    assert all(torch.equal(kept[i], s["exp_avg_sq"]) for i, s in state.items())
    assert all(p.requires_grad for p in model.parameters())


def test_sensitivity_of_one_layer_pruned_alone(tracker, calibrated):
    found = {s: calibrated.pruning_sensitivity(s) for s in ("obd", "measured", "gauss_newton", "magnitude")}
    assert list(found["obd"].columns) == [0.5, 0.8, 0.9]
    weights = tracker.model[2].weight.detach()
    gone = weights.abs() <= weights.abs().flatten().sort().values[int(0.5 * weights.numel()) - 1]
    assert found["magnitude"].loc["2.weight", 0.5] == pytest.approx(float(weights.abs()[gone].sum()), rel=1e-4)
    obd = torch.from_numpy(calibrated.weight_saliency("obd")["2.weight"])
    assert found["obd"].loc["2.weight", 0.5] == pytest.approx(float(obd[gone].sum()), rel=1e-4)
    plan = calibrated.pruning_plan(0.5, score="magnitude", exclude=["0.weight", "4.weight"], least_kept=0)
    before = calibrated.measurements().scalars["calibration_loss"]
    assert found["measured"].loc["2.weight", 0.5] == pytest.approx(plan.calibration_rise * before, rel=1e-3)
    assert (found["gauss_newton"].to_numpy() > 0).all()
    with pytest.raises(FlowGradError, match="score='odb' is unknown; did you mean 'obd'"):
        calibrated.pruning_sensitivity("odb")


# --- rows of tables --------------------------------------------------------------------------------------------------


class Ratings(nn.Module):
    def __init__(self, sparse=False):
        super().__init__()
        torch.manual_seed(0)
        self.users = nn.Embedding(8, 3, sparse=sparse)
        self.items = nn.Embedding(30, 3, padding_idx=0, sparse=sparse)

    def forward(self, pairs):
        return (self.users(pairs[:, 0]) * self.items(pairs[:, 1])).sum(1)


def trained_ratings(optimizer_class, sparse=False):
    model = Ratings(sparse)
    optimizer = optimizer_class(model.parameters(), lr=0.02)
    tracker = EmbeddingTracker(model.items)
    generator = torch.Generator().manual_seed(3)
    for _ in range(60):
        # Items from 20 on are never seen, those below 5 often.
        items = torch.cat(
            [torch.randint(1, 5, (12,), generator=generator), torch.randint(1, 20, (4,), generator=generator)]
        )
        pairs = torch.stack([torch.randint(0, 8, (16,), generator=generator), items], dim=1)
        optimizer.zero_grad()
        (model(pairs) - pairs[:, 1] / 10).pow(2).mean().backward()
        optimizer.step()
        tracker.step()
    return model, optimizer, tracker


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("score", ["second_moment", "frequency"])
def test_rows_that_were_never_seen_go_first(sparse, score):
    model, optimizer, tracker = trained_ratings(torch.optim.SparseAdam if sparse else torch.optim.Adam, sparse)
    analyzer = SaliencyAnalyzer(model, optimizer)
    plan = analyzer.row_plan(2 / 3, tables=["items.weight"], trackers=[tracker], score=score)
    assert [table.name for table in plan.tables] == ["items.weight"]
    gone = plan.tables[0].rows
    assert plan.rows == 29
    assert 0 not in gone
    assert set(range(20, 30)) >= set(gone)
    assert len(gone) == 29 - math.ceil(29 * 2 / 3)


@pytest.mark.parametrize("sparse", [False, True])
def test_a_row_counts_by_no_less_than_its_exposures_say(sparse):
    """Beside the formula, written out: v of a row over all steps, or what the table has of it by exposure."""
    model, optimizer, tracker = trained_ratings(torch.optim.SparseAdam if sparse else torch.optim.Adam, sparse)
    table = tracker.row_table().reindex(range(30), fill_value=0)  # the padding row is no row
    state = optimizer.state[model.items.weight]
    v = state["exp_avg_sq"].double().numpy() / (1 - 0.999 ** float(state["step"]))
    if sparse:
        steps = table["gradient_steps"]  # NaN of rows that no probe met: they have the mean of the others
        v = v * steps.fillna(1 if steps.isna().all() else steps.mean()).to_numpy()[:, None]
    seen = table["exposures"].to_numpy(dtype=float)
    share = np.maximum(v, seen[:, None] * v.sum(axis=0) / seen.sum())
    score = (share * model.items.weight.detach().double().numpy() ** 2).sum(axis=1)
    known = np.flatnonzero(seen)
    plan = SaliencyAnalyzer(model, optimizer).row_plan(1 / 3, tables=["items.weight"], trackers=[tracker])
    gone = [row for row in plan.tables[0].rows if row in known]
    assert gone
    assert max(score[gone]) <= min(score[[row for row in known if row not in gone]])


def test_rows_of_all_tables_and_what_stays():
    model, optimizer, _ = trained_ratings(torch.optim.Adam)
    analyzer = SaliencyAnalyzer(model, optimizer)
    plan = analyzer.row_plan(0.1)
    assert plan.pruned == plan.rows - math.ceil(0.1 * plan.rows)
    for table in plan.tables:
        assert len(table.rows) < table.shape[0] - 1
    assert analyzer.row_plan(1).tables == ()
    with pytest.raises(FlowGradError, match=r"score='frequency' needs an EmbeddingTracker of users.weight"):
        analyzer.row_plan(0.5, score="frequency")
    with pytest.raises(FlowGradError, match="budget=0: the share of rows that stays must lie above 0"):
        analyzer.row_plan(0)
    with pytest.raises(FlowGradError, match=r"tables: there is no 'item.weight'; did you mean 'items.weight'"):
        analyzer.row_plan(0.5, tables=["item.weight"])


def test_padding_is_no_weight():
    model, optimizer, _ = trained_ratings(torch.optim.Adam)
    analyzer = SaliencyAnalyzer(model, optimizer)
    plan = analyzer.pruning_plan(0.9)
    assert plan.entries == 8 * 3 + 29 * 3
    mask = next(mask for mask in plan.layers if mask.name == "items.weight")
    assert mask.keep[0].all()
    assert (analyzer.weight_saliency()["items.weight"][0] == 0).all()


# --- models to refuse or to treat ------------------------------------------------------------------------------------


def test_untrained():
    model = network()
    with pytest.raises(FlowGradError, match="Adam has no state: the model is not trained yet"):
        SaliencyAnalyzer(model, torch.optim.Adam(model.parameters()))
    with pytest.raises(FlowGradError, match="no optimizer, whose state says how steep the loss is"):
        SaliencyAnalyzer(model)
    with pytest.raises(TypeError, match=r"give a FlowTracker or an nn.Module, got str"):
        SaliencyAnalyzer("model")


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_names_the_ways_out(momentum):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=momentum)
    train(model, optimizer)
    with pytest.raises(FlowGradError, match=r"SGD keeps no mean of squared gradients; attach squares = .*SquaredGrad"):
        SaliencyAnalyzer(model, optimizer)
    found = SaliencyAnalyzer(model, optimizer, calibration=calibration())
    fisher, second = found.weight_saliency("fisher"), found.weight_saliency("second_moment")
    np.testing.assert_allclose(
        np.sqrt(2 * fisher["0.weight"]) * np.abs(found.weight_saliency("magnitude")["0.weight"]),
        second["0.weight"],
        rtol=1e-4,
    )
    assert found.pruning_plan(0.5).pruned > 0


def test_frozen_and_forgotten_layers_are_left_out():
    model = network()
    model[2].weight.requires_grad_(False)
    optimizer = torch.optim.Adam([*model[0].parameters(), model[2].bias, model[4].bias], 0.01)
    train(model, optimizer)
    found = SaliencyAnalyzer(model, optimizer)
    assert set(found.left_out) == {"2.weight", "4.weight"}
    assert found.left_out["2.weight"].startswith("frozen")
    assert found.left_out["4.weight"].startswith("no second moment")
    assert {mask.name for mask in found.pruning_plan(0.5).layers} == {"0.weight"}
    with pytest.raises(FlowGradError, match=r"no tensor can be pruned; left out: 2.weight \(frozen"):
        found.pruning_plan(0.5, exclude=["0.weight"])
    assert "layers_left_out" in {f.type.lower() for f in found.findings()}


def test_a_model_that_is_frozen_whole_has_a_report():
    model = network().requires_grad_(False)
    found = SaliencyAnalyzer(model, calibration=calibration())
    assert found.summary()["layers"] == 0
    assert [f.rule_id for f in found.findings()] == ["saliency_left_out"]
    with pytest.raises(FlowGradError, match="no tensor can be pruned"):
        found.pruning_plan(0.5)


def test_shared_weights_count_once():
    model = nn.Sequential(nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 12), nn.Linear(12, 2))
    model[2].weight = model[0].weight
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    train(model, optimizer)
    found = SaliencyAnalyzer(model, optimizer)
    assert found.summary()["shared"] == 1
    assert found.summary()["weights"] == 144 + 24
    pruned = apply_recipe(model, found.pruning_plan(0.5)).model
    assert pruned[0].weight is pruned[2].weight


def test_weights_that_are_not_finite():
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    train(model, optimizer)
    with torch.no_grad():
        model[2].weight[0, 0] = math.inf
    found = SaliencyAnalyzer(model, optimizer)
    with pytest.raises(
        FlowGradError, match=r"2.weight holds NaN or infinite weights; a pruning plan of a broken model"
    ):
        found.pruning_plan(0.5)
    assert found.findings()[0].rule_id == "saliency_nonfinite"


def test_layers_with_one_weight_stay():
    model = nn.Sequential(nn.Linear(12, 1), nn.Tanh(), nn.Linear(1, 1), nn.Tanh(), nn.Linear(1, 2))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    train(model, optimizer)
    plan = SaliencyAnalyzer(model, optimizer).pruning_plan(0.9)
    assert "2.weight" not in {mask.name for mask in plan.layers}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    model = network().to(dtype)
    optimizer = torch.optim.Adam(model.parameters(), 0.01, eps=1e-4)
    x, y = data()
    for _ in range(10):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x.to(dtype)).float(), y).backward()
        optimizer.step()
    plan = SaliencyAnalyzer(model, optimizer).pruning_plan(0.5)
    assert apply_recipe(model, plan).model[0].weight.dtype == dtype


def test_computed_and_masked_weights():
    model = network()
    nn.utils.parametrizations.spectral_norm(model[0])
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    train(model, optimizer)
    assert "computed" in SaliencyAnalyzer(model, optimizer).left_out["0.parametrizations.weight.original"]
    masked = network()
    nn.utils.prune.l1_unstructured(masked[0], "weight", 3)
    with pytest.raises(FlowGradError, match=r"0.weight is under a mask of torch.nn.utils.prune; make that permanent"):
        SaliencyAnalyzer(masked)
    with pytest.raises(FlowGradError, match=r"ReLU has no parameter|has no weight tensor"):
        SaliencyAnalyzer(nn.BatchNorm1d(3))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"sparsity": 1.0}, "sparsity=1.0: a share from 0 to below 1"),
        ({"sparsity": "half"}, "sparsity=half: a share from 0 to below 1"),
        ({"sparsity": 0.5, "structured": "neuron"}, "structured='neuron' must be null, rows or neurons; did you mean"),
        ({"sparsity": 0.5, "score": "magnitud"}, "score='magnitud' is unknown; did you mean 'magnitude'"),
        ({"sparsity": 0.5, "score": "fisher"}, "no calibration was given"),
        ({"sparsity": 0.5, "least_kept": 2}, "least_kept=2: a share"),
    ],
)
def test_mistakes(analyzer, asked, message):
    with pytest.raises(FlowGradError, match=message):
        analyzer.pruning_plan(**asked)


# --- the report ------------------------------------------------------------------------------------------------------


def test_report(calibrated):
    xml = calibrated.to_agent_xml()
    assert xml.startswith("<flowgrad_saliency_report")
    validate(xml.encode())
    report = from_xml(xml.encode())
    assert (report.kind, report.layer) == ("saliency", "demo")
    measured = calibrated.measurements()
    assert set(measured.scalars) == {m.name for m in calibrated.MEASURES if not m.per_row}
    assert list(measured.tables["rows"].columns) == [m.name for m in calibrated.MEASURES if m.per_row]
    assert measured.tables["rows"]["saliency_share"].sum() == pytest.approx(1)
    assert all(math.isfinite(value) for value in measured.scalars.values())
    assert "Saliency report: demo" in calibrated.report()


def test_without_calibration_the_share_is_that_of_little_saliency(analyzer):
    scalars = analyzer.measurements().scalars
    assert math.isnan(scalars["rise_90"])
    plan = analyzer.pruning_plan(scalars["removable_share"], least_kept=0)
    scores = analyzer.weight_saliency()
    gone = sum(float(scores[mask.name][~mask.keep].sum()) for mask in plan.layers)
    total = sum(float(values.sum()) for values in scores.values())
    assert gone == pytest.approx(0.01 * total, rel=0.3)
    assert gone <= 0.0101 * total


@pytest.mark.parametrize("rise", [-0.1, 0.0049, 0.02, 5.0])
def test_at_most_one_share_is_prescribed(analyzer, rise):
    """Whatever the rises are, as long as more pruned is no better."""
    measured = analyzer.measurements()
    for known in range(5):
        rises = [rise if i < known else -0.01 for i in range(4)]
        scalars = {**measured.scalars, "calibrated": 1.0}
        scalars |= dict(zip((f"rise_{share}_high" for share in (90, 80, 70, 50)), rises, strict=True))
        found = RuleBook.load().evaluate(Measurements("saliency", "m", scalars))
        fixes = [f for f in found if f.fix and "compression.sparsity" in f.fix.paths]
        assert len(fixes) == (0 if rise >= 0.005 and known == 4 else 1)


def test_layers_and_plot(analyzer, tmp_path):
    frame = analyzer.layer_saliency()
    assert list(frame.index) == ["0.weight", "2.weight", "4.weight"]
    assert {"second_moment", "magnitude", "motion", "taylor"} <= set(frame.columns)
    assert "fisher" not in frame.columns
    pytest.importorskip("matplotlib")
    for name in ("one.png", "two.png"):
        analyzer.plot_saliency(tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with pytest.raises(FlowGradError, match="must end in"):
        analyzer.plot_saliency(tmp_path / "one.txt")
