"""Trees as flat arrays, against plain walks; and UBJSON against the JSON of the same model."""

import doctest
import json
import math

import numpy as np
import pytest
import xgboost as xgb
from hypothesis import given
from hypothesis import strategies as st

from flowgrad.trackers.boosting import forest, ubjson
from flowgrad.trackers.boosting.boosted_trees import trees_of
from flowgrad.trackers.boosting.forest import grouped_median, walk

RNG = np.random.default_rng(0)
X = RNG.normal(size=(500, 4))
Y = X[:, 0] * X[:, 1] + RNG.normal(size=500)


@pytest.mark.parametrize("module", [forest, ubjson])
def test_examples_in_docstrings(module):
    assert doctest.testmod(module).failed == 0


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(-1e6, 1e6)), max_size=40))
def test_medians_of_groups(pairs):
    groups = np.array([group for group, _ in pairs], dtype=np.int64)
    values = np.array([value for _, value in pairs], dtype=float)
    found = grouped_median(values, groups, 5)
    plain = [float(np.median(values[groups == g])) if (groups == g).any() else math.nan for g in range(5)]
    np.testing.assert_allclose(found, plain, rtol=1e-12, atol=1e-12)


def plain_depth(left, right, node):
    return 0 if left[node] < 0 else 1 + max(plain_depth(left, right, left[node]), plain_depth(left, right, right[node]))


@given(st.lists(st.lists(st.integers(0, 5), max_size=8), min_size=1, max_size=4))
def test_walk_finds_what_can_be_reached(splits):
    """Each tree splits the leaf that a number picks; nodes of nobody lie between the trees."""
    left, right, roots, owners = [], [], [], []
    for tree, picks in enumerate(splits):
        left, right = [*left, -1, -1], [*right, -1, -1]
        owners += [-1, tree]
        roots.append(len(left) - 1)
        leaves = [roots[-1]]
        for pick in picks:
            node = leaves.pop(pick % len(leaves))
            left[node], right[node] = len(left), len(left) + 1
            leaves += [len(left), len(left) + 1]
            left, right, owners = [*left, -1, -1], [*right, -1, -1], [*owners, tree, tree]
    nodes, trees, depths = walk(np.array(left), np.array(right), np.array(roots))
    assert sorted(nodes) == [node for node, owner in enumerate(owners) if owner >= 0]
    assert [owners[node] for node in nodes] == trees.tolist()
    assert depths.tolist() == [plain_depth(left, right, root) for root in roots]


MODELS = {
    "depth": {"max_depth": 5},
    "a leaf alone": {"gamma": 1e9},
    "pruned": {"tree_method": "exact", "gamma": 2},
    "by leaf": {"grow_policy": "lossguide", "max_leaves": 9, "max_depth": 0},
    "dart": {"booster": "dart", "rate_drop": 0.3},
    "several a round": {"num_parallel_tree": 3, "subsample": 0.5},
    "classes": {"objective": "multi:softprob", "num_class": 3},
    "vectors": {"objective": "multi:softprob", "num_class": 3, "multi_strategy": "multi_output_tree"},
    "poisson": {"objective": "count:poisson"},
}


def booster(**params):
    label = np.digitize(Y, [-1, 1]) if "num_class" in params else np.abs(Y)
    return xgb.train({"nthread": 1, "tree_method": "hist"} | params, xgb.DMatrix(X, label), 6)


@pytest.mark.parametrize("name", MODELS)
def test_ubjson_holds_what_json_holds(name):
    model = booster(**MODELS[name])
    binary, text = ubjson.loads(bytes(model.save_raw("ubj"))), json.loads(model.save_raw("json"))

    def same(a, b):
        if isinstance(b, dict):
            assert a.keys() == b.keys()
            assert all(same(a[key], b[key]) for key in b)
        elif isinstance(b, list) and b and not isinstance(b[0], int | float):
            assert len(a) == len(b)
            assert all(map(same, a, b))
        elif isinstance(b, list):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-30)
        else:
            assert a == b
        return True

    same(binary, text)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[", b"?", b"{i\x01a", b"[$d#i\x04\x00\x00", b"i", b"i\x01i\x01", b"H", b"Si\x05ab"],
)
def test_what_is_no_ubjson_is_an_error(content):
    with pytest.raises(ValueError, match="no UBJSON that can be read"):
        ubjson.loads(content)


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"Z", None), (b"[TF]", [True, False]), (b"D\x3f\xf0\0\0\0\0\0\0", 1.0), (b"I\xff\xfe", -2), (b"U\xff", 255),
        (b"[#i\x02i\x01Z", [1, None]), (b"{i\x01x{}}", {"x": {}}),
    ],
)  # fmt: skip
def test_values_of_ubjson(content, value):
    assert ubjson.loads(content) == value


@pytest.mark.parametrize("name", MODELS)
def test_forest_of_xgboost(name):
    """Against the library's own list of nodes; pruned nodes, which the model still holds, do not count."""
    model = booster(**MODELS[name])
    found, sizes = trees_of(model).read(0, 6), {"several a round": 18, "classes": 18}
    if name == "vectors":  # the library cannot list these
        trees = json.loads(model.save_raw("json"))["learner"]["gradient_booster"]["model"]["trees"]
        plain = [np.abs(np.reshape(tree["leaf_weights"], (-1, 3))).mean() for tree in trees]
        np.testing.assert_allclose(found.leaf_size(), plain, rtol=1e-5)
        return
    frame = model.trees_to_dataframe()
    leaf = frame["Feature"] == "Leaf"
    n = sizes.get(name, 6)
    assert found.trees == n
    np.testing.assert_array_equal(found.leaves(), leaf.groupby(frame["Tree"]).sum())
    gains = frame[~leaf].groupby("Tree")["Gain"].sum().reindex(range(n), fill_value=0)
    np.testing.assert_allclose(found.gain(), gains, rtol=1e-4)
    by_tree = frame[leaf].groupby("Tree")
    np.testing.assert_allclose(found.leaf_hessian(), by_tree["Cover"].median(), rtol=1e-5)
    np.testing.assert_allclose(found.leaf_size(), by_tree["Gain"].apply(lambda v: v.abs().mean()), rtol=1e-4)
    dumped = [[line.count("\t") for line in tree.splitlines()] for tree in model.get_dump()]
    assert found.depths.tolist() == [max(tabs) for tabs in dumped]
