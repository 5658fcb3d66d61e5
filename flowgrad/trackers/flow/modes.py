"""Says which mode modules are in when they are trained and when they are evaluated, and which are shared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from flowgrad.trackers.flow.evaluation import Evaluation

_MOST = 64
"""Number of modules that are read."""
_COUNTS = ("eval_looks", "other_step", "train_looks", "held_out", "in_training")


class Modes:
    """Reads `training` of the modules that it matters to: at sampled steps, and in passes without gradients that come
    behind the last step of an epoch. The cost is a read of a flag each; it has no hook of its own.
    """

    def __init__(self, model: nn.Module) -> None:
        """Find the modules."""
        found = [module for module in model.modules() if _drops(module) or _uses_batch(module)]
        self._all = found[:: -(-len(found) // _MOST)] if found else []
        self.count = len(found)
        self.dropouts = sum(_drops(module) for module in found)
        self.dropout_most = max((_dropped(module) for module in found if _drops(module)), default=0.0)
        self.shared = shared_modules(model)
        self._normalising = [module for module in self._all if isinstance(module, _NormBase) and _began_here(module)]
        self.eval_looks = 0
        """Number of last sampled steps in a row at which all were in evaluation mode."""
        self.train_looks = 0
        """Number of sampled steps at which all were in training mode."""
        self.other_step = 0
        """Number of the last sampled step at which some was not in evaluation mode."""
        self.expecting = False
        """Whether passes without gradients are taken to be held out now."""
        self.held_out = 0
        self.in_training = 0
        self.evaluation = Evaluation(model, self._all)

    def look(self, step: int) -> None:
        """Note that a sampled step has been taken."""
        if not self._all:
            return
        modes = {module.training for module in self._all}
        self.train_looks += modes == {True}
        if modes == {False}:
            self.eval_looks += 1
        else:
            self.eval_looks, self.other_step = 0, step

    def begin(self, *, trains: bool) -> None:
        """Note that a pass of the whole model begins, with gradients or without."""
        self.evaluation.begin(trains=trains, expected=self.expecting)
        if self.expecting and self._all and not trains:
            self.held_out += 1
            self.in_training += all(module.training for module in self._all)

    def scalars(self, steps: int) -> dict[str, float]:
        """Figures of `flowgrad.measures.flow_passes.MODES`."""
        nan = float("nan")
        return {
            "mode_modules": float(self.count),
            "mode_dropouts": float(self.dropouts),
            "dropout_most": self.dropout_most,
            "eval_looks": float(self.eval_looks) if self._all else nan,
            "eval_share": 1 - self.other_step / steps if self.eval_looks else 0.0,
            "train_looks": float(self.train_looks),
            "held_out_passes": float(self.held_out),
            "held_out_in_training": self.in_training / self.held_out if self.held_out else nan,
            "shared_modules": float(self.shared),
            **self.evaluation.scalars(),
            **_statistics(self._normalising),
        }

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint."""
        return {key: getattr(self, key) for key in _COUNTS}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        for key in _COUNTS:
            setattr(self, key, state[key])


def _began_here(module: _NormBase) -> bool:
    """Whether its statistics began with 0 and 1 and every batch since is counted; others were brought in."""
    met, mean, variance = module.num_batches_tracked, module.running_mean, module.running_var
    if met is None or mean is None or variance is None or met.is_meta:
        return False
    return bool(met > 0) or bool((mean == 0).all() and (variance == 1).all())


def _statistics(modules: list[_NormBase]) -> dict[str, float]:
    start, most, unmet = 0.0, 0.0, 0
    for module in modules:
        met, momentum = module.num_batches_tracked, module.momentum
        unmet += met is not None and bool(met == 0) and _began_here(module)
        if met is not None and momentum is not None and met > 0:  # no momentum: the mean of all batches
            start, most = max(start, float((1 - momentum) ** int(met))), max(most, float(momentum))
    return {"statistics_start": start, "statistics_momentum": most, "statistics_unmet": float(unmet)}


def shared_modules(model: nn.Module) -> int:
    """Number of modules with parameters that one module holds under several names, as `[layer] * 2` does.

    A second name somewhere else, as of a part that stands in a `Sequential` too, is an alias and is not counted.
    """
    return len({id(child) for parent in model.modules() for child in _repeated(parent)})


def _repeated(parent: nn.Module) -> Iterator[nn.Module]:
    seen: set[int] = set()
    for child in parent._modules.values():
        if child is None:
            continue
        if id(child) in seen and next(child.parameters(), None) is not None:
            yield child
        seen.add(id(child))


def _drops(module: nn.Module) -> bool:
    if isinstance(module, _DropoutNd):
        return module.p > 0
    if isinstance(module, nn.RNNBase):
        return module.dropout > 0 and module.num_layers > 1
    return isinstance(module, nn.MultiheadAttention) and module.dropout > 0


def _dropped(module: nn.Module) -> float:
    if isinstance(module, _DropoutNd):
        return float(module.p)
    return float(module.dropout) if isinstance(module, nn.RNNBase | nn.MultiheadAttention) else 0.0


def _uses_batch(module: nn.Module) -> bool:
    """Whether it normalises by the batch in training, and by what it has kept in evaluation."""
    return isinstance(module, _NormBase) and bool(module.track_running_stats)
