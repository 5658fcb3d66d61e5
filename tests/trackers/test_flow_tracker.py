"""The tracker of whole networks: its contract, what it finds against plain versions, and loops of every kind."""

import copy
import io
import math
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from flowgrad import FlowTracker, run_report
from flowgrad.report import from_xml, validate
from flowgrad.rules import RuleBook
from flowgrad.testing import TrackerContract, seeded
from flowgrad.trackers.flow import look
from flowgrad.trackers.flow.history import LOOKS, History, Losses
from flowgrad.trackers.schedules import default, every, logarithmic

RULES = RuleBook.load()
WIDTH = 6
EVERY = every(1)


def batch(step, size=16):
    rng = np.random.default_rng([11, step])
    x = torch.from_numpy(rng.normal(size=(size, WIDTH))).float()
    return x, x[:, :1] * x[:, 1:2]


def network(activation=nn.ReLU, width=8):
    return nn.Sequential(
        nn.Linear(WIDTH, width), activation(), nn.Dropout(0.1), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1)
    )


def loss_of(model, step):
    x, y = batch(step)
    return (model(x) - y).square().mean()


# --- the contract ----------------------------------------------------------------------------------------------------


class FlowContract(TrackerContract):
    steps = 24
    schedule = staticmethod(every(1))
    with_optimizer = True

    def make_model(self):
        return network()

    def make_optimizer(self, model):
        self.optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        return self.optimizer

    def make_tracker(self, model):
        return FlowTracker(model, rules=RULES, schedule=self.schedule)

    def watched(self, model):
        return model[1]

    def loss(self, model, step):
        return loss_of(model, step)

    def tell(self, tracker):
        tracker.step(0.5)


class TestEveryStep(FlowContract):
    pass


class TestEveryThird(FlowContract):
    schedule = staticmethod(every(3))


class TestConvolutions(FlowContract):
    def make_model(self):
        return nn.Sequential(
            nn.Unflatten(1, (1, WIDTH)),
            nn.Conv1d(1, 4, 3),
            nn.BatchNorm1d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16, 1),
        )

    def watched(self, model):
        return model[3]


class TestRecurrent(FlowContract):
    def make_model(self):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.rnn, self.head = nn.RNN(1, 5, batch_first=True), nn.Linear(5, 1)

            def forward(self, x):
                return self.head(self.rnn(x.unsqueeze(-1))[0][:, -1])

        return Net()

    def watched(self, model):
        return model.rnn


def trained(model, steps=40, optimizer=None, tracker=None, schedule=EVERY, **options):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01) if optimizer is None else optimizer
    tracker = FlowTracker(model, optimizer, rules=RULES, schedule=schedule, **options) if tracker is None else tracker
    for step in range(steps):
        optimizer.zero_grad()
        loss = loss_of(model, step)
        loss.backward()
        optimizer.step()
        tracker.step(loss)
    return tracker


def test_training_with_the_optimizer_hooked_is_undisturbed_bit_for_bit():
    weights = []
    for tracked in (False, True):
        with seeded():
            model = network()
            optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
            tracker = FlowTracker(model, optimizer, rules=RULES, schedule=every(1)) if tracked else None
            for step in range(20):
                optimizer.zero_grad()
                loss = loss_of(model, step)
                loss.backward()
                optimizer.step()
                if tracker is not None:
                    tracker.step(loss)
                    tracker.measurements()
            weights.append([p.detach().clone() for p in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))


def test_detach_takes_the_optimizers_hooks_off():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = trained(model, 3, optimizer)
    assert optimizer._optimizer_step_pre_hooks
    seen = tracker.measurements()
    tracker.detach()
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks
    assert not any(module._forward_hooks for module in model.modules())
    trained(model, 3, optimizer, tracker)
    after = tracker.measurements()
    assert after.tables["rows"].equals(seen.tables["rows"]), "results changed after detach()"


# --- what is measured, against plain versions ------------------------------------------------------------------------


