"""The adapter of the peer library. Tests that take the fixture `peer` need `flowgrad[bench]`; the others do not."""

from __future__ import annotations

import inspect
import json
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from flowgrad.errors import FlowGradError
from pipelines.benchmarks.gradtracer.embedding import (
    CREDITS,
    EMBEDDING_SOURCES,
    SOURCES,
    PeerAlert,
    PeerDiagnosis,
    PeerTracker,
    detects,
    peer_available,
    read_output,
    rows_for,
)

ROW_FAULTS = {"conflict_random", "conflict_flipped", "hot", "dead", "frozen", "stuck", "skew"}
RUN_FAULTS = {
    "lr_too_high",
    "lr_too_low",
    "overfitting",
    "collapse",
    "initialisation",
    "uncorrected_negatives",
    "stale_momentum",
}

FINDING = {"type": "ZOMBIE_EMBEDDINGS", "premise": "6.0%", "action": "DECREASE_LR_BETA_OR_USE_SPARSE_ADAM"}
EXPORT = json.dumps({"gradtracer_embedding_report": {"layer": "items", "diagnostics": [FINDING]}})
HEALTHY_EXPORT = json.dumps({"gradtracer_agent_report": {"diagnostics": {"status": "HEALTHY \u2014 none detected."}}})
EMBEDDING_REPORT = """\
============================================================
  GradTracer - Embedding Dynamics ('ITEMS')
  Popularity Gini: 0.500 (1.0 = highly skewed)

  Alerts & Prescriptions
  [!] HIGH DEAD RATE (20.0%)
      Recommendation: Downsample negative items, or apply hashing trick.
  [!] EXTREME POPULARITY BIAS (Gini: 0.50)
      Recommendation: Apply log-Q correction or inverse frequency sampling.
============================================================
"""
RUN_REPORT = """\
  \U0001f3af ROI Score: 997.48 (Efficiency rating)
  \U0001f7e2 weight   [\u2588\u2591] 80/100
\u26a0\ufe0f  Alerts & Prescriptions
  \U0001f4a5 GRADIENT_EXPLOSION: 'weight'
     Value: 1.00e+03 at step 1
     \U0001f48a Prescription: Reduce learning rate by 50%.

  \U0001f4e1 LOW GRADIENT SNR: 'weight'
     \U0001f48a Prescription: Increase batch size.
"""


def alert(type_, source="embedding_export"):
    return PeerAlert(source, type_, "")


# --- without the peer ---------------------------------------------------------------------------------------------


def test_a_missing_peer_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradtracer", None)
    assert not peer_available()
    with pytest.raises(FlowGradError, match=r"pip install 'flowgrad\[bench\]'"):
        PeerTracker(nn.Embedding(3, 2), "items")


@pytest.mark.parametrize(
    ("source", "text", "alerts", "healthy"),
    [
        (
            "embedding_export",
            EXPORT,
            [("ZOMBIE_EMBEDDINGS", "DECREASE_LR_BETA_OR_USE_SPARSE_ADAM")],
            False,
        ),
        ("run_export", HEALTHY_EXPORT, [], True),
        (
            "embedding_report",
            EMBEDDING_REPORT,
            [
                ("HIGH_DEAD_RATE", "Downsample negative items, or apply hashing trick."),
                ("EXTREME_POPULARITY_BIAS", "Apply log-Q correction or inverse frequency sampling."),
            ],
            False,
        ),
        ("embedding_report", "  [OK] Embedding dynamics are healthy.\n", [], True),
        (
            "run_report",
            RUN_REPORT,
            [("GRADIENT_EXPLOSION", "Reduce learning rate by 50%."), ("LOW_GRADIENT_SNR", "Increase batch size.")],
            False,
        ),
        ("run_report", "  \u2705 No critical issues detected. Training looks healthy!\n", [], True),
        ("run_report", "", [], False),
    ],
)
def test_reading_its_outputs(source, text, alerts, healthy):
    fired, says_healthy = read_output(source, text)
    assert [(a.type, a.action) for a in fired] == alerts
    assert {a.source for a in fired} <= {source}
    assert says_healthy is healthy


def test_every_fault_has_its_credits_with_reasons():
    assert set(CREDITS) == ROW_FAULTS | RUN_FAULTS
    fields = {name for name, value in vars(PeerDiagnosis()).items() if value == ()}
    for fault, credit in CREDITS.items():
        assert credit.rows in ({""} if fault in RUN_FAULTS | {"skew"} else fields), fault
        assert all(credit.alerts.values()), fault


def test_rows_are_credited_by_class():
    diagnosis = PeerDiagnosis(zombie_rows=(1, 2), dead_rows=(7,))
    expected = {
        **dict.fromkeys(["conflict_random", "conflict_flipped", "hot"], (1, 2)),
        **dict.fromkeys(["dead", "frozen", "stuck"], (7,)),
    }
    assert {fault: rows_for(fault, diagnosis) for fault in CREDITS} == {**dict.fromkeys(CREDITS, ()), **expected}


