"""A recipe applied: to layers of every kind, to shared and odd ones, by torchao and without, and to a file."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

from flowgrad import FlowGradError
from flowgrad.compression import (
    LayerBits,
    LayerMask,
    PruningPlan,
    QuantizationPlan,
    Recipe,
    RowPlan,
    TableRows,
    apply_recipe,
    latency,
    make_permanent,
    read_packed,
    saved_size,
    write_packed,
)
from flowgrad.compression.applying import COMPENSATED
from flowgrad.compression.plans import Rounded
from flowgrad.compression.weights import weights_of
from flowgrad.measures.quantization import quantize


class Net(nn.Module):
    """Layers of each kind; the output layer shares the table."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(7, 4, padding_idx=0)
        self.conv = nn.Conv1d(4, 6, 3, padding=1)
        self.back = nn.ConvTranspose1d(6, 4, 3, padding=1)
        self.rnn = nn.LSTM(4, 4, batch_first=True)
        self.inner = nn.Linear(4, 4)
        self.out = nn.Linear(4, 7, bias=False)
        self.out.weight = self.table.weight

    def forward(self, ids):
        seen = self.back(self.conv(self.table(ids).transpose(1, 2))).transpose(1, 2)
        return self.out(self.inner(self.rnn(seen)[0][:, -1]))


IDS = torch.tensor([[1, 2, 3], [4, 5, 0]])


def quantization(model, bits):
    layers = tuple(LayerBits(w.name, w.shape, bits, w.axis) for w in weights_of(model)[0])
    return QuantizationPlan(layers, "uniform", 0)


def pruning(model, every=2):
    masks = []
    for weight in weights_of(model)[0]:
        keep = np.arange(np.prod(weight.shape)).reshape(weight.shape) % every != 0
        masks.append(LayerMask(weight.name, weight.shape, keep))
    return PruningPlan(0.5, "magnitude", None, tuple(masks), 0)


def test_names_and_axes_of_weights():
    found = {w.name: w for w in weights_of(Net())[0]}
    assert found["table.weight"].aliases == ("out.weight",)
    assert (found["table.weight"].padding, found["table.weight"].is_table) == (None, True)  # it is an output too
    assert "out.weight" not in found
    assert [found[name].units for name in ("conv.weight", "back.weight", "rnn.weight_ih_l0", "inner.weight")] == [
        6, 4, 16, 4,
    ]  # fmt: skip


@pytest.mark.parametrize("bits", [8, 3])
def test_every_kind_of_layer_is_quantised_in_values(bits):
    model = Net()
    done = apply_recipe(model, quantization(model, bits), backend="fake")
    before, after = dict(model.named_parameters()), dict(done.model.named_parameters())
    for weight in weights_of(model)[0]:
        expected = quantize(before[weight.name].detach().numpy(), bits, weight.axis).values()
        np.testing.assert_array_equal(after[weight.name].detach().numpy(), expected)
    assert torch.equal(before["inner.bias"], after["inner.bias"])
    assert done.model.out.weight is done.model.table.weight
    assert done.layers["how"].str.startswith("fake quantisation").all()
    assert not torch.equal(model(IDS), done.model(IDS))


def test_the_model_given_stays_as_it_is():
    model = Net()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    apply_recipe(model, Recipe.of(pruning(model), quantization(model, 2)), backend="fake")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert apply_recipe(model, pruning(model), inplace=True).model is model
    assert not torch.equal(model.inner.weight, before["inner.weight"])


def test_pruned_by_masks_and_for_good():
    model, plan = Net(), pruning(Net())
    masked = apply_recipe(model, plan, keep_masks=True).model
    plain = apply_recipe(model, plan).model
    assert "inner.weight_orig" in dict(masked.named_parameters())
    assert list(plain.state_dict()) == list(model.state_dict())
    assert torch.equal(masked(IDS), plain(IDS))
    make_permanent(masked)
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, masked.state_dict()[name])
    assert masked.out.weight is masked.table.weight
    for mask in plan.layers:
        assert (dict(plain.named_parameters())[mask.name].detach().numpy()[~mask.keep] == 0).all()


