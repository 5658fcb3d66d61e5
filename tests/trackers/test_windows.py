"""Coherence and jitter against a slow plain version of their definition, and what they say of known motions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from flowgrad import EmbeddingTracker
from flowgrad.rules import RuleBook
from flowgrad.testing import seeded
from flowgrad.trackers.embedding.windows import FIRST_WINDOW, WINDOWS_PER_LENGTH, RowWindows

ROWS, DIM = 12, 4
RULES = RuleBook.load()
PLENTY = 10**6
"""Lookups in a step, after which the next snapshot is due at the next step."""


def observe(windows, positions, lookups, ends=()):
    """Let `windows` see a run; the snapshots it took.

    Args:
        windows: just made of `positions[0]`.
        positions: shape (steps + 1, rows, dim).
        lookups: in each step; the first one is number 1.
        ends: steps at which epochs end.

    Returns:
        For each window its kind (`length`, `cut` by the first epoch's end, `epoch`) and the steps of its snapshots,
        the last of which ends it.
    """
    taken, snapshots = [], []
    for step, count in enumerate(lookups, 1):
        rows, closed = torch.from_numpy(positions[step]), windows.closed
        if windows.step(count):
            windows.snapshot(rows)
            snapshots.append(step)
        if windows.closed != closed:
            taken.append(("length", snapshots))
            snapshots = []
        if step in ends:
            windows.end_epoch(rows, torch.from_numpy(positions[0]))
            if snapshots or not taken or taken[-1][1][-1] != step:
                taken.append(("cut" if step == ends[0] else "epoch", sorted({*snapshots, step})))
            snapshots = []
    return taken


def plain_statistics(positions, taken, ends=()):
    """Coherence and jitter by row, as defined: from the first epoch's end to the second's what shorter windows said.

    Arguments are those of `observe` and what it gave.
    """
    if len(ends) >= 2:
        closed, weights = list(ends), [1] * len(ends)
        spread = [(snapshots, 1) for kind, snapshots in taken if kind == "epoch"]
    else:
        closed = [snapshots[-1] for kind, snapshots in taken if kind == "length"]
        weights = [(end - start) ** 2 for start, end in zip([0, *closed], closed, strict=False)]
        spread = list(zip([snapshots for kind, snapshots in taken if kind == "length"], weights, strict=True))
        spread += [(snapshots, 1) for kind, snapshots in taken if kind == "cut"]
    positions = positions.astype(float)
    return np.array([plain_row(positions[:, row], closed, weights, spread) for row in range(positions.shape[1])]).T


def plain_row(row, closed, weights, spread):
    """Coherence and jitter of one row, shape (steps + 1, dim).

    Args:
        row: where it stood after each step.
        closed: steps at which the windows of coherence end.
        weights: of those windows.
        spread: for each window of jitter the steps of its snapshots, and its weight.
    """
    moves = [row[end] - row[start] for start, end in zip([0, *closed], closed, strict=False)]
    cosines = [
        (a @ b / np.linalg.norm(a) / np.linalg.norm(b), weight)
        for a, b, weight in zip(moves[1:], moves, weights[1:], strict=False)
        if a.any() and b.any()
    ]
    everything = sorted({0, *closed, *(snapshots[-1] for snapshots, _ in spread)})
    variances = []
    for snapshots, weight in spread:
        seen, end = row[snapshots], row[snapshots[-1]]
        began = row[max(step for step in everything if step < snapshots[0])]
        if len(snapshots) >= 2 and (seen != began).any() and end.any():
            variances.append((seen.var(axis=0).sum() / (end @ end), weight))
    return plain_mean(cosines), plain_mean(variances)


def plain_mean(pairs):
    """Mean of (value, weight) pairs."""
    return sum(value * weight for value, weight in pairs) / sum(weight for _, weight in pairs) if pairs else np.nan


def assert_equal(windows, expected, tolerance):
    for found, wanted in zip(windows.statistics(), expected, strict=True):
        np.testing.assert_allclose(found.numpy(), wanted, rtol=tolerance, atol=tolerance)


def walk_of(steps, seed=0, rows=5, dtype=np.float64):
    """Positions of rows that walk at random; row 0 never moves, 1 rests now and then, 2 becomes zero."""
    generator = np.random.default_rng(seed)
    moves = generator.normal(scale=0.3, size=(steps, rows, 3))
    moves[:, 0] = 0
    moves[generator.random(steps) < 0.8, 1] = 0
    positions = np.concatenate([1 + np.zeros((1, rows, 3)), moves]).cumsum(axis=0)
    positions[2 * steps // 3 :, 2] = 0
    return positions.astype(dtype)


runs = st.lists(st.sampled_from([0, 1, 3, 5, 20, PLENTY]), min_size=1, max_size=90)


@given(runs, st.integers(0, 99))
@settings(max_examples=60)
def test_windows_by_length_agree_with_a_slow_plain_version(lookups, seed):
    """A cosine and a variance count for their window's length squared."""
    positions = walk_of(len(lookups), seed)
    windows = RowWindows(torch.from_numpy(positions[0]))
    taken = observe(windows, positions, lookups)
    assert windows.closed == len(taken)
    assert_equal(windows, plain_statistics(positions, taken), 1e-9)


@given(runs, st.data())
@settings(max_examples=100)
def test_epochs_agree_with_a_slow_plain_version(lookups, data):
    """They count alike, and replace the windows that came first as soon as there are two."""
    ends = sorted(data.draw(st.sets(st.integers(1, len(lookups)), min_size=1, max_size=6)))
    positions = walk_of(len(lookups), data.draw(st.integers(0, 99)))
    windows = RowWindows(torch.from_numpy(positions[0]))
    taken = observe(windows, positions, lookups, ends)
    assert windows.closed == len(ends)
    assert_equal(windows, plain_statistics(positions, taken, ends), 1e-9)


@pytest.mark.parametrize("ends", [(), (40,), (40, 80, 120, 160, 200)])
def test_single_precision_is_enough(ends):
    positions = walk_of(200, dtype=np.float32)
    windows = RowWindows(torch.from_numpy(positions[0]))
    taken = observe(windows, positions, [20] * 200, ends)
    assert_equal(windows, plain_statistics(positions, taken, ends), 1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_taken_up_to_single(dtype):
    """The first epoch's displacement used to be rounded to half precision: 1 - 0.01 is 0.988 there."""
    positions = torch.from_numpy(walk_of(60)).to(dtype)
    windows = RowWindows(positions[0])
    for step in range(1, 61):
        if windows.step(PLENTY):
            windows.snapshot(positions[step])
        if step % 20 == 0:
            windows.end_epoch(positions[step], positions[0])
    positions = positions.double().numpy()
    taken = [("epoch", list(range(first + 4, first + 21, 4))) for first in (20, 40)]
    assert_equal(windows, plain_statistics(positions, taken, (20, 40, 60)), 1e-5)


# --- when snapshots are taken ----------------------------------------------------------------------------------------


def lengths(count):
    return [FIRST_WINDOW * 2 ** (window // WINDOWS_PER_LENGTH) for window in range(count)]


def taken_by_length(rows, lookups):
    positions = np.zeros((len(lookups) + 1, rows, 1))
    return [snapshots for _, snapshots in observe(RowWindows(torch.from_numpy(positions[0])), positions, lookups)]


def test_of_large_batches_every_fourth_step_is_seen():
    windows = taken_by_length(12, [48] * 64)
    assert [window[-1] for window in windows] == np.cumsum(lengths(3)).tolist()
    assert np.concatenate(windows).tolist() == [1, 2, 3, *range(4, 65, 4)]


def test_later_in_a_run_snapshots_are_sixteen_times_as_far_apart_and_no_closer_than_32_steps():
    assert taken_by_length(12, [12] * 400)[2:] == [list(range(36, 65, 4)), list(range(128, 321, 64))]
    assert taken_by_length(12, [48] * 300)[3] == list(range(96, 193, 32))


def test_of_smaller_batches_a_snapshot_comes_every_four_lookups_a_row():
    """Lookups of 8 rows of 12: every sixth step, and at the first window's end."""
    windows = taken_by_length(12, [8] * 64)
    assert windows[0] == [1, 2, 3, 4, 10, 16]
    assert windows[1] == [22, 28, 34, 40]


def test_of_large_tables_windows_are_longer():
    """Four snapshots fit into each but the first."""
    windows = taken_by_length(100, [50] * 300)
    assert windows[0] == [1, 2, 3, 4, 12, 16]
    assert windows[1] == [24, 32, 40, 48]
    assert [window[-1] for window in windows] == [16, 48, 112]
    assert windows[2] == [56, 64, 112], "from step 64 on they are further apart"


def test_a_table_that_is_not_looked_up_is_hardly_copied():
    """Every step was a snapshot of all rows, as long as no lookup had come."""
    windows = taken_by_length(100, [0] * 1000)
    assert [len(window) for window in windows[1:]] == pytest.approx([4] * (len(windows) - 1), abs=1)
    ends = np.cumsum(lengths(len(windows))).tolist()
    assert [window[-1] for window in windows] == ends


def test_idle_steps_do_not_stretch_the_windows():
    """Steps without lookups used to thin the lookups per step out, and windows only ever grow."""
    idle = 16
    windows = taken_by_length(12, [0] * idle + [48] * 48)
    assert windows[-1][-1] == np.cumsum(lengths(3))[-1]
    assert windows[-1][-8:] == list(range(36, 65, 4))


def test_an_epoch_has_at_least_four_snapshots_once_its_length_is_known():
    positions = walk_of(200)
    windows = RowWindows(torch.from_numpy(positions[0]))
    taken = observe(windows, positions, [1] * 200, (40, 80, 120, 160, 200))
    # Ten steps apart, counted from the epoch's end.
    assert [snapshots for kind, snapshots in taken if kind == "epoch"] == [
        list(range(first + 10, first + 41, 10)) for first in (40, 80, 120, 160)
    ]


def test_an_epoch_that_ends_on_a_snapshot_sees_it_once():
    """The last position counted twice, in announced epochs only, and bent jitter by some percent."""
    positions = walk_of(9)
    windows = RowWindows(torch.from_numpy(positions[0]))
    observe(windows, positions, [PLENTY] * 9, (3, 6, 9))
    seen = positions[4:7, 4].var(axis=0).sum() / (positions[6, 4] ** 2).sum()
    also = positions[7:10, 4].var(axis=0).sum() / (positions[9, 4] ** 2).sum()
    assert float(windows.statistics()[1][4]) == pytest.approx((seen + also) / 2)


def test_an_epoch_announced_twice_is_one():
    positions = walk_of(30)
    once, twice = (RowWindows(torch.from_numpy(positions[0])) for _ in range(2))
    initial = torch.from_numpy(positions[0])
    for step in range(1, 31):
        rows = torch.from_numpy(positions[step])
        for windows, times in ((once, 1), (twice, 2)):
            if windows.step(20):
                windows.snapshot(rows)
            for _ in range(times if step % 10 == 0 else 0):
                windows.end_epoch(rows, initial)
    assert once.closed == twice.closed == 3
    for first, second in zip(once.statistics(), twice.statistics(), strict=True):
        assert torch.equal(first.nan_to_num(9), second.nan_to_num(9))


def test_what_looked_like_epochs_can_be_left():
    """Windows by length follow, and outweigh what the epochs said."""
    positions = walk_of(100)
    windows = RowWindows(torch.from_numpy(positions[0]))
    closed = []
    for step in range(1, 101):
        before = windows.closed
        if windows.step(PLENTY):
            windows.snapshot(torch.from_numpy(positions[step]))
        if step in (10, 20):
            windows.end_epoch(torch.from_numpy(positions[step]), torch.from_numpy(positions[0]))
        if step == 25:
            windows.leave_epochs()
            windows.leave_epochs()
        if windows.closed != before:
            closed.append(step)
    assert closed == [10, 20, 25 + FIRST_WINDOW, 25 + 2 * FIRST_WINDOW, 25 + 4 * FIRST_WINDOW][: len(closed)]
    assert len(closed) >= 4
    assert windows.statistics()[0][3:].isfinite().all()


@given(runs, st.data())
@settings(max_examples=30)
def test_a_run_goes_on_from_its_state(lookups, data):
    """Saved and loaded at any step, also over a state of something else, it says the same to the last bit."""
    ends = sorted(data.draw(st.sets(st.integers(1, len(lookups)), max_size=4)))
    halt = data.draw(st.integers(0, len(lookups)))
    positions = torch.from_numpy(walk_of(len(lookups)))
    straight, halted = RowWindows(positions[0]), RowWindows(positions[0])
    for step, count in enumerate([0, *lookups]):
        if step == halt:
            other = RowWindows(torch.ones_like(positions[0]))
            other.load_state_dict(halted.state_dict())
            halted = other
        for windows in (straight, halted) if step else ():
            if windows.step(count):
                windows.snapshot(positions[step])
            if step in ends:
                windows.end_epoch(positions[step], positions[0])
    assert straight.closed == halted.closed
    for first, second in zip(straight.statistics(), halted.statistics(), strict=True):
        assert torch.equal(first.nan_to_num(9), second.nan_to_num(9))


def test_a_state_is_a_copy():
    positions = torch.from_numpy(walk_of(40))
    windows = RowWindows(positions[0])
    state = windows.state_dict()
    before = {name: value.clone() for name, value in state.items() if isinstance(value, torch.Tensor)}
    for step in range(1, 41):
        if windows.step(PLENTY):
            windows.snapshot(positions[step])
    assert all(torch.equal(state[name], value) for name, value in before.items())


# --- what the statistics say of known motions ------------------------------------------------------------------------


def walk(move, rows=200, dim=64, windows=40, steps=5):
    """Median coherence and jitter of rows that `move` moves from (1, ..., 1), step by step."""
    generator = np.random.default_rng(0)
    weight = np.ones((rows, dim))
    tracker = RowWindows(torch.from_numpy(weight))
    initial = torch.from_numpy(weight.copy())
    for _ in range(windows):
        for _ in range(steps):
            weight = move(weight, generator)
            if tracker.step(PLENTY):
                tracker.snapshot(torch.from_numpy(weight))
        tracker.end_epoch(torch.from_numpy(weight), initial)
    coherence, jitter = tracker.statistics()
    return float(coherence.median()), float(jitter.median())


def test_a_random_walk_has_no_coherence():
    coherence, _ = walk(lambda weight, generator: weight + 0.1 * generator.normal(size=weight.shape))
    assert abs(coherence) < 0.02


def test_drift_is_coherent():
    def drift(weight, generator):
        return weight + 1 + 0.01 * generator.normal(size=weight.shape)

    assert walk(drift)[0] > 0.99


def test_a_noise_ball_has_coherence_minus_one_half():
    """And its jitter is its variance over the squared norm: .01 over 1.01, of which 5 snapshots show 4/5."""

    def ball(weight, generator):
        return 1 + 0.1 * generator.normal(size=weight.shape)

    coherence, jitter = walk(ball)
    assert coherence == pytest.approx(-0.5, abs=0.02)
    assert jitter == pytest.approx(0.01 / 1.01 * 4 / 5, rel=0.05)


@given(st.floats(1e-12, 1e12), st.integers(0, 9))
@settings(max_examples=30)
def test_neither_depends_on_the_scale(scale, seed):
    """Tiny displacements do not underflow when they are squared."""
    positions = walk_of(60, seed)
    found = []
    for factor in (1.0, scale):
        windows = RowWindows(torch.from_numpy(positions[0] * factor))
        observe(windows, positions * factor, [PLENTY] * 60)
        found.append(torch.stack(windows.statistics()).numpy())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9)


def test_coherence_of_displacements_whose_squares_underflow():
    positions = np.full((65, 1, 2), 1e-3, dtype=np.float32)
    positions[:, 0, 0] += np.arange(65, dtype=np.float32) * 1e-30
    positions[:, 0, 1] = np.arange(65, dtype=np.float32) * 1e-30
    windows = RowWindows(torch.from_numpy(positions[0]))
    observe(windows, positions, [PLENTY] * 64)
    assert float(windows.statistics()[0]) == pytest.approx(1)


def test_a_row_that_becomes_nan_keeps_what_was_known_and_spoils_no_other():
    positions = walk_of(100)
    windows = RowWindows(torch.from_numpy(positions[0]))
    broken = positions.copy()
    broken[40:, 3] = np.nan
    broken[70:, 4] = np.inf
    observe(windows, broken, [PLENTY] * 100)
    whole = RowWindows(torch.from_numpy(positions[0]))
    observe(whole, positions, [PLENTY] * 100)
    for found, wanted in zip(windows.statistics(), whole.statistics(), strict=True):
        assert torch.equal(found[:3].nan_to_num(9), wanted[:3].nan_to_num(9))
        assert found[3:].isfinite().all()


# --- the same through the tracker ------------------------------------------------------------------------------------


def tracked(layer, **arguments):
    return EmbeddingTracker(layer, rules=RULES, **arguments)


def ids(step, size=10):
    """The batch of one step, repeats included; row 11 is never in it."""
    return torch.from_numpy(np.random.default_rng([7, step]).integers(0, ROWS - 1, size))


def record(layer, steps, size=10, ends=(), announced=True):
    """Train for `steps` steps on random batches, the last one of an epoch smaller; tracker, positions and lookups."""
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.3)
    tracker = tracked(layer)
    target = torch.randn(ROWS, DIM, generator=torch.Generator().manual_seed(5)).to(layer.weight.dtype)
    positions, lookups = [layer.weight.detach().numpy().copy()], []
    for step in range(1, steps + 1):
        batch = ids(step, size - 1 if step in ends else size)
        optimizer.zero_grad()
        (layer(batch) - target[batch]).square().sum().backward()
        optimizer.step()
        tracker.step()
        if announced and step in ends:
            tracker.end_epoch()
        positions.append(layer.weight.detach().numpy().copy())
        lookups.append(len(batch))
    return tracker, np.array(positions), lookups


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("ends", [(), (90,), (15, 30, 45, 60, 75, 90), (5, 10, 30, 90)])
@pytest.mark.parametrize("size", [4, 60])
def test_the_tracker_agrees_with_a_slow_plain_version(dtype, ends, size):
    with seeded():
        layer = nn.Embedding(ROWS, DIM, dtype=dtype)
    tracker, positions, lookups = record(layer, 100, size, ends)
    taken = observe(RowWindows(torch.from_numpy(positions[0])), positions, lookups, ends)
    coherence, jitter = plain_statistics(positions, taken, ends)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-9
    table = tracker.row_table()
    np.testing.assert_allclose(table["coherence"], coherence, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(table["jitter"], jitter, rtol=tolerance, atol=tolerance)
    assert table["coherence"][:11].notna().all()
    assert tracker.measurements().scalars["windows"] == (len(ends) or len(taken))


def test_windows_grow_as_documented():
    tracker = tracked(nn.Embedding(ROWS, DIM))
    closed = []
    expected = np.cumsum(lengths(7)).tolist()
    for step in range(1, expected[-1] + 1):
        tracker.step()
        if tracker._followed.windows.closed > len(closed):
            closed.append(step)
    assert closed == expected
    assert closed[:2] == [16, 32]
    assert tracker.measurements().scalars["windows"] == 7


@pytest.mark.parametrize("announced", [False, True])
def test_a_run_of_one_epoch_keeps_what_its_windows_said(announced):
    """The first epoch's end used to forget all coherence, so nothing was known until the second one's."""
    with seeded():
        layer = nn.Embedding(ROWS, DIM)
    tracker, *_ = record(layer, 100)
    before = tracker.row_table()["coherence"]
    if announced:
        tracker.end_epoch()
    else:
        layer(torch.tensor([0, 1]))
        tracker.step()  # the last, smaller batch of an epoch
    assert tracker.measurements().scalars["windows"] == 1
    assert before[:11].notna().all()
    assert tracker.row_table()["coherence"].equals(before)


@pytest.mark.parametrize("length", [2, 5, 16, 30])
@pytest.mark.parametrize("epochs", [1, 2, 5])
@pytest.mark.parametrize("size", [4, 60])
def test_epochs_that_the_batch_sizes_show_equal_those_announced(length, epochs, size):
    tables = []
    for announced in (False, True):
        with seeded():
            layer = nn.Embedding(ROWS, DIM)
        ends = range(length, length * epochs + 1, length)
        tracker, *_ = record(layer, length * epochs, size, ends, announced)
        tables.append(tracker.row_table())
        assert tracker.measurements().scalars["windows"] == epochs
    assert tables[0].equals(tables[1])


def test_batch_sizes_that_contradict_epochs_are_let_go():
    """Two epochs of the same length, then a smaller batch out of turn: windows by length from there on."""
    layer = nn.Embedding(ROWS, DIM)
    tracker = tracked(layer)
    for step in range(1, 101):
        layer(ids(step, 7 if step in (10, 20, 25) else 60)).sum().backward()
        with torch.no_grad():
            layer.weight += 0.1
        tracker.step()
        if step == 24:
            assert tracker.measurements().scalars["windows"] == 2
    assert tracker.measurements().scalars["windows"] == 2 + len([16, 32, 64])
    assert tracker.row_table()["coherence"].min() > 0.99


def test_rows_that_never_move_tell_nothing():
    """Their variance is zero because they are frozen, not because they are calm."""
    layer = nn.Embedding(ROWS, DIM)
    tracker = tracked(layer)
    for _ in range(100):
        layer(torch.tensor([1, 2]))
        tracker.step()
    table = tracker.row_table()
    assert table["coherence"].isna().all()
    assert table["jitter"].isna().all()
    assert table["init_cosine"].tolist() == pytest.approx([1] * ROWS)
