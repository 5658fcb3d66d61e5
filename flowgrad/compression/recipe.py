"""Holds compression recipes: plans as one YAML file, which a pipeline and a user's own script apply alike."""

from __future__ import annotations

import base64
import binascii
import math
import os
import zlib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeAlias

import numpy as np
import yaml

from flowgrad.bounded_yaml import load_yaml
from flowgrad.compression.packing import pack_codes, unpack_codes
from flowgrad.compression.plans import (
    LayerBits,
    LayerMask,
    PruningPlan,
    QuantizationPlan,
    Rounded,
    RowPlan,
    TableRows,
)
from flowgrad.errors import FlowGradError
from flowgrad.files import read_text_bounded, write_atomically
from flowgrad.measures.quantization import Quantized
from flowgrad.rules.suggestion import did_you_mean, shortened

FORMAT = 1
MOST_BYTES = 64 << 20
"""Number of characters that the text of a recipe may have."""
MOST_WEIGHTS = 1 << 27
"""Number of weights that all masks and codes of a recipe stand for, where the model is not at hand: a text of a
thousand characters may stand for a gigabyte. Where it is, the recipe's tensors are its own, of the same shapes.
"""
Plan: TypeAlias = PruningPlan | RowPlan | QuantizationPlan


@dataclass(frozen=True)
class Recipe:
    """A recipe for a model: weights pruned, rows of tables removed, the rest quantised, in this order."""

    pruning: PruningPlan | None = None
    rows: RowPlan | None = None
    quantization: QuantizationPlan | None = None

    @classmethod
    def of(cls, *plans: Plan) -> Recipe:
        """Make a recipe of plans, at most one of a kind.

        Raises:
            FlowGradError: two of a kind, or something that is no plan.
        """
        parts: dict[str, Any] = {}
        for plan in plans:
            part = next((part for part, kind in _KINDS.items() if isinstance(plan, kind)), None)
            if part is None:
                raise FlowGradError(f"{type(plan).__name__} is no plan; a recipe is made of {_plan_names()}")
            if part in parts:
                raise FlowGradError(f"two plans of one kind ({type(plan).__name__}); a recipe holds one of each")
            parts[part] = plan
        return cls(**parts)

    def __bool__(self) -> bool:
        return any(getattr(self, part) is not None for part in _KINDS)

    def to_yaml(self) -> str:
        """Write the recipe as YAML. Figures and layers read as they are; masks of single weights are bits, packed,
        zlib, base64.
        """
        content: dict[str, Any] = {"flowgrad_recipe": FORMAT}
        for part in _KINDS:
            plan = getattr(self, part)
            if plan is not None:
                content[part] = {name: _plain(value) for name, value in _items(plan)}
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)

    @classmethod
    def from_yaml(
        cls, text: str, source: str = "recipe", shapes: Mapping[str, tuple[int, ...]] | None = None
    ) -> Recipe:
        """Read a recipe that `to_yaml` wrote.

        Args:
            text: YAML, of `MOST_BYTES` characters at most.
            source: named in errors.
            shapes: name -> shape of the model's tensors, where it is known: a tensor of another name or shape is
                refused before its mask is unpacked. None: all masks together have `MOST_WEIGHTS` at most.

        Raises:
            FlowGradError: the text is no recipe, one of another version or model, or a damaged one, with the place.
        """
        try:
            content = load_yaml(text, MOST_BYTES)
        except yaml.YAMLError as error:
            raise FlowGradError(f"{source}: no YAML: {' '.join(str(error).split())}") from error
        if not isinstance(content, Mapping) or "flowgrad_recipe" not in content:
            raise FlowGradError(f"{source}: no recipe: it must begin with `flowgrad_recipe: {FORMAT}`")
        if content["flowgrad_recipe"] != FORMAT:
            raise FlowGradError(
                f"{source}: flowgrad_recipe={shortened(content['flowgrad_recipe'])}; this version reads {FORMAT}"
            )
        if unknown := sorted(str(key) for key in content if key not in {"flowgrad_recipe", *_KINDS}):
            raise FlowGradError(f"{source}: unknown part {unknown[0]!r}; a recipe has {', '.join(_KINDS)}")
        _check_shapes(content, source, shapes)
        return cls(**{part: _read(part, content[part], source) for part in _KINDS if content.get(part) is not None})

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the recipe to a file, which is whole or not there."""
        write_atomically(path, self.to_yaml().encode())

    @classmethod
    def read(cls, path: str | os.PathLike[str], shapes: Mapping[str, tuple[int, ...]] | None = None) -> Recipe:
        """Read the recipe in a file, as `from_yaml` does.

        Raises:
            FlowGradError: the file is not there, or no plain file, or as of `from_yaml`.
        """
        try:
            text = read_text_bounded(path, MOST_BYTES)
        except (OSError, UnicodeDecodeError) as error:
            raise FlowGradError(f"{os.fspath(path)}: cannot be read: {error}") from error
        return cls.from_yaml(text, str(os.fspath(path)), shapes)


_MOST_DIMENSIONS = 64
"""Number of dimensions of a tensor, at most; NumPy has no more."""
_BEYOND = 1 << 66
"""Number of weights of a shape that no text unpacks to; it is refused where its bytes are counted."""
_KINDS: dict[str, type] = {"pruning": PruningPlan, "rows": RowPlan, "quantization": QuantizationPlan}
_PARTS: dict[type, tuple[str, type]] = {
    PruningPlan: ("layers", LayerMask),
    RowPlan: ("tables", TableRows),
    QuantizationPlan: ("layers", LayerBits),
}


def _check_shapes(content: Mapping[str, Any], source: str, shapes: Mapping[str, tuple[int, ...]] | None) -> None:
    """Refuse tensors that no mask is unpacked for. A value that is no list of tensors at all is refused where it is
    read.
    """
    stands_for = 0
    for part, kind in _KINDS.items():
        inner = _PARTS[kind][0]
        layers = content[part].get(inner) if isinstance(content.get(part), Mapping) else None
        seen: set[str] = set()
        for place, layer in enumerate(layers if isinstance(layers, list) else ()):
            where = f"{source}: {part}.{inner}[{place}]"
            if not isinstance(layer, Mapping) or not isinstance(layer.get("name"), str):
                continue
            name, shape = layer["name"], _whole(layer.get("shape"), f"{where}: shape", least=1)
            if name in seen:
                raise FlowGradError(f"{source}: {part}: a layer stands twice in {inner}")
            seen.add(name)
            if len(shape) > _MOST_DIMENSIONS:
                raise FlowGradError(f"{where}: shape has {len(shape)} dimensions; at most {_MOST_DIMENSIONS} are read")
            if shapes is None:
                size = math.prod(shape)
                stands_for += size if {"keep", "rounded"} & layer.keys() and size < _BEYOND else 0
            elif name not in shapes:
                raise FlowGradError(
                    f"{where}: the recipe speaks of {shortened(name)}, which the model lacks"
                    f"{did_you_mean(name, shapes)}"
                )
            elif shape != tuple(shapes[name]):
                raise FlowGradError(
                    f"{where}: {name} has shape {list(shapes[name])}, and the recipe was made for "
                    f"{shortened(list(shape), 200)}"
                )
    if stands_for > MOST_WEIGHTS:
        raise FlowGradError(
            f"{source}: its tensors have {stands_for:.6g} weights; more than {MOST_WEIGHTS} are read only where the "
            "model is known: give the path to apply_recipe(model, PATH), or shapes="
        )


def _plan_names() -> str:
    return ", ".join(kind.__name__ for kind in _KINDS.values())


def _items(plan: Any) -> list[tuple[str, Any]]:
    return [(field.name, getattr(plan, field.name)) for field in fields(plan)]


def _plain(value: Any) -> Any:
    """Convert to values that YAML has; an unknown figure is null."""
    if isinstance(value, LayerMask):
        keep = _text(np.packbits(value.keep).tobytes())
        return {"name": value.name, "shape": list(value.shape), "pruned": value.pruned, "keep": keep}
    if isinstance(value, LayerBits):
        told = {name: _plain(part) for name, part in _items(value) if name != "rounded"}
        return told if value.rounded is None else told | {"rounded": _plain_rounded(value.rounded, value.bits)}
    if isinstance(value, TableRows):
        return {name: _plain(part) for name, part in _items(value)}
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else value
    return value


def _plain_rounded(value: Rounded, bits: int) -> dict[str, Any]:
    codes, scales = pack_codes(value.to.codes.reshape(-1), bits), value.to.scales.astype("<f2")
    return {
        "codes": _text(codes.tobytes()),
        "scales": _text(scales.tobytes()),
        "top": float(value.to.top),
        "of": value.of,
    }


def _text(raw: bytes) -> str:
    return base64.b64encode(zlib.compress(raw, 9)).decode()


def _read(part: str, content: Any, source: str) -> Any:
    kind = _KINDS[part]
    where = f"{source}: {part}"
    inner, maker = _PARTS[kind]
    values = _known(content, kind, where)
    if inner not in values:
        raise FlowGradError(f"{where}: {inner} is missing")
    if not isinstance(values[inner], list):
        raise FlowGradError(f"{where}: {inner} must be a list, got {type(values[inner]).__name__}")
    layers = []
    for place, one in enumerate(values[inner]):
        layers.append(_layer(maker, one, f"{where}.{inner}[{place}]"))
    if len({layer.name for layer in layers}) < len(layers):
        raise FlowGradError(f"{where}: a layer stands twice in {inner}")
    defaults = {field.name: field.default for field in fields(kind)}
    figures = {
        name: math.nan if value is None and isinstance(defaults[name], float) else value
        for name, value in values.items()
        if name != inner
    }
    try:
        return kind(**figures, **{inner: tuple(layers)})
    except TypeError as error:
        raise FlowGradError(f"{where}: {str(error).partition('() ')[2] or error}") from error


def _layer(maker: type, content: Any, where: str) -> Any:
    allowed = {field.name for field in fields(maker)} | ({"pruned"} if maker is LayerMask else set())
    values = _known(content, maker, where, allowed)
    needed = {field.name for field in fields(maker) if field.default is MISSING}
    if missing := sorted(needed - set(values)):
        raise FlowGradError(f"{where}: {missing[0]} is missing")
    if not isinstance(values["name"], str):
        raise FlowGradError(f"{where}: name={values['name']!r} must be that of a parameter")
    values["shape"] = _whole(values["shape"], f"{where}: shape", least=1)
    if maker is LayerMask:
        if "pruned" not in values:
            raise FlowGradError(
                f"{where}: pruned is missing, the number of weights that its mask prunes; nothing says without it that "
                "the mask is whole: write the recipe again by Recipe.write"
            )
        pruned = values.pop("pruned")
        values["keep"] = _unpacked(values["keep"], values["shape"], where)
        mask = LayerMask(**values)
        if type(pruned) is not int or pruned != mask.pruned:
            raise FlowGradError(f"{where}: pruned={pruned!r}, and its mask prunes {mask.pruned}; the recipe is damaged")
        return mask
    if maker is TableRows:
        values["rows"] = _whole(values["rows"], f"{where}: rows", least=0)
        if values["rows"] and max(values["rows"]) >= values["shape"][0]:
            raise FlowGradError(f"{where}: there is no row {max(values['rows'])} in a table of {values['shape'][0]}")
        return TableRows(**values)
    if not isinstance(values["bits"], int) or not (2 <= values["bits"] <= 8 or values["bits"] == 32):
        raise FlowGradError(f"{where}: bits={values['bits']!r} must be 2 to 8, or 32 to keep it")
    axis = values["axis"]
    if axis is not None and not (isinstance(axis, int) and 0 <= axis < len(values["shape"])):
        raise FlowGradError(f"{where}: axis={axis!r} must be null or one of the {len(values['shape'])} of its shape")
    if not isinstance(values.get("fitted", False), bool):
        raise FlowGradError(f"{where}: fitted={values['fitted']!r} must be true or false")
    if values.get("rounded") is not None:
        values["rounded"] = _rounded(values["rounded"], values, f"{where}: rounded")
    return LayerBits(**values)


def _known(content: Any, kind: type, where: str, allowed: set[str] | None = None) -> dict[str, Any]:
    allowed = {field.name for field in fields(kind)} if allowed is None else allowed
    if not isinstance(content, Mapping):
        raise FlowGradError(f"{where}: must be a mapping, got {type(content).__name__}")
    if unknown := sorted(str(key) for key in content if key not in allowed):
        raise FlowGradError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(sorted(allowed))}")
    return dict(content)


def _whole(values: Any, where: str, least: int) -> tuple[int, ...]:
    if not isinstance(values, list) or not all(type(value) is int and value >= least for value in values):
        raise FlowGradError(f"{where} must be a list of whole numbers from {least} on")
    return tuple(values)


def _rounded(content: Any, layer: Mapping[str, Any], where: str) -> Rounded:
    shape, bits, axis = layer["shape"], layer["bits"], layer["axis"]
    values = _known(content, Rounded, where, {"codes", "scales", "top", "of"})
    if missing := sorted({"codes", "scales", "top", "of"} - set(values)):
        raise FlowGradError(f"{where}: {missing[0]} is missing")
    if bits > 8 or not layer.get("fitted"):
        raise FlowGradError(
            f"{where}: a tensor with bits={bits}, fitted={layer.get('fitted')} has no numbers of its own"
        )
    top, of = values["top"], values["of"]
    if not (isinstance(top, float) and 0 <= top <= float(np.finfo(np.float32).max) / 2**bits and isinstance(of, int)):
        raise FlowGradError(f"{where}: top={top!r} must be a float32 number from 0 on, and of={of!r} a whole one")
    size, channels = math.prod(shape), 1 if axis is None else shape[axis]
    codes = unpack_codes(_bytes(values["codes"], -(-size * bits // 8), f"{where}: codes"), bits, size)
    scales = _bytes(values["scales"], 2 * channels, f"{where}: scales").view("<f2").astype(np.float16)
    if (codes < -(2 ** (bits - 1) - 1)).any() or not ((scales >= 0) & (scales <= 1)).all():
        raise FlowGradError(f"{where}: codes or scales out of range; the recipe is damaged")
    return Rounded(Quantized(codes.reshape(shape), scales, top, axis), of)


def _unpacked(text: Any, shape: tuple[int, ...], where: str) -> np.ndarray:
    size = math.prod(shape)
    packed = _bytes(text, -(-size // 8), f"{where}: keep")
    return np.unpackbits(packed, count=size).astype(bool).reshape(shape)


def _bytes(text: Any, length: int, where: str) -> np.ndarray:
    """Decode so many bytes of a text that `_text` made."""
    try:
        # No more is unpacked than the shape asks for, whatever the text holds.
        unpacking = zlib.decompressobj()
        raw = unpacking.decompress(base64.b64decode(text, validate=True), length + 1)
    except (TypeError, ValueError, OverflowError, binascii.Error, zlib.error) as error:
        raise FlowGradError(f"{where} cannot be read ({error}); the recipe is damaged") from error
    if len(raw) != length:
        raise FlowGradError(f"{where} holds {len(raw)} bytes, not {length}; the recipe is damaged")
    if not unpacking.eof or unpacking.unused_data:
        raise FlowGradError(f"{where} lacks its checksum, or goes on after it; the recipe is damaged")
    return np.frombuffer(raw, np.uint8)
