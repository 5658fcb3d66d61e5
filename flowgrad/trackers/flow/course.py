"""Notes the run as a whole at sampled steps: the learning rate, where gradients arrive, the first broken number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn

from flowgrad.measures import flow, flow_course, flow_passes
from flowgrad.trackers.flow.clearing import ClearingProbe
from flowgrad.trackers.flow.history import History, Losses
from flowgrad.trackers.flow.network import NetworkSeen
from flowgrad.trackers.optimizers import Optimizers
from flowgrad.trackers.watching import Failed, raising

PROBED = 8
"""Number of first steps at which it is checked whether gradients are cleared, whatever the schedule."""


class FlowHistory:
    """Keeps figures over time that rules judge by windows."""

    def __init__(self, parameters: list[nn.Parameter], optimizers: Optimizers, failed: Failed = raising) -> None:
        """Start with no sample; `failed` is called with errors of a backward pass."""
        count = len(parameters)
        self._parameters = parameters
        self._optimizers = optimizers
        self._sizes = [parameter.numel() for parameter in parameters]
        self._held: dict[int, tuple[int, list[int]]] = {}
        """Number of tensors that each optimizer held when it was looked at last, and places of those watched."""
        self._rates = History(1, 1)
        self._base = math.nan
        """Ratio of the largest rate seen to the one that its scheduler works towards."""
        self.last_gradient = np.full(count, math.nan)
        """Number of the last sampled step at which each tensor had a gradient other than zero, shape (tensors,)."""
        self.had_tensor = np.zeros(count, dtype=bool)
        """Flags of tensors that had a gradient tensor at a sampled step, be it zero; shape (tensors,)."""
        self.gradient_looks = 0
        """Number of sampled steps at which some tensor had a gradient other than zero."""
        self.optimizer_steps = 0
        """Number of steps of the optimizers, counted by their hooks."""
        self.broken_step = 0
        """Number of the first sampled step with a gradient that is not finite; 0 without one."""
        self.broken_first = np.zeros(count, dtype=bool)
        """Flags of tensors whose gradients were not finite then, shape (tensors,)."""
        self._failed = failed
        self.probes = [ClearingProbe(failed) for _ in (optimizers.all or (None,))]

    def follow(self, optimizer: Any) -> None:
        """Check a further optimizer, which stands among those that were given now."""
        self._held.clear()
        if optimizer is not self._optimizers.all[0]:  # the probe of all steps becomes that of the first
            self.probes.append(ClearingProbe(self._failed))

    def note(self, step: int, seen: NetworkSeen) -> None:
        """Note the figures of a sampled step."""
        with np.errstate(invalid="ignore"):
            flows = (seen.gradient_norm > 0) | (seen.has_gradient & ~np.isfinite(seen.gradient_norm))
        self.last_gradient[flows] = step
        self.had_tensor |= seen.has_gradient
        self.gradient_looks += bool(flows.any())
        broken = seen.has_gradient & ~np.isfinite(seen.gradient_norm)
        if broken.any() and not self.broken_step:
            self.broken_step, self.broken_first = step, broken
        if self._optimizers.known:
            now, base = self._optimizers.top_rates()
            self._rates.append(step, np.array([[now]], dtype=np.float32))
            self._base = float(np.fmax(self._base, now / base)) if base > 0 else self._base

    def arm(self, steps: int, due: bool) -> None:
        """Watch whether gradients are cleared before the next step, where it is sampled or one of the first."""
        for k, probe in enumerate(self.probes):
            probe.seeking = not self.gradient_looks
            chosen = self._probed(k) if due or steps < PROBED else None
            if chosen is None:
                probe.disarm()
            else:
                probe.arm(chosen)

    def _probed(self, k: int) -> nn.Parameter | None:
        """The smallest tensor that the optimizer holds and a gradient reaches; as far as that is known."""
        mine = [i for i in self._held_by(k) if self._parameters[i].requires_grad]
        mine = [i for i in mine if not math.isnan(self.last_gradient[i])] or mine[::-1]
        return self._parameters[min(mine, key=self._sizes.__getitem__)] if mine else None

    def _held_by(self, k: int) -> list[int]:
        """Places of the tensors that an optimizer holds, as far as that is known."""
        if not self._optimizers.known:
            return list(range(len(self._parameters)))
        groups = self._optimizers.all[k].param_groups
        size = sum(len(group["params"]) for group in groups)
        known = self._held.get(k)
        if known is None or known[0] != size:
            own = {id(p) for group in groups for p in group["params"]}
            known = self._held[k] = size, [i for i, p in enumerate(self._parameters) if id(p) in own]
        return known[1]

    def stepping(self, optimizer: Any) -> None:
        """Note that an optimizer is about to step."""
        for k, probe in enumerate(self.probes):
            if self._optimizers.all[k] is optimizer:
                probe.stepping()

    def stepped(self, optimizer: Any = None) -> None:
        """Note that an optimizer has stepped."""
        self.optimizer_steps += optimizer is not None
        for k, probe in enumerate(self.probes):
            if optimizer is None or self._optimizers.all[k] is optimizer:
                probe.stepped()

    def waiting(self) -> list[torch.Tensor]:
        """Values that are still to be fetched from an accelerator."""
        return [value for probe in self.probes for value in probe.waiting]

    def settle(self, fetched: list[float]) -> None:
        """Take the fetched values of `waiting`."""
        for probe in self.probes:
            count = len(probe.waiting)
            if count:
                probe.settle(fetched[:count])
                fetched = fetched[count:]

    def arrivals(self) -> int:
        """Number of backward passes that brought a gradient before any sampled step had one."""
        return sum(probe.count_arrivals() for probe in self.probes)

    def scalars(self, losses: Losses, epoch: int) -> dict[str, float]:
        """Figures of the course so far; `epoch` is the number of steps of each epoch, 0 where that is not known."""
        self.settle([float(value) for value in self.waiting()])
        count, mean, square = losses.windows
        arrivals = self.arrivals()
        checks = sum(probe.checks for probe in self.probes)
        uncleared = max((p.uncleared / p.checks for p in self.probes if p.checks), default=math.nan)
        rates = self._rates.of(0)[:, 0] if len(self._rates) else np.zeros(0)
        return {
            "optimizer_steps": float(self.optimizer_steps) if self._optimizers.known else math.nan,
            **self._optimizers.facts(),
            **flow_course.rate_course(self._rates.steps, rates, count, mean, self._base, epoch),
            "lr_late_fall": self.late_rate_fall(),
            **flow_course.loss_course(count, mean, square),
            "losses": float(losses.told),
            "loss_lowest": losses.lowest,
            "gradient_looks": float(self.gradient_looks),
            "gradients_arrived": float(arrivals),
            "gradients_zero": float(sum(probe.noted for probe in self.probes) - arrivals),
            "clearing_checks": float(checks),
            "uncleared_steps": float(sum(probe.uncleared for probe in self.probes)),
            "uncleared_share": uncleared,
            **flow_passes.thrown_away(
                sum(probe.passes for probe in self.probes),
                sum(probe.lost for probe in self.probes),
                max((probe.windows for probe in self.probes), default=0),
                max((probe.wasteful for probe in self.probes), default=0),
            ),
        }

    def late_rate_fall(self) -> float:
        """Deepest fall of the largest learning rate within the last fifth of the steps, as a share; NaN: not known."""
        if not len(self._rates):
            return math.nan
        steps, now = self._rates.steps, self._optimizers.top_rates()[0]
        return flow_course.late_rate_fall([*steps, steps[-1]], [*self._rates.of(0)[:, 0], now])

    def mean_rates(self) -> tuple[float, float]:
        """Mean of the largest learning rate at the early sampled steps, and at the recent ones; NaN without."""
        steps = self._rates.steps
        if not len(steps):
            return math.nan, math.nan
        rates = self._rates.of(0)[:, 0]
        return float(np.mean(rates[flow.early(steps)])), float(np.mean(rates[flow.recent(steps)]))

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint."""
        self.settle([float(value) for value in self.waiting()])
        return {
            "rates": self._rates.state_dict(),
            "base": self._base,
            **{key: torch.from_numpy(getattr(self, key).copy()) for key in _ARRAYS},
            **{key: getattr(self, key) for key in _NUMBERS},
            "probes": [probe.state_dict() for probe in self.probes],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        self._rates.load_state_dict(state["rates"])
        self._base = state["base"]
        for key in _ARRAYS:
            setattr(self, key, state[key].cpu().numpy().copy())
        for key in _NUMBERS:
            setattr(self, key, state[key])
        for probe, saved in zip(self.probes, state["probes"], strict=False):
            probe.load_state_dict(saved)

    def detach(self) -> None:
        """Take the hooks off."""
        for probe in self.probes:
            probe.disarm()


_ARRAYS = ("last_gradient", "had_tensor", "broken_first")
_NUMBERS = ("gradient_looks", "optimizer_steps", "broken_step")
