"""The adapters of the peer's trackers of networks and distillations. Tests with the fixture `peer` need
`flowgrad[bench]`; the others do not.
"""

from __future__ import annotations

import copy
import inspect
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from flowgrad.errors import FlowGradError
from pipelines.benchmarks.gradtracer import distillation
from pipelines.benchmarks.gradtracer.distillation import PeerDistillation
from pipelines.benchmarks.gradtracer.embedding import PeerAlert
from pipelines.benchmarks.gradtracer.flow import CREDITS, PeerFlow, PeerFlowTracker, _layers, credited, layers_for

FAULTS = {
    "vanishing", "exploding", "dying_relu", "stagnant_layer", "left_out", "oscillating_loss", "rate_too_high",
    "slow_convergence", "rate_too_low", "non_finite", "missing_normalisation",
}  # fmt: skip


# --- without the peer ---------------------------------------------------------------------------------------------


def test_a_missing_peer_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradtracer", None)
    with pytest.raises(FlowGradError, match=r"pip install 'flowgrad\[bench\]'"):
        PeerFlowTracker(nn.Linear(2, 1))


def test_every_fault_has_its_credits_with_reasons():
    assert set(CREDITS) == FAULTS
    assert all(credit and all(credit.values()) for credit in CREDITS.values())
    assert not any(credited(fault, PeerAlert("run_export", "BENIGN_NOISE", "")) for fault in CREDITS)


@pytest.mark.parametrize("ask", [lambda f: credited(f, PeerAlert("", "", "")), lambda f: layers_for(f, PeerFlow())])
def test_an_unknown_fault_is_refused(ask):
    with pytest.raises(FlowGradError, match="'vanished' is unknown; use one of vanishing"):
        ask("vanished")


def test_layers_are_read_from_both_outputs():
    report = "  \U0001f9ca STAGNATION: '0.weight'\n     Velocity\n\n  \U0001f4e1 LOW GRADIENT SNR: 'a.b.weight'\n"
    assert list(_layers("run_report", report)) == [("STAGNATION", "0.weight"), ("LOW_GRADIENT_SNR", "a.b.weight")]
    export = '{"r": {"diagnostics": [{"type": "BENIGN_NOISE", "layers_affected": ["x", "y"]}, {"type": "Z"}]}}'
    assert list(_layers("run_export", export)) == [("BENIGN_NOISE", "x"), ("BENIGN_NOISE", "y")]
    assert list(_layers("run_export", '{"r": {"diagnostics": {"status": "HEALTHY"}}}')) == []


def test_layers_are_credited_by_the_alert_that_names_them():
    found = PeerFlow(named={"STAGNATION": ("a", "b"), "HARMFUL_STAGNATION": ("b",), "DEAD_NEURONS": ("c",)})
    assert set(layers_for("stagnant_layer", found)) == {"a", "b"}
    assert layers_for("dying_relu", found) == ("c",)
    assert layers_for("exploding", found) == ()


class RaisingTracker:
    """Stands in for the peer's tracker."""

    def __init__(self, model, **settings):
        self.store = SimpleNamespace(layer_names=[])

    def step(self, loss):
        print("step")
        raise ValueError("in the step\nwith a second line")

    def __getattr__(self, name):
        raise KeyError(name)


def test_what_the_peer_raises_is_kept_and_goes_no_further(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradtracer", SimpleNamespace(FlowTracker=RaisingTracker))
    watched = PeerFlowTracker(nn.Linear(2, 1))
    for _ in range(2):
        watched.step(torch.tensor(0.5))
    watched.detach()
    found = watched.diagnosis()
    assert (found.alerts, found.named, found.says_healthy) == ((), {}, ())
    lines = found.error.splitlines()
    assert lines[0] == "FlowTracker.step: ValueError: in the step"
    assert {line.partition(":")[0] for line in lines[1:]} == {"detach", "run_export", "run_report"}
    assert capsys.readouterr() == ("", "")


def test_a_peer_that_cannot_attach_is_kept_as_an_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradtracer", SimpleNamespace(FlowTracker=lambda *_, **__: 1 / 0))
    watched = PeerFlowTracker(nn.Linear(2, 1))
    watched.step()
    watched.end_epoch()
    watched.detach()
    assert watched.diagnosis() == PeerFlow(error="FlowTracker: ZeroDivisionError: division by zero")


def test_which_layer_of_a_student_it_names():
    """By status first; the largest gap is named in its favour though no threshold is reached."""
    gaps = {"a": 0.9, "b": 1.5, "c": math.nan}
    none = PeerDistillation(gaps, dict.fromkeys(gaps, "OK"), dict.fromkeys(gaps, "OK"))
    assert (none.named, none.largest_gap, none.says_healthy) == (None, "b", True)
    noisy = PeerDistillation(gaps, dict.fromkeys(gaps, "OK"), {"a": "NOISY", "b": "OK"})
    assert (noisy.named, noisy.says_healthy) == ("a", False)
    worse = PeerDistillation({"a": 3, "b": 9}, {"a": "STRUGGLING", "b": "CRITICAL"}, {"a": "NOISY"})
    assert (worse.struggling, worse.named, worse.largest_gap) == (("b", "a"), "b", "b")
    assert (PeerDistillation().named, PeerDistillation().largest_gap, PeerDistillation().says_healthy) == (
        None, None, False,
    )  # fmt: skip


# --- with the peer ------------------------------------------------------------------------------------------------


@pytest.fixture
def peer(monkeypatch, tmp_path):
    """The library itself, in an empty working directory: it keeps files of its own in the current one."""
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "matplotlib"))
    module = pytest.importorskip("gradtracer")
    place = tmp_path / "cwd"
    place.mkdir()
    monkeypatch.chdir(place)
    return module