def test_detection_takes_an_alert_that_is_credited():
    assert detects("hot", PeerDiagnosis(alerts=(alert("ZOMBIE_EMBEDDINGS"),)))
    assert not detects("dead", PeerDiagnosis(alerts=(alert("ZOMBIE_EMBEDDINGS"),)))
    assert not detects("hot", PeerDiagnosis(zombie_rows=(1, 2)))
    assert not any(detects(fault, PeerDiagnosis(alerts=(alert("BENIGN_NOISE", "run_export"),))) for fault in CREDITS)


def test_detection_by_some_of_its_outputs():
    diagnosis = PeerDiagnosis(alerts=(alert("LOW_GRADIENT_SNR", "run_report"),))
    assert detects("lr_too_high", diagnosis)
    assert not detects("lr_too_high", diagnosis, EMBEDDING_SOURCES)


@pytest.mark.parametrize("ask", [detects, rows_for])
def test_an_unknown_fault_is_refused(ask):
    with pytest.raises(FlowGradError, match="'lr_high' is unknown; use one of conflict_random"):
        ask("lr_high", PeerDiagnosis())


def test_an_unknown_source_is_refused():
    with pytest.raises(FlowGradError, match="no output 'xml'"):
        detects("hot", PeerDiagnosis(), ["xml"])


def test_findings_say_healthy_only_where_nothing_fired():
    assert PeerDiagnosis().findings == ()
    assert PeerDiagnosis(says_healthy=("run_export",)).findings == ("HEALTHY",)
    twice = (alert("HIGH_DEAD_RATE"), alert("HIGH_DEAD_RATE"), PeerAlert("run_export", "STAGNATION", "INCREASE_LR"))
    diagnosis = PeerDiagnosis(alerts=twice, says_healthy=("run_report",))
    assert diagnosis.findings == ("HIGH_DEAD_RATE", "STAGNATION")
    assert diagnosis.actions == ("", "INCREASE_LR")


class RaisingTracker:
    """Stands in for the peer's tracker: prints, warns and raises wherever it is called."""

    oscillation_scores = torch.zeros(3)

    def __init__(self, layer, **settings):
        self._hook = layer.weight.register_hook(self._grad_hook)

    def _grad_hook(self, gradient):
        print("hook")
        raise RuntimeError("in the hook")

    def step(self):
        print("step")
        print("step", file=sys.stderr)
        warnings.warn("step", stacklevel=1)
        raise ValueError("in the step\nwith a second line")

    def zombie_embeddings(self):
        return [2]

    def __getattr__(self, name):
        raise KeyError(name)


def test_what_the_peer_raises_is_kept_and_goes_no_further(monkeypatch, capsys, recwarn):
    fake = SimpleNamespace(EmbeddingTracker=RaisingTracker, AgentExporter=SimpleNamespace())
    monkeypatch.setitem(sys.modules, "gradtracer", fake)
    layer = nn.Embedding(3, 2)
    watched = PeerTracker(layer, "items")
    for _ in range(2):
        layer(torch.tensor([1])).sum().backward()
        watched.step(0.5)
    diagnosis = watched.diagnosis()
    watched.detach()
    assert diagnosis.zombie_rows == (2,)
    assert diagnosis.dead_rows == ()
    assert diagnosis.findings == ()
    lines = diagnosis.error.splitlines()
    assert lines[:2] == [
        "EmbeddingTracker, gradient hook: RuntimeError: in the hook",
        "EmbeddingTracker.step: ValueError: in the step",
    ]
    assert len(lines) == len(set(lines))
    assert {line.partition(":")[0] for line in lines[2:]} == {"dead_rows", "starvation", "figures", *EMBEDDING_SOURCES}
    assert capsys.readouterr() == ("", "")
    assert not recwarn.list


def test_a_peer_that_cannot_attach_is_kept_as_an_error(monkeypatch):
    fake = SimpleNamespace(EmbeddingTracker=lambda *_, **__: 1 / 0)
    monkeypatch.setitem(sys.modules, "gradtracer", fake)
    watched = PeerTracker(nn.Embedding(3, 2), "items")
    watched.step()
    watched.end_epoch()
    watched.detach()
    assert watched.diagnosis() == PeerDiagnosis(error="EmbeddingTracker: ZeroDivisionError: division by zero")


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


