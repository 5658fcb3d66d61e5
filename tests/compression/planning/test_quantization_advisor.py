"""QuantizationAdvisor: sensitivities beside slow ways to compute them, plans beside uniform ones, and odd models."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from flowgrad import Calibration, FlowGradError, FlowTracker, QuantizationAdvisor, apply_recipe
from flowgrad.compression import write_packed
from flowgrad.compression.planning.calibration import highest_rise
from flowgrad.compression.planning.gptq import Compensation
from flowgrad.compression.recipe import Recipe
from flowgrad.measurements import Measurements
from flowgrad.measures.quantization import MEASURED_PART, quantization_error
from flowgrad.report import from_xml, validate
from flowgrad.rules import RuleBook

CRITERION = nn.CrossEntropyLoss()


def data(seed=0, n=96):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 12, generator=generator)
    return x, (x[:, :4].sum(1) + x[:, 0] * x[:, 1] > 0).long()


def pairs(seed=1, batches=4):
    x, y = data(seed)
    return list(zip(x.chunk(batches), y.chunk(batches), strict=True))


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 24), nn.Tanh(), nn.Linear(24, 8), nn.Tanh(), nn.Linear(8, 2))


def trained(model, optimizer, tracker=None, epochs=10):
    x, y = data()
    for _ in range(epochs):
        for part in range(0, len(x), 16):
            optimizer.zero_grad()
            loss = CRITERION(model(x[part : part + 16]), y[part : part + 16])
            loss.backward()
            optimizer.step()
            if tracker is not None:
                tracker.step(loss)
    return model


@pytest.fixture(scope="module")
def tracker():
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    tracker = FlowTracker(model, optimizer, name="demo")
    trained(model, optimizer, tracker)
    return tracker


@pytest.fixture(scope="module")
def advisor(tracker):
    return QuantizationAdvisor(tracker)


@pytest.fixture(scope="module")
def calibrated(tracker):
    return QuantizationAdvisor(tracker, calibration=Calibration.of_pairs(pairs(), CRITERION))


def batch_losses(model):
    with torch.no_grad():
        return np.array([float(CRITERION(model(x), y)) for x, y in pairs()])


def changes(model, bits):
    return {
        name: torch.from_numpy(quantization_error(p.detach().numpy(), bits))
        for name, p in model.named_parameters()
        if p.dim() == 2
    }


def mean_loss(model):
    return float(batch_losses(model).mean())


# --- sensitivities ---------------------------------------------------------------------------------------------------


def test_second_moment(tracker, advisor):
    frame = advisor.sensitivity()
    assert list(frame.columns) == [8, 4, 3, 2]
    for name, change in changes(tracker.model, 3).items():
        state = tracker.optimizer.state[dict(tracker.model.named_parameters())[name]]
        v = state["exp_avg_sq"] / (1 - 0.999 ** float(state["step"]))
        assert frame.loc[name, 3] == pytest.approx(float((v * change**2).sum() / 2), rel=1e-4)
    assert (frame.diff(axis=1).iloc[:, 1:] > 0).all().all()


def test_gauss_newton_is_the_quadratic_form_of_the_jacobian(tracker, calibrated):
    """Beside the whole matrix: jacobians of the outputs, and the Hessian of the loss in them."""
    found = calibrated.sensitivity("gauss_newton")
    for name, change in changes(tracker.model, 2).items():
        total = 0.0
        for x, y in pairs():
            call = lambda w, x=x, name=name: torch.func.functional_call(tracker.model, {name: w}, (x,))  # noqa: E731
            weights = dict(tracker.model.named_parameters())[name].detach()
            jacobian = torch.autograd.functional.jacobian(call, weights)
            moved = torch.tensordot(jacobian, change, dims=2)
            loss = lambda out, y=y: CRITERION(out, y)  # noqa: E731
            hessian = torch.autograd.functional.hessian(loss, call(weights).detach())
            total += float(torch.einsum("ia,iajb,jb->", moved, hessian, moved) / 2)
        assert found.loc[name, 2] == pytest.approx(total / 4, rel=1e-3)


def test_measured_and_fisher(tracker, calibrated):
    change = changes(tracker.model, 2)["2.weight"]
    model = network()
    model.load_state_dict(tracker.model.state_dict())
    before = mean_loss(model)
    squares = []
    for x, y in pairs():
        (gradient,) = torch.autograd.grad(CRITERION(model(x), y), [model[2].weight])
        squares.append(gradient**2)
    fisher = float((torch.stack(squares).mean(0) * change**2).sum() / 2)
    assert calibrated.sensitivity("fisher").loc["2.weight", 2] == pytest.approx(fisher, rel=1e-4)
    with torch.no_grad():
        model[2].weight += change
    assert calibrated.sensitivity("measured").loc["2.weight", 2] == pytest.approx(mean_loss(model) - before, abs=1e-6)


def test_combined_lies_between_what_is_foretold_and_what_is_measured(calibrated):
    foretold, measured = calibrated.sensitivity("gauss_newton"), calibrated.sensitivity("measured")
    combined = calibrated.sensitivity("combined")
    pd.testing.assert_frame_equal(combined, foretold + MEASURED_PART * (measured - foretold))
    assert 0 < MEASURED_PART < 1
    pd.testing.assert_frame_equal(calibrated.sensitivity(), combined)


def test_without_calibration_the_second_moment_foretells_best(advisor):
    pd.testing.assert_frame_equal(advisor.sensitivity(), advisor.sensitivity("second_moment"))


def test_gauss_newton_of_recurrent_layers_and_attention():
    """Their fast kernels have no forward-mode derivative; what is set aside for it is there again afterwards."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.LSTM(3, 4, batch_first=True)
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
            self.out = nn.Linear(4, 2)

        def forward(self, x):
            seen, _ = self.rnn(x.view(-1, 4, 3))
            return self.out(self.attention(seen, seen, seen, need_weights=False)[0][:, -1])

    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    trained(model, optimizer, epochs=2)
    before = (torch.backends.mkldnn.enabled, torch.backends.mha.get_fastpath_enabled())
    advisor = QuantizationAdvisor(model, optimizer, calibration=Calibration.of_pairs(pairs(), CRITERION))
    found = advisor.sensitivity("gauss_newton")
    assert (found.to_numpy() > 0).all()
    assert set(found.index) >= {"rnn.weight_hh_l0", "attention.in_proj_weight", "attention.out_proj.weight"}
    assert before == (torch.backends.mkldnn.enabled, torch.backends.mha.get_fastpath_enabled())


