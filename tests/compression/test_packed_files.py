"""Packed models that were damaged, forged or cut: none is loaded, and the model is left as it was."""

from __future__ import annotations

import base64
import json
import re
import zlib

import numpy as np
import pytest
import torch
from torch import nn

from flowgrad.compression import LayerBits, LayerMask, PruningPlan, QuantizationPlan, Recipe, read_packed, write_packed
from flowgrad.compression.applying import apply_recipe
from flowgrad.compression.plans import RowPlan, TableRows
from flowgrad.errors import FlowGradError

MAGIC, OLD = b"FLOWGRD2", b"FLOWGRAD"


class Net(nn.Module):
    """Dense, sparse, quantised and shared tensors, a counter and a mask that holds infinity."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.wide, self.thin, self.plain = nn.Linear(8, 6), nn.Linear(6, 40), nn.Linear(3, 2)
        self.tied = nn.Linear(8, 6)
        self.tied.weight = self.wide.weight
        self.register_buffer("count", torch.tensor(7 + seed))
        self.register_buffer("flags", torch.tensor([True, False]))
        self.register_buffer("mask", torch.full((2, 2), -torch.inf).triu(1))
        self.register_buffer("empty", torch.zeros(0, 3))
        with torch.no_grad():
            self.thin.weight[:, 1:] = 0
            self.plain.bias.zero_()


def plan(model):
    return QuantizationPlan(tuple(LayerBits(n, tuple(dict(model.named_parameters())[n].shape), b, 0)
                                  for n, b in (("wide.weight", 4), ("thin.weight", 3))), "uniform", 0)  # fmt: skip


@pytest.fixture
def packed(tmp_path):
    path = tmp_path / "m.fg"
    write_packed(Net(), path, Recipe.of(plan(Net())))
    return path


def parts(data):
    length = int.from_bytes(data[8:12], "little")
    return json.loads(data[16 : 16 + length]), data[16 + length :]


def joined(header, body, magic=MAGIC):
    """A file whose check holds, whatever is in it."""
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    if magic == OLD:
        return OLD + len(text).to_bytes(8, "little") + text + body
    start = magic + len(text).to_bytes(4, "little")
    return start + zlib.crc32(start + text + body).to_bytes(4, "little") + text + body


def refused(path, data, match=None):
    path.write_bytes(data)
    model = Net(1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(FlowGradError, match=match) as error:
        read_packed(model, path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_whole_file_is_read(packed):
    model = Net(1)
    read_packed(model, packed)
    done = apply_recipe(Net(), plan(Net()), backend="fake").model
    for name, value in done.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


def test_no_flipped_bit_is_loaded(packed):
    """600 of 600 files with a flipped bit loaded, five of them with weights that are not finite."""
    data = packed.read_bytes()
    model = Net(1)
    for at in np.random.default_rng(0).choice(8 * len(data), 600, replace=False):
        broken = bytearray(data)
        broken[at // 8] ^= 1 << (at % 8)
        packed.write_bytes(bytes(broken))
        with pytest.raises(FlowGradError, match="no packed model, or a damaged one"):
            read_packed(model, packed)


@pytest.mark.parametrize("length", [0, 5, 8, 12, 15, 16, 17, 300, -1, -40])
@pytest.mark.parametrize("magic", [MAGIC, OLD])
def test_a_file_that_was_cut(packed, length, magic):
    data = packed.read_bytes()
    refused(packed, joined(*parts(data), magic)[:length], "no packed model, or a damaged one")


def changed(header, which, **changes):
    return [one | changes if one["name"] == which else one for one in header]


@pytest.mark.filterwarnings("ignore:.*first version")
@pytest.mark.parametrize("magic", [MAGIC, OLD])
@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        ("plain.bias", {"shape": [1]}, "shape"),
        ("plain.bias", {"shape": [2, 1]}, "shape"),
        ("plain.bias", {"shape": [10**30]}, "shape"),
        ("plain.bias", {"shape": [-2]}, "whole numbers"),
        ("plain.bias", {"shape": "2"}, "whole numbers"),
        ("plain.bias", {"shape": [True]}, "whole numbers"),
        ("plain.bias", {"pieces": []}, "missing"),
        ("plain.weight", {"pieces": [[10**9, 24, "float32"]]}, "is next"),
        ("plain.weight", {"pieces": [[0, 24, "float32"]]}, "is next"),
        ("plain.weight", {"sparse": True}, "pieces of"),
        ("plain.bias", {"pieces": [[0, -8, "float32"]]}, "whole numbers"),
        ("plain.bias", {"pieces": [[0, 8, "object"]]}, "no piece"),
        ("plain.bias", {"pieces": [[0, 8, ["float32"]]]}, "no piece"),
        ("plain.bias", {"pieces": None}, "missing"),
        ("plain.bias", {"as": "plain.weight"}, "no name"),
        ("plain.bias", {"sparse": False}, "pieces of"),
        ("plain.bias", {"bits": 4}, "pieces of"),
        ("wide.weight", {"bits": 40}, "bits=40"),
        ("wide.weight", {"bits": "4"}, "bits=4"),
        ("wide.weight", {"bits": 5}, "its codes take"),
        ("wide.weight", {"axis": 2}, "axis=2"),
        ("wide.weight", {"axis": 1}, "its scales take"),
        ("wide.weight", {"axis": None}, "its scales take"),
        ("wide.weight", {"top": float("nan")}, "top=nan"),
        ("wide.weight", {"top": 1e300}, "top=1e"),
        ("wide.weight", {"top": -1.0}, "top=-1"),
        ("wide.weight", {"top": 3e38}, "top=3e"),
        ("tied.weight", {"as": "nobody"}, "does not stand before"),
        ("tied.weight", {"as": "tied.weight"}, "does not stand before"),
        ("tied.weight", {"as": 7}, "no name"),
        ("count", {"name": "count_"}, "in one of the file"),
        ("count", {"name": "mask"}, "twice"),
        ("count", {"odd": 1}, "no tensor"),
        ("count", {"name": 3}, "no tensor"),
    ],
)
def test_a_header_that_lies(packed, name, changes, told, magic):
    """Cut pieces were spread over whole tensors, and pieces past the end read as zeros."""
    header, body = parts(packed.read_bytes())
    refused(packed, joined(changed(header, name, **changes), body, magic), told)


@pytest.mark.filterwarnings("ignore:.*first version")
@pytest.mark.parametrize("magic", [MAGIC, OLD])
@pytest.mark.parametrize("header", [b"{}", b"7", b"[1]", b"[[]]", b"x", b"", b"[" * 100_000, b"\xff\xfe[]", b"[]"])
def test_a_header_that_is_none(packed, header, magic):
    refused(packed, joined(header, b"", magic))


@pytest.mark.parametrize("extra", [b"\0", b"more"])
def test_bytes_after_the_last_piece(packed, extra):
    header, body = parts(packed.read_bytes())
    refused(packed, joined(header, body + extra), "are there")


@pytest.mark.parametrize("stored", ["int32", "bool", "uint8"])
def test_numbers_of_another_kind(packed, stored):
    """An identity of bits, not of numbers: weights read as whole numbers would be other weights."""
    header, body = parts(packed.read_bytes())
    size = np.dtype(stored).itemsize
    one = next(one for one in header if one["name"] == "plain.weight")
    ((at, length, _),) = one["pieces"]
    refused(packed, joined(changed(header, "plain.weight", pieces=[[at, length, stored]]), body),
            "is stored as" if size else None)  # fmt: skip


def test_weights_that_are_not_finite(packed, tmp_path):
    header, body = parts(packed.read_bytes())
    ((at, _, _),) = next(one for one in header if one["name"] == "plain.weight")["pieces"]
    for value in (np.nan, np.inf):
        broken = bytearray(body)
        broken[at : at + 4] = np.float32(value).tobytes()
        refused(packed, joined(header, bytes(broken)), r"plain\.weight holds NaN or infinite weights")
    model = Net()
    with torch.no_grad():
        model.plain.weight[0, 0] = torch.nan
    with pytest.raises(FlowGradError, match=r"plain\.weight holds NaN or infinite weights"):
        write_packed(model, tmp_path / "none.fg")
    assert not (tmp_path / "none.fg").exists()
    write_packed(model, tmp_path / "nan.fg", finite=False)
    again = Net(1)
    read_packed(again, tmp_path / "nan.fg", finite=False)
    assert torch.isnan(again.plain.weight[0, 0])


def test_a_file_of_the_first_version_is_read_with_a_warning(packed):
    packed.write_bytes(joined(*parts(packed.read_bytes()), OLD))
    model = Net(1)
    with pytest.warns(UserWarning, match="first version of packed models, which has no check"):
        read_packed(model, packed)
    assert torch.equal(model.plain.weight, Net().plain.weight)


def test_a_check_takes_no_bytes(packed):
    """Sizes of models in published tables stay what they were."""
    header, body = parts(packed.read_bytes())
    assert len(packed.read_bytes()) == len(joined(header, body, OLD))


def mask_plan(**changes):
    keep = np.ones((2, 3), dtype=bool)
    keep[0, 1] = False
    return PruningPlan(0.2, "magnitude", None, (LayerMask("weight", (2, 3), **({"keep": keep} | changes)),), 6)


@pytest.mark.parametrize("keep", [np.ones(3, bool), np.ones((2, 1), bool), np.ones((2, 3)), np.full((2, 3), np.nan)])
def test_a_mask_of_another_shape_is_not_spread(keep):
    with pytest.raises(FlowGradError, match="weight: keep has shape"):
        apply_recipe(nn.Linear(3, 2), mask_plan(keep=keep))


@pytest.mark.parametrize("row", [2, -1])
def test_a_row_that_is_not_there(row):
    with pytest.raises(FlowGradError, match=f"there is no row {row} in a table of 2"):
        apply_recipe(nn.Linear(3, 2), RowPlan(0.5, "norm", (TableRows("weight", (2, 3), (row,)),), 2))


def test_a_mask_without_its_checksum():
    """It was taken: neither the number of weights that it prunes nor the checksum of the packed bits was asked for."""
    text = Recipe.of(mask_plan()).to_yaml()
    assert Recipe.from_yaml(text).pruning == mask_plan()
    with pytest.raises(FlowGradError, match="pruned is missing"):
        Recipe.from_yaml(re.sub(r"pruned: 1,?\s+", "", text))
    for wrong in ("null", "true", "1.0", "'1'", "2"):
        with pytest.raises(FlowGradError, match="pruned="):
            Recipe.from_yaml(text.replace("pruned: 1", f"pruned: {wrong}"))


@pytest.mark.parametrize("end", [-1, -2, -3, -4])
def test_a_mask_whose_packed_bits_were_cut(end):
    text = Recipe.of(mask_plan()).to_yaml()
    keep = text.split("keep: ")[1].split("\n")[0].rstrip("}")
    raw = base64.b64decode(keep)
    for broken in (raw[:end], raw + b"x", raw[:-4] + bytes(4)):
        with pytest.raises(FlowGradError, match="the recipe is damaged"):
            Recipe.from_yaml(text.replace(keep, base64.b64encode(broken).decode()))
