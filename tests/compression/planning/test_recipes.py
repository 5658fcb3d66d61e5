"""A recipe in one call, by settings and by the rules."""

import numpy as np
import pytest
import torch
from torch import nn

from flowgrad import Calibration, FlowGradError, QuantizationAdvisor, apply_recipe
from flowgrad.compression import Recipe
from flowgrad.compression.planning.calibration import highest_rise
from flowgrad.compression.planning.recipes import plan_recipe, prescribed, prescribed_recipe


@pytest.fixture(scope="module")
def run():
    """A wide net on an easy target, its optimizer, and a calibration."""
    torch.manual_seed(0)
    x = torch.randn(160, 6)
    y = (x[:, 0] + x[:, 1] > 0).long()
    model = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 2))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[:96]), y[:96]).backward()
        optimizer.step()
    batches = list(zip(x[96:].chunk(4), y[96:].chunk(4), strict=True))
    return model, optimizer, Calibration.of_pairs(batches, nn.CrossEntropyLoss())


def test_bits_are_shared_out_for_what_pruning_leaves(run):
    model, optimizer, calibration = run
    recipe = plan_recipe(model, optimizer, calibration=calibration, sparsity=0.5, bits=4)
    pruned = apply_recipe(model, recipe.pruning).model
    done = apply_recipe(model, recipe, backend="fake").model
    advisor = QuantizationAdvisor(model, optimizer, calibration=calibration, after=recipe.pruning)
    assert advisor.mixed_precision_plan(bits=4) == recipe.quantization
    x, _ = calibration.batches[0]
    with torch.no_grad():
        assert torch.equal(apply_recipe(pruned, recipe.quantization, backend="fake").model(x), done(x))
        losses = [
            sum(float(nn.functional.cross_entropy(one(x), y)) for x, y in calibration.batches) for one in (pruned, done)
        ]
    rise = (losses[1] - losses[0]) / losses[0]
    assert recipe.quantization.calibration_rise == pytest.approx(rise, rel=1e-3, abs=1e-6)
    assert (done[0].weight == 0).float().mean() >= 0.4


def test_what_is_not_asked_for_is_not_planned(run):
    model, optimizer, _ = run
    only = plan_recipe(model, optimizer, bits=8, mixed=False)
    assert (only.pruning, only.rows, only.quantization.score) == (None, None, "uniform")
    assert plan_recipe(model, optimizer, sparsity=0.2).quantization is None
    with pytest.raises(FlowGradError, match="nothing to plan"):
        plan_recipe(model, optimizer)
    with pytest.raises(FlowGradError, match="mixed=False takes the same bits everywhere"):
        plan_recipe(model, optimizer, size=900, mixed=False)


@pytest.mark.parametrize("loss", [0, 0.02, 0.5])
def test_a_loss_is_of_all_that_is_done_and_of_the_interval_s_end(run, loss):
    model, optimizer, calibration = run
    recipe = plan_recipe(model, optimizer, calibration=calibration, sparsity=0.9, loss=loss)
    done = apply_recipe(model, recipe, backend="fake").model
    pruned = apply_recipe(model, recipe.pruning).model
    before, half, whole = (losses_of(one, calibration) for one in (model, pruned, done))
    assert highest_rise(half, before) <= loss / 2 + 1e-6
    assert highest_rise(whole, before) <= loss + 1e-6


def losses_of(model, calibration):
    """Of each batch."""
    with torch.no_grad():
        return np.array([float(nn.functional.cross_entropy(model(x), y)) for x, y in calibration.batches])


def test_the_more_loss_the_less_is_left(run):
    model, optimizer, calibration = run
    found = [plan_recipe(model, optimizer, calibration=calibration, sparsity=0.9, loss=loss) for loss in (0.01, 0.5)]
    assert found[0].pruning.sparsity <= found[1].pruning.sparsity
    assert found[0].quantization.size >= found[1].quantization.size


def at_the_least_squares():
    """A linear model at the least squares of the calibration rows, where every change does harm."""
    generator = torch.Generator().manual_seed(0)
    x, noise = torch.randn(64, 6, generator=generator), torch.randn(64, 1, generator=generator)
    y = x @ torch.tensor([[1.0], [0.7], [-0.4], [0.2], [0.9], [-1.3]]) + 0.01 * noise
    model = nn.Linear(6, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.linalg.lstsq(x, y).solution.T)
    optimizer = torch.optim.Adam(model.parameters(), 0.0)
    nn.functional.mse_loss(model(x), y).backward()
    optimizer.step()
    return model, optimizer, Calibration.of_pairs(zip(x.chunk(4), y.chunk(4), strict=True), nn.MSELoss()), x


def test_where_every_change_does_harm_nothing_is_done():
    model, optimizer, calibration, x = at_the_least_squares()
    recipe = plan_recipe(model, optimizer, calibration=calibration, sparsity=0.9, loss=0.01)
    assert (recipe.pruning.sparsity, recipe.pruning.pruned) == (0, 0)
    assert {layer.bits for layer in recipe.quantization.layers} == {32}
    assert torch.equal(apply_recipe(model, recipe).model(x), model(x))
    assert prescribed_recipe(model, optimizer, calibration=calibration) == Recipe()


def test_the_most_bits_need_hold_a_loss_on_the_mean_only():
    model, optimizer, calibration, _ = at_the_least_squares()
    advisor = QuantizationAdvisor(model, optimizer, calibration=calibration)
    measured, loss = advisor.measurements().scalars, advisor.uniform_rise(8) + 1e-6
    assert 0 < measured["uniform_8"] < loss < measured["uniform_8_high"]
    assert {layer.bits for layer in advisor.mixed_precision_plan(loss=loss).layers} == {8}
    recipe = plan_recipe(model, optimizer, calibration=calibration, loss=loss)
    assert {layer.bits for layer in recipe.quantization.layers} == {8}
    with pytest.raises(FlowGradError, match="8 bits everywhere raise the calibration loss by"):
        advisor.mixed_precision_plan(loss=advisor.uniform_rise(8) / 2)


def test_the_rules_recipe_is_written_read_and_applied(run, tmp_path):
    model, optimizer, calibration = run
    recipe = prescribed_recipe(model, optimizer, calibration=calibration)
    assert recipe.quantization is not None
    for plan in (recipe.pruning, recipe.quantization):
        assert plan is None or plan.calibration_rise < 0.01
    recipe.write(tmp_path / "recipe.yaml")
    x, _ = calibration.batches[0]
    one = apply_recipe(model, tmp_path / "recipe.yaml", backend="fake").model
    other = apply_recipe(model, recipe, backend="fake").model
    assert torch.equal(one(x), other(x))
    assert Recipe.read(tmp_path / "recipe.yaml").quantization == recipe.quantization


def test_without_calibration_8_bits(run):
    model, optimizer, _ = run
    recipe = prescribed_recipe(model, optimizer)
    assert {layer.bits for layer in recipe.quantization.layers} == {8}


def test_settings_that_findings_prescribe(run):
    model, optimizer, calibration = run
    advisor = QuantizationAdvisor(model, optimizer, calibration=calibration)
    settings = prescribed(advisor.findings())
    assert set(settings) == {"loss"}
    assert prescribed([]) == {}
