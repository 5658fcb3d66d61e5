"""A recipe in one call, by settings and by the rules."""

import pytest
import torch
from torch import nn

from flowgrad import Calibration, FlowGradError, QuantizationAdvisor, apply_recipe
from flowgrad.analyzers.recipes import plan_recipe, prescribed, prescribed_recipe
from flowgrad.compression import Recipe


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
    assert set(settings) == {"bits", "mixed"}
    assert prescribed([]) == {}