def test_figures_equal_a_plain_loop():
    """Norms, velocities, ratios, cosines and signal to noise, computed from copies of every tensor at every step."""
    with seeded():
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        tracker = FlowTracker(model, optimizer, rules=RULES, schedule=every(1))
        names = [name for name, _ in model.named_parameters()]
        gradients, moves, before_norms = [], [], []
        for step in range(8):
            optimizer.zero_grad()
            loss_of(model, step).backward()
            gradients.append([p.grad.double().flatten().clone() for p in model.parameters()])
            before = [p.detach().clone().double() for p in model.parameters()]
            optimizer.step()
            after = [p.detach().double() for p in model.parameters()]
            moves.append([float((b - a).norm()) for a, b in zip(after, before, strict=True)])
            before_norms.append([float(b.norm()) for b in before])
            tracker.step()
    rows = tracker.measurements().tables["rows"].loc[names]
    moves, before_norms = np.array(moves), np.array(before_norms)
    norms = np.array([[float(g.norm()) for g in at] for at in gradients])
    assert rows["velocity"].to_numpy() == pytest.approx(moves.mean(axis=0), rel=1e-4)
    assert rows["update_ratio"].to_numpy() == pytest.approx((moves / before_norms).mean(axis=0), rel=1e-4)
    assert rows["gradient_norm"].to_numpy() == pytest.approx(norms.mean(axis=0), rel=1e-5)
    assert rows["weight_norm"].to_numpy() == pytest.approx([float(a.norm()) for a in after], rel=1e-5)
    assert rows["weight_range"].to_numpy() == pytest.approx([float(a.max() - a.min()) for a in after], rel=1e-5)
    assert rows["weight_deviation"].to_numpy() == pytest.approx([float(a.std(correction=0)) for a in after], abs=1e-6)
    for i, name in enumerate(names):
        g = torch.stack([at[i] for at in gradients])
        noise = float(g.var(dim=0).sum())
        signal = max(float(g.mean(dim=0).square().sum()) - noise / len(g), 0)
        assert rows["snr"][name] == pytest.approx(signal / noise, rel=1e-3, abs=1e-4)
        cosine = nn.functional.cosine_similarity(g[1:], g[:-1]).mean()
        assert rows["gradient_cosine"][name] == pytest.approx(float(cosine), abs=1e-4)


@pytest.mark.parametrize("shape", [(512, 512), (300, 1000), (64, 16, 9, 9), (70_001,)])
def test_a_part_of_a_large_tensor_has_the_norm_of_the_whole(shape):
    """Columns differ on purpose: a stride that divides the rows would see a few of them only."""
    with seeded():
        columns = torch.linspace(0.1, 3, shape[-1])
        update = torch.randn(shape) * columns
        weight = nn.Parameter(torch.randn(shape) * columns.flip(0))
        model = nn.Module()
        model.large = weight
        optimizer = torch.optim.SGD([weight], lr=0.5)
        tracker = FlowTracker(model, optimizer, rules=RULES, schedule=EVERY)
        norm = float(weight.detach().norm())
        weight.grad = update
        optimizer.step()
        tracker.step()
    part = look.part(weight.detach())
    assert look.PART / 8 < part.numel() <= look.PART < weight.numel()
    assert part.untyped_storage().data_ptr() == weight.untyped_storage().data_ptr(), "a copy was made"
    assert tracker.history("velocity")["large"].to_numpy() == pytest.approx(0.5 * float(update.norm()), rel=0.03)
    assert tracker.history("weight_norm")["large"].to_numpy() == pytest.approx(norm, rel=0.03)


def test_a_table_of_embeddings_is_compared_as_a_whole():
    """A batch moves a few rows of it, which a part would miss."""
    table = nn.Embedding(2000, 64)
    optimizer = torch.optim.SGD(table.parameters(), lr=1.0)
    tracker = FlowTracker(nn.Sequential(table), optimizer, rules=RULES, schedule=EVERY)
    before = table.weight.detach().clone()
    table(torch.tensor([1999])).sum().backward()
    optimizer.step()
    tracker.step()
    assert tracker.history("velocity")["0.weight"].to_numpy() == pytest.approx(
        float((table.weight.detach() - before).norm())
    )