def test_a_model_without_forward_derivatives_does_without_gauss_newton():
    class Stop(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, gradient):
            return gradient

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network()

        def forward(self, x):
            return Stop.apply(self.inner(x))

    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    trained(model, optimizer)
    advisor = QuantizationAdvisor(model, optimizer, calibration=Calibration.of_pairs(pairs(), CRITERION))
    assert "gauss_newton" not in advisor.agreement()
    assert advisor.unavailable["gauss_newton"].startswith("no Gauss-Newton product of Net")
    with pytest.raises(FlowGradError, match="no Gauss-Newton product of Net"):
        advisor.sensitivity("gauss_newton")


def test_agreement_with_a_truth_of_ones_own(calibrated):
    truth = calibrated.sensitivity("second_moment") * 7
    found = calibrated.agreement(truth)
    assert found["second_moment"] == pytest.approx(1)
    assert {"fisher", "gauss_newton", "measured", "snr", "variance"} <= set(found.index)
    with pytest.raises(FlowGradError, match=r"truth: no line for 0.weight"):
        calibrated.agreement(truth.drop(index="0.weight"))
    with pytest.raises(FlowGradError, match="truth: no column for 3 bits"):
        calibrated.agreement(truth.drop(columns=3))


# --- plans -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [4, 3, 2])
def test_a_mixed_plan_is_no_larger_than_uniform_and_no_worse_on_the_calibration(calibrated, bits):
    plan = calibrated.mixed_precision_plan(bits=bits)
    assert plan.size <= plan.uniform_size == calibrated.uniform_size(bits)
    assert plan.calibration_rise <= plan.uniform_rise
    assert plan.uniform_bits == bits


