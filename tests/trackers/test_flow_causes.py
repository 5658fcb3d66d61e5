"""Causes that the flow rules name, and healthy runs that look like them."""

import math

import pytest
import torch
from torch import nn

from flowgrad import FlowTracker
from flowgrad.rules import RuleBook
from flowgrad.testing import seeded
from flowgrad.trackers.flow.activations import ActivationWatch

RULES = RuleBook.load()


def net(width=10, hidden=32):
    with seeded():
        return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 1))


def regression(optimizer, steps=60, model=None, spoil=lambda number, x: x, level=3.0):
    """A tracker of a regression trained with `optimizer`; `spoil` may change the inputs of a step."""
    model = net() if model is None else model
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(10, 1, generator=generator)
    optimizer = optimizer(model.parameters())
    tracker = FlowTracker(model, optimizer, rules=RULES)
    for number in range(1, steps + 1):
        x = torch.randn(64, 10, generator=generator)
        y = x @ weight + level
        loss = (model(spoil(number, x)) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        tracker.step(loss)
    return tracker


def finding(tracker, rule):
    return next((found for found in tracker.findings() if found.rule_id == rule), None)


def claimed(tracker, rule):
    found = finding(tracker, rule)
    return found is not None and not found.candidates


def small_head():
    model = net(hidden=64)
    nn.init.normal_(model[2].weight, std=1e-3, generator=torch.Generator().manual_seed(1))
    return model


def adam(lr):
    return lambda parameters: torch.optim.Adam(parameters, lr=lr)


def sgd(lr):
    return lambda parameters: torch.optim.SGD(parameters, lr=lr)


@pytest.mark.parametrize(
    ("model", "optimizer", "at"),
    [(small_head, adam(0.03), 16), (small_head, adam(0.03), 3), (net, adam(0.01), 15), (net, sgd(0.02), 30)],
)
def test_a_broken_row_while_the_loss_falls_is_no_overshoot(model, optimizer, at):
    """One NaN row at step 16 was told as steps that overshot: the loss was far above its median, as it began there, and
    weights drawn small had outgrown themselves.
    """

    def spoil(number, x):
        return x if number != at else torch.cat([torch.full((1, 10), math.nan), x[1:]])

    tracker = regression(optimizer, model=model(), spoil=spoil)
    found = finding(tracker, "nonfinite_values")
    assert found is not None
    assert found.candidates
    assert tracker.measurements().scalars["nonfinite_step"] == at


@pytest.mark.parametrize("optimizer", [sgd(3.0), sgd(10.0), sgd(1e3), sgd(1e30), adam(1e30)])
def test_steps_that_overshoot_stay_claimed(optimizer):
    """What tells a broken row from divergence must not hide divergence."""
    assert claimed(regression(optimizer), "nonfinite_values")


def test_only_losses_before_the_break_tell_growth():
    """The median was taken over windows after the break as well, where the loss may lie anywhere."""
    tracker = FlowTracker(net(), rules=RULES, schedule=lambda step: False)
    for loss in [*[2.0] * 40, math.nan, *[1e-6] * 400]:
        tracker.step(loss)
    assert tracker.measurements().scalars["loss_growth_before"] == 1


class Momentum(nn.Module):
    """A student beside a teacher that follows it; the optimizer is given both."""

    def __init__(self):
        super().__init__()
        self.teacher, self.student = (nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 16)) for _ in range(2))

    def forward(self, x):
        with torch.no_grad():
            told = self.teacher(x)
        return self.student(x + 0.1 * torch.sign(x)), told


class Detached(Momentum):
    """The student is given what the teacher puts out, without its gradient."""

    def forward(self, x):
        return self.student(self.teacher(x).detach()), x


def pair(kind, direct=False, steps=40):
    with seeded():
        model = kind()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    tracker = FlowTracker(model, optimizer, rules=RULES)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        x = torch.randn(64, 16, generator=generator)
        out, told = model.forward(x) if direct else model(x)
        loss = (out - told).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        tracker.step(loss)
    return tracker


@pytest.mark.parametrize("direct", [False, True])
def test_a_teacher_beside_the_student_is_not_called_cut_off(direct):
    """The student's input lay where a freed output of the teacher had lain, and passed for that output: the teacher's
    gradient was claimed to be stopped by mistake. Modules called directly shared their outputs with earlier passes.
    """
    tracker = pair(Momentum, direct)
    assert tracker.measurements().scalars["cut_proven"] == 0
    assert not claimed(tracker, "cut_off_layers")


@pytest.mark.parametrize("direct", [False, True])
def test_a_detached_output_is_still_known_as_what_a_layer_put_out(direct):
    """The healthy look-alike above must not hide a branch that is detached."""
    tracker = pair(Detached, direct)
    assert tracker.measurements().scalars["cut_proven"] == 1
    assert claimed(tracker, "cut_off_layers")