def network(width=8, seed=0):
    draw = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=draw) * 0.3
    return model


def train(model, watch=True, steps=20, left_out=(), scale=1.0, noise=0.0):
    draw = torch.Generator().manual_seed(1)
    inputs = torch.randn(64, 4, generator=draw) * scale
    given = [p for name, p in model.named_parameters() if not name.startswith(tuple(left_out) or ("-",))]
    optimizer = torch.optim.Adam(given, lr=0.01)
    watched = PeerFlowTracker(model, optimizer) if watch else None
    for _ in range(steps):
        loss = (model(inputs).squeeze(1) - inputs.sum(dim=1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        for parameter in model.parameters():
            parameter.grad += noise * torch.randn(parameter.shape, generator=draw)
        optimizer.step()
        if watched is not None:
            watched.step(loss.detach())
    if watched is not None:
        watched.detach()
    return watched


def test_watching_changes_no_bit_prints_nothing_and_writes_nothing(peer, capsys):
    bare, watched = network(), network()
    train(bare, watch=False)
    found = train(watched)
    assert all(torch.equal(a, b) for a, b in zip(bare.parameters(), watched.parameters(), strict=True))
    assert found.diagnosis() == found.diagnosis()
    assert found.diagnosis().error == ""
    assert capsys.readouterr() == ("", "")
    assert list(Path.cwd().iterdir()) == []
    assert not any(parameter._backward_hooks for parameter in watched.parameters())


def test_a_layer_that_does_not_move_is_named(peer):
    found = train(network(), left_out=["2."]).diagnosis()
    assert layers_for("left_out", found) == ("2.weight",)
    assert any(credited("stagnant_layer", alert) for alert in found.alerts)


def test_exploding_gradients_and_dead_weights_are_named(peer):
    found = train(network(), scale=100).diagnosis()
    assert any(credited("exploding", alert) for alert in found.alerts)
    assert set(layers_for("exploding", found)) <= {"0.weight", "2.weight", "4.weight"}
    model = network()
    model[2].weight.data.zero_()
    model[4].weight.data.zero_()
    assert any(credited("dying_relu", alert) for alert in train(model, steps=1).diagnosis().alerts)


def test_all_layers_are_listed(peer):
    """Its report lists five a rule unless told otherwise."""
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(8)), nn.Linear(4, 1))
    found = train(model, left_out=[f"{k}." for k in range(8)]).diagnosis()
    assert layers_for("left_out", found) == tuple(f"{k}.weight" for k in range(8))


def test_sparse_gradients_do_not_lose_the_step(peer):
    model = nn.Embedding(5, 2, sparse=True)
    watched = PeerFlowTracker(model)
    model(torch.tensor([1])).sum().backward()
    watched.step(0.5)
    assert watched.diagnosis().error == ""
    assert watched.tracker.store.num_steps == 1


def test_a_distillation_is_compared_layer_by_layer(peer):
    teacher = train(network(16))
    student = train(network(8), left_out=["2."])
    found = distillation.diagnosis(teacher, student)
    assert found.error == ""
    assert list(found.gap_ratio) == ["0.weight", "2.weight", "4.weight"]
    assert found.gap_ratio["2.weight"] == 1  # as slow as can be, and yet no complaint: its threshold is 2
    assert found.status["2.weight"] == "OK"
    assert sum(found.weights.values()) == pytest.approx(1, abs=1e-3)
    given = distillation.diagnosis(teacher, student, {"0.weight": "2.weight"})
    assert list(given.gap_ratio) == ["2.weight"]


def test_a_faster_student_is_called_struggling(peer):
    teacher = network()
    slow = copy.deepcopy(teacher)
    watched = [train(slow, left_out=["0.", "2."]), train(teacher)]
    found = distillation.diagnosis(*watched)
    assert set(found.struggling) == {"0.weight", "2.weight"}
    assert found.named == found.largest_gap


def test_errors_of_the_trackers_are_told_with_those_of_the_comparison(peer):
    teacher = train(network())
    student = PeerFlowTracker(network())
    student.tracker = None
    found = distillation.diagnosis(teacher, student)
    assert found.error.startswith("DistillationTracker: AttributeError")
    assert found.named is None


def test_credited_alerts_are_ones_that_the_peer_can_raise(peer):
    """A name misspelt here would never be credited."""
    from gradtracer import agent, diagnostics
    from gradtracer.analyzers import velocity

    source = "".join(inspect.getsource(module) for module in (agent, diagnostics)).replace(" ", "_")
    found = inspect.getsource(velocity).upper()
    for credit in CREDITS.values():
        for kind in credit:
            assert kind in source or kind in found, kind