def test_the_first_look_tells_gain_and_sensitivity():
    """Root mean square times the root of the fan-in, and gradient times weight over the loss, before the first step."""
    with seeded():
        model = network()
    before = {name: p.detach().clone() for name, p in model.named_parameters() if p.dim() > 1}
    optimizer = torch.optim.SGD(
        [{"params": model[:3].parameters(), "lr": 1e-4}, {"params": model[3:].parameters()}], lr=0.01
    )
    tracker = FlowTracker(model, optimizer, rules=RULES)
    loss = loss_of(model, 0)
    loss.backward()
    optimizer.step()
    tracker.step(loss)
    measured = tracker.measurements()
    rows = measured.tables["rows"]
    weights = {name: p for name, p in model.named_parameters() if p.dim() > 1}
    for name, p in weights.items():
        gain = float(before[name].square().mean().sqrt()) * math.sqrt(p.numel() / len(p))
        assert rows["gain"][name] == pytest.approx(gain, rel=1e-4)
        sensitivity = float(p.grad.norm() * before[name].norm() / loss.detach())
        assert rows["sensitivity"][name] == pytest.approx(sensitivity, rel=1e-4)
    gains, sensitivities = rows["gain"][list(weights)], rows["sensitivity"][list(weights)]
    assert measured.scalars["gain_first"] == pytest.approx(math.exp(np.log(gains).mean()))
    assert measured.scalars["least_sensitivity"] == pytest.approx(math.log10(sensitivities.min()))
    first = rows["update_ratio_first"][list(weights)]
    assert measured.scalars["fastest_update_ratio_first"] == pytest.approx(first.max())
    assert rows["update_lag"][list(weights)].to_list() == pytest.approx((first / first.max()).to_list())
    assert rows["lr_share"]["0.weight"] == pytest.approx(0.01)
    assert rows["lr_share"]["3.weight"] == 1


def test_dead_units_are_counted_on_activations():
    model = network()
    with torch.no_grad():
        model[0].bias[:3] = -100
    rows = trained(model).measurements().tables["rows"]
    assert rows["dead_share"]["0.weight"] == 3 / 8
    assert rows["dead_share"][["3.weight", "5.weight"]].tolist() == [0, 0]
    assert rows["dead_share"].drop(["0.weight", "3.weight", "5.weight"]).isna().all()


def test_a_unit_that_is_active_once_in_the_recent_looks_is_not_dead():
    model, tracker_steps = network(), 3 * 16
    tracker = trained(model, tracker_steps)
    with torch.no_grad():
        model[0].bias[:] = -100
    trained(model, 1, tracker=tracker, optimizer=tracker.optimizer)
    assert tracker.measurements().tables["rows"]["dead_share"]["0.weight"] < 1
    trained(model, 2 * 16, tracker=tracker, optimizer=tracker.optimizer)
    assert tracker.measurements().tables["rows"]["dead_share"]["0.weight"] == 1


class Functional(nn.Module):
    def __init__(self, bias=True):
        super().__init__()
        self.one, self.two = nn.Linear(WIDTH, 8, bias=bias), nn.Linear(8, 1)

    def forward(self, x):
        return self.two(torch.relu(self.one(x) - (0 if self.one.bias is not None else self.shift)))

    shift = torch.tensor([100.0] * 3 + [0.0] * 5)


@pytest.mark.parametrize("bias", [True, False])
def test_without_activation_modules_dead_units_are_those_without_gradient(bias):
    model = Functional(bias)
    if bias:
        with torch.no_grad():
            model.one.bias[:3] = -100
    rows = trained(model).measurements().tables["rows"]
    assert rows["dead_share"]["one.weight"] == 3 / 8


def test_channels_are_the_units_of_a_convolution():
    model = nn.Sequential(nn.Unflatten(1, (1, WIDTH)), nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 1))
    with torch.no_grad():
        model[1].bias[0] = -100
    rows = trained(model).measurements().tables["rows"]
    assert rows["dead_share"]["1.weight"] == 1 / 4


def test_saturation_of_tanh_and_of_a_recurrent_net():
    model = network()
    with torch.no_grad():
        model[3].weight.mul_(1000)
    assert trained(model, 10).measurements().tables["rows"]["saturation"]["3.weight"] > 0.9
    fresh = trained(network(), 10).measurements().tables["rows"]["saturation"]
    assert fresh["3.weight"] < 0.1
    assert fresh.drop("3.weight").isna().all()


def test_depth_is_the_order_of_use():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.body = nn.Linear(8, 1), nn.Linear(WIDTH, 8)

        def forward(self, x):
            return self.head(self.body(x).tanh())

    rows = trained(Backwards(), 3).measurements().tables["rows"]
    assert list(rows.index) == ["body.weight", "body.bias", "head.weight", "head.bias"]


