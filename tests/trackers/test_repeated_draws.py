"""Draws that are the same in each batch or epoch, and sound loops of which a part comes again."""

import math

import pytest
import torch

from flowgrad import BatchTracker

USERS, ITEMS, BATCH, BATCHES = 300, 900, 64, 12
TYPE = "SAME_DRAWS_AGAIN"


def generator(seed):
    return torch.Generator().manual_seed(seed)


def draw(rng, *shape, most=ITEMS):
    return torch.randint(most, shape, generator=rng)


class Loop:
    """Batches of some epochs over shuffled pairs; `sampled` gives the generator of what is drawn beside them."""

    def __init__(self, sampled, epochs=2, rows=BATCH * BATCHES):
        self.sampled, self.epochs = sampled, epochs
        rng = generator(5)
        self.user, self.item = draw(rng, rows, most=USERS), (torch.rand(rows, generator=rng) ** 2 * ITEMS).long()
        self.rng = rng

    def told(self, batch_of, targets_of=lambda rows: None):
        tracker = BatchTracker()
        for epoch in range(self.epochs):
            order = torch.randperm(len(self.user), generator=self.rng)
            for step, rows in enumerate(order.split(BATCH)):
                given = batch_of(self.user[rows], self.item[rows], self.sampled(epoch, step))
                inputs, targets = given if isinstance(given, tuple) else (given, targets_of(rows))
                tracker.step(inputs, targets)
            tracker.end_epoch()
        return tracker


def labelled(user, item, rng):
    """Positives, then as many negatives of the same users."""
    whole = {"user": user.repeat(2), "item": torch.cat([item, draw(rng, len(user))])}
    return whole, torch.arange(2).repeat_interleave(len(user)).float()


def labelled_in_one(user, item, rng):
    whole, targets = labelled(user, item, rng)
    return torch.stack(list(whole.values()), 1), targets > 0


def labelled_in_any_order(user, item, rng):
    whole, targets = labelled(user, item, rng)
    order = torch.randperm(len(targets), generator=generator(int(user.sum())))
    return {name: values[order] for name, values in whole.items()}, 2 * targets[order] - 1


def labelled_with_kinds(user, item, rng):
    whole, targets = labelled(user, item, rng)
    return whole | {"year": whole["item"] * 7919 % 101, "price": (whole["item"] % 13).float()}, targets


def triples(user, item, rng):
    return {"user": user, "item": item, "negative": draw(rng, len(user))}


def many_negatives(user, item, rng):
    return {"user": user, "item": item, "negatives": draw(rng, len(user), 5)}


def noise(user, item, rng):
    return [torch.stack([user, item, user * item % 7], 1).sqrt(), torch.randn(len(user), 8, generator=rng)]


def times_of_a_flow(user, item, rng):
    return [torch.stack([user, item], 1).sqrt(), torch.rand(len(user), generator=rng)]


FAULTS = [labelled, labelled_in_one, labelled_in_any_order, labelled_with_kinds]
FAULTS += [triples, many_negatives, noise, times_of_a_flow]


def types(tracker):
    return [finding.type for finding in tracker.findings()]


@pytest.mark.parametrize("batch_of", FAULTS, ids=lambda one: one.__name__)
class TestSampled:
    def test_the_same_seed_in_each_call_is_found(self, batch_of):
        tracker = Loop(lambda epoch, step: generator(42)).told(batch_of)
        (finding,) = [finding for finding in tracker.findings() if finding.type == TYPE]
        assert finding.candidates[0].cause == "SEED_SET_IN_EACH_CALL"
        figures = tracker.measurements().scalars
        assert (figures["draws_repeat_share"], figures["draws_repeat_batches"]) == (1, 2 * (BATCHES - 1))
        assert figures["draws_rows"] == BATCH

    def test_the_same_sequence_in_each_epoch_is_found(self, batch_of):
        tracker = Loop(lambda epoch, step: generator(step)).told(batch_of)
        assert TYPE in types(tracker)
        figures = tracker.measurements().scalars
        assert (figures["draws_repeat_share"], figures["draws_epoch_share"]) == (0, 1)

    def test_draws_that_go_on_are_no_finding(self, batch_of):
        rng = generator(42)
        tracker = Loop(lambda epoch, step: rng).told(batch_of)
        figures = tracker.measurements().scalars
        assert TYPE not in types(tracker)
        assert figures["draws_repeat_share"] == figures["draws_epoch_share"] == 0

    def test_a_state_is_gone_on_from(self, batch_of):
        whole, parts = BatchTracker(), BatchTracker()
        rng = generator(0)
        for step in range(20):
            given = batch_of(draw(rng, BATCH, most=USERS), draw(rng, BATCH), generator(step % 10))
            inputs, targets = given if isinstance(given, tuple) else (given, None)
            for tracker in (whole, parts):
                tracker.step(inputs, targets)
                if step % 10 == 9:
                    tracker.end_epoch()
            if step % 7 == 3:
                state, parts = parts.state_dict(), BatchTracker()
                parts.load_state_dict(state)
        assert TYPE in types(parts)
        assert types(parts) == types(whole)
        assert (
            parts.measurements().scalars["draws_epoch_share"] == whole.measurements().scalars["draws_epoch_share"] == 1
        )


