"""Says which parameters of a network are trained, and how fast."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from omegaconf import DictConfig
from torch import nn

from flowgrad.errors import FlowGradError


def freeze(model: nn.Module, settings: DictConfig) -> None:
    """Ask no gradient of the parameters below `frozen`.

    Raises:
        FlowGradError: a name that is no part of the model.
    """
    for parameter in _below(model, "frozen", settings.frozen).values():
        parameter.requires_grad_(False)


def groups(model: nn.Module, settings: DictConfig, lr: float, name: str) -> list[dict[str, Any]]:
    """Make groups for the optimizer: parameters that ask for a gradient, but for those below `left_out`; those below a
    name of `layer_lr` have that factor on their learning rate. Parameters that `full_rate` lists under `name` are in at
    the full rate, whatever the other two say. Where no parameter is left, one group is empty.

    Raises:
        FlowGradError: a name that is no part of the model, or nothing to train.
    """
    named = {key: parameter for key, parameter in model.named_parameters() if parameter.requires_grad}
    full = _below(model, "full_rate", settings.full_rate.get(name, []))
    out = set(_below(model, "left_out", settings.left_out)) - set(full)
    factors: dict[str, float] = {}
    for prefix, factor in (settings.layer_lr or {}).items():
        factors |= dict.fromkeys(_below(model, "layer_lr", [str(prefix)]), float(factor))
    factors |= dict.fromkeys(full, 1.0)
    by_factor: dict[float, list[nn.Parameter]] = {}
    for key, parameter in named.items():
        if key not in out:
            by_factor.setdefault(factors.get(key, 1.0), []).append(parameter)
    if not by_factor:
        raise FlowGradError("training.frozen and training.left_out leave nothing to train; name fewer")
    return [{"params": parameters, "lr": lr * factor} for factor, parameters in by_factor.items()]


def check_rates(settings: DictConfig, known: Collection[str]) -> None:
    """Refuse factors that are no numbers, and rows listed under a tracker that there is not.

    Raises:
        FlowGradError: names the key and the value.
    """
    given = settings.layer_lr
    if given is not None and not isinstance(given, DictConfig):
        raise FlowGradError(
            f"training.layer_lr={given}: must give layers their factors, as in 'training.layer_lr={{layers.0: 0.1}}'"
        )
    for prefix, factor in (given or {}).items():
        if isinstance(factor, bool) or not isinstance(factor, int | float):
            raise FlowGradError(f"training.layer_lr.{prefix!s}={factor}: must be a number")
    for name in settings.full_rate:
        if name not in known:
            raise FlowGradError(f"training.full_rate names {name!r}; what is watched is {', '.join(known)}")


def _below(model: nn.Module, key: str, prefixes: Sequence[str] | Iterable[str]) -> dict[str, nn.Parameter]:
    """Parameters whose names are a prefix, or begin with it and a dot."""
    named = dict(model.named_parameters())
    found: dict[str, nn.Parameter] = {}
    for prefix in prefixes:
        below = {name: p for name, p in named.items() if name == prefix or name.startswith(f"{prefix}.")}
        if not below:
            raise FlowGradError(f"training.{key} names {prefix!r}; the network's parameters are {', '.join(named)}")
        found |= below
    return found