def test_left_out_and_frozen():
    model = network()
    model[5].weight.requires_grad_(False)
    optimizer = torch.optim.Adam(model[3:].parameters(), lr=0.01)
    measured = trained(model, 5, optimizer).measurements()
    rows = measured.tables["rows"]
    assert measured.scalars["left_out"] == 2
    assert rows["moved"].to_dict() == {
        "0.weight": 0, "0.bias": 0, "3.weight": 1, "3.bias": 1, "5.weight": 0, "5.bias": 1
    }  # fmt: skip
    assert rows["velocity"]["0.weight"] == 0
    assert math.isnan(rows["velocity"]["5.weight"])
    assert rows["requires_grad"]["5.weight"] == 0
    assert [found.rule_id for found in RULES.evaluate(measured) if found.rule_id == "frozen_by_mistake"]


def test_parameter_groups_and_scheduler():
    model = network()
    groups = [{"params": model[0].parameters(), "lr": 0.001}, {"params": model[3:].parameters()}]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    tracker = FlowTracker(model, scheduler=scheduler, rules=RULES)
    trained(model, 2, optimizer, tracker)
    scheduler.step()
    measured = tracker.measurements()
    assert measured.tables["rows"]["lr_multiplier"]["0.weight"] == pytest.approx(0.01)
    assert measured.scalars["lr_first"] == pytest.approx(0.1)
    assert measured.scalars["lr_ratio"] == pytest.approx(0.5)


def test_inputs_and_epochs():
    tracker = FlowTracker(network(), rules=RULES)
    x = torch.stack([torch.arange(9000.0), torch.ones(9000), torch.arange(9000.0) * 10 + 5], dim=1)
    tracker.observe_inputs(x)
    tracker.end_epoch(2.0, 3.0)
    tracker.end_epoch(1.0, 2.0)
    scalars = tracker.measurements().scalars
    assert scalars["input_scale_ratio"] == pytest.approx(10)
    assert scalars["input_constant_share"] == pytest.approx(1 / 3)
    assert scalars["input_shift"] == pytest.approx(float((x[:, 2].mean() / x[:, 2].std(correction=0)).item()), rel=1e-5)
    assert (scalars["epochs"], scalars["val_best"], scalars["train_fall"]) == (2, 2.0, 0.5)
    with pytest.raises(ValueError, match=r"shape \(\); give rows"):
        tracker.observe_inputs(torch.tensor(1.0))


# --- cost ------------------------------------------------------------------------------------------------------------


class Transfers(TorchDispatchMode):
    """Counts reads of a tensor's numbers by the host."""

    def __init__(self):
        super().__init__()
        self.items = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.items += "_local_scalar_dense" in str(func)
        return func(*args, **(kwargs or {}))


def test_a_look_is_one_transfer_and_other_steps_are_none(monkeypatch):
    calls = []
    monkeypatch.setattr(look, "fetch", lambda values: calls.append(values.shape) or values.numpy().astype(float))
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = FlowTracker(model, optimizer, rules=RULES, schedule=every(4))
    for step in range(40):
        loss = loss_of(model, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with Transfers() as transfers:
            tracker.step(0.5)
        assert transfers.items == 0
    assert len(calls) == 10 == tracker.measurements().scalars["looks"]
    # Some numbers a tensor, never the tensor.
    assert max(shape.numel() for shape in calls) <= 6 * len(list(model.parameters()))


def test_hooks_are_there_only_while_a_step_is_looked_at():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = FlowTracker(model, optimizer, rules=RULES, schedule=every(4))
    hooked = []
    for _ in range(8):
        hooked.append(bool(model[1]._forward_hooks))
        trained(model, 1, optimizer, tracker)
    assert hooked == [step % 4 == 0 for step in range(8)]


def test_history_is_bounded_and_keeps_both_ends():
    history = History(1, 2)
    for step in range(1, 5001):
        history.append(step, np.full((1, 2), step, dtype=float))
    assert len(history) <= LOOKS
    assert history.steps[0] == 1
    assert history.steps[-1] == 5000
    assert (np.diff(history.steps) > 0).all()
    assert (history.of(0)[:, 0] == history.steps).all()


def test_losses_are_bounded_and_keep_their_mean():
    losses, values = Losses(), np.random.default_rng(0).exponential(size=5000)
    for value in values:
        losses.add(float(value))
    losses.add(math.nan)
    n, mean, square = losses.windows
    assert len(n) <= 512
    assert n.sum() == 5000
    assert losses.nonfinite == 1
    assert (n * mean).sum() / 5000 == pytest.approx(values.mean())
    assert square.sum() + (n * (mean - values.mean()) ** 2).sum() == pytest.approx(values.var() * 5000)


@pytest.mark.parametrize(("schedule", "most"), [(default(), 0.07), (logarithmic(16), 0.02), (every(50), 0.021)])
def test_schedules_look_at_few_steps(schedule, most):
    looked = [schedule(step) for step in range(1, 10_001)]
    assert looked[0]
    assert sum(looked) / len(looked) < most
    assert sum(looked[-1000:]) > 0


@pytest.mark.parametrize(
    "options", [{"steps": 0}, {"steps": 2, "in_a_row": 3}, {"steps": 2, "first": -1}, {"steps": 2, "in_a_row": 0}]
)
def test_schedules_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match="must be"):
        every(**options)


