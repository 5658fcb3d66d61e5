"""Causes of embedding tables: resets, alike starts, few rows, low rates; each beside sound runs that look like it."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from flowgrad import EmbeddingTracker
from flowgrad.measures.lookups import lookup_figures, spread_over_batches
from flowgrad.rules import RuleBook

RULES = RuleBook.load()
ROWS, COLUMNS, BATCHES, BATCH = 300, 8, 10, 200


class Loop:
    """Ratings from two tables that are multiplied, with a tracker on the first."""

    def __init__(self, rate=0.01, rows=ROWS, columns=COLUMNS, trained=None):
        torch.manual_seed(0)
        self.first, self.second = nn.Embedding(rows, columns), nn.Embedding(rows, columns)
        for table in (self.first, self.second):
            nn.init.normal_(table.weight, std=0.1)
        self.optimizer = torch.optim.Adam([*self.first.parameters(), *self.second.parameters()], lr=rate)
        self.rows, self.truth = rows, torch.randn(rows, 2)

    def watch(self):
        self.tracker = EmbeddingTracker(self.first, name="emb", rules=RULES, optimizer=self.optimizer)
        return self

    def loss(self, ids, others):
        target = (self.truth[ids] * self.truth[others]).sum(1)
        return (self.first(ids).mul(self.second(others)).sum(1) - target).square().mean()

    def ids(self):
        return torch.randint(self.rows, (BATCH,))

    def step(self, ids):
        self.optimizer.zero_grad()
        self.loss(ids, torch.randint(self.rows, (BATCH,))).backward()
        self.optimizer.step()
        self.tracker.step()

    def train(self, epochs=4, ids=None, between=None):
        for epoch in range(epochs):
            if between is not None:
                between(self, epoch)
            for _ in range(BATCHES):
                self.step((ids or Loop.ids)(self))
            self.tracker.end_epoch()
        return self

    def types(self, least=("medium", "high", "critical")):
        return {finding.type for finding in self.tracker.findings() if finding.severity in least}


def every(loop):
    return loop.types(("info", "low", "medium", "high", "critical"))


# Somebody else writes to the rows


def drawn(loop, epoch):
    if epoch:
        loop.first.reset_parameters()


def drawn_by_data(loop, epoch):
    if epoch:
        loop.first.weight.data = 0.1 * torch.randn(ROWS, COLUMNS)


def loaded(loop, epoch):
    if epoch == 1:
        loop.kept = loop.first.weight.detach().clone()
    elif epoch > 1:
        loop.first.load_state_dict({"weight": loop.kept})


@pytest.mark.parametrize("between", [drawn, drawn_by_data, loaded])
def test_rows_that_are_drawn_or_loaded_anew_are_said_to_be_reset(between):
    """A table that was drawn anew before each epoch was said to have too high a rate."""
    loop = Loop().watch().train(6, between=between)
    assert "WEIGHTS_RESET" in loop.types()
    assert not [one for one in loop.tracker.findings() if one.type == "ZOMBIE_EMBEDDINGS" and one.fix]


def scaled(loop, epoch):
    with torch.no_grad():
        loop.first.weight.copy_(functional.normalize(loop.first.weight, dim=1))


def evaluated(loop, epoch):
    kept = loop.first.weight.detach().clone()
    with torch.no_grad():
        loop.first.weight.mul_(0.5)
        loop.first(loop.ids())  # without gradients: no lookup of the training
        loop.first.weight.copy_(kept)


def restored_once(loop, epoch):
    if epoch == 1:
        loop.kept = loop.first.weight.detach().clone()
    elif epoch == 3:
        loop.first.load_state_dict({"weight": loop.kept})


@pytest.mark.parametrize("between", [None, scaled, evaluated, restored_once])
def test_a_table_that_is_kept_in_bounds_is_not_reset(between):
    loop = Loop().watch().train(6, between=between)
    assert "WEIGHTS_RESET" not in every(loop)
    assert ("ROWS_CHANGED_BETWEEN_EPOCHS" in every(loop)) == (between is scaled)


def test_a_layer_that_shortens_its_rows_is_not_compared():
    """Such a layer writes to its rows at every lookup."""
    loop = Loop()
    loop.first.max_norm = 0.2
    scalars = loop.watch().train(4).tracker.measurements().scalars
    assert scalars["compared_starts"] == 0


# Dimensions that start alike


@pytest.mark.parametrize(
    "start",
    [
        lambda rows, columns: torch.full((rows, columns), 0.01),
        lambda rows, columns: torch.ones(rows, columns),
        lambda rows, columns: 0.1 * torch.randn(rows, 1).expand(rows, columns),
    ],
)
def test_dimensions_that_start_alike_and_stay_so_are_named(start):
    loop = Loop()
    for table in (loop.first, loop.second):
        table.weight.data.copy_(start(ROWS, COLUMNS))
    assert "INITIALISED_ALIKE" in loop.watch().train().types()


@pytest.mark.parametrize("start", [0.0, 1.0])
def test_a_table_of_zeros_or_ones_beside_one_that_was_drawn_is_sound(start):
    """A usual start of what is added or multiplied: its dimensions part at the first step."""
    loop = Loop()
    nn.init.constant_(loop.first.weight, start)
    assert "INITIALISED_ALIKE" not in every(loop.watch().train())


def test_a_table_of_one_column_has_no_dimensions_to_tell_apart():
    loop = Loop(columns=1)
    nn.init.zeros_(loop.first.weight)
    assert "INITIALISED_ALIKE" not in every(loop.watch().train())


# Few rows take all lookups


def few_buckets(loop):
    return loop.ids() % 13


def unknown(loop):
    return torch.full((BATCH,), 7)


def other_column(loop):
    return torch.randint(loop.rows // 2, (BATCH,))


@pytest.mark.parametrize("ids", [few_buckets, unknown, other_column])
def test_ids_that_reach_few_rows_are_a_question(ids):
    """Whether users share a row, by a hash, a mapping or a wrong column, showed as rows never looked up."""
    found = [one for one in Loop().watch().train(ids=ids).tracker.findings() if one.type == "FEW_ROWS_LOOKED_UP"]
    assert [(one.severity, one.fix) for one in found] == [("medium", None)]
    assert len(found[0].candidates) > 3


def long_tail(loop):
    return (torch.rand(BATCH) ** 12 * loop.rows).long()


def by_time(loop):
    """The newest items stand last and have few examples yet; the rest of the table waits for items to come."""
    return (torch.rand(BATCH) ** 2 * loop.rows * 0.6).long()


def half_sold(loop):
    return 2 * torch.randint(loop.rows // 2, (BATCH,))


def places(loop):
    return torch.arange(20).repeat(BATCH // 20)


@pytest.mark.parametrize("ids", [None, long_tail, by_time, half_sold, places])
def test_tables_of_which_a_part_is_in_use_are_sound(ids):
    loop = Loop().watch().train(ids=ids)
    assert "FEW_ROWS_LOOKED_UP" not in every(loop)


def test_without_epochs_nobody_knows_whether_all_was_seen():
    loop = Loop().watch()
    for _ in range(40):
        loop.step(few_buckets(loop))
    assert "FEW_ROWS_LOOKED_UP" not in every(loop)


def test_figures_of_lookups():
    figures = lookup_figures([4, 4, 2, 0, 2, 0], epochs=2)
    assert figures["seen_rows"] == 4
    assert figures["bound_share"] == pytest.approx(5 / 6)
    assert figures["filled_share"] == pytest.approx(4 / 5)
    assert figures["least_exposures"] == 1
    assert figures["by_place"] == 0
    assert lookup_figures([9, 9, 8, 8, 1], 1)["by_place"] == 1
    assert all(math.isnan(value) for value in lookup_figures([0, 0], 1).values())
    assert math.isnan(lookup_figures([1, 2], 0)["least_exposures"])
    assert math.isnan(spread_over_batches(0, 0, 0, [1, 2]))


# Rates that are low, and vectors that are to stay where they are


def isotropic(rows, columns):
    left = torch.linalg.svd(torch.randn(rows, columns), full_matrices=False)[0]
    return 0.1 * math.sqrt(rows) * left


def of_one_length(rows, columns):
    return functional.normalize(torch.randn(rows, columns), dim=1) * 0.3


def of_many_lengths(rows, columns):
    return 0.1 * torch.randn(rows, columns) * torch.rand(rows, 1).add(0.1)


def drawn_at(rows, columns):
    return 0.1 * torch.randn(rows, columns)


def uniform(rows, columns):
    return torch.rand(rows, columns) - 0.5


@pytest.mark.parametrize(
    ("start", "claimed"),
    [(isotropic, False), (of_one_length, False), (of_many_lengths, False), (drawn_at, True), (uniform, True)],
)
def test_only_a_table_that_was_drawn_can_have_too_low_a_rate(start, claimed):
    """Vectors that others had trained, whitened or scaled to one length, look like a draw by their directions."""
    loop = Loop(rate=1e-5)
    loop.first.weight.data.copy_(start(ROWS, COLUMNS))
    loop.watch().train(10)
    assert ("LEARNING_RATE_TOO_LOW" in loop.types()) == claimed
    assert claimed or "ROWS_NEAR_THEIR_START" in every(loop)


def test_a_group_that_was_given_a_lower_rate_has_it_on_purpose():
    loop = Loop(rate=1e-2)
    loop.optimizer = torch.optim.Adam(
        [{"params": loop.first.parameters(), "lr": 1e-5}, {"params": loop.second.parameters(), "lr": 1e-2}]
    )
    assert "LEARNING_RATE_TOO_LOW" not in loop.watch().train(10).types()


# What else moves, or fails to


def test_the_steps_of_another_optimizer_are_not_put_down_to_the_one_told():
    """An optimizer made in the loop loses its state; what the first one was set to had no part in it."""
    loop = Loop().watch()
    parameters = [*loop.first.parameters(), *loop.second.parameters()]
    for _ in range(20):
        loop.optimizer = torch.optim.Adam(parameters, lr=0.01)
        loop.step(loop.ids())
    assert "MOVED_BY_ANOTHER_OPTIMIZER" in loop.types()
    assert "MOVED_BY_ANOTHER_OPTIMIZER" not in Loop().watch().train().types()


@pytest.mark.parametrize(("kind", "asked"), [("codebook", True), ("detached", True), ("still", False)])
def test_rows_that_the_loop_moves_by_averages_are_not_put_down_to_an_optimizer(kind, asked):
    """A codebook moved by moving averages was moved by another optimizer, and stood still on purpose, in one report."""
    loop = Loop()
    loop.first.weight.requires_grad_(kind == "detached")

    def loss(ids, others):
        looked_up = loop.first(ids).detach()
        if kind != "still":
            with torch.no_grad():
                loop.first.weight[ids.unique()] *= 0.99
        return (looked_up * loop.second(others)).sum(1).sub(1).square().mean()

    loop.loss = loss
    loop.watch().train(2)
    asks = {finding.type: finding for finding in loop.tracker.findings()}
    assert "MOVED_BY_ANOTHER_OPTIMIZER" not in asks
    assert ("ROWS_MOVED_WITHOUT_GRADIENT" in asks) == asked
    if asked:
        assert asks["ROWS_MOVED_WITHOUT_GRADIENT"].severity == "low"
    told = loop.tracker.measurements().coverage.unseen.get("gradient", "")
    assert ("stand still" in told) == (kind == "still")
    assert ("moved all the same" in told) == (kind == "codebook")


@pytest.mark.parametrize("made", [torch.optim.SGD, torch.optim.Adagrad, torch.optim.RMSprop, torch.optim.SparseAdam])
def test_an_optimizer_that_steps_is_known_to(made):
    loop = Loop()
    if made is torch.optim.SparseAdam:
        loop.first, loop.second = (nn.Embedding(ROWS, COLUMNS, sparse=True) for _ in range(2))
    loop.optimizer = made([*loop.first.parameters(), *loop.second.parameters()], lr=0.01)
    loop.watch().train()
    assert loop.tracker.measurements().scalars["optimizer_unused"] == 0


@pytest.mark.parametrize(("cleared", "found"), [(True, True), (False, False)])
def test_a_step_outside_the_loop_is_told_from_gradients_that_are_accumulated(cleared, found):
    """A step once an epoch, by an indentation, used the gradient of the last batch alone."""
    loop = Loop().watch()
    for _ in range(6):
        loop.optimizer.zero_grad()
        for _ in range(6):
            if cleared:
                loop.optimizer.zero_grad()
            loop.loss(loop.ids(), loop.ids()).backward()
        loop.optimizer.step()
        loop.tracker.step()
    assert ("GRADIENTS_CLEARED_BEFORE_STEP" in loop.types()) == found


def test_a_table_that_is_no_longer_looked_up_is_said_to_be():
    """A layer that was replaced, or used past the tracker, showed as a table in order."""
    loop = Loop().watch().train(2)
    called, loop.first = loop.first, nn.Embedding.from_pretrained(loop.first.weight.detach(), freeze=False)
    loop.train(4)
    assert loop.tracker.measurements().scalars["steps_since_lookup"] == 4 * BATCHES
    assert "TABLE_NO_LONGER_LOOKED_UP" in every(loop)
    assert called is loop.tracker.layer
    assert "TABLE_NO_LONGER_LOOKED_UP" not in every(Loop().watch().train())


def test_batches_that_hold_few_rows_are_told_from_shuffled_ones():
    """Rows whose examples stand together in one batch take long steps there, and were said to have their own rate."""
    grouped, shuffled = Loop().watch(), Loop().watch()
    for start in range(0, ROWS, 10):
        grouped.step(torch.arange(start, start + 10).repeat(BATCH // 10))
        shuffled.step(shuffled.ids())
    assert grouped.tracker.measurements().scalars["spread_over_batches"] < 0.2
    assert shuffled.tracker.measurements().scalars["spread_over_batches"] == pytest.approx(1, abs=0.1)


def judged(rule, **scalars):
    """The finding of one rule on a sound run with other figures."""
    measured = Loop().watch().train(1).tracker.measurements()
    found = RULES.evaluate(replace(measured, scalars={**measured.scalars, **scalars}))
    return next((one for one in found if one.rule_id == rule), None)


def test_a_usual_decay_is_no_cause_of_a_collapse():
    """A decay of 3e-4 was to be made a hundredth of that, where ids of another column left nothing to learn."""
    figures = {
        "dim": 16, "rows": 100, "trainable": 1, "initial_scale": 0.05, "norm_ratio": 0.02, "decay_share": 0.99,
        "optimizer_unused": 0, "decay_known": 1, "effective_rank_share": 0.3, "initial_rank_share": 0.9,
    }  # fmt: skip
    assert judged("collapse", weight_decay=3e-4, **figures) is None
    assert judged("collapse_of_open_cause", weight_decay=3e-4, **figures).fix is None
    assert judged("collapse", weight_decay=1e-2, **figures).fix
    assert judged("collapse_of_open_cause", weight_decay=1e-2, **figures) is None


SIZES = (120, 60, 8)


def shifted(x):
    return x + torch.tensor([0, 120, 180])


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        ("columns from 0", True),
        ("shifted", False),
        ("one vocabulary", False),
        ("one column at a time", False),
        ("a mark beside each id", False),
    ],
)
def test_columns_that_share_the_rows_made_for_all_of_them_are_a_question(ids, told):
    """User 5, film 5 and job 5 shared a row of a factorisation machine whose offsets were forgotten."""
    g = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    table = nn.Embedding(sum(SIZES), 4)
    optimizer = torch.optim.Adam(table.parameters(), lr=0.01)
    tracker = EmbeddingTracker(table, optimizer=optimizer)
    for _ in range(120):
        x = torch.stack([torch.randint(size, (64,), generator=g) for size in SIZES], 1)
        if ids == "one vocabulary":
            x = torch.randint(sum(SIZES), (64, 3), generator=g)
        if ids == "a mark beside each id":
            x = torch.stack([torch.randint(1, sum(SIZES), (64,), generator=g), torch.zeros(64, dtype=torch.long)], 1)
        optimizer.zero_grad()
        if ids == "one column at a time":
            vectors = torch.stack([table(column) for column in shifted(x).T], 1)
        else:
            vectors = table(shifted(x) if ids == "shifted" else x)
        (vectors.sum((1, 2)) - x[:, 0].float() / 60).square().mean().backward()
        optimizer.step()
        tracker.step()
    again = EmbeddingTracker(table, optimizer=optimizer)
    again.load_state_dict(tracker.state_dict())
    for one in (tracker, again):
        assert ("FIELDS_SHARE_ROWS" in {finding.type for finding in one.findings()}) == told