def test_a_state_without_parts_is_taken():
    tracker = Loop(lambda epoch, step: generator(42)).told(triples)
    state = tracker.state_dict()
    del state["repeats"]
    other = BatchTracker()
    other.load_state_dict(state)
    assert math.isnan(other.measurements().scalars["draws_repeat_share"])


class Sound:
    """Loops of which a part comes again; each gives batches of inputs and targets, `None` at the end of an epoch."""

    @staticmethod
    def positions(rng):
        for _ in range(20):
            item = draw(rng, 64)
            yield (
                {"item": item, "place": torch.arange(64), "kind": torch.full((64,), 3), "day": torch.arange(64) // 8},
                None,
            )

    @staticmethod
    def one_batch(rng):
        kept = {"user": draw(rng, 64), "item": draw(rng, 64)}
        for _ in range(20):
            yield kept, torch.ones(64)

    @staticmethod
    def one_batch_with_fresh_negatives(rng):
        user, item = draw(rng, 64), draw(rng, 64)
        for _ in range(20):
            yield {"user": user, "item": item, "negative": draw(rng, 64)}, None

    @staticmethod
    def one_batch_with_many_fresh_negatives(rng):
        kept = draw(rng, 64, 2)
        for _ in range(20):
            yield torch.cat([kept, draw(rng, 64, 6)], 1), torch.ones(64)

    @staticmethod
    def full_batch_with_fresh_negatives(rng):
        edges = draw(rng, 2, 128)
        for _ in range(20):
            negatives = draw(rng, 2, 128)
            yield dict(zip(("from", "to"), torch.cat([edges, negatives], 1), strict=True)), torch.arange(256) < 128

    @staticmethod
    def full_batch_of_sorted_users(rng):
        user, item = draw(rng, 128).sort().values, draw(rng, 128)
        for _ in range(20):
            yield {"user": user.repeat(2), "item": torch.cat([item, draw(rng, 128)])}, torch.arange(256) < 128

    @staticmethod
    def images_kept_with_fresh_noise(rng):
        images = torch.rand(32, 1, 8, 8, generator=rng) ** 3
        for _ in range(20):
            yield [images, torch.randn(32, 16, generator=rng)], None

    @staticmethod
    def a_panel_of_stations(rng):
        station = torch.randperm(2000, generator=rng)[:48]
        for step in range(20):
            values = torch.randn(48, 4, generator=rng)
            yield {"station": station, "values": values, "hour": torch.full((48,), step)}, values.sum(1)

    @staticmethod
    def a_list_of_items_for_one_user_after_the_other(rng):
        items = torch.randperm(2000, generator=rng)[:48]
        for step in range(20):
            yield {"user": torch.full((48,), step), "item": items, "score": torch.randn(48, generator=rng)}, None

    @staticmethod
    def a_fixed_set_of_prompts(rng):
        prompts = torch.cat([torch.ones(16, 1).long(), draw(rng, 16, 12)], 1)
        for _ in range(20):
            yield [prompts, torch.randn(16, 3, 8, 8, generator=rng), draw(rng, 16)], None

    @staticmethod
    def sequences_with_a_header(rng):
        header = draw(rng, 1, 6).expand(32, 6)
        for _ in range(20):
            tokens = torch.cat([header, draw(rng, 32, 20)], 1)
            yield tokens, tokens.roll(-1, 1)

    @staticmethod
    def rows_in_fixed_order(rng):
        user, item, eps = draw(rng, 20, 64), draw(rng, 20, 64), torch.randn(20, 64, 4, generator=rng)
        for _ in range(3):
            for step in range(20):
                yield [user[step], item[step], eps[step]], None
            yield None

    @staticmethod
    def negatives_that_belong_to_their_rows(rng):
        user, item, negative = draw(rng, 3, 20 * 64)
        for _ in range(3):
            for rows in torch.randperm(20 * 64, generator=rng).split(64):
                yield {"user": user[rows], "item": item[rows], "negative": negative[rows]}, None
            yield None

    @staticmethod
    def a_pool_kept_for_two_steps(rng):
        for pool in draw(rng, 10, 64).repeat_interleave(2, 0):
            yield {"user": draw(rng, 64), "item": draw(rng, 64), "negative": pool}, None

    @staticmethod
    def few_kinds(rng):
        kinds = draw(rng, 64, most=5)
        for _ in range(20):
            yield {"user": draw(rng, 64), "item": draw(rng, 64), "kind": kinds}, None


SOUND = [name for name in vars(Sound) if not name.startswith("_")]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", SOUND)
def test_sound_loops_of_which_a_part_comes_again_are_no_finding(name, seed):
    tracker = BatchTracker()
    for batch in getattr(Sound, name)(generator(seed)):
        if batch is None:
            tracker.end_epoch()
        else:
            tracker.step(*batch)
    assert TYPE not in types(tracker)


def test_few_batches_say_nothing():
    tracker = Loop(lambda epoch, step: generator(42), epochs=1, rows=8 * BATCH).told(triples)
    assert TYPE not in types(tracker)
    assert tracker.measurements().scalars["draws_repeat_share"] == 1


def test_inputs_of_very_many_parts_are_left_out():
    tracker, rng = BatchTracker(), generator(0)
    for _ in range(3):
        tracker.step({str(place): draw(rng, 32, 2, 2) for place in range(129)})
    assert math.isnan(tracker.measurements().scalars["draws_repeat_share"])
