"""Recipes: what is written is read, and what is damaged is refused."""

import base64
import math
import re
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flowgrad.compression import LayerBits, LayerMask, PruningPlan, QuantizationPlan, Recipe, RowPlan, TableRows
from flowgrad.compression.plans import Rounded, check_of
from flowgrad.errors import FlowGradError
from flowgrad.measures.quantization import Quantized

ROUNDED = hnp.arrays(np.int8, hnp.array_shapes(min_dims=2, max_dims=3, max_side=9), elements=st.integers(-3, 3))
MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=1, max_dims=3, max_side=9))


def recipe(keep=None):
    keep = np.array([[True, False, True], [False, True, True]]) if keep is None else keep
    return Recipe(
        PruningPlan(0.3, "second_moment", None, (LayerMask("0.weight", keep.shape, keep),), keep.size, reason="a: b"),
        RowPlan(0.5, "norm", (TableRows("items.weight", (5, 2), (0, 3)),), 4, calibration_rise=0.25),
        QuantizationPlan(
            (LayerBits("0.weight", (2, 3), 4, 0), LayerBits("items.weight", (5, 2), 32, None)), "fisher", 99
        ),
    )


@given(MASKS)
def test_written_and_read(keep):
    before = recipe(keep)
    after = Recipe.from_yaml(before.to_yaml())
    assert after.pruning.layers == before.pruning.layers
    assert after.rows == before.rows
    assert after.quantization.layers == before.quantization.layers
    assert math.isnan(after.quantization.calibration_rise)
    assert after.to_yaml() == before.to_yaml()


def rounded(codes=None, bits=3):
    codes = np.array([[3, -1, 0], [2, -3, 1]], dtype=np.int8) if codes is None else codes
    to = Quantized(codes, np.linspace(1, 0.1, len(codes)).astype(np.float16), 0.25, 0)
    layer = LayerBits("0.weight", codes.shape, bits, 0, True, Rounded.made(to, to.values()))
    return Recipe.of(QuantizationPlan((layer,), "uniform", 99))


@given(ROUNDED)
def test_numbers_of_its_own_are_written_and_read(codes):
    before = rounded(codes)
    after = Recipe.from_yaml(before.to_yaml())
    assert after.quantization.layers == before.quantization.layers
    np.testing.assert_array_equal(after.quantization.layers[0].rounded.to.values(), codes_values(before))
    assert after.to_yaml() == before.to_yaml()


def codes_values(recipe):
    return recipe.quantization.layers[0].rounded.to.values()


def test_numbers_of_other_weights_differ():
    one, other = (rounded(np.array([[3, -1, last]], dtype=np.int8)).quantization.layers for last in (1, 2))
    assert one != other
    assert one[0].rounded != "other"
    assert len({one, one, other}) == 2
    assert check_of(np.array([0.0])) == check_of(np.array([-0.0]))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (r"top: 0.25", "top: .nan", "top=nan must be a float32 number from 0 on"),
        (r"top: 0.25", "topp: 0.25", "unknown key 'topp'"),
        (r"top: 0.25", "top: 1.0e+300", "top=1e\\+300 must be a float32 number"),
        (r"fitted: true", "fitted: false", "a tensor with bits=3, fitted=False has no numbers of its own"),
        (r"shape: .2, 3.", "shape: [2, 3000000000000000000000]", "codes cannot be read"),
        (r"of: \d+", "of: 1.5", "and of=1.5 a whole one"),
        (r", of: \d+", "", "of is missing"),
        (r"bits: 3", "bits: 32", "a tensor with bits=32, fitted=True has no numbers of its own"),
        (r"bits: 3", "bits: 8", "codes holds 3 bytes, not 6"),
        (r"codes: [^,]+", "codes: x", "codes cannot be read"),
        (r"scales: [^,]+", "scales: eJxjYAAAAAIAAQ==", "scales holds 2 bytes, not 4"),
        (r"rounded: \{.*\}", "rounded: [1]", "must be a mapping"),
    ],
)
def test_damaged_numbers_are_refused(old, new, message):
    text, found = re.subn(old, new, rounded().to_yaml(), count=1)
    assert found
    with pytest.raises(FlowGradError, match=message):
        Recipe.from_yaml(text)


@pytest.mark.parametrize("damage", [{"codes": np.full((2, 3), -4, np.int8)}, {"scales": np.full(2, 2, np.float16)}])
def test_numbers_out_of_range_are_refused(damage):
    layer = rounded().quantization.layers[0]
    broken = Rounded(layer.rounded.to._replace(**damage), layer.rounded.of)
    text = Recipe.of(QuantizationPlan((replace(layer, rounded=broken),), "uniform", 99)).to_yaml()
    with pytest.raises(FlowGradError, match=r"layers\[0\]: rounded: codes or scales out of range"):
        Recipe.from_yaml(text)


def test_file(tmp_path):
    recipe().write(tmp_path / "recipe.yaml")
    assert Recipe.read(tmp_path / "recipe.yaml").pruning == recipe().pruning
    with pytest.raises(FlowGradError, match=r"none\.yaml: cannot be read"):
        Recipe.read(tmp_path / "none.yaml")


def test_a_recipe_of_one_plan():
    only = Recipe.of(recipe().rows)
    assert only.pruning is None
    assert Recipe.from_yaml(only.to_yaml()) == only
    assert not Recipe()
    with pytest.raises(FlowGradError, match="two plans of one kind"):
        Recipe.of(only.rows, only.rows)
    with pytest.raises(FlowGradError, match="str is no plan; a recipe is made of PruningPlan, RowPlan"):
        Recipe.of("plan")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("flowgrad_recipe: 1", "flowgrad_recipe: 2", "flowgrad_recipe=2; this version reads 1"),
        ("flowgrad_recipe: 1", "recipe: 1", "no recipe: it must begin with"),
        ("pruning:", "prunning:", "unknown part 'prunning'"),
        ("pruned: 2", "pruned: 1", r"pruning.layers\[0\]: pruned=1, and its mask prunes 2"),
        ("bits: 4", "bits: 1", r"quantization.layers\[0\]: bits=1 must be 2 to 8"),
        ("bits: 4", "bites: 4", "unknown key 'bites'"),
        ("rows: [0, 3]", "rows: [0, 5]", "there is no row 5 in a table of 5"),
        ("rows: [0, 3]", "rows: [0, x]", "must be a list of whole numbers"),
        ("axis: 0", "axis: 2", "axis=2 must be null or one of the 2"),
        ("shape: [2, 3]", "shape: [2, 30]", "keep holds 1 bytes, not 8"),
        ("name: items.weight", "name: 7", "name=7 must be that of a parameter"),
        ("score: norm", "", "missing 1 required positional argument: 'score'"),
        ("structured: null", "structured: [", "no YAML"),
    ],
)
def test_what_is_damaged_is_refused(old, new, message):
    text = recipe().to_yaml()
    assert old in text
    with pytest.raises(FlowGradError, match=message):
        Recipe.from_yaml(text.replace(old, new, 1))


def test_a_mask_that_unpacks_to_much_more_is_not_unpacked():
    """Small text may stand for gigabytes."""
    bomb = base64.b64encode(zlib.compress(b"\0" * 1_000_000, 9)).decode()
    text = recipe().to_yaml()
    keep = text.split("keep: ")[1].split("\n")[0]
    with pytest.raises(FlowGradError, match="the recipe is damaged"):
        Recipe.from_yaml(text.replace(keep, bomb))
