"""Samples a whole network: its tensors on all their devices, and its activations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from flowgrad.measures import flow
from flowgrad.trackers.flow.activations import ActivationWatch, Block
from flowgrad.trackers.flow.look import DeviceLook, StepSnapshot, apart, fetch, weight_figures
from flowgrad.trackers.flow.parameters import Watched, innermost, is_compiled, unit_axis
from flowgrad.trackers.watching import ChangedError, Failed, raising

BLOCK = 16
"""Number of sampled steps that signal, noise and dead units are taken over, at least (twice as many at most)."""
OUTPUTS_EVERY = 3
"""Number of sampled steps of a block from one whose outputs are read to the next, once there was a block; it costs as
much as a layer.
"""


class NetworkSeen(NamedTuple):
    """Figures of one sampled step, one a tensor, shape (tensors,)."""

    weight_norm: np.ndarray
    gradient_norm: np.ndarray
    velocity: np.ndarray
    gradient_cosine: np.ndarray
    """Cosine with the gradient of the step before; NaN where that was not sampled."""
    has_gradient: np.ndarray
    """True where the tensor had a gradient."""
    still: np.ndarray
    """Share of the entries with a gradient that the step did not move, of weights of 16 bits; NaN of others."""


class _Devices:
    """Tensors by the device that they lie on."""

    def __init__(self, watched: Sequence[Watched]) -> None:
        by_device: dict[torch.device, list[int]] = {}
        for i, one in enumerate(watched):
            by_device.setdefault(one.parameter.device, []).append(i)
        self.parts = [
            (
                np.array(chosen),
                DeviceLook(
                    [watched[i].parameter for i in chosen],
                    [isinstance(watched[i].owner, nn.Embedding | nn.EmbeddingBag) for i in chosen],
                ),
            )
            for chosen in by_device.values()
        ]
        self._at = {i: (part, k) for part, chosen in enumerate(by_device.values()) for k, i in enumerate(chosen)}

    @property
    def looking(self) -> bool:
        """Whether a look has begun."""
        return any(look.open for _, look in self.parts)

    def shares(self, chosen: Sequence[int]) -> list[list[int]]:
        """Places, on each device, of the tensors at these places."""
        found: list[list[int]] = [[] for _ in self.parts]
        for i in chosen:
            part, k = self._at[i]
            found[part].append(k)
        return found


class _Identity:
    """A tensor as it was when tracking began."""

    def __init__(self, watched: Watched) -> None:
        self._name, self._parameter = watched.name, watched.parameter
        self._owner, self._key = watched.owner, watched.name.rpartition(".")[2]
        self._shape, self._type, self._device = self._form()

    def _form(self) -> tuple[torch.Size, torch.dtype, torch.device]:
        return self._parameter.shape, self._parameter.dtype, self._parameter.device

    def change(self) -> str:
        """How it has changed since; empty where it has not."""
        if self._owner._parameters.get(self._key) is not self._parameter:
            return f"{self._name} was replaced since tracking began"
        if self._form() == (self._shape, self._type, self._device):
            return ""
        then, now = (
            f"{list(shape)} of {kind} on {device}"
            for shape, kind, device in ((self._shape, self._type, self._device), self._form())
        )
        return f"{self._name} was {then} when tracking began and is {now} now"


class NetworkLook:
    """Takes the samples, and sums over blocks of them."""

    def __init__(self, model: nn.Module, watched: Sequence[Watched], tracker: str, failed: Failed = raising) -> None:
        """Allocate nothing yet; `failed` is called with errors of a forward pass."""
        self._watched = watched
        self._tracker = tracker
        self._made: _Devices | None = None
        self._began: list[_Identity] = []
        count = len(watched)
        owners: dict[nn.Module, str] = {}
        for one in watched:
            owners.setdefault(one.owner, "")
            if unit_axis(one) is not None and not owners[one.owner]:
                owners[one.owner] = one.name
        self._owners = owners
        self.compiled = is_compiled(model)
        """Whether the forward pass, or a part of it, does not see hooks put on later."""
        self.activations = (
            ActivationWatch(owners, ())
            if self.compiled
            else ActivationWatch(owners, model.modules(), innermost(model), failed)
        )
        self._previous_step = 0
        self._previous_square = np.full(count, math.nan)
        self.square = np.zeros(count)
        """Sum of the squared norms of the sampled gradients since `_turn`."""
        self.count = np.zeros(count, dtype=int)
        self.square_before = np.zeros(count)
        self.count_before = np.zeros(count, dtype=int)
        self._in_block = 0

    @property
    def _devices(self) -> _Devices:
        return self._checked() if self._made is None else self._made

    def _checked(self) -> _Devices:
        """Tensors by device, as long as they are what they were at the first sample."""
        if self._made is None:
            self._made = _Devices(self._watched)
            self._began = [_Identity(one) for one in self._watched]
            self._follow_units()
            return self._made
        for one in self._began:
            if reason := one.change():
                raise ChangedError(f"{self._tracker}: {reason}; attach a new tracker to the model")
        return self._made

    def _follow_units(self) -> None:
        """Read the gradients of units, until activations show the units themselves."""
        assert self._made is not None
        places = {id(w.parameter): i for i, w in enumerate(self._watched)}
        for chosen, look in self._made.parts:
            at = {int(i): k for k, i in enumerate(chosen)}
            for i, k in at.items():
                one = self._watched[i]
                axis = unit_axis(one)
                if axis is None or self._seen(one.name):
                    continue
                bias = one.owner._parameters.get(one.name.rpartition(".")[2].replace("weight", "bias"))
                source = places.get(id(bias), -1)
                cheaper = source in at and bias is not None and bias.shape == one.parameter.shape[axis : axis + 1]
                look.follow_rows[k] = (at[source], 0) if cheaper else (k, axis)
                if cheaper:
                    look.unit_axes[k] = axis

    def _seen(self, name: str) -> bool:
        blocks = (self.activations.blocks.get(name), self.activations.before.get(name))
        return any(block is not None and block.highest is not None for block in blocks)

    def arm(self) -> None:
        """Watch the activations of the next forward passes."""
        self.activations.arm(output=self._in_block % OUTPUTS_EVERY == 0)

    def rest(self, *, root: bool = False) -> None:
        """Watch no activations; with `root`, when passes of the whole model begin."""
        self.activations.disarm()
        if root:
            self.activations.arm_root()

    @apart
    def before(self, chosen: Sequence[int] | None = None, *, share: bool = False) -> None:
        """Measure right before a step; of the tensors at these places, where several optimizers step. With `share`, the
        step uses sums of sparse gradients that are computed here.
        """
        devices = self._made if self._made is not None and self._made.looking else self._checked()
        places = [None] * len(devices.parts) if chosen is None else devices.shares(chosen)
        for (_, look), own in zip(devices.parts, places, strict=True):
            look.before(own, share=share)

    @apart
    def gradients(self, scale: torch.Tensor | None) -> None:
        """Measure the gradients when they are there."""
        for _, look in self._devices.parts:
            look.gradients(scale)

    def stepped(self) -> None:
        """Undo what `before` did for the step, right after it."""
        for _, look in self._made.parts if self._made else ():
            look.stepped()

    @apart
    def after(self, step: int, losses: Sequence[torch.Tensor]) -> tuple[NetworkSeen, list[float]]:
        """Measure right after the step: all figures, and the losses that were still on a device."""
        parts = self._devices.parts
        seen, numbers = StepSnapshot.nothing(len(self._watched)), [math.nan] * len(losses)
        for n, (chosen, look) in enumerate(parts):
            device = self._watched[chosen[0]].parameter.device
            # Losses come with their own device; those of a device without tensors with the first.
            mine = [k for k, v in enumerate(losses) if v.device == device or (n == 0 and not self._has(v.device))]
            look.after()
            found, fetched = look.take([losses[k].to(device) for k in mine])
            if len(parts) == 1:
                seen = found
            else:
                for whole, part in zip(seen, found, strict=True):
                    whole[chosen] = part
            for k, value in zip(mine, fetched, strict=True):
                numbers[k] = value
        return self._note(step, seen), numbers

    def _has(self, device: torch.device) -> bool:
        return any(w.parameter.device == device for w in self._watched)

    def _note(self, step: int, seen: StepSnapshot) -> NetworkSeen:
        has_gradient = seen.seen_gradient == 1
        # A gradient that was not there is a row of zeros in the sample.
        square = np.where(has_gradient & (seen.sampled == 1), seen.square, math.nan)
        with np.errstate(all="ignore"):
            cosine = seen.product / np.sqrt(square * self._previous_square)
        if step != self._previous_step + 1:
            cosine = np.full(len(cosine), math.nan)
        self._previous_step, self._previous_square = step, square
        known = ~np.isnan(square)
        self.square += np.where(known, square, 0)
        self.count += known
        self._drop_seen_units()
        self._in_block += 1
        if self._in_block == BLOCK:
            self._turn()
        return NetworkSeen(seen.weight_norm, seen.gradient_norm, seen.velocity, cosine, has_gradient, seen.still)

    def _drop_seen_units(self) -> None:
        for chosen, look in self._devices.parts:
            for k in [k for k in look.follow_rows if self._seen(self._watched[chosen[k]].name)]:
                del look.follow_rows[k]
                look.zero_rows.pop(k, None)
                look.zero_rows_before.pop(k, None)

    def _turn(self) -> None:
        self.square_before, self.count_before = self.square, self.count
        self.square, self.count = np.zeros_like(self.square), np.zeros_like(self.count)
        self.activations.turn()
        for _, look in self._devices.parts:
            look.turn()
        self._in_block = 0

    def weights(self) -> np.ndarray:
        """Norm, mean, deviation, range and non-finite entries of each tensor now, shape (tensors, 5)."""
        return weight_figures([w.parameter for w in self._watched])

    def signal_to_noise(self) -> np.ndarray:
        """Signal to noise of the last block of sampled steps that has enough of them, shape (tensors,)."""
        found = np.full(len(self._watched), math.nan)
        if self._made is None:
            return found
        for chosen, look in self._made.parts:
            norms = fetch(look.samples.norms())
            new = self._ratio(norms[0], self.square[chosen], self.count[chosen])
            old = self._ratio(norms[1], self.square_before[chosen], self.count_before[chosen])
            enough = (self.count[chosen] >= BLOCK // 2) | (self.count_before[chosen] == 0)
            found[chosen] = np.where(enough, new, old)
        return found

    @staticmethod
    def _ratio(total: np.ndarray, square: np.ndarray, count: np.ndarray) -> np.ndarray:
        n = np.maximum(count, 1)
        return flow.signal_to_noise(square / n, (total / n) ** 2, count)

    def units(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Number of dead units, of units in all, and the share of saturated outputs of the layer of each tensor; NaN:
        not seen.
        """
        dead, total, saturation = (np.full(len(self._watched), math.nan) for _ in range(3))
        at = {w.name: i for i, w in enumerate(self._watched)}
        numbers: list[tuple[np.ndarray, int, torch.Tensor]] = []
        watch = self.activations
        for name in {**watch.before, **watch.blocks}:
            blocks = [b for b in (watch.before.get(name), watch.blocks.get(name)) if b is not None]
            alive = _union(blocks)
            if alive is not None:
                total[at[name]] = alive.numel()
                numbers.append((dead, at[name], (~alive).sum()))
            calls = sum(b.calls for b in blocks)
            sums = [b.saturated for b in blocks if b.saturated is not None]
            if calls:
                numbers.append((saturation, at[name], torch.stack([s.to(sums[0].device) for s in sums]).sum() / calls))
        for chosen, look in self._made.parts if self._made else ():
            for k in look.follow_rows:
                rows = [r for r in (look.zero_rows.get(k), look.zero_rows_before.get(k)) if r is not None]
                if rows:
                    total[chosen[k]] = rows[0].numel()
                    numbers.append((dead, int(chosen[k]), torch.stack(rows).all(0).sum()))
        if numbers:
            device = numbers[0][2].device
            fetched = fetch(torch.stack([value.float().to(device) for _, _, value in numbers]))
            for (where, i, _), value in zip(numbers, fetched, strict=True):
                where[i] = value
        return dead, total, saturation

    def dead_seen(self) -> np.ndarray:
        """Flags of tensors whose dead units were seen on activations, not on gradients, shape (tensors,)."""
        return np.array([self._seen(one.name) for one in self._watched])

    def used(self) -> np.ndarray:
        """1 where the tensor's module was used in a pass with gradients, 0.5 where only without them within one, 0
        where neither; NaN where no pass was seen. Shape (tensors,).
        """
        uses = self.activations.first_uses
        if not uses:
            return np.full(len(self._watched), math.nan)
        return np.array([0.0 if p not in uses else 0.5 + 0.5 * uses[p].graph for p in self._places()])

    def _places(self) -> list[int]:
        places = {owner: place for place, owner in enumerate(self._owners)}
        return [places[one.owner] for one in self._watched]

    def cut_off(self, reached: np.ndarray) -> tuple[np.ndarray, bool]:
        """Find the tensors that seem to come before a place where the gradient is stopped.

        These are all that the forward pass uses before the first that a gradient reaches, where that one is given
        something else than they are, which asks for no gradient, and where all behind it are reached.

        Args:
            reached: which tensors a gradient ever reached, shape (tensors,).

        Returns:
            The tensors, shape (tensors,); and whether the input of the first one behind is an output of one of them.
        """
        nothing = np.zeros(len(self._watched), dtype=bool)
        uses, places = self.activations.first_uses, np.array(self._places())
        touched = {p: bool(reached[places == p].any()) for p in uses}
        order = list(uses)
        behind = next((k for k, p in enumerate(order) if touched[p]), len(order))
        ahead, rest = order[:behind], order[behind:]
        if not ahead or not rest or not all(touched[p] for p in rest):
            return nothing, False
        first = uses[rest[0]]
        if first.asks or first.at == uses[order[0]].at:
            return nothing, False
        return np.isin(places, ahead) & ~reached, first.linked

    def depth(self) -> np.ndarray:
        """Place of each tensor in the network, from 0: in order of first use of its module where that was seen."""
        owners = list(self._owners)
        used = {owner: place for place, owner in enumerate(self.activations.order)}
        place, places = -1.0, []
        for one in self._watched:
            place = used.get(owners.index(one.owner), place)
            places.append(place)
        ranks = np.empty(len(places))
        ranks[np.argsort(np.array(places), kind="stable")] = np.arange(len(places))
        return ranks

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint."""
        return {
            "previous_step": self._previous_step,
            "in_block": self._in_block,
            **{key: torch.from_numpy(getattr(self, key).copy()) for key in _SUMS},
            "activations": self.activations.state_dict(),
            "looks": [look.state_dict() for _, look in self._made.parts] if self._made else [],
        }

    @property
    def owners(self) -> int:
        """Number of modules that hold the tensors."""
        return len(self._owners)

    @apart
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        self._previous_step, self._in_block = state["previous_step"], state["in_block"]
        for key in _SUMS:
            setattr(self, key, state[key].cpu().numpy().copy())
        self.activations.load_state_dict(state["activations"], {w.name: w.parameter.device for w in self._watched})
        self._made = None
        if state["looks"]:
            for (_, look), saved in zip(self._devices.parts, state["looks"], strict=True):
                look.load_state_dict(saved)

    def detach(self) -> None:
        """Take the hooks off."""
        self.activations.disarm()


_SUMS = ("_previous_square", "square", "count", "square_before", "count_before")


def _union(blocks: Sequence[Block]) -> torch.Tensor | None:
    alive = [block.alive for block in blocks if block.alive is not None]
    if not alive:
        return None
    if len(alive) == 2 and alive[0].shape == alive[1].shape:
        return alive[0].to(alive[1].device) | alive[1]
    return alive[-1]