# --- loops of every kind ---------------------------------------------------------------------------------------------


def test_gradients_cleared_right_after_the_step_are_seen_all_the_same():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = FlowTracker(model, optimizer, rules=RULES, schedule=every(1))
    loss_of(model, 0).backward()
    optimizer.step()
    optimizer.zero_grad()
    tracker.step()
    assert (tracker.measurements().tables["rows"]["gradient_norm"] > 0).all()


def test_gradients_are_those_after_clipping():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = FlowTracker(model, optimizer, rules=RULES, schedule=every(1))
    loss_of(model, 0).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
    optimizer.step()
    tracker.step()
    assert tracker.measurements().scalars["total_gradient_norm"] == pytest.approx(1e-3, rel=1e-3)


def test_accumulated_gradients_are_one_step():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = FlowTracker(model, optimizer, rules=RULES, schedule=every(1))
    for step in range(4):
        loss_of(model, step).backward()
    total = math.hypot(*(float(p.grad.norm()) for p in model.parameters()))
    optimizer.step()
    tracker.step()
    scalars = tracker.measurements().scalars
    assert scalars["steps"] == 1
    assert scalars["total_gradient_norm"] == pytest.approx(total, rel=1e-5)


def test_a_closure_computes_gradients_within_the_step():
    model = network()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)
    tracker = FlowTracker(model, optimizer, rules=RULES, schedule=every(1))

    def closure():
        optimizer.zero_grad()
        loss = loss_of(model, 0)
        loss.backward()
        return loss

    for _ in range(3):
        tracker.step(optimizer.step(closure))
    rows = tracker.measurements().tables["rows"]
    assert (rows["gradient_norm"] > 0).all()
    assert (rows["velocity"] > 0).all()


