"""Sets a student's layers: how wide each is, whether it is trained, and how fast."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from flowgrad.errors import FlowGradError
from pipelines.trainers.distillation.data import Shapes
from pipelines.trainers.distillation.faults import injected
from pipelines.trainers.distillation.networks import OUTPUT, TABLES, hidden_names
from pipelines.trainers.distillation.teachers import network

TRACKER = "student"
"""Name of the tracker, under which fixes list layers."""


def layer_names(config: DictConfig) -> tuple[str, ...]:
    """Names of the student's layers, from the inputs on."""
    tables = TABLES if config.model.dim is not None else ()
    return (*tables, *hidden_names(len(config.model.widths)), OUTPUT)


def widths(config: DictConfig) -> dict[str, int]:
    """Number of units of each layer, by name, of all but the last.

    A layer that `model.widened_layers` names is as wide as the median of the student's other layers of its kind, and at
    least twice what it was.
    """
    tables = dict.fromkeys(TABLES, config.model.dim) if config.model.dim is not None else {}
    hidden = dict(zip(hidden_names(len(config.model.widths)), config.model.widths, strict=True))
    narrow = injected(config, "narrow_layer")
    found = {name: int(narrow.get(name, width)) for name, width in {**tables, **hidden}.items()}
    return found | {
        name: max(2 * found[name], _usual(name, found, tables if name in tables else hidden))
        for name in config.model.widened_layers.get(TRACKER, [])
        if name in found
    }


def _usual(name: str, found: Mapping[str, int], kind: Mapping[str, int]) -> int:
    others = [found[other] for other in kind if other != name]
    return round(median(others)) if others else 0


def build_student(config: DictConfig, shapes: Shapes, generator: torch.Generator) -> nn.Module:
    """Build the student that the `model` node names, with the damage that `fault` does to its widths."""
    found = widths(config)
    hidden = [found[name] for name in hidden_names(len(config.model.widths))]
    return network(shapes, hidden, {name: found[name] for name in TABLES if name in found}, generator)


def trained_by(config: DictConfig) -> DictConfig:
    """Make the `training` node with the damage that `fault` does to it, less what fixes take out again."""
    training = OmegaConf.to_container(config.training, resolve=True)
    assert isinstance(training, dict)
    unfrozen = set(config.training.unfrozen_layers.get(TRACKER, []))
    training["frozen"] = sorted({*training["frozen"], *injected(config, "frozen_layer")} - unfrozen)
    training["left_out"] = sorted({*training["left_out"]} - unfrozen)
    training["layer_lr"] = {**(training["layer_lr"] or {}), **injected(config, "slow_layer")}
    return OmegaConf.create(training)


def check_layers(config: DictConfig) -> None:
    """Refuse layers in a fix that the student does not have.

    Raises:
        FlowGradError: names the key and the layers.
    """
    known = layer_names(config)
    for key in ("model.widened_layers", "training.unfrozen_layers", "training.full_rate"):
        for name, layers in OmegaConf.select(config, key).items():
            if name != TRACKER:
                raise FlowGradError(f"{key} names {name!r}; what is watched is {TRACKER!r}")
            for layer in layers:
                if layer not in known:
                    raise FlowGradError(f"{key}.{TRACKER} names {layer!r}; its layers are {', '.join(known)}")