def test_rises_are_those_of_the_model_with_the_plan_applied(tracker, calibrated):
    for plan in (calibrated.mixed_precision_plan(bits=3), calibrated.uniform_plan(2)):
        before = mean_loss(tracker.model)
        after = mean_loss(apply_recipe(tracker.model, plan, backend="fake").model)
        assert plan.calibration_rise == pytest.approx((after - before) / before, rel=1e-3, abs=1e-6)


def test_sizes_are_those_of_the_file(tracker, calibrated, tmp_path):
    """But for the header, and for codes that are 0, which are stored as a bit each."""
    plan = calibrated.mixed_precision_plan(bits=4)
    found = write_packed(tracker.model, tmp_path / "model", Recipe.of(plan))
    assert plan.size - 200 < found < plan.size + 900
    assert calibrated.size == sum(p.numel() * 4 for p in tracker.model.parameters())


def test_8_bits_everywhere_where_the_budget_has_room(advisor, calibrated):
    for one in (advisor, calibrated):
        plan = one.mixed_precision_plan(bits=8)
        assert plan.uniform
        assert plan.layers[0].bits == 8
        assert one.mixed_precision_plan(size=10**9).reason == "the budget has room for 8 bits everywhere"


def test_bits_go_where_the_loss_is_sensitive():
    """One layer scales the outputs of another down to almost nothing: its own bits matter, those before do not."""
    model = nn.Sequential(nn.Linear(12, 24), nn.Tanh(), nn.Linear(24, 2))
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    trained(model, optimizer, epochs=20)
    state = optimizer.state[model[0].weight]
    state["exp_avg_sq"] = state["exp_avg_sq"] * 1e-9
    bits = {
        layer.name: layer.bits for layer in QuantizationAdvisor(model, optimizer).mixed_precision_plan(bits=3).layers
    }
    assert bits["0.weight"] == 2
    assert bits["2.weight"] > 3


def test_a_loss_budget_is_held(tracker, calibrated):
    loose, tight = calibrated.mixed_precision_plan(loss=0.5), calibrated.mixed_precision_plan(loss=0.02)
    for plan, loss in ((loose, 0.5), (tight, 0.02)):
        done = apply_recipe(tracker.model, plan, backend="fake").model
        assert highest_rise(batch_losses(done), batch_losses(tracker.model)) <= loss + 1e-6
    assert loose.size <= tight.size
    uniform = [b for b in (8, 4, 3, 2) if calibrated.uniform_plan(b).calibration_rise <= 0.5]
    assert loose.size <= calibrated.uniform_size(min(uniform))


def test_a_score_that_is_asked_for_is_taken(advisor, calibrated):
    asked = calibrated.mixed_precision_plan(bits=3, score="second_moment")
    assert asked.score == "second_moment"
    assert [one.bits for one in asked.layers] == [one.bits for one in advisor.mixed_precision_plan(bits=3).layers]
    assert asked.size <= asked.uniform_size
    held = calibrated.mixed_precision_plan(loss=0.3, score="measured")
    assert held.score == "measured"
    assert held.calibration_rise <= 0.3
    with pytest.raises(FlowGradError, match="score='fishr' is unknown; did you mean 'fisher'"):
        calibrated.mixed_precision_plan(bits=3, score="fishr")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "bits=None, size=None, loss=None: give exactly one budget"),
        ({"bits": 4, "size": 9}, "give exactly one budget"),
        ({"bits": 5}, r"bits=5 is not among the levels \[8, 4, 3, 2\]"),
        ({"size": 9}, "size=9 bytes: with 2 bits everywhere the model has"),
        ({"loss": 0.1}, "to hold a loss, it must be measured"),
    ],
)
def test_mistakes(advisor, asked, message):
    with pytest.raises(FlowGradError, match=message):
        advisor.mixed_precision_plan(**asked)


