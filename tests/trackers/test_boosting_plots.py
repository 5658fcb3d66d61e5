"""Pictures of a booster: what is drawn, that the bytes repeat, and what is refused."""

import sys

import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from hypothesis import given
from hypothesis import strategies as st

from flowgrad import BoostingTracker, FlowGradError
from flowgrad.drawing import FORMATS
from flowgrad.trackers.boosting.plots import Best, evaluation_figure, gain_figure, gain_shares
from tests.forked import run_forked

RNG = np.random.default_rng(0)
NAMES = ["$a$", "_b", "c d", "a name of a column that is longer than thirty letters"]
X = pd.DataFrame(RNG.normal(size=(300, 4)), columns=NAMES)
Y = X["$a$"] * X["_b"] + RNG.normal(size=300)


def trained(rounds=30, **params):
    tracker = BoostingTracker(window=10)
    data, held_out = xgb.DMatrix(X[:200], Y[:200]), xgb.DMatrix(X[200:], Y[200:])
    xgb.train({"nthread": 1, "eval_metric": ["mae", "rmse"]} | params, data, rounds, verbose_eval=False,
              evals=[(data, "train"), (held_out, "_valid$")], callbacks=[tracker.as_xgb_callback()])  # fmt: skip
    return tracker


@pytest.fixture(scope="module")
def tracker():
    return trained()


@pytest.mark.parametrize("plot", ["plot_evaluations", "plot_gain"])
@pytest.mark.parametrize("suffix", [*FORMATS, ".PNG"])
def test_bytes_repeat(tracker, plot, suffix, tmp_path):
    paths = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for path in paths:
        getattr(tracker, plot)(str(path))
    first, second = (path.read_bytes() for path in paths)
    assert first == second
    assert len(first) > 1000


def pyplot_loaded_by_a_plot(path):
    trained().plot_gain(path)
    return "matplotlib.pyplot" in sys.modules


def test_pyplot_is_let_alone(tmp_path):
    assert run_forked(pyplot_loaded_by_a_plot, str(tmp_path / "g.png")) is False
    assert (tmp_path / "g.png").is_file()


def test_the_best_round_is_marked():
    curves = {"auc": {"train": [0.6, 0.7, 0.9], "_valid": [0.6, 0.8, 0.7]}, "loss": {"_valid": [3.0, 2.0, 1.0]}}
    figure = evaluation_figure(curves, Best("auc", "_valid", 2, 0.8), "t")
    auc, loss = figure.axes
    assert [line.get_ydata().tolist() for line in auc.lines[:2]] == [[0.6, 0.7, 0.9], [0.6, 0.8, 0.7]]
    assert (auc.lines[-1].get_xdata().tolist(), auc.lines[-1].get_ydata().tolist()) == ([2], [0.8])
    texts = [text.get_text().strip() for text in auc.get_legend().get_texts()]
    assert texts == ["train", "_valid", "best of _valid: 0.8 in round 2"]
    assert len(loss.lines) == 1
    assert [axes.get_ylabel() for axes in (auc, loss)] == ["auc", "loss"]


def test_the_marked_round_is_the_measured_one(tracker, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        "flowgrad.trackers.boosting.tracker.evaluation_figure", lambda curves, best, title: seen.update(b=best)
    )
    monkeypatch.setattr("flowgrad.trackers.boosting.tracker.save", lambda figure, path: None)
    tracker.plot_evaluations("x.png")
    measured = tracker.measurements().scalars
    assert seen["b"] == ("rmse", "_valid$", measured["best_round"], measured["val_best"])
    assert tracker.evaluations()["_valid$ rmse"].idxmin() == measured["best_round"]


def windows(rows, ends=None):
    gain = np.array(rows, dtype=float)
    return pd.DataFrame(gain, index=ends or range(10, 10 * len(gain) + 1, 10), columns=list("abcd"[: gain.shape[1]]))


def test_shares_known_by_hand():
    """The last window is five rounds; the least of three columns stands for the others; no gain is no share."""
    shares, totals, edges = gain_shares(windows([[1, 6, 3], [0, 0, 0], [0, 5, 5]], [10, 20, 25]), 2)
    assert shares.index.tolist() == ["b", "c", "1 others"]
    np.testing.assert_allclose(shares, [[0.6, 0, 0.5], [0.3, 0, 0.5], [0.1, 0, 0]])
    assert totals.tolist() == [1, 0, 2]
    assert edges.tolist() == [0, 10, 20, 25]
    assert gain_shares(windows([[1, 6]]), 5)[0].index.tolist() == ["b", "a"]


@given(
    st.integers(1, 5),
    st.lists(st.tuples(*[st.floats(0, 1e9)] * 4), min_size=1, max_size=6).filter(lambda rows: np.sum(rows) > 0),
)
def test_shares_of_a_window_add_up(top, rows):
    gain = windows(rows)
    shares, totals, edges = gain_shares(gain, top)
    some = gain.sum(axis=1).to_numpy() > 1e-300
    np.testing.assert_allclose(shares.to_numpy().sum(axis=0)[some], 1)
    np.testing.assert_allclose(totals * np.diff(edges), gain.sum(axis=1))
    assert len(shares) == min(4, top + 1)


def test_names_are_written_as_they_are():
    figure = gain_figure(windows([[1, 6, 3]]).set_axis(["$a$", "_b", NAMES[3]], axis=1), 5, "t")
    labels = [text.get_text() for text in figure.axes[1].get_yticklabels()]
    assert labels == ["_b", NAMES[3][:31] + "…", "$a$"]
    assert not any(text.get_parse_math() for text in figure.axes[1].get_yticklabels())


@pytest.mark.parametrize("plot", ["plot_evaluations", "plot_gain"])
def test_what_cannot_be_drawn(plot, tracker, tmp_path):
    with pytest.raises(FlowGradError, match=r"must end in \.png, \.svg, \.pdf"):
        getattr(tracker, plot)(tmp_path / "x.jpg")
    with pytest.raises(FlowGradError, match="'booster' has seen no"):
        getattr(BoostingTracker(), plot)(tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


def test_a_linear_booster_has_evaluations_alone(tmp_path):
    linear = trained(3, booster="gblinear")
    linear.plot_evaluations(tmp_path / "e.png")
    with pytest.raises(FlowGradError, match="has seen no tree"):
        linear.plot_gain(tmp_path / "g.png")
    with pytest.raises(FlowGradError, match="columns=0"):
        linear.plot_gain(tmp_path / "g.png", columns=0)


def test_without_matplotlib_the_error_names_the_extra(tracker, tmp_path, monkeypatch):
    for name in ("matplotlib", "matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"flowgrad\[plots\]"):
        tracker.plot_gain(tmp_path / "g.png")