def trained(sparse=False, watch=True, rows=40, steps=30):
    """A small regression by rows drawn at random; the last ten rows are never drawn."""
    draw = torch.Generator().manual_seed(1)
    layer = nn.Embedding.from_pretrained(torch.randn(rows, 4, generator=draw), freeze=False, sparse=sparse)
    target = torch.randn(rows, generator=draw)
    kind = torch.optim.SparseAdam if sparse else torch.optim.Adam
    optimizer = kind(layer.parameters(), lr=0.05)
    watched = PeerTracker(layer, "items", optimizer) if watch else None
    for _ in range(steps):
        batch = torch.randint(0, rows - 10, (16,), generator=draw)
        loss = ((layer(batch).sum(dim=1) - target[batch]) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if watched is not None:
            watched.step(float(loss.detach()))
    if watched is not None:
        watched.end_epoch()
    return layer, watched


@pytest.mark.parametrize("sparse", [False, True])
def test_watching_changes_no_bit(peer, sparse):
    """The peer with `auto_fix` off, as attached here, observes only."""
    bare, watched = trained(sparse, watch=False)[0], trained(sparse)[0]
    assert torch.equal(bare.weight, watched.weight)


@pytest.mark.parametrize("sparse", [False, True])
def test_it_prints_nothing_writes_nothing_and_draws_nothing(peer, sparse, capsys):
    """Its effective rank of more than 2000 rows draws from torch's global generator."""
    torch.manual_seed(5)
    before = torch.get_rng_state()
    watched = trained(sparse, rows=2010, steps=4)[1]
    first, second = watched.diagnosis(), watched.diagnosis()
    assert first == second
    assert first.error == ""
    assert torch.equal(torch.get_rng_state(), before)
    assert capsys.readouterr() == ("", "")
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("sparse", [False, True])
def test_dead_rows_are_those_never_drawn(peer, sparse):
    diagnosis = trained(sparse)[1].diagnosis()
    assert diagnosis.dead_rows == rows_for("dead", diagnosis) == tuple(range(30, 40))
    assert "HIGH_DEAD_RATE" in diagnosis.findings
    assert detects("dead", diagnosis)
    assert not detects("dead", diagnosis, ["embedding_export"])  # its threshold is half of the rows
    assert diagnosis.figures["dead_pct"] == pytest.approx(25)


def circling(masked=(), stuck=()):
    """Gradient descent on w ** 2 / 2 of each entry: rows 0 to 3 overshoot at every step, the others do not.

    `masked` rows get no gradient, `stuck` ones get one and are put back.
    """
    layer = nn.Embedding.from_pretrained(torch.ones(40, 4), freeze=False)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    curvature = torch.full((40, 1), 0.05)
    curvature[:4] = 1.9
    curvature[list(masked)] = 0.0
    watched = PeerTracker(layer, "items", optimizer)
    for _ in range(20):
        loss = (curvature * layer.weight**2).sum() / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            layer.weight[list(stuck)] = 1.0
        watched.step(float(loss.detach()))
    return watched.diagnosis()


def test_zombie_rows_are_those_that_circle(peer):
    diagnosis = circling()
    assert diagnosis.error == ""
    assert diagnosis.zombie_rows == rows_for("hot", diagnosis) == (0, 1, 2, 3)
    assert max(diagnosis.oscillation[:4]) < -0.9
    assert min(diagnosis.oscillation[4:]) > 0.9
    by_source = {source: {a.type for a in diagnosis.alerts if a.source == source} for source in SOURCES}
    assert "ZOMBIE_EMBEDDINGS" in by_source["embedding_export"]
    assert "ZOMBIE_COLLAPSE" in by_source["embedding_report"]
    assert "DECREASE_LR_BETA_OR_USE_SPARSE_ADAM" in diagnosis.actions
    assert detects("lr_too_high", diagnosis, ["embedding_export"])


def test_masked_rows_read_as_dead_and_stuck_rows_do_not(peer):
    """It goes by gradients: a row that has one and does not move is only slow to it."""
    diagnosis = circling(masked=(8, 9), stuck=(12,))
    assert rows_for("frozen", diagnosis) == (8, 9)
    assert 12 not in rows_for("stuck", diagnosis)
    assert diagnosis.starvation[12] == pytest.approx(1, abs=1e-4)


def test_a_table_that_is_not_trained_is_an_error_of_the_peer(peer):
    watched = PeerTracker(nn.Embedding.from_pretrained(torch.ones(3, 2)), "items")
    watched.step()
    assert watched.diagnosis().error.startswith("EmbeddingTracker: RuntimeError: ")


def test_detached_hooks_are_gone(peer):
    layer, watched = trained(steps=3)
    seen = watched.diagnosis()
    watched.detach()
    assert not layer.weight._backward_hooks
    assert watched.diagnosis() == seen


def test_credited_alerts_are_ones_that_the_peer_can_raise(peer):
    """A name misspelt here would never be credited."""
    from gradtracer import agent, diagnostics
    from gradtracer.analyzers import embedding

    source = "".join(inspect.getsource(module) for module in (agent, diagnostics, embedding)).replace(" ", "_")
    dynamic = {"GRADIENT_EXPLOSION": "gradient_explosion", "VELOCITY_EXPLOSION": "velocity_explosion"}
    for credit in CREDITS.values():
        for type_ in credit.alerts:
            if type_ not in dynamic:
                assert type_ in source, type_
    for name in dynamic.values():
        assert name in inspect.getsource(peer.analyzers.velocity)
