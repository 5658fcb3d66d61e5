"""Finds the layers of a student and a teacher, and which pairs with which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from torch import nn
from torch.nn.utils import parametrize

from flowgrad.trackers.watching import ChangedError

_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


@dataclass(frozen=True)
class Layer:
    """A module with weights of its own."""

    name: str
    """Path of the layer in the model, e.g. `encoder.0`."""
    module: nn.Module
    weights: tuple[nn.Parameter, ...]
    """Its parameters of two or more dimensions: biases and scales, which often begin at 0, are left out."""

    @property
    def embeds(self) -> bool:
        """Whether the layer selects rows by id instead of reading activations."""
        return isinstance(self.module, _EMBEDDINGS)


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside of `torch.compile` and of a data-parallel wrapper."""
    for name in ("_orig_mod", "module"):
        inner = getattr(model, name, None)
        if isinstance(inner, nn.Module) and type(model).__module__.startswith("torch."):
            return unwrapped(inner)
    return model


def layers_of(model: nn.Module) -> tuple[Layer, ...]:
    """Find the modules with weights of two or more dimensions of their own, in the order in which the model holds them.

    A module that stands in several places is one layer, under its first name. The model itself is a layer only where
    it has no other.
    """
    named = [(name, module) for name, module in model.named_modules() if not _is_part(name)]
    found = [Layer(name, module, weights) for name, module in named if name and (weights := _weights(module))]
    if not found and (weights := _weights(model)):
        return (Layer(type(model).__name__, model, weights),)
    return tuple(found)


def _is_part(name: str) -> bool:
    return "parametrizations" in name.split(".")


def _weights(module: nn.Module) -> tuple[nn.Parameter, ...]:
    own = [module.parameters(recurse=False)]
    if parametrize.is_parametrized(module):
        own.append(module.parametrizations.parameters())  # type: ignore[union-attr]
    return tuple(weight for weight in chain(*own) if weight.dim() >= 2 and weight.numel())


class Places:
    """Remembers where a model holds the weights of its layers, so that a replacement shows."""

    def __init__(self, layers: Sequence[Layer], whose: str) -> None:
        self._whose = whose
        self._places = [
            (layer.name, module, own, weight)
            for layer in layers
            for weight in layer.weights
            for module, own in [_holder(layer.module, weight)]
        ]

    def check(self) -> None:
        """Refuse weights that are no longer there. Under a mask of `torch.nn.utils.prune` they are.

        Raises:
            ChangedError: names the layer.
        """
        for layer, module, own, weight in self._places:
            held = module._parameters.get(own)
            if held is not weight and module._parameters.get(f"{own}_orig") is not weight:
                raise ChangedError(
                    f"{self._whose}: the weights of {layer} were replaced, parametrised or made buffers since tracking "
                    "began; attach a new tracker"
                )


def _holder(layer: nn.Module, weight: nn.Parameter) -> tuple[nn.Module, str]:
    return next(
        (module, own) for module in layer.modules() for own, held in module._parameters.items() if held is weight
    )


def given_pairs(pairs: Mapping[str, str], student: Sequence[Layer], teacher: Sequence[Layer]) -> dict[str, str]:
    """Check `pairs`.

    Raises:
        ValueError: empty, or a name that is no layer of that model.
    """
    if not pairs:
        raise ValueError("pairs={} holds no pair; give {student layer: teacher layer}, or None to have them found")
    for whose, layers, names in (("student", student, pairs.keys()), ("teacher", teacher, pairs.values())):
        known = [layer.name for layer in layers]
        for name in names:
            if name not in known:
                raise ValueError(f"pairs: the {whose} has no layer {name!r}; its layers are {', '.join(known)}")
    return dict(pairs)


def find_pairs(student: Sequence[Layer], teacher: Sequence[Layer]) -> dict[str, str]:
    """Find for each layer of the student the layer of the teacher that it follows.

    Layers pair by name where the teacher has all of the student's names and as many layers, and where the student is
    built as the teacher and goes on after its last layer. Else names without a number that both have pair (`item_emb`);
    the others pair by kind (embeddings; all else) and relative depth, first with first and last with last; a single one
    pairs with the last. Layers without a counterpart are left out.

    >>> from torch import nn
    >>> deep, shallow = (nn.Sequential(*[nn.Linear(4, 4) for _ in range(n)]) for n in (5, 3))
    >>> find_pairs(layers_of(shallow), layers_of(deep))
    {'0': '0', '1': '2', '2': '4'}
    """
    theirs = {layer.name: layer for layer in teacher}
    if len(student) == len(teacher) and all(
        layer.name in theirs and theirs[layer.name].embeds == layer.embeds for layer in student
    ):
        return {layer.name: layer.name for layer in student}
    if _goes_on(student, theirs):
        return {layer.name: layer.name for layer in student if layer.name in theirs}
    ours = {layer.name for layer in student}
    plain = {
        layer.name
        for layer in student
        if not any(letter.isdigit() for letter in layer.name)
        and layer.name in theirs
        and theirs[layer.name].embeds == layer.embeds
    }
    found = {name: name for name in plain}
    for embeds in (True, False):
        left = [layer.name for layer in student if layer.embeds == embeds and layer.name not in plain]
        right = [layer.name for layer in teacher if layer.embeds == embeds and layer.name not in plain]
        found |= by_depth(left, right)
    return {layer.name: found[layer.name] for layer in student if layer.name in ours & set(found)}


def _goes_on(student: Sequence[Layer], teacher: Mapping[str, Layer]) -> bool:
    """Whether the student is built as the teacher and goes on after it, as with a predictor or a projection."""
    shapes = {layer.name: [weight.shape for weight in layer.weights] for layer in student}
    same = all(shapes.get(name) == [weight.shape for weight in layer.weights] for name, layer in teacher.items())
    return same and student[-1].name not in teacher


def by_depth(ours: Sequence[str], theirs: Sequence[str]) -> dict[str, str]:
    """Pair each of ours with the one of theirs at the same relative depth.

    >>> by_depth(["a", "b"], ["1", "2", "3"])
    {'a': '1', 'b': '3'}
    """
    if not theirs:
        return {}
    last = len(ours) - 1
    places = [round(place * (len(theirs) - 1) / last) if last else len(theirs) - 1 for place in range(len(ours))]
    return {name: theirs[place] for name, place in zip(ours, places, strict=True)}
