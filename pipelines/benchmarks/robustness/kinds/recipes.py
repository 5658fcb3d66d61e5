"""Recipes: a damaged one changes no model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from flowgrad.compression import LayerMask, PruningPlan, Recipe
from flowgrad.compression.applying import apply_recipe
from flowgrad.errors import FlowGradError
from pipelines.benchmarks.robustness.attack import Attack, Fault, Place
from pipelines.benchmarks.robustness.damage import bytes_damaged, lines_damaged, replaced, value_damaged, without
from pipelines.benchmarks.robustness.kinds.packed import Net, plan

_BOMBS = (
    "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n"
    "d: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e]\n",
    "a: &a {x: 1}\n" + "".join(f"b{n}: &b{n} {{<<: [*a, *a, *a, *a]}}\n" for n in range(200)),
    "[" * 5000,
    "? " * 3000,
    "a: " + "9" * 50_000,
    "a: !!python/object/apply:os.abort []\n",
    "a: &a [*a]\n",
    "a: !!timestamp 99999-99-99\n",
    "- " * 20_000,
)
"""Texts under 100 kB that a careless reader never gets done with."""


def draw(rng: np.random.Generator, base: Path) -> Attack:
    """Fields, checksums, masks and bytes of a recipe."""
    text = _recipe().to_yaml()
    way = int(rng.integers(10))
    content = yaml.safe_load(text)
    layer = ("pruning", "layers", 0)
    if way == 0:
        key = ("pruned", "keep", "name", "shape")[int(rng.integers(4))]
        return _attack(f"recipe: {key} of a mask left out", _dumped(without(content, (*layer, key))), must=True)
    if way == 1:
        key, value = [
            ("name", "nobody"), ("shape", [48]), ("shape", [2**31, 2**31]), ("pruned", 3), ("keep", "AAAA"),
        ][int(rng.integers(5))]  # fmt: skip
        made = replaced(content, (*layer, key), value)
        return _attack(f"recipe: {key}={value} of a mask", _dumped(made), must=True)
    if way == 2:
        keep = content["pruning"]["layers"][0]["keep"]
        at = int(rng.integers(len(keep) - 2))
        letter = "B" if keep[at] != "B" else "C"
        made = replaced(content, (*layer, "keep"), keep[:at] + letter + keep[at + 1 :])
        return _attack(f"recipe: letter {at} of the mask replaced", _dumped(made), must=True)
    if way == 3:
        place = int(rng.integers(len(_BOMBS)))
        return _attack(f"recipe: bomb {place}", (text + _BOMBS[place]).encode(), must=True)
    if way in (4, 5):
        data, tried = bytes_damaged(text.encode(), rng)
        return _attack(f"recipe: {tried}", data, must=False)
    if way == 6:
        damaged, tried = lines_damaged(text, rng)
        return _attack(f"recipe: {tried}", damaged.encode(), must=False)
    made, tried = value_damaged(content, rng)
    return _attack(f"recipe: {tried}", _dumped(made), must=False)


def bombs() -> tuple[str, ...]:
    """Texts that a careless reader of YAML never gets done with."""
    return _BOMBS


def _recipe() -> Recipe:
    keep = np.ones((2, 3), dtype=bool)
    keep[0, 1] = False
    return Recipe.of(PruningPlan(0.2, "magnitude", None, (LayerMask("plain.weight", (2, 3), keep),), 6), plan())


def _dumped(content: Any) -> bytes:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode("utf-8", "surrogatepass")


def _attack(tried: str, data: bytes, *, must: bool) -> Attack:
    def perform(place: Place) -> None:
        file = place.given / "recipe.yaml"
        file.write_bytes(data)
        model = Net(0)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        try:
            apply_recipe(model, file, inplace=True)
        except FlowGradError:
            if not all(torch.equal(before[name], value) for name, value in model.state_dict().items()):
                raise Fault("loss", "refused, and the model was changed") from None
            raise
        if must:
            raise Fault("accepted", "a damaged recipe was applied")

    return Attack(tried, perform)