def test_pruned_weights_stay_zero_while_the_rest_are_trained():
    model = apply_recipe(Net(), pruning(Net()), keep_masks=True).model
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(IDS), torch.tensor([1, 2])).backward()
        optimizer.step()
    make_permanent(model)
    for mask in pruning(Net()).layers:
        weights = dict(model.named_parameters())[mask.name].detach().numpy()
        assert (weights[~mask.keep] == 0).all()
        assert (weights[mask.keep] != 0).any()


@pytest.mark.parametrize("keep_masks", [False, True])
def test_rows_of_a_table(keep_masks):
    model = Net()
    plan = RowPlan(0.5, "norm", (TableRows("table.weight", (7, 4), (2, 5)),), 6)
    recipe = Recipe.of(pruning(model), plan)
    done = apply_recipe(model, recipe, keep_masks=keep_masks)
    assert (done.model.table.weight[[2, 5]] == 0).all()
    assert (done.model.table.weight[[1, 3]] != 0).any()
    assert done.layers.set_index("name").loc["table.weight", ["pruned", "rows"]].tolist() == [14, 2]
    done.model(IDS)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype):
    model = nn.Sequential(nn.Linear(4, 3)).to(dtype)
    done = apply_recipe(model, quantization(model, 8), backend="fake").model
    assert done[0].weight.dtype == dtype
    assert (done[0].weight - model[0].weight).abs().max() < 0.01


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda plan: LayerBits("iner.weight", (4, 4), 4, 0), "lacks; did you mean 'inner.weight'"),
        (
            lambda plan: LayerBits("inner.weight", (4, 5), 4, 0),
            r"has shape \[4, 4\], and the recipe was made for \[4, 5\]",
        ),
    ],
)
def test_a_recipe_of_another_model(change, message):
    model = Net()
    plan = QuantizationPlan((change(None),), "uniform", 0)
    with pytest.raises(FlowGradError, match=message):
        apply_recipe(model, plan)


def test_mistakes():
    model = Net()
    plan = quantization(model, 4)
    with pytest.raises(FlowGradError, match=r"backend='torch_ao' is unknown; did you mean 'torchao'"):
        apply_recipe(model, plan, backend="torch_ao")
    with pytest.raises(FlowGradError, match="keep_masks=True with a plan that quantises"):
        apply_recipe(model, plan, keep_masks=True)
    masked = apply_recipe(model, pruning(model), keep_masks=True).model
    with pytest.raises(FlowGradError, match=r"under a mask of torch.nn.utils.prune; make that permanent first"):
        apply_recipe(masked, plan)
    with torch.no_grad():
        model.inner.weight[0, 0] = float("nan")
    with pytest.raises(FlowGradError, match=r"inner.weight holds NaN or infinite weights, which cannot be quantised"):
        apply_recipe(model, plan)


def test_without_torchao_the_error_names_the_way_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao", None)
    model = nn.Sequential(nn.Linear(4, 3))
    with pytest.raises(ImportError, match=r"backend='torchao' needs torchao: pip install 'flowgrad\[compress\]'"):
        apply_recipe(model, quantization(model, 8), backend="torchao")
    assert apply_recipe(model, quantization(model, 8)).layers["how"].str.startswith("fake").all()