def test_more_mistakes(tracker, calibrated):
    with pytest.raises(FlowGradError, match="loss=-1: a rise over the calibration loss"):
        calibrated.mixed_precision_plan(loss=-1)
    with pytest.raises(FlowGradError, match="levels: 9 bits; they must lie between 2 and 8, or be 32"):
        QuantizationAdvisor(tracker, levels=(9, 4))
    with pytest.raises(FlowGradError, match="scales='channels' must be channel or tensor; did you mean 'channel'"):
        QuantizationAdvisor(tracker, scales="channels")
    with pytest.raises(FlowGradError, match="score='hessian' is unknown"):
        calibrated.sensitivity("hessian")
    with pytest.raises(FlowGradError, match="calibration: no batch"):
        Calibration.of_pairs([], CRITERION)
    rows = Calibration.of_pairs(pairs(), nn.CrossEntropyLoss(reduction="none"))
    with pytest.raises(FlowGradError, match=r"the loss has shape \[24\]; criterion must give one number"):
        QuantizationAdvisor(tracker, calibration=rows).measurements()


def test_other_levels_and_scales(tracker):
    advisor = QuantizationAdvisor(tracker, levels=(32, 6, 4), scales="tensor")
    assert list(advisor.sensitivity().columns) == [32, 6, 4]
    assert (advisor.sensitivity()[32] == 0).all()
    plan = advisor.mixed_precision_plan(size=advisor.uniform_size(6) + 300)
    assert {layer.axis for layer in plan.layers} == {None}
    done = apply_recipe(tracker.model, plan, backend="fake")
    assert len(done.layers) == len(plan.quantized)
    assert math.isnan(advisor.measurements().scalars["uniform_8"])


@pytest.mark.parametrize("bits", [4, 3, 2])
def test_mixed_plans_fit_scales_where_the_calibration_says_so(tracker, bits):
    calibration = Calibration.of_pairs(pairs(), CRITERION)
    advisor = QuantizationAdvisor(tracker, calibration=calibration)
    plan, uniform = advisor.mixed_precision_plan(bits=bits), advisor.uniform_plan(bits)
    assert plan.size <= uniform.size
    assert plan.calibration_rise <= uniform.calibration_rise
    assert not any(layer.fitted for layer in uniform.layers)
    assert not any(layer.fitted for layer in plan.layers if layer.bits == 8)  # there is nothing to gain
    done = apply_recipe(tracker.model, plan, backend="fake").model
    before, after = mean_loss(tracker.model), mean_loss(done)
    assert plan.calibration_rise == pytest.approx((after - before) / before, rel=1e-3, abs=1e-6)
    assert "uniform, some fitted" in plan.reason
    plain = QuantizationAdvisor(tracker, calibration=calibration, fitted=False).mixed_precision_plan(bits=bits)
    assert "fitted" not in plain.reason


def test_scales_are_fitted_where_inputs_are_known_or_less_damage_is_foretold():
    model = RecurrentAndLinear()
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    trained(model, optimizer)
    calibration = Calibration.of_pairs(pairs(), CRITERION)
    plain, fitted = (
        QuantizationAdvisor(model, optimizer, calibration=calibration, fitted=one).sensitivity()
        for one in (False, True)
    )
    advisor = QuantizationAdvisor(model, optimizer, calibration=calibration)
    seen = set()
    for bits in (4, 3, 2):
        for layer in advisor.mixed_precision_plan(bits=bits, score="gauss_newton").layers:
            less = bool(fitted.loc[layer.name, layer.bits] < plain.loc[layer.name, layer.bits])
            linear = layer.name == "head.weight"
            assert layer.fitted == ((linear or less) and layer.bits < 8)
            assert (layer.rounded is not None) == (linear and layer.fitted)
            seen.add((linear, layer.fitted))
    assert {(True, True), (False, True)} <= seen


