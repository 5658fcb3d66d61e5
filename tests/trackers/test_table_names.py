"""Names that nobody gave: distinct ones in loops, and what to pass instead of something that is no table."""

import pytest
import torch
from torch import nn

from flowgrad import EmbeddingTracker, to_agent_xml


def tables(count=3):
    return [nn.Embedding(5, 2) for _ in range(count)]


def of_a_loop(held):
    trackers = []
    for table in held:
        tracker = EmbeddingTracker(table)
        trackers.append(tracker)
    return trackers


def of_a_comprehension(held):
    return [EmbeddingTracker(table) for table in held]


def of_indices(held):
    return [EmbeddingTracker(held[index]) for index in range(len(held))]


def of_map(held):
    return list(map(EmbeddingTracker, held))


def of_a_generator(held):
    return [*(EmbeddingTracker(table) for table in held)]


def of_a_dict(held):
    return list({index: EmbeddingTracker(table) for index, table in enumerate(held)}.values())


WAYS = (of_a_loop, of_a_comprehension, of_indices, of_map, of_a_generator, of_a_dict)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("holder", [nn.ModuleList, list])
def test_tables_of_a_loop_have_names_of_their_own(way, holder):
    """All were named after the loop's variable, and no common report could be written."""
    trackers = way(holder(tables()))
    assert [tracker.name for tracker in trackers] == ["held.0", "held.1", "held.2"]
    assert to_agent_xml(trackers)


def test_tables_of_a_model_are_named_by_where_they_stand():
    model = nn.ModuleDict({"embs": nn.ModuleList(tables(2)), "user": nn.Embedding(3, 2), "head": nn.Linear(2, 1)})
    trackers = [EmbeddingTracker(one) for one in model.modules() if isinstance(one, nn.Embedding)]
    assert [tracker.name for tracker in trackers] == ["embs.0", "embs.1", "user"]
    by_name = {name: EmbeddingTracker(one) for name, one in model.named_modules() if isinstance(one, nn.Embedding)}
    assert [tracker.name for tracker in by_name.values()] == ["embs.0", "embs.1", "user"]


def test_tables_that_stand_nowhere_are_numbered():
    trackers = [EmbeddingTracker(nn.Embedding(3, 2)) for _ in range(3)]
    assert len({tracker.name for tracker in trackers}) == 3
    assert all(tracker.name.startswith("embedding") for tracker in trackers)
    made = [EmbeddingTracker(table) for table in (nn.Embedding(3, 2) for _ in range(3))]
    assert len({tracker.name for tracker in made}) == 3


def test_a_variable_keeps_its_name_in_a_loop_over_seeds():
    kept = []
    for _ in range(2):
        item_emb = nn.Embedding(3, 2)
        model = nn.Sequential(item_emb, nn.Flatten())
        kept.append(EmbeddingTracker(item_emb))
    assert [tracker.name for tracker in kept] == ["item_emb", "item_emb"]
    assert model


@pytest.mark.parametrize(
    ("given", "way_out"),
    [
        (nn.ModuleDict({"user": nn.Embedding(3, 2), "head": nn.Linear(2, 1)}), r"give one of its tables, .*: \.user$"),
        (nn.Sequential(*tables(5)), r"\.0, \.1, \.2, \.\.\.$"),
        (nn.Linear(2, 1), "it holds no such table"),
        (nn.Embedding(3, 2).weight, "give the layer that holds the weight, such as model.item_emb"),
        (torch.zeros(3, 2), "give the layer that holds the weight"),
        ("item_emb", "str$"),
    ],
)
def test_what_is_no_table_is_refused_with_the_way_out(given, way_out):
    with pytest.raises(TypeError, match=f"EmbeddingTracker watches nn.Embedding or nn.EmbeddingBag, got .*{way_out}"):
        EmbeddingTracker(given)