def test_what_lies_where_a_freed_output_lay_is_not_that_output():
    """An address alone told whose output a tensor is, and memory that was freed is given out again."""
    memory = bytearray(64)
    layers = [nn.Linear(4, 4) for _ in range(3)]
    watch = ActivationWatch(dict.fromkeys(layers, ""), layers)
    for layer in layers[:2]:
        watch.note(
            layer, torch.frombuffer(memory, dtype=torch.float32), (torch.frombuffer(memory, dtype=torch.float32),)
        )
    output = torch.ones(4)
    watch.note(layers[0], output)
    watch.note(layers[2], torch.ones(4), (output.detach(),))
    assert [use.linked for use in watch.first_uses.values()] == [False, False, True]


class Causal(nn.Module):
    """Predicts the next token from those before it; the first token is the same in every row."""

    def __init__(self):
        super().__init__()
        self.table, self.cell, self.head = nn.Embedding(20, 32), nn.GRU(32, 32, batch_first=True), nn.Linear(32, 100)

    def forward(self, x):
        return self.head(self.cell(self.table(x))[0])


def causal():
    with seeded():
        model = Causal()
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    tracker = None
    for number in range(550):
        if number == 350:  # as in a run that goes on: the loss is flat
            tracker = FlowTracker(model, optimizer, rules=RULES)
        start, by = (torch.randint(low, high, (32, 1), generator=generator) for low, high in ((1, 20), (1, 4)))
        tokens = (start + by * torch.arange(8)) % 19 + 1
        given = torch.cat([torch.zeros(32, 1, dtype=torch.long), tokens[:, :-1]], 1)
        loss = nn.functional.cross_entropy(model(given).flatten(0, 1), tokens.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if tracker:
            tracker.step(loss)
    return tracker


def offset(preset):
    model = nn.Linear(10, 1)
    nn.init.zeros_(model.weight)
    if preset:
        nn.init.constant_(model.bias, 2000.0)
    else:
        with seeded():
            nn.init.normal_(model.weight)
    return regression(adam(0.02 if preset else 3.0), 600, model, level=2000.0)


@pytest.mark.parametrize("run", [causal, lambda: offset(True), lambda: offset(False)])
def test_outputs_that_tell_rows_apart_are_not_called_constant(run):
    """The first 64 outputs of a causal model belong to its first token, the same in every row; and outputs around 2000
    differ by less than a thousandth of their size however well they fit.
    """
    tracker = run()
    assert finding(tracker, "constant_outputs") is None
    assert tracker.measurements().scalars["output_kept"] > 0.1


class Collapsing(nn.Module):
    """Its units die at some step, so that it puts out one answer from then on."""

    def __init__(self, at, level):
        super().__init__()
        with seeded():
            self.body, self.head = nn.Linear(10, 32), nn.Linear(32, 1)
        self.at, self.level, self.passes = at, level, 0

    def forward(self, x):
        self.passes += 1
        alive = 1.0 if self.passes < self.at else 0.0
        return self.head(torch.relu(self.body(x)) * alive) + self.level


@pytest.mark.parametrize(("at", "level"), [(1, 0.0), (1, 2000.0), (20, 0.0), (20, 2000.0)])
def test_outputs_that_became_one_answer_are_found(at, level):
    """What tells an offset from a collapse must not hide a collapse, be it there from the start or later."""
    tracker = regression(adam(0.0), 800, Collapsing(at, level), level=level)
    assert finding(tracker, "constant_outputs") is not None


@pytest.mark.parametrize("first", [True, False])
def test_a_frozen_part_made_in_inference_mode_can_be_watched(first):
    """Making the tracker raised "Inference tensors do not track version counter"."""
    with torch.inference_mode():
        frozen = nn.Linear(10, 10).requires_grad_(False)
    head = nn.Linear(10, 10)
    model = nn.Sequential(frozen, head) if first else nn.Sequential(head, frozen)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
    tracker = FlowTracker(model, optimizer, rules=RULES)
    for _ in range(3):
        optimizer.zero_grad()
        loss = head(torch.ones(8, 10)).square().mean()
        loss.backward()
        optimizer.step()
        tracker.step(loss)
    scalars = tracker.measurements().scalars
    assert (scalars["looks"], scalars["weights_rewritten"]) == (3, 0)


def test_a_state_of_tensors_on_other_devices_is_refused_and_nothing_changed():
    """The refusal came when half of the state was loaded; of two devices here, only the state says so."""
    state = regression(sgd(0.01), 5).state_dict()
    (whole,) = state["network"]["looks"]
    halves = [{**whole, "total": whole["total"][:2]}, {**whole, "total": whole["total"][2:]}]
    tracker = regression(sgd(0.02), 3)
    before = tracker.to_agent_xml()
    with pytest.raises(ValueError, match=r"\[2, 2\] tensors on its devices, and this model has \[4\]"):
        tracker.load_state_dict({**state, "network": {**state["network"], "looks": halves}})
    assert tracker.to_agent_xml() == before


@pytest.mark.parametrize("lacking", ["course", "fresh", "shown", "early"])
def test_a_state_that_lacks_a_part_is_refused(lacking):
    """States of an older version are refused by their version; one of this version is whole."""
    state = regression(sgd(0.01), 5).state_dict()
    del state[lacking]
    with pytest.raises(ValueError, match=f"lacks '{lacking}'"):
        regression(sgd(0.01), 1).load_state_dict(state)


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Tanh()])
def test_what_was_loaded_goes_where_outputs_are(activation):
    """After a checkpoint of a model on two devices, the forward pass raised that two tensors must be on one device."""
    layer = nn.Linear(4, 4)
    watch = ActivationWatch({layer: "weight"}, [layer, activation])

    def look(device):
        watch.note(layer, torch.ones(8, 4, device=device))
        watch.note(activation, torch.ones(8, 4, device=device))
        watch.enter()
        watch.leave(torch.ones(8, 4, device=device))

    look("cpu")
    watch.load_state_dict(watch.state_dict(), {"weight": torch.device("cpu")})
    look("meta")
    (block,) = watch.blocks.values()
    kept = block.highest if isinstance(activation, nn.ReLU) else block.saturated
    assert (kept.device.type, watch.spread.device.type) == ("meta", "meta")


