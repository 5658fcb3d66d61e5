"""Pictures of a network's training: what is drawn, that the bytes repeat, and what is refused."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from flowgrad import FlowGradError, FlowTracker
from flowgrad.trackers.flow import plots
from flowgrad.trackers.schedules import every

PLOTS = ("plot_velocity", "plot_gradient_flow", "plot_health")


@pytest.fixture(scope="module")
def tracker():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model[2:].parameters(), lr=0.1)
    tracker = FlowTracker(model, optimizer, schedule=every(1), name="a $strange$ _name")
    x = torch.linspace(-1, 1, 40).reshape(10, 4)
    for _ in range(12):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
        tracker.step()
    return tracker


@pytest.mark.parametrize("plot", PLOTS)
@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_bytes_repeat(tracker, plot, suffix, tmp_path):
    paths = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for path in paths:
        getattr(tracker, plot)(path)
    first, second = (path.read_bytes() for path in paths)
    assert first == second
    assert len(first) > 1000


def test_the_heat_map_shows_a_layer_a_line_and_what_never_moved_as_unknown(tracker):
    figure = tracker.velocity_figure()
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["0.weight", "2.weight", "4.weight"]
    shown = axes.collections[0].get_array()
    assert shown.shape == (3, 12)
    assert shown.mask[0].all()
    assert not shown.mask[1:].any()


def test_the_gradient_flow_has_a_line_for_each_third(tracker):
    axes = tracker.gradient_flow_figure().axes[0]
    assert [line.get_label() for line in axes.get_lines()] == ["early", "mid", "late"]
    rows = tracker.history("gradient_norm")["2.weight"].to_numpy() / 8
    assert axes.get_lines()[2].get_ydata()[1] == pytest.approx(np.median(rows[8:]))


def test_health_has_a_panel_for_each_figure_that_is_known(tracker):
    assert [axes.get_title() for axes in tracker.health_figure().axes] == [
        "gradient_relative", "update_ratio", "snr", "dead_share", "saturation"
    ]  # fmt: skip


def test_one_look_and_zeros_are_drawn():
    frame = pd.DataFrame([[0.0, np.nan]], index=[1], columns=["a", "b"])
    plots.gradient_flow_figure(frame, "t")
    plots.velocity_figure(frame, "t")


def test_a_deep_network_is_thinned_out():
    names = [f"layer{i}" for i in range(200)]
    frame = pd.DataFrame(np.ones((3, 200)), index=[1, 2, 3], columns=names)
    labels = [text.get_text() for text in plots.velocity_figure(frame, "t").axes[0].get_yticklabels()]
    assert len(labels) == 60
    assert (labels[0], labels[-1]) == ("layer0", "layer199")


@pytest.mark.parametrize("plot", PLOTS)
def test_what_cannot_be_drawn_is_refused(plot, tmp_path):
    empty = FlowTracker(nn.Linear(2, 2))
    with pytest.raises(FlowGradError, match="looked at no step yet"):
        getattr(empty, plot)(tmp_path / "a.png")
    with pytest.raises(FlowGradError, match="must end in"):
        getattr(empty, plot)(tmp_path / "a.txt")


def test_an_unknown_figure_is_refused(tracker):
    with pytest.raises(FlowGradError, match="figure='speed' must be one of weight_norm"):
        tracker.history("speed")
