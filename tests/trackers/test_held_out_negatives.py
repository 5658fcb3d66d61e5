"""Negatives that are drawn with knowledge of the held-out pairs, beside sound ways to make rows of two targets."""

import math

import pytest
import torch

from flowgrad import BatchTracker

USERS, ITEMS, EACH = 400, 500, 20
TYPE = "NEGATIVES_SPARE_THE_HELD_OUT"


def taken(rng):
    """Items that each user took, shape (users, EACH), in order of time: popular items more often."""
    weights = torch.arange(1, ITEMS + 1).double() ** -0.6
    return torch.multinomial(weights.expand(USERS, ITEMS), EACH, generator=rng)


def flags(*parts):
    found = torch.zeros(USERS, ITEMS)
    for part in parts:
        found.scatter_(1, part, 1.0)
    return found


def pairs(items):
    """User and item of a matrix of items, one row a user."""
    return torch.arange(len(items)).repeat_interleave(items.shape[1]), items.flatten()


def told(parts_of, *, seed, epochs=2, end=True, columns=lambda user, item: {"user": user, "item": item}):
    """A tracker of a loop.

    Args:
        parts_of: gives, for a generator, the pairs of training with the higher target, a function that makes those of
            the lower one in each epoch, and the pairs of validation with either target.
        seed: of all that is drawn.
        epochs: of training.
        end: whether their ends are told.
        columns: inputs of the model, for users and items.
    """
    rng = torch.Generator().manual_seed(seed)
    positives, negatives_of, asked, others = parts_of(rng)
    tracker = BatchTracker()
    for _ in range(epochs):
        negatives = negatives_of()
        user, item = (torch.cat(part) for part in zip(positives, negatives, strict=True))
        targets = (torch.arange(len(user)) < len(positives[0])).float()
        for rows in torch.randperm(len(user), generator=rng).split(1024):
            tracker.step(columns(user[rows], item[rows]), targets[rows])
        user, item = (torch.cat(part) for part in zip(asked, others, strict=True))
        tracker.validate(columns(user, item), (torch.arange(len(user)) < len(asked[0])).float())
        if end:
            tracker.end_epoch()
    return tracker


def sampled(rng, excluded_of, ratio=4, power=0.0, of_all=None):
    """The loop of implicit feedback: the last item of each user is validated, one before is the test's.

    Args:
        rng: generator.
        excluded_of: gives what is never drawn, as flags (users, items), of the items trained, validated and tested.
        ratio: negatives for each positive.
        power: of the popularity that weighs negatives.
        of_all: factors of what is drawn, shape (users, items); 1 if None.
    """
    items = taken(rng)
    trained, validated, tested = items[:, :-2], items[:, -1:], items[:, -2:-1]
    weights = (1 - excluded_of(trained, validated, tested)) * (flags(trained).sum(0) + 1) ** power
    weights = weights if of_all is None else weights * of_all

    def negatives():
        return pairs(torch.multinomial(weights, ratio * trained.shape[1], replacement=True, generator=rng))

    others = torch.multinomial(1 - flags(items), 4, generator=rng)
    return pairs(trained), negatives, pairs(validated), pairs(others)


def all_parts(*parts):
    return flags(*parts)


def training_alone(trained, validated, tested):
    return flags(trained)


def training_and_test(trained, validated, tested):
    return flags(trained, tested)


def ratings(rng):
    """Pairs rated once, a half of them highly, and a quarter of them validated at random."""
    user, item = pairs(taken(rng))
    high = torch.rand(len(user), generator=rng) < 0.5
    train = torch.rand(len(user), generator=rng) < 0.75
    parts = [(user[rows], item[rows]) for rows in (train & high, train & ~high, ~train & high, ~train & ~high)]
    return parts[0], lambda: parts[1], parts[2], parts[3]


def plays(rng):
    """Pairs met several times, liked or not each time, split at random."""
    user, item = (part.repeat(3) for part in pairs(taken(rng)))
    high = torch.rand(len(user), generator=rng) < 0.5
    train = torch.rand(len(user), generator=rng) < 0.9
    parts = [(user[rows], item[rows]) for rows in (train & high, train & ~high, ~train & high, ~train & ~high)]
    return parts[0], lambda: parts[1], parts[2], parts[3]


def plays_again(rng):
    """Items taken again: what is validated was trained too, so that no negative is drawn of it."""
    positives, negatives, _, others = sampled(rng, training_alone)
    last = positives[1].view(USERS, -1)[:, -1:]
    return positives, negatives, pairs(last), others