class RecurrentAndLinear(nn.Module):
    """The inputs of a recurrent layer's weights are not seen."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.recurrent = nn.GRU(3, 8, batch_first=True)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.recurrent(x.view(len(x), 4, 3))[0][:, -1])


@pytest.mark.parametrize("bits", [4, 3, 2])
def test_rounding_errors_are_made_up_for_in_the_plan_and_in_what_it_does(tracker, bits):
    calibration = Calibration.of_pairs(pairs(), CRITERION)
    advisor = QuantizationAdvisor(tracker, calibration=calibration, fitted=True)
    plain, fitted = QuantizationAdvisor(tracker).uniform_plan(bits), advisor.uniform_plan(bits)
    assert fitted.size == plain.size
    assert all(layer.fitted and layer.rounded is not None for layer in fitted.layers)
    read = Recipe.from_yaml(Recipe.of(fitted).to_yaml()).quantization
    assert read.layers == fitted.layers
    done = apply_recipe(tracker.model, read, backend="fake")
    assert done.layers["how"].str.contains("the recipe's own numbers").all()
    before, after = mean_loss(tracker.model), mean_loss(done.model)
    assert fitted.calibration_rise == pytest.approx((after - before) / before, rel=1e-3, abs=1e-6)
    # What it is for: the outputs change less, layer by layer.
    nearest = apply_recipe(tracker.model, plain, backend="fake").model
    x = torch.cat([one for one, _ in pairs()])
    for place in (0, 2, 4):
        with torch.no_grad():
            given = tracker.model[:place](x)
            right = tracker.model[place](given)
            errors = [(model[place](given) - right).square().sum(0) for model in (done.model, nearest)]
        assert (errors[0] <= errors[1] * (1 + 1e-4)).all()
        assert errors[0].sum() < 0.9 * errors[1].sum()


def test_without_a_calibration_fitted_scales_are_by_least_squares(tracker):
    plan = QuantizationAdvisor(tracker, fitted=True).uniform_plan(2)
    assert all(layer.fitted and layer.rounded is None for layer in plan.layers)
    errors = [
        sum(
            float((a - b).detach().square().sum())
            for a, b in zip(tracker.model.parameters(), done.model.parameters(), strict=True)
        )
        for done in (
            apply_recipe(tracker.model, one, backend="fake")
            for one in (plan, QuantizationAdvisor(tracker).uniform_plan(2))
        )
    ]
    assert errors[0] < 0.5 * errors[1]


def test_a_plan_for_weights_that_were_trained_on_is_made_again(tracker):
    calibration = Calibration.of_pairs(pairs(), CRITERION)
    plan = QuantizationAdvisor(tracker, calibration=calibration).mixed_precision_plan(bits=3)
    model = trained(
        apply_recipe(tracker.model, plan, backend="fake").model, torch.optim.SGD(tracker.model.parameters())
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(FlowGradError, match=r"0\.weight: the recipe rounds other weights than these.*plan_again"):
        apply_recipe(model, plan)
    advisor = QuantizationAdvisor(model, calibration=calibration, levels=(8, 3, 2, 4))
    again = advisor.plan_again(plan)
    assert [(a.name, a.bits, a.fitted) for a in again.layers] == [(b.name, b.bits, b.fitted) for b in plan.layers]
    assert (again.size, again.uniform_bits) == (plan.size, 3)
    after = mean_loss(apply_recipe(model, again).model)
    assert again.calibration_rise == pytest.approx(after / mean_loss(model) - 1, rel=1e-3, abs=1e-6)
    with pytest.raises(FlowGradError, match=r"the plan has 3 bits, and the levels are \[8, 4\]"):
        QuantizationAdvisor(model, calibration=calibration, levels=(8, 4)).plan_again(plan)
    with pytest.raises(FlowGradError, match="is in one of the plan and the model"):
        QuantizationAdvisor(nn.Sequential(nn.Linear(3, 3)), calibration=calibration).plan_again(plan)


def test_what_plan_again_cannot_do(tracker):
    calibration = Calibration.of_pairs(pairs(), CRITERION)
    plan = QuantizationAdvisor(tracker, calibration=calibration, scales="tensor").mixed_precision_plan(bits=3)
    with pytest.raises(FlowGradError, match="the plan has axis=None; give scales= as it had"):
        QuantizationAdvisor(tracker, calibration=calibration).plan_again(plan)
    with pytest.raises(FlowGradError, match="the plan's numbers are of a calibration; give one here too"):
        QuantizationAdvisor(tracker, scales="tensor").plan_again(plan)
    again = QuantizationAdvisor(tracker, calibration=calibration, scales="tensor").plan_again(plan)
    assert again.layers == plan.layers
    assert again.calibration_rise == pytest.approx(plan.calibration_rise)


def test_without_8_bits_among_the_levels_plans_are_fitted_too(tracker):
    calibration = Calibration.of_pairs(pairs(0), CRITERION)  # the rows of the training, where all rounding hurts
    whole = QuantizationAdvisor(tracker, calibration=calibration, fitted=True).uniform_plan(2)
    advisor = QuantizationAdvisor(tracker, calibration=calibration, levels=(2,))
    plan = advisor.mixed_precision_plan(bits=2)
    assert plan.reason == "the budget has room for 2 bits everywhere"
    assert plan.calibration_rise == pytest.approx(whole.calibration_rise)
    assert 0 < whole.calibration_rise < 0.8 * plan.uniform_rise
    between = (whole.calibration_rise + plan.uniform_rise) / 2
    assert advisor.mixed_precision_plan(loss=between).calibration_rise <= between
    with pytest.raises(FlowGradError, match="2 bits everywhere raise the calibration loss by"):
        advisor.mixed_precision_plan(loss=0.0)


def test_each_tensor_is_rounded_once_a_way(tracker, monkeypatch):
    calls = []
    rounded = Compensation.rounded

    def counted(self, weights, bits, axis=0):
        calls.append(bits)
        return rounded(self, weights, bits, axis)

    monkeypatch.setattr(Compensation, "rounded", counted)
    advisor = QuantizationAdvisor(tracker, calibration=Calibration.of_pairs(pairs(), CRITERION))
    advisor.uniform_plan(4)
    assert not calls  # the nearest numbers need none
    for bits in (4, 3, 2):
        advisor.mixed_precision_plan(bits=bits)
    assert sorted(calls) == [2] * 3 + [3] * 3 + [4] * 3


def test_inputs_are_seen_of_what_was_compiled(tracker):
    model = network()
    model.load_state_dict(tracker.model.state_dict())
    model[0] = torch.compile(model[0], backend="eager")
    advisor = QuantizationAdvisor(model, calibration=Calibration.of_pairs(pairs(), CRITERION), fitted=True)
    assert np.isfinite(advisor._allocation.losses).all()  # it has run without hooks
    assert all(layer.rounded is not None for layer in advisor.uniform_plan(3).layers)


def test_where_fitted_tensors_are_unlucky_some_are_rounded_to_the_nearest_again(tracker, monkeypatch):
    """A plan is no worse on the calibration than the nearest numbers of the same bits, whatever chance does there."""
    calibration = Calibration.of_pairs(pairs(), CRITERION)
    advisor = QuantizationAdvisor(tracker, calibration=calibration)
    advisor.mixed_precision_plan(bits=4)  # all that is foretold is known
    fitted = advisor._allocation._scaled.rounding
    losses = advisor._bench.losses

    def unlucky(changed=None):
        found = losses(changed)
        same = changed is not None and np.array_equal(
            changed["0.weight"], fitted.values(fitted.everywhere(4))["0.weight"]
        )
        return found + same

    monkeypatch.setattr(advisor._bench, "losses", unlucky)
    plan = advisor.mixed_precision_plan(bits=4)
    assert plan.calibration_rise <= plan.uniform_rise
    assert not plan.layers[0].fitted
    assert any(layer.fitted for layer in plan.layers)


# --- odd models ------------------------------------------------------------------------------------------------------


def test_a_frozen_layer_keeps_the_most_bits_that_fit():
    model = network()
    model[2].weight.requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 0.02)
    trained(model, optimizer)
    advisor = QuantizationAdvisor(model, optimizer)
    assert advisor.summary()["unknown"] == 1
    assert math.isnan(advisor.sensitivity().loc["2.weight", 2])
    plan = advisor.mixed_precision_plan(size=advisor.uniform_size(4) + 90)
    bits = {layer.name: layer.bits for layer in plan.layers}
    assert bits["2.weight"] == 8
    assert plan.size <= advisor.uniform_size(4) + 90
    tight = advisor.mixed_precision_plan(bits=2)
    assert tight.size <= advisor.uniform_size(2)


def test_sgd_needs_a_calibration():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trained(model, optimizer)
    with pytest.raises(FlowGradError, match="SGD keeps no mean of squared gradients"):
        QuantizationAdvisor(model, optimizer)
    advisor = QuantizationAdvisor(model, optimizer, calibration=Calibration.of_pairs(pairs(), CRITERION))
    pd.testing.assert_frame_equal(advisor.sensitivity("second_moment"), advisor.sensitivity("fisher"))
    assert advisor.mixed_precision_plan(bits=4).score in {"uniform", "combined"}
    assert "second_moment" not in advisor.agreement()


def test_tables_have_a_scale_a_row_and_shared_ones_count_once():
    torch.manual_seed(0)
    table = nn.Embedding(20, 6, padding_idx=0)
    out = nn.Linear(6, 20, bias=False)
    out.weight = table.weight
    model = nn.Sequential(table, nn.Linear(6, 6), out)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    ids = torch.arange(1, 20)
    for _ in range(5):
        optimizer.zero_grad()
        CRITERION(model(ids), (ids + 1) % 20).backward()
        optimizer.step()
    advisor = QuantizationAdvisor(model, optimizer, scales="tensor", name="next")
    found = advisor.summary()
    assert (found["shared"], found["layers"], found["size"]) == (1, 2, 4 * (120 + 36 + 6))
    plan = advisor.uniform_plan(4)
    assert {layer.name: layer.axis for layer in plan.layers} == {"0.weight": 0, "1.weight": None}
    done = apply_recipe(model, plan, backend="fake").model
    assert done[0].weight is done[2].weight


def test_weights_that_are_not_finite():
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    trained(model, optimizer, epochs=1)
    with torch.no_grad():
        model[0].weight[0, 0] = math.nan
    advisor = QuantizationAdvisor(model, optimizer, calibration=Calibration.of_pairs(pairs(), CRITERION))
    with pytest.raises(FlowGradError, match=r"0.weight holds NaN or infinite weights; a quantisation plan of a broken"):
        advisor.mixed_precision_plan(bits=4)
    assert [finding.rule_id for finding in advisor.findings()] == ["quantization_nonfinite"]


# --- the report ------------------------------------------------------------------------------------------------------


def test_report(calibrated):
    xml = calibrated.to_agent_xml()
    assert xml.startswith("<flowgrad_quantization_report")
    validate(xml.encode())
    assert from_xml(xml.encode()).layer == "demo"
    measured = calibrated.measurements()
    assert set(measured.scalars) == {m.name for m in calibrated.MEASURES if not m.per_row}
    assert list(measured.tables["rows"].columns) == [m.name for m in calibrated.MEASURES if m.per_row]
    assert all(math.isfinite(value) for value in measured.scalars.values())
    assert measured.scalars["mixed_3"] <= measured.scalars["uniform_3"]
    assert np.isfinite(measured.tables["rows"].to_numpy()).all()


def test_without_calibration_8_bits_are_prescribed(advisor):
    found = {finding.rule_id: finding for finding in advisor.findings()}
    assert found["uniform_8_bits_unchecked"].fix.set == {"compression.bits": 8, "compression.mixed": False}


@pytest.mark.parametrize(("highest", "prescribes"), [(0.009, True), (0.011, False)])
def test_fewer_bits_are_prescribed_where_8_surely_hold_the_loss(advisor, highest, prescribes):
    scalars = {**advisor.measurements().scalars, "calibrated": 1.0, "uniform_8": 0.001, "uniform_8_high": highest}
    found = RuleBook.load().evaluate(Measurements("quantization", "m", scalars))
    fixes = [dict(finding.fix.set) for finding in found if finding.fix]
    assert fixes == ([{"compression.loss": 0.01}] if prescribes else [])


def test_plot(advisor, tmp_path):
    pytest.importorskip("matplotlib")
    for name in ("one.svg", "two.svg"):
        advisor.plot_sensitivity(tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_nothing_is_changed_by_looking(tracker):
    before = {name: tensor.clone() for name, tensor in tracker.model.state_dict().items()}
    tracker.model.train()
    random = torch.get_rng_state()
    QuantizationAdvisor(tracker, calibration=Calibration.of_pairs(pairs(), CRITERION)).report()
    assert torch.equal(random, torch.get_rng_state())
    assert tracker.model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in tracker.model.state_dict().items())


def test_plans_are_equal_on_every_call(calibrated):
    assert calibrated.mixed_precision_plan(bits=4) == calibrated.mixed_precision_plan(bits=4)
    assert replace(calibrated.mixed_precision_plan(bits=4), score="x") != calibrated.mixed_precision_plan(bits=4)