class Scaled(nn.Module):
    """Divides the bytes that it is given."""

    def __init__(self, by):
        super().__init__()
        with seeded():
            self.layers = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        self.by = by

    def forward(self, x):
        return self.layers(x.float() / self.by)


def pictures(by, steps=150, kind=Scaled):
    """A classifier of bytes. Unless it divides them, it is given numbers of a hundred."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2000, 64), dtype=torch.uint8, generator=generator)
    classes = ((images.float() / 255 - 0.5) @ torch.randn(64, 10, generator=generator)).argmax(1)
    model = kind(by)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    tracker = FlowTracker(model, optimizer, rules=RULES)
    tracker.observe_inputs(images)
    for _ in range(steps):
        rows = torch.randint(0, 2000, (128,), generator=generator)
        loss = nn.functional.cross_entropy(model(images[rows]), classes[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        tracker.step(loss)
    return tracker


def categories(numbers=0, steps=60):
    """A regression on one of many categories, and on columns of large numbers beside it."""
    generator = torch.Generator().manual_seed(0)
    count = 500
    value = torch.randn(count, generator=generator)

    def rows(n):
        chosen = torch.randint(0, count, (n,), generator=generator)
        beside = 300 * torch.randn(n, numbers, generator=generator)
        return torch.cat([nn.functional.one_hot(chosen, count).float(), beside], 1), value[chosen].unsqueeze(1)

    model = net(count + numbers)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    tracker = FlowTracker(model, optimizer, rules=RULES)
    tracker.observe_inputs(rows(1000)[0])
    for _ in range(steps):
        x, y = rows(128)
        loss = (model(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        tracker.step(loss)
    return tracker


@pytest.mark.parametrize("run", [lambda: pictures(255), categories])
def test_inputs_of_a_size_that_is_meant_are_left_alone(run):
    """Bytes that forward() divides, and the zeros and ones of a category, were critical and claimed."""
    assert finding(run(), "unnormalised_inputs") is None


@pytest.mark.parametrize("run", [lambda: pictures(1), lambda: categories(5)])
def test_inputs_that_reach_the_first_layer_as_they_are_stay_claimed(run):
    """What tells the healthy ones above must not hide inputs that nobody scales."""
    assert claimed(run(), "unnormalised_inputs")


class Own(nn.Module):
    """Multiplies by weights of its own, after it has divided what it is given, or not."""

    def __init__(self, by):
        super().__init__()
        with seeded():
            self.weight, self.bias = (nn.Parameter(torch.randn(shape) / 8) for shape in ((10, 64), (10,)))
        self.by = by

    def forward(self, x):
        return nn.functional.linear(x.float() / self.by, self.weight, self.bias)


@pytest.mark.parametrize("by", [1, 255])
def test_inputs_of_a_layer_that_was_not_seen_are_a_question(by):
    """What a module of one's own does to its inputs before its weights is not seen."""
    found = finding(pictures(by, kind=Own), "unnormalised_inputs")
    assert {one.cause for one in found.candidates} == {"UNNORMALISED_INPUTS", "SCALED_WITHIN_THE_MODEL"}
    assert found.type == "INPUTS_FAR_FROM_UNIT_SCALE"