def rated_drawn_with_replacement(rng):
    """Rows of ratings that each epoch draws with replacement."""
    positives, negatives, asked, others = ratings(rng)
    rows = [torch.randint(len(part), (len(part),), generator=rng) for part in (positives[0], negatives()[0])]
    low = tuple(part[rows[1]] for part in negatives())
    return tuple(part[rows[0]] for part in positives), lambda: low, asked, others


def news(rng):
    """Items that come one after the other: users are there for some time, and negatives are what was there then."""
    begin = torch.randint(0, ITEMS - 100, (USERS, 1), generator=rng)
    items = begin + torch.rand(USERS, 100, generator=rng).argsort(1)[:, :EACH].sort(1).values
    trained, validated = items[:, :-1], items[:, -1:]
    place = torch.arange(ITEMS)
    there = ((place >= begin) & (place <= trained[:, -1:])).float() * (1 - flags(trained))
    negatives = pairs(torch.multinomial(there, 4 * (EACH - 1), replacement=True, generator=rng))
    return (
        pairs(trained),
        lambda: negatives,
        pairs(validated),
        pairs(torch.multinomial(1 - flags(items), 4, generator=rng)),
    )


def types(tracker):
    return [finding.type for finding in tracker.findings()]


@pytest.mark.parametrize("seed", [11, 12, 13])
class TestSampled:
    @pytest.mark.parametrize("ratio", [2, 4])
    @pytest.mark.parametrize("power", [0.0, 0.75])
    def test_negatives_that_spare_the_held_out_are_found(self, seed, ratio, power):
        tracker = told(lambda rng: sampled(rng, all_parts, ratio, power), seed=seed)
        (finding,) = [finding for finding in tracker.findings() if finding.type == TYPE]
        assert [one.cause for one in finding.candidates] == [TYPE, "DRAWN_FROM_OTHER_KINDS", "EACH_PAIR_ONCE"]
        figures = tracker.measurements().scalars
        assert figures["ids_held_out_pairs"] == USERS
        assert figures["ids_held_out_met"] == 0

    @pytest.mark.parametrize("excluded_of", [training_alone, training_and_test], ids=lambda one: one.__name__)
    @pytest.mark.parametrize("power", [0.0, 0.75])
    def test_negatives_of_all_that_training_has_not_are_no_finding(self, seed, excluded_of, power):
        tracker = told(lambda rng: sampled(rng, excluded_of, power=power), seed=seed)
        figures = tracker.measurements().scalars
        assert TYPE not in types(tracker)
        assert figures["ids_held_out_met"] > 0.8 * figures["ids_held_out_expected"] > 16

    @pytest.mark.parametrize("parts_of", [ratings, plays, plays_again, rated_drawn_with_replacement, news])
    def test_pairs_that_are_no_draws_of_all_items_are_no_finding(self, seed, parts_of):
        tracker = told(parts_of, seed=seed)
        assert TYPE not in types(tracker)
        figures = tracker.measurements().scalars
        assert figures["ids_held_out_expected"] > 20 or not figures["ids_held_out_pairs"]

    def test_ratings_over_epochs_whose_end_is_not_told_are_no_finding(self, seed):
        assert TYPE not in types(told(ratings, seed=seed, epochs=5, end=False))

    def test_negatives_of_a_part_of_the_items_are_no_finding(self, seed):
        """Users of one half of the items get negatives of that half alone; what is validated is among them."""
        half = (torch.arange(USERS)[:, None] + torch.arange(ITEMS)) % 2 * 1.0
        assert TYPE not in types(told(lambda rng: sampled(rng, training_alone, of_all=half), seed=seed))


@pytest.mark.parametrize("seed", [21, 22])
def test_one_tensor_of_both_ids_is_read_as_well(seed):
    def columns(user, item):
        return torch.stack([user, item], 1)

    assert TYPE in types(told(lambda rng: sampled(rng, all_parts), seed=seed, columns=columns))
    assert TYPE not in types(told(lambda rng: sampled(rng, training_alone), seed=seed, columns=columns))


def test_what_is_not_known_is_not_judged():
    def more(user, item):
        return {"user": user, "item": item, "kind": item % 7}

    tracker = told(lambda rng: sampled(rng, all_parts), seed=1, columns=more)
    assert math.isnan(tracker.measurements().scalars["ids_held_out_expected"])