@pytest.mark.parametrize("bits", [8, 4])
def test_by_torchao(bits):
    pytest.importorskip("torchao")
    torch.manual_seed(1)
    model = nn.Sequential(nn.Embedding(50, 32), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 4))
    done = apply_recipe(model, quantization(model, bits), backend="torchao")
    assert done.layers["how"].str.startswith("torchao").all()
    ids = torch.arange(50)
    rounded = apply_recipe(model, quantization(model, bits), backend="fake").model(ids)
    scale = model(ids).std()
    assert (done.model(ids) - model(ids)).abs().mean() < (0.02 if bits == 8 else 0.3) * scale
    # It rounds layers in 8 bits itself; all other numbers are the plan's.
    assert (done.model(ids) - rounded).abs().mean() < (0.02 * scale if bits == 8 else 1e-6)
    # Three and two bits, shared layers and other kinds are rounded in values.
    done = apply_recipe(Net(), quantization(Net(), bits), backend="torchao")
    how = done.layers.set_index("name")["how"]
    assert how["inner.weight"].startswith("torchao")
    assert how.drop("inner.weight").str.startswith("fake").all()
    done.model(IDS)


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_packed_and_read(tmp_path, bits):
    model = Net()
    recipe = Recipe.of(pruning(model, every=4), quantization(model, bits))
    done = apply_recipe(model, recipe, backend="fake").model
    written = write_packed(done, tmp_path / "small.fg", recipe)
    assert written == (tmp_path / "small.fg").stat().st_size
    other = Net()
    read_packed(other, tmp_path / "small.fg")
    for name, tensor in done.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def test_the_size_of_a_file_is_what_the_plan_says(tmp_path):
    """But for the header, which names the tensors."""
    model = nn.Sequential(nn.Linear(256, 128), nn.Linear(128, 10))
    dense = write_packed(model, tmp_path / "dense")
    assert dense == pytest.approx(4 * sum(p.numel() for p in model.parameters()), abs=600)
    for bits in (8, 4, 3, 2):
        kept = 4 * (128 + 10)
        codes = sum(-(-w.parameter.numel() * bits // 8) + 2 * w.units + 4 for w in weights_of(model)[0])
        found = write_packed(model, tmp_path / "small", Recipe.of(quantization(model, bits)))
        assert found <= codes + kept + 700
        if bits > 3:  # below, many codes are 0, and are stored as a bit each
            assert found == pytest.approx(codes + kept, abs=700)
    sparse = apply_recipe(model, pruning(model, every=2)).model
    assert write_packed(sparse, tmp_path / "sparse") < 0.6 * dense


def test_what_a_model_takes():
    model = nn.Sequential(nn.Linear(64, 64))
    assert saved_size(model) == pytest.approx(4 * (64 * 64 + 64), abs=2500)
    seen = []
    seconds = latency(lambda: seen.append(model(torch.ones(2, 64)).requires_grad), repeats=4, warm_up=2)
    assert seconds > 0
    assert seen == [False] * 6
    with pytest.raises(FlowGradError, match="repeats=0: must be 1 or more"):
        latency(model, repeats=0)


def test_a_buffer_of_one_number_is_read_back(tmp_path):
    """A tensor without dimensions came back as one of shape (1,), and the model could not be loaded."""
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    model.register_buffer("mean", torch.tensor(3.5))
    other.register_buffer("mean", torch.tensor(0.0))
    write_packed(model, tmp_path / "model")
    read_packed(other, tmp_path / "model")
    assert other.mean.shape == ()
    assert float(other.mean) == 3.5


def test_packed_files_that_cannot_be_read(tmp_path):
    path = tmp_path / "model"
    write_packed(nn.Linear(3, 2), path)
    with pytest.raises(FlowGradError, match=r"'0.bias' is in one of the file and Sequential"):
        read_packed(nn.Sequential(nn.Linear(3, 2)), path)
    with pytest.raises(FlowGradError, match=r"weight has shape \[2, 3\], the model \[2, 4\]"):
        read_packed(nn.Linear(4, 2), path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(FlowGradError, match="no packed model, or a damaged one"):
        read_packed(nn.Linear(3, 2), path)
    path.write_bytes(b"something else")
    with pytest.raises(FlowGradError, match="does not begin with FLOWGRAD"):
        read_packed(nn.Linear(3, 2), path)


@pytest.mark.parametrize("last", [nn.Linear(3, 4), nn.Linear(3, 2).to("meta"), nn.Linear(3, 2)])
def test_a_file_that_does_not_fit_whole_changes_no_tensor(last, tmp_path):
    """The first tensors were written before the last one's shape was compared."""
    write_packed(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)), tmp_path / "m.fg")
    model = nn.Sequential(nn.Linear(2, 3), last)
    if last.weight.shape == (2, 3) and not last.weight.is_meta:
        model[1].weight = nn.Parameter(torch.zeros(2, 3, dtype=torch.int64), requires_grad=False)
    before = model[0].weight.detach().clone()
    with pytest.raises(FlowGradError, match=r"1\.weight"):
        read_packed(model, tmp_path / "m.fg")
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize("bits", [8, 4])
def test_a_table_of_one_column_is_left_to_fake_quantisation(bits):
    """Torchao failed on the biases of a matrix factorisation: «shape '[943, 1]' is invalid for input of size 1»."""
    pytest.importorskip("torchao")
    model = nn.Sequential(nn.Embedding(9, 1))
    done = apply_recipe(model, quantization(model, bits))
    assert "torchao" not in done.layers["how"].iloc[0]
    assert torch.isfinite(done.model(torch.arange(9))).all()


def own_numbers(model, bits=3):
    """A plan with numbers of its own, far from the nearest, for each tensor as it is."""
    layers = []
    for w in weights_of(model)[0]:
        values = dict(model.named_parameters())[w.name].detach().float().numpy()
        nearest = quantize(values, bits, w.axis)
        to = nearest._replace(codes=np.where(nearest.codes > 0, nearest.codes - 1, nearest.codes).astype(np.int8))
        layers.append(LayerBits(w.name, w.shape, bits, w.axis, True, Rounded.made(to, values)))
    return QuantizationPlan(tuple(layers), "uniform", 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_numbers_of_its_own_are_applied_and_packed(dtype, tmp_path):
    model = Net().to(dtype)
    plan = own_numbers(model)
    done = apply_recipe(model, plan, backend="fake")
    assert (done.layers["how"] == COMPENSATED).all()
    values = dict(done.model.named_parameters())
    for layer in plan.layers:
        assert torch.equal(values[layer.name], torch.from_numpy(layer.rounded.to.values()).to(dtype))
    again = apply_recipe(done.model, plan, backend="fake").model  # twice is once
    assert all(torch.equal(a, b) for a, b in zip(done.model.parameters(), again.parameters(), strict=True))
    sizes = [write_packed(one, tmp_path / "m.fg", Recipe.of(plan)) for one in (model, done.model)]
    assert sizes[0] == sizes[1]
    read = Net().to(dtype)
    read_packed(read, tmp_path / "m.fg")
    assert all(torch.equal(a, b) for a, b in zip(done.model.parameters(), read.parameters(), strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_torchao_takes_numbers_of_its_own(dtype):
    pytest.importorskip("torchao")
    torch.manual_seed(1)
    model = nn.Sequential(nn.Embedding(50, 32), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 4)).to(dtype)
    plan = own_numbers(model, bits=4)
    done, fake = (apply_recipe(model, plan, backend=backend) for backend in ("torchao", "fake"))
    assert done.layers["how"].str.startswith("torchao IntxUnpackedToInt8Tensor, int4").all()
    ids = torch.arange(50)
    torch.testing.assert_close(done.model(ids), fake.model(ids), rtol=0, atol=1e-6 if dtype == torch.float32 else 0.02)


def test_numbers_of_its_own_are_of_what_pruning_leaves():
    model = Net()
    masks = pruning(model)
    rows = RowPlan(0.5, "norm", (TableRows("table.weight", (7, 4), (2, 5)),), 7)
    left = apply_recipe(model, Recipe(masks, rows), backend="fake").model
    plan = own_numbers(left)
    whole = apply_recipe(model, Recipe(masks, rows, plan), backend="fake").model
    parts = apply_recipe(left, plan, backend="fake").model
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), parts.parameters(), strict=True))


def test_other_weights_are_refused_before_anything_is_changed(tmp_path):
    model = Net()
    recipe = Recipe(pruning(model), None, own_numbers(apply_recipe(model, pruning(model)).model))
    with torch.no_grad():
        model.inner.weight[0, 1] += 0.1
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for inplace in (True, False):
        with pytest.raises(FlowGradError, match=r"inner\.weight: the recipe rounds other weights than these"):
            apply_recipe(model, recipe, inplace=inplace)
    with pytest.raises(FlowGradError, match="the recipe rounds other weights"):
        write_packed(model, tmp_path / "m.fg", recipe)
    assert not list(tmp_path.iterdir())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(hasattr(module, "weight_mask") for module in model.modules())