def test_a_scaler_that_skips_a_step():
    """An overflow: the optimizer does not step, and the tracker is told all the same."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    tracker = FlowTracker(model, optimizer, rules=RULES, schedule=every(1))
    plain = []
    for step in range(4):
        optimizer.zero_grad()
        loss = loss_of(model, step)
        (plain_gradients,) = [torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)]
        plain.append(math.hypot(*(float(g.norm()) for g in plain_gradients)))
        scaler.scale(loss).backward()
        if step == 1:
            model[0].weight.grad[0, 0] = math.inf
        scaler.step(optimizer)
        scaler.update()
        tracker.step(loss)
    scalars = tracker.measurements().scalars
    assert (scalars["steps"], scalars["skipped_steps"], scalars["nonfinite_looks"]) == (3, 1, 0)
    assert scalars["total_gradient_norm"] == pytest.approx(np.mean([plain[i] for i in (0, 2, 3)]), rel=1e-4)


def test_a_scale_that_is_still_in_the_gradients_is_taken_out():
    """Fused optimizers unscale within the step, and carry the scale until then."""
    norms = []
    for scaled in (False, True):
        with seeded():
            model = network()
            optimizer = torch.optim.SGD(model.parameters(), lr=0.01, fused=True)
            scaler = torch.amp.GradScaler("cpu", init_scale=64.0, enabled=scaled)
            tracker = FlowTracker(model, optimizer, rules=RULES, schedule=every(1))
            for step in range(3):
                optimizer.zero_grad()
                scaler.scale(loss_of(model, step)).backward()
                scaler.step(optimizer)
                scaler.update()
                tracker.step()
            rows = tracker.measurements().tables["rows"]
            norms.append(rows[["gradient_norm", "snr", "gradient_cosine"]].to_numpy())
    assert norms[1] == pytest.approx(norms[0], rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types(dtype):
    model = network(nn.ReLU).to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = FlowTracker(model, optimizer, rules=RULES, schedule=every(1))
    for step in range(3):
        optimizer.zero_grad()
        x, y = (t.to(dtype) for t in batch(step))
        loss = (model(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        tracker.step(loss)
    rows = tracker.measurements().tables["rows"]
    assert np.isfinite(rows[["velocity", "gradient_norm", "snr", "weight_mean"]].to_numpy()).all()


def test_norms_of_half_precision_do_not_overflow():
    model = nn.Linear(300, 300).half()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    tracker = FlowTracker(model, optimizer, rules=RULES, schedule=every(1))
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1000.0)
    optimizer.step()
    tracker.step()
    assert tracker.measurements().tables["rows"]["gradient_norm"]["weight"] == pytest.approx(300_000, rel=1e-3)


def test_sparse_gradients_cost_no_copy_of_the_table():
    model = nn.Embedding(1000, 4, sparse=True)
    optimizer = torch.optim.SparseAdam(model.parameters(), lr=0.1)
    tracker = FlowTracker(model, optimizer, rules=RULES, schedule=every(1))
    before = model.weight.detach().clone()
    model(torch.tensor([1, 5, 5])).square().sum().backward()
    norm = float(model.weight.grad.to_dense().norm())
    optimizer.step()
    tracker.step()
    row = tracker.measurements().tables["rows"].loc["weight"]
    assert row["velocity"] == pytest.approx(float((model.weight.detach() - before).norm()), rel=1e-5)
    assert row["gradient_norm"] == pytest.approx(norm, rel=1e-5)
    assert math.isnan(row["snr"])
    assert math.isnan(row["dead_share"])
    assert not tracker._network._devices.parts[0][1]._copies


MANY_LOOKUPS = 4096
"""Number of lookups in a step of which a look reads a part."""


def many_looked_up(ids, spoil=None):
    """Row of the tracker's table after one look at a step of so many lookups, and the norm of the whole gradient."""
    model = nn.Embedding(20_000, 4, sparse=True)
    with torch.no_grad():
        model.weight.copy_(torch.randn(model.weight.shape, generator=torch.Generator().manual_seed(0)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = FlowTracker(model, optimizer, rules=RULES, schedule=every(1))
    model(ids).square().sum().backward()
    if spoil is not None:
        model.weight.grad._values()[spoil] = math.inf
    norm = float(model.weight.grad.to_dense().norm())
    optimizer.step()
    tracker.step()
    return tracker.measurements().tables["rows"].loc["weight"], norm


@pytest.mark.parametrize("lookup", [0, 17, 2048, MANY_LOOKUPS - 1])
def test_a_value_that_is_not_finite_is_seen_in_any_lookup(lookup):
    row, _ = many_looked_up(torch.arange(MANY_LOOKUPS) * 3 % 20_000, spoil=lookup)
    assert row["nonfinite_gradients"] == 1


def test_ids_sorted_by_frequency_do_not_blow_up_the_norm():
    """The hottest row is the first of such a table, whose gradient is most of the norm."""
    ids = torch.arange(MANY_LOOKUPS)
    ids[: MANY_LOOKUPS // 4] = 0
    row, norm = many_looked_up(ids)
    assert row["gradient_norm"] < 1.5 * norm
    even, norm = many_looked_up(torch.arange(MANY_LOOKUPS))
    assert even["gradient_norm"] == pytest.approx(norm, rel=0.15)


def test_shared_parameters_count_once_and_unused_ones_have_no_gradient():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.unused = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(2, 2)
            self.two.weight = self.one.weight

        def forward(self, x):
            return self.two(self.one(x)).sum(dim=1, keepdim=True)

    rows = trained(Tied(), 4).measurements().tables["rows"]
    assert sorted(rows.index) == ["one.bias", "one.weight", "two.bias", "unused.bias", "unused.weight"]
    assert math.isnan(rows["gradient_norm"]["unused.weight"])
    assert (rows["had_gradient"]["unused.weight"], rows["moved"]["unused.weight"]) == (0, 0)
    assert math.isnan(rows["snr"]["unused.weight"])


class Wrapped(nn.Module):
    """As DistributedDataParallel holds its model."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module(x)


def test_names_are_those_of_the_model_that_was_wrapped_or_compiled():
    plain = [name for name, _ in network().named_parameters()]
    for model in (Wrapped(network()), torch.compile(network(), backend="eager"), Wrapped(Wrapped(network()))):
        tracker = trained(model, 2)
        assert sorted(tracker.measurements().tables["rows"].index) == sorted(plain)


def test_a_compiled_model_is_not_compiled_anew_and_has_no_hooks():
    torch._dynamo.reset()  # what other tests compiled
    model = torch.compile(network(), backend="eager")
    compiled = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    with torch._dynamo.config.patch(error_on_recompile=True):
        tracker = trained(model, 12, schedule=every(3))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] - compiled <= 1
    assert not any(module._forward_hooks for module in model.modules())
    assert tracker.measurements().tables["rows"]["dead_share"].notna().any()


def test_evaluation_without_gradients_is_not_looked_at():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    tracker = FlowTracker(model, optimizer, rules=RULES, schedule=every(1))
    with torch.no_grad():
        model[0].bias[:] = -100
    trained(model, 3, optimizer, tracker)
    model.eval()
    with torch.no_grad():
        model(torch.full((4, WIDTH), 1e6))
        model(torch.full((4, WIDTH), -1e6))
    assert tracker.measurements().tables["rows"]["dead_share"]["0.weight"] == 1
    # Trained in evaluation mode, as frozen batch norms are, it is seen all the same.
    trained(model, 3, optimizer, tracker)
    assert tracker.measurements().scalars["looks"] == 6


def test_copies_and_pickles_of_a_watched_model():
    model = network()
    tracker = trained(model, 3)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        before = tracker.measurements()
        other(torch.randn(4, WIDTH)).sum().backward()
        assert tracker.measurements().tables["rows"].equals(before.tables["rows"])
    copy.deepcopy(tracker.optimizer)
    pickle.dumps(tracker.optimizer)


def test_nonfinite_values_are_told():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = trained(model, 3, optimizer)
    with torch.no_grad():
        model[0].weight[0, 0] = math.nan
    trained(model, 3, optimizer, tracker)
    measured = tracker.measurements()
    assert measured.scalars["nonfinite_tensors"] > 0
    assert measured.scalars["nonfinite_looks"] == 0.5
    assert measured.scalars["loss_nonfinite"] == 1
    assert "nonfinite_values" in [found.rule_id for found in tracker.findings()]


# --- what is refused -------------------------------------------------------------------------------------------------


def test_what_cannot_be_watched_is_refused():
    with pytest.raises(ValueError, match="weight has no shape yet"):
        FlowTracker(nn.LazyLinear(3))
    with pytest.raises(ValueError, match="has no parameter"):
        FlowTracker(nn.ReLU())
    with pytest.raises(TypeError, match=r"watches an nn\.Module, got list"):
        FlowTracker([])
    with pytest.raises(ValueError, match="meta device"):
        FlowTracker(nn.Linear(2, 2, device="meta"))
    with pytest.raises(TypeError, match="no step hooks"):
        FlowTracker(network(), optimizer=object())
    with pytest.raises(TypeError, match="must be a function"):
        FlowTracker(network(), schedule=10)


def test_a_loss_of_several_numbers_is_refused():
    with pytest.raises(ValueError, match=r"loss has shape \(2,\)"):
        FlowTracker(network()).step(torch.ones(2))


@pytest.mark.parametrize("change", ["replace", "convert"])
def test_a_model_that_changes_under_the_tracker_is_an_error(change):
    model = network()
    tracker = trained(model, 2)
    if change == "replace":
        model[0].weight = nn.Parameter(model[0].weight.detach().clone())
    else:
        model.double()
    with pytest.raises(ValueError, match=r"0\.weight was .*attach a new tracker"):
        tracker._network.before()


def test_a_model_may_be_moved_before_it_is_trained():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = FlowTracker(model, optimizer, rules=RULES)
    model.double()
    x, y = batch(0)
    (model(x.double()) - y).square().mean().backward()
    optimizer.step()
    tracker.step()
    assert tracker.measurements().scalars["looks"] == 1


# --- checkpoints and reports -----------------------------------------------------------------------------------------


def resumable(seed=0):
    with seeded(seed):
        model = nn.Sequential(nn.Linear(WIDTH, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))
    return model, torch.optim.Adam(model.parameters(), lr=0.02)


def train_from(model, optimizer, tracker, start, stop):
    for step in range(start, stop):
        optimizer.zero_grad()
        loss = loss_of(model, step)
        loss.backward()
        optimizer.step()
        tracker.step(loss)
        if step % 20 == 19:
            tracker.end_epoch(loss.item(), loss.item() + 1)


@pytest.mark.parametrize("at", [0, 1, 15, 16, 33, 50])
@pytest.mark.parametrize("hooked", [True, False])
def test_a_resumed_run_reports_what_the_uninterrupted_one_does(at, hooked):
    def attach(model, optimizer):
        return FlowTracker(model, optimizer if hooked else None, rules=RULES, schedule=every(3, in_a_row=2, first=10))

    model, optimizer = resumable()
    whole = attach(model, optimizer)
    train_from(model, optimizer, whole, 0, 80)

    model, optimizer = resumable()
    first = attach(model, optimizer)
    train_from(model, optimizer, first, 0, at)
    file = io.BytesIO()
    torch.save([model.state_dict(), optimizer.state_dict(), first.state_dict()], file)
    file.seek(0)
    weights, momenta, seen = torch.load(file, weights_only=True)
    model, optimizer = resumable(1)
    model.load_state_dict(weights)
    optimizer.load_state_dict(momenta)
    second = attach(model, optimizer)
    second.load_state_dict(seen)
    train_from(model, optimizer, second, at, 80)
    assert second.to_agent_xml() == whole.to_agent_xml()
    assert second.measurements().tables["rows"].equals(whole.measurements().tables["rows"])


def test_states_of_other_networks_are_refused():
    state = trained(network(), 2).state_dict()
    with pytest.raises(ValueError, match="shapes"):
        FlowTracker(network(width=9)).load_state_dict(state)
    with pytest.raises(ValueError, match="lacks 'moved'"):
        FlowTracker(network()).load_state_dict({key: value for key, value in state.items() if key != "moved"})


def test_one_document_with_other_trackers():
    tracker = trained(network(), 5)
    document = run_report([tracker])
    assert [report.kind for report in document.reports] == ["flow"]


def test_rows_are_named_in_the_xml():
    model = network()
    optimizer = torch.optim.Adam(model[3:].parameters(), lr=0.01)
    text = trained(model, 5, optimizer).to_agent_xml()
    validate(text)
    found = next(model for model in from_xml(text).findings if model.rule == "frozen_by_mistake")
    assert [row.id for row in found.rows.shown] == ["0.weight", "0.bias"]


@pytest.mark.parametrize("lookups", [4_000, 1])
def test_the_gradient_of_a_large_table_is_read_in_part_and_never_missed(lookups):
    """Of a table of millions of entries the whole gradient was read at every look. The part of it that is read now may
    hold none of the few rows that a small batch looks up: then it is read whole.
    """
    torch.manual_seed(0)
    table = nn.Embedding(20_000, 16)
    optimizer = torch.optim.SGD(table.parameters(), 0.1)
    tracker = FlowTracker(table, optimizer, schedule=every())
    ids = torch.randint(1, 20_000, (lookups,)) if lookups > 1 else torch.tensor([7])
    table(ids).square().sum().backward()
    norm = float(table.weight.grad.norm())
    optimizer.step()
    tracker.step()
    row = tracker.measurements().tables["rows"].iloc[0]
    assert row["gradient_norm"] == pytest.approx(norm, rel=0.2 if lookups > 1 else 1e-5)


@pytest.mark.parametrize("meddling", [None, "scaled", "replaced"])
def test_a_large_table_that_was_read_at_the_step_before_is_not_read_again_but_where_it_was_written_to(meddling):
    """The first reading of a look takes over what the look of the step before read last: the length of each step is
    that of the step alone, whatever a loop writes to the table between two of them.
    """
    torch.manual_seed(0)
    table = nn.Embedding(20_000, 16)
    optimizer = torch.optim.Adam(table.parameters(), 0.1)  # each row moves, so that a part is as good as the whole
    tracker = FlowTracker(table, optimizer, schedule=every())
    lengths = []
    for step in range(4):
        optimizer.zero_grad()
        table(torch.arange(20_000)).square().sum().backward()
        before = table.weight.detach().clone()
        optimizer.step()
        lengths.append(float((table.weight.detach() - before).norm()))
        tracker.step()
        if step == 1 and meddling == "scaled":
            with torch.no_grad():
                table.weight.mul_(3.0)
        if step == 1 and meddling == "replaced":
            table.weight.data = table.weight.data * 3.0
    curve = tracker.history("velocity").to_numpy()
    assert curve[:, 0] == pytest.approx(lengths, rel=0.05)
