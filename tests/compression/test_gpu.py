"""Plans of a model on a GPU, and what applies them."""

import pytest
import torch
from torch import nn

from flowgrad import Calibration, QuantizationAdvisor, SaliencyAnalyzer, apply_recipe
from flowgrad.compression import Recipe, read_packed, write_packed

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def trained(device):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 16), nn.ReLU())
    model.append(nn.Linear(16, 3)).to(device)
    x = torch.randn(256, 1, 6, 6, generator=torch.Generator().manual_seed(1)).to(device)
    y = (x.mean((1, 2, 3)) * 9).round().clamp(-1, 1).long() + 1
    optimizer, loss = torch.optim.Adam(model.parameters(), 0.01), nn.CrossEntropyLoss()
    for _ in range(20):
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()
    return model, optimizer, Calibration.of_pairs(list(zip(x.chunk(8), y.chunk(8), strict=True)), loss)


def losses(model, calibration):
    with torch.no_grad():
        return [float(calibration.criterion(calibration.outputs(model, batch), batch)) for batch in calibration.batches]


@pytest.mark.parametrize("bits", [4, 3])
def test_plans_on_a_gpu_do_what_they_say(bits, tmp_path):
    model, optimizer, calibration = trained("cuda")
    before = [p.clone() for p in model.parameters()]
    pruning = SaliencyAnalyzer(model, optimizer, calibration=calibration).pruning_plan(0.3)
    advisor = QuantizationAdvisor(model, optimizer, calibration=calibration, after=pruning, fitted=True)
    recipe = Recipe.of(pruning, advisor.uniform_plan(bits))
    assert all(layer.rounded is not None for layer in recipe.quantization.layers)
    recipe.write(tmp_path / "recipe.yaml")
    done = apply_recipe(model, tmp_path / "recipe.yaml", backend="fake").model
    assert all(p.is_cuda for p in done.parameters())
    base = sum(losses(apply_recipe(model, pruning).model, calibration))
    assert recipe.quantization.calibration_rise == pytest.approx(sum(losses(done, calibration)) / base - 1, abs=1e-4)
    write_packed(done, tmp_path / "m.fg", recipe)
    again = trained("cpu")[0]
    read_packed(again, tmp_path / "m.fg")
    assert all(torch.equal(a, b.cpu()) for a, b in zip(again.parameters(), done.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_the_inputs_seen_are_those_of_a_cpu():
    model, optimizer, calibration = trained("cuda")
    there = QuantizationAdvisor(model, optimizer, calibration=calibration)._inputs
    here = Calibration(
        [tuple(part.cpu() for part in one) for one in calibration.batches], calibration.outputs, calibration.criterion
    )
    same = QuantizationAdvisor(model.cpu(), calibration=here)._inputs
    for name, moments in same.items():
        most = abs(moments.inputs).max()
        assert there[name].inputs == pytest.approx(moments.inputs, rel=1e-3, abs=1e-3 * most)


def test_torchao_computes_with_the_plans_numbers_there():
    pytest.importorskip("torchao")
    model, optimizer, calibration = trained("cuda")
    plan = QuantizationAdvisor(model, optimizer, calibration=calibration, fitted=True).uniform_plan(4)
    done, fake = (apply_recipe(model, plan, backend=backend) for backend in ("torchao", "fake"))
    assert done.layers["how"].str.startswith("torchao IntxUnpackedToInt8Tensor").sum() == 2
    assert losses(done.model, calibration) == pytest.approx(losses(fake.model, calibration), rel=1e-3)
