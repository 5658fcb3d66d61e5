"""A checkpoint holds what was seen: a run that was interrupted reports what one in a piece does."""

from __future__ import annotations

import io

import pytest
import torch

import flowgrad
from tests.watching_loops import made, train


def saved(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("model_first", [True, False])
def test_an_interrupted_run_reports_what_a_whole_one_does(named, model_first):
    def begun():
        model = made()
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        return model, optimizer, flowgrad.watch(model, optimizer if named else None)

    def trained(model, optimizer, watch):
        train(model, [optimizer], watch, 20)
        watch.log(val_loss=0.6)
        watch.end_epoch()

    model, optimizer, watch = begun()
    trained(model, optimizer, watch)
    state = saved({"watch": watch.state_dict(), "model": model.state_dict(), "optimizer": optimizer.state_dict()})
    trained(model, optimizer, watch)
    whole = watch.details()
    watch.detach()

    model, optimizer, watch = begun()
    if model_first:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    watch.load_state_dict(state["watch"])
    if not model_first:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    trained(model, optimizer, watch)
    assert watch.steps == 40
    resumed = watch.details()
    for one, other in zip(whole.reports, resumed.reports, strict=True):
        figures = [{m.name: m.value for m in report.measurements} for report in (one, other)]
        missing = set(figures[0]) ^ set(figures[1])
        assert not missing, (one.layer, missing)
        for name, value in figures[0].items():
            assert figures[1][name] == pytest.approx(value, rel=1e-6), (one.layer, name)
    watch.detach()


def test_what_is_no_state_is_refused():
    model = made()
    watch = flowgrad.watch(model, torch.optim.Adam(model.parameters()))
    with pytest.raises(ValueError, match="no state of a watch"):
        watch.load_state_dict({"steps": 3})
    with pytest.raises(ValueError, match="the state lacks 'batches'"):
        watch.load_state_dict({"flowgrad_watch": 1, "steps": 3})
    other = made(sizes=(30, 50))
    state = flowgrad.watch(other, torch.optim.Adam(other.parameters())).state_dict()
    with pytest.raises(ValueError, match=r"differ in the table 'tables\.2'"):
        watch.load_state_dict(state)
    watch.detach()
