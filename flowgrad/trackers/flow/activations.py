"""Finds units that are dead or saturated, by the outputs of activation modules at sampled steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.hooks import RemovableHandle

from flowgrad.errors import FlowGradError
from flowgrad.measures.flow import SATURATED
from flowgrad.trackers.flow.attention_masks import AttentionMasks
from flowgrad.trackers.flow.batch_rows import BatchRows
from flowgrad.trackers.flow.calls import Calls
from flowgrad.trackers.flow.ends import Ends
from flowgrad.trackers.flow.input_columns import InputColumns
from flowgrad.trackers.flow.modes import Modes
from flowgrad.trackers.flow.padding import PaddingReads
from flowgrad.trackers.flow.positions import Positions
from flowgrad.trackers.flow.softmaxes import Softmaxes
from flowgrad.trackers.hooks import TAKEN_OFF
from flowgrad.trackers.watching import Failed, raising

_ZEROING = (nn.ReLU, nn.ReLU6)
_BOUNDS: dict[type[nn.Module], tuple[float, float]] = {
    nn.Tanh: (-1.0, 1.0),
    nn.Sigmoid: (0.0, 1.0),
    nn.Hardsigmoid: (0.0, 1.0),
}


_PREPARE = "__prepare_scriptable__"
"""Name of the method by which `torch.jit.script` prepares a model."""
_FEWEST, _BATCH, _OUTPUTS = 8, 64, 64
"""Number of examples, and of outputs of each, that the spread of a model's output is taken over: at least, and at
most.
"""

_EXAMPLES = 512
"""Number of examples of a larger batch whose units are read, about: sampled steps add up to many times as many."""


@dataclass
class Block:
    """Outputs of the layer behind one weight, over some sampled steps in a row."""

    highest: torch.Tensor | None = None
    """Largest output of each unit for any example, shape (units,)."""
    lowest: torch.Tensor | None = None
    """Least output of each unit for any example, shape (units,); None where units have many outputs an example."""
    saturated: torch.Tensor | None = None
    """Sum over calls of the share of saturated outputs, 0-dim."""
    calls: int = 0

    @property
    def alive(self) -> torch.Tensor | None:
        """Flags of units with an output other than zero for some example, shape (units,). A NaN is no dead unit."""
        return None if self.highest is None else ~(self.highest <= 0)


class FirstUse(NamedTuple):
    """First use of a module."""

    at: int
    """Address of the first tensor that the module was given; 0 where it was given none."""
    asks: bool
    """Whether that tensor asked for a gradient."""
    linked: bool
    """Whether that tensor is the output of a module of the same pass."""
    graph: bool
    """Whether the pass recorded gradients there."""


class ActivationWatch:
    """Hooks on the layers of a model that are there only while a step is sampled; between samples they cost nothing.

    An activation belongs to the weight used last before it. Passes without gradients are not counted.
    """

    def __init__(
        self,
        owners: Mapping[nn.Module, str],
        modules: Iterable[nn.Module],
        root: nn.Module | None = None,
        failed: Failed = raising,
    ) -> None:
        """Put no hook on yet.

        Args:
            owners: modules that hold parameters, with the name of the weight that has units; empty where none has.
            modules: that may be sampled.
            root: the whole model, whose output is sampled; None where it must not be.
            failed: called with errors of a forward pass.
        """
        self.failed = failed
        self._root = root
        self._owners = owners
        self._places = {owner: place for place, owner in enumerate(owners)}
        units: tuple[type[nn.Module], ...] = (*_ZEROING, *_BOUNDS, nn.RNN)
        self._modules = [module for module in modules if module in owners or isinstance(module, units)]
        readers = (nn.RNNBase, nn.MultiheadAttention)
        reading = any(isinstance(module, readers) for module in self._modules)
        shown = (*units, nn.Embedding, nn.MultiheadAttention) if reading else units
        self._showing = [module for module in self._modules if owners.get(module) or isinstance(module, shown)]
        """Modules that show units, or what recurrent and attention layers read: the others are of no interest once all
        first uses are known.
        """
        self._hooked: list[nn.Module] = []
        """Modules that have the hooks now."""
        self._handles: list[RemovableHandle] = []
        self.modes: Modes | None = None
        """Modes that are notified of passes of the whole model."""
        self.calls = Calls()
        """How the whole model is called."""
        self.padding = PaddingReads(failed)
        """Where the states of recurrent layers are used."""
        self.ends = Ends()
        """Whether the texts that it is given end in a label."""
        self.softmaxes = Softmaxes()
        """Whether a softmax within it runs over the examples."""
        self.masks = AttentionMasks()
        """Counts of padded sequences by what masks of attention leave out."""
        self.positions = Positions()
        """Whether attention is told where tokens stand."""
        self.batch_rows = BatchRows()
        """Number of values that batch normalisation takes its statistics from."""
        self.columns = InputColumns()
        """Sizes of the columns of data that linear layers are given."""
        self.readings: dict[str, Any] = {
            "calls": self.calls,
            "padding": self.padding,
            "ends": self.ends,
            "softmaxes": self.softmaxes,
            "masks": self.masks,
            "positions": self.positions,
            "batch_rows": self.batch_rows,
            "columns": self.columns,
        }
        """All of these, by their key in a state; each has figures (`scalars`) and a state of its own."""
        self._at_root = False
        """Whether the hooks are those of `arm_root` alone."""
        self._last: nn.Module | None = None
        """Module of the weight used last."""
        self.order: dict[int, None] = {}
        """Places of the owners in `owners`, in order of first use."""
        self.first_uses: dict[int, FirstUse] = {}
        """First use of each of these owners, in order, and of owners that were used without gradients within a pass of
        the whole model that has them.
        """
        self._made: dict[tuple[int, int], StorageWeakRef] = {}
        """Storage and place of the outputs of this pass. The reference keeps no memory, and lets no other storage take
        the identity of one that is gone: a tensor put where a freed output lay is not mistaken for it.
        """
        self.spread: torch.Tensor | None = None
        """Largest `_spread` of the model's outputs since `turn`, shape (2,)."""
        self.spread_before: torch.Tensor | None = None
        """Largest `_spread` of the sampled steps before that, shape (2,)."""
        self.spread_first: torch.Tensor | None = None
        """Largest `_spread` of the sampled steps before the first `turn`, shape (2,)."""
        self.first_given: torch.Tensor | None = None
        """Root mean square of the input of the owner used first, at that use, 0-dim; None where that was no tensor, or
        the owner is no layer of torch.
        """
        self._inside = False
        """Whether a pass of the whole model with gradients is under way."""
        self._reads_output = True
        self._uses_known = False
        """Whether every owner was used in a pass with gradients: no later pass can hold a first use."""
        self.blocks: dict[str, Block] = {}
        """Outputs by name of the weight, over the sampled steps since `turn`."""
        self.before: dict[str, Block] = {}
        """Outputs by name of the weight, over the sampled steps before that."""

    def arm(self, *, output: bool = True) -> None:
        """Watch the next forward passes; the output of the whole model only with `output` once a block was seen."""
        self._reads_output = output or self.spread_before is None
        modules = self._showing if self._uses_known else self._modules
        if self._at_root or modules is not self._hooked:
            self.disarm()
        if not self._handles:
            hook = _ActivationHook(self)
            self._hooked = modules
            self._handles = [module.register_forward_hook(hook) for module in modules]
            masks = _MaskHook(self)
            self._handles += [
                module.register_forward_hook(masks, with_kwargs=True)
                for module in modules
                if isinstance(module, nn.MultiheadAttention)
            ]
            if self._root is not None:
                vars(self._root)[_PREPARE] = _Unhooked(self)
                ends = _EndHook(self)
                self._handles += [
                    self._root.register_forward_pre_hook(ends.enter),
                    self._root.register_forward_hook(ends, with_kwargs=True),
                ]
        self._last = None
        self._inside = False
        self._made.clear()

    def arm_root(self) -> None:
        """Watch when passes of the whole model begin and end, and nothing else."""
        if self._root is None or self._handles:
            return
        vars(self._root)[_PREPARE] = _Unhooked(self)
        ends = _EndHook(self)
        self._handles = [
            self._root.register_forward_pre_hook(ends.enter),
            self._root.register_forward_hook(ends, with_kwargs=True),
        ]
        self._at_root = True

    def disarm(self) -> None:
        """Take the hooks off."""
        self._at_root = False
        for handle in self._handles:
            handle.remove()
        self._handles = []
        if self._root is not None:
            vars(self._root).pop(_PREPARE, None)
        self._made.clear()

    def __getstate__(self) -> dict[str, Any]:
        """State of a copy or a pickle, which saw the outputs of no pass."""
        return {**vars(self), "_made": {}}

    def turn(self) -> None:
        """Begin new blocks; those so far become the ones before."""
        self.before, self.blocks = self.blocks, {}
        self.spread_before, self.spread = self.spread, None
        if self.spread_first is None:
            self.spread_first = self.spread_before

    def steady_units(self) -> float:
        """Share of the units that put something out which do so for every example, of the layer with the most dead
        units in the recent sampled steps; NaN where that was not seen.

        Where a layer is given nearly the same for every example, each of its units is on for all of them or for none.
        """
        shares = []
        for name in {**self.before, **self.blocks}:
            blocks = [block for block in (self.before.get(name), self.blocks.get(name)) if block is not None]
            alive = [block.alive for block in blocks if block.alive is not None]
            steady = [block.lowest > 0 for block in blocks if block.lowest is not None]
            if len(alive) == len(steady) == len(blocks) and len({tuple(one.shape) for one in alive}) == 1:
                on = torch.stack([one.cpu() for one in alive]).any(0)
                shares.append((int(on.sum()) / max(on.numel(), 1), torch.stack([one.cpu() for one in steady]).all(0)))
        if not shares:
            return math.nan
        share, always = min(shares, key=lambda one: one[0])
        return float(always.sum()) / max(round(share * always.numel()), 1)

    def output_spread(self) -> tuple[float, float]:
        """Largest spread in the recent sampled steps, as a ratio to the outputs' size and to the spread at the first
        ones; NaN where no output was seen.
        """
        seen = [spread for spread in (self.spread, self.spread_before) if spread is not None]
        if not seen:
            return math.nan, math.nan
        relative, spread = torch.stack([one.cpu() for one in seen]).amax(0).tolist()
        first = spread if self.spread_first is None else float(self.spread_first[1])
        return relative, spread / first if first else (math.inf if spread else math.nan)

    def enter(self, args: tuple[Any, ...] = ()) -> None:
        """Note that a pass of the whole model begins, and what it is given by place."""
        self._inside = torch.is_grad_enabled()
        if self.modes is not None:
            self.modes.begin(trains=self._inside)
        self._made.clear()
        self.calls.begin()
        self.padding.begin()
        self.masks.begin()
        self.positions.begin(args)

    def leave(self, output: Any, kwargs: Mapping[str, Any] = MappingProxyType({})) -> None:
        """Note the output of the whole model, and the inputs that it was given by name."""
        if self.modes is not None:
            self.modes.evaluation.end()
        if not self._inside:
            return
        self._inside = False
        if self._at_root:
            return
        self.calls.end(kwargs, output)
        self.ends.note(kwargs)
        self.masks.end(kwargs)
        self.softmaxes.note(output)
        spread = _spread(output) if self._reads_output else None
        if spread is not None:
            known = self.spread
            self.spread = spread if known is None else torch.maximum(known.to(spread.device), spread)

    def note_aside(self, module: nn.Module, output: Any, args: tuple[Any, ...]) -> None:
        """Note that a module was used without gradients."""
        if self._inside:
            self._note_use(module, output, args, graph=False)

    def _note_use(self, module: nn.Module, output: Any, args: tuple[Any, ...], *, graph: bool) -> None:
        if self._uses_known:
            return
        place = self._places.get(module)
        known = None if place is None else self.first_uses.get(place)
        if place is not None and (known is None or (graph and not known.graph)):
            first = next((arg for arg in args if isinstance(arg, torch.Tensor)), None)
            at, asks = (0, True) if first is None else (first.data_ptr(), first.requires_grad)
            made = self._is_made(first)
            self.first_uses[place] = FirstUse(at, asks, made, graph)
            if graph:
                self.columns.note(module, args, made=made)
            self._settle_uses()
        self._keep_made(output, args)

    def _settle_uses(self) -> None:
        uses = self.first_uses
        self._uses_known = len(uses) == len(self._owners) and all(use.graph for use in uses.values())

    def _is_made(self, given: torch.Tensor | None) -> bool:
        storage = _storage(given)
        return given is not None and storage is not None and (storage._cdata, given.data_ptr()) in self._made

    def _keep_made(self, output: Any, args: tuple[Any, ...]) -> None:
        storage = _storage(output)
        if storage is None:
            return
        given = [own._cdata for arg in args if (own := _storage(arg)) is not None]
        if storage._cdata not in given:  # else it is what was put in
            self._made.setdefault((storage._cdata, output.data_ptr()), StorageWeakRef(storage))

    def note(self, module: nn.Module, output: Any, args: tuple[Any, ...] = ()) -> None:
        """Note the output of a module, and its inputs."""
        self._note_use(module, output, args, graph=True)
        if module in self._owners:
            self.calls.note(module, args)
            self.padding.note(module, args, output)
            self.masks.note_ids(module, args)
            self.positions.note_ids(module, args)
            self.batch_rows.note(module, args)
            if not self.order and type(module).__module__.startswith("torch.nn."):
                self.first_given = _size(args)  # any other may scale what it is given
            self.order.setdefault(self._places[module])
            if self._owners[module]:
                self._last = module
        if isinstance(module, nn.RNN):
            output = output[0]
        if self._last is None or not isinstance(output, torch.Tensor) or not output.dim() or not output.numel():
            return  # an empty batch shows no unit
        zeroing = _zeroing(module)
        bounds = None if zeroing else _bounds(module)
        if zeroing or bounds:
            name = self._owners[self._last]
            if name not in self.blocks:
                self.blocks[name] = Block()
            self._add(self.blocks[name], output.detach(), bounds)

    def _add(self, block: Block, output: torch.Tensor, bounds: tuple[float, float] | None) -> None:
        axis = self._axis(output)
        if axis and len(output) >= 2 * _EXAMPLES:
            output = output[:: len(output) // _EXAMPLES]
        if bounds is None:
            others = _all_but(output, axis)
            highest = output.amax(others) if others else output.clone()
            lowest = output.amin(others) if len(others) == 1 else None  # `aminmax` takes three times as long as both
            if block.highest is not None and block.highest.shape == highest.shape:
                highest = torch.maximum(block.highest.to(highest.device), highest)
                if lowest is not None and block.lowest is not None:
                    lowest = torch.minimum(block.lowest.to(lowest.device), lowest)
            block.highest, block.lowest = highest, lowest
            return
        low, high = bounds
        middle, half = (high + low) / 2, (high - low) / 2
        share = ((output - middle).abs() >= SATURATED * half).float().mean()
        block.saturated = share if block.saturated is None else block.saturated.to(share.device) + share
        block.calls += 1

    def _axis(self, output: torch.Tensor) -> int:
        """Axis of the units: the last one, or that of the channels behind a convolution."""
        weight = getattr(self._last, "weight", None)
        if isinstance(weight, torch.Tensor) and weight.dim() >= 3:
            if output.dim() == weight.dim():
                return 1
            if output.dim() == weight.dim() - 1:
                return 0
        return output.dim() - 1

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint."""
        return {
            "order": list(self.order),
            "first_uses": {place: list(use) for place, use in self.first_uses.items()},
            "first_given": self.first_given,
            "spread": [self.spread, self.spread_before, self.spread_first],
            "blocks": {name: vars(block).copy() for name, block in self.blocks.items()},
            "before": {name: vars(block).copy() for name, block in self.before.items()},
        }

    def load_state_dict(self, state: dict[str, Any], devices: Mapping[str, torch.device]) -> None:
        """Go on from a state that `state_dict` gave; `devices` gives the device of the weight of each name, near which
        its outputs lie.
        """
        self.order = dict.fromkeys(state["order"])
        self.first_uses = {place: FirstUse(*use) for place, use in state["first_uses"].items()}
        self._settle_uses()
        self.first_given = None if state["first_given"] is None else state["first_given"].clone()
        self.spread, self.spread_before, self.spread_first = (
            None if spread is None else spread.clone() for spread in state["spread"]
        )
        self.blocks, self.before = (
            {name: _loaded(block, devices[name]) for name, block in state[key].items()} for key in ("blocks", "before")
        )


class _ActivationHook:
    """The hook on the layers. A copied or pickled model carries an inert one: the copy is not tracked."""

    def __init__(self, watch: ActivationWatch | None = None) -> None:
        self._watch = watch

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self._watch is None or not _looking():
            return
        try:
            if torch.is_grad_enabled():
                self._watch.note(module, output, args)
            else:
                self._watch.note_aside(module, output, args)
        except Exception as error:
            self._watch.failed("a forward pass", error)

    def __reduce__(self) -> tuple[type[_ActivationHook], tuple[()]]:
        return _ActivationHook, ()


class _MaskHook:
    """The hook on attention layers, which are given masks by name; inert in copies as `_ActivationHook` is."""

    def __init__(self, watch: ActivationWatch | None = None) -> None:
        self._watch = watch

    def __call__(
        self, module: nn.MultiheadAttention, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any = TAKEN_OFF
    ) -> None:
        if output is not TAKEN_OFF and self._watch is not None and _looking() and torch.is_grad_enabled():
            try:
                self._watch.masks.note_mask(module, args, kwargs)
                self._watch.positions.note_query(module, args, kwargs)
            except Exception as error:
                self._watch.failed("a forward pass", error)

    def __reduce__(self) -> tuple[type[_MaskHook], tuple[()]]:
        return _MaskHook, ()


class _EndHook:
    """The hooks on the whole model, inert in copies as `_ActivationHook` is."""

    def __init__(self, watch: ActivationWatch | None = None) -> None:
        self._watch = watch

    def enter(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """Note that a pass begins."""
        if self._watch is not None and _looking():
            try:
                self._watch.enter(args)
            except Exception as error:
                self._watch.failed("a forward pass", error)

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any = TAKEN_OFF
    ) -> None:
        if output is not TAKEN_OFF and self._watch is not None and _looking():
            try:
                self._watch.leave(output, kwargs)
            except Exception as error:
                self._watch.failed("a forward pass", error)

    def __reduce__(self) -> tuple[type[_EndHook], tuple[()]]:
        return _EndHook, ()


class _Unhooked:
    """Takes the hooks off when `torch.jit.script` calls it first: hooks cannot be scripted, and come back at the next
    sample.
    """

    def __init__(self, watch: ActivationWatch | None = None) -> None:
        self._watch = watch

    def __call__(self) -> nn.Module:
        if self._watch is None or self._watch._root is None:
            raise FlowGradError("the model is a copy of one that was watched; copy it after detach() to script it")
        self._watch.disarm()
        return self._watch._root

    def __reduce__(self) -> tuple[type[_Unhooked], tuple[()]]:
        return _Unhooked, ()


def _looking() -> bool:
    """Whether a pass is one that trains: not traced, compiled or exported, nor within `torch.func`."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    return torch._C._functorch.peek_interpreter_stack() is None  # the inside of `torch.func` is not accessible


def _spread(output: Any) -> torch.Tensor | None:
    """Largest standard deviation over the batch of any of the outputs, over their root mean square and as it is, shape
    (2,); of a part of the batch, and of outputs evenly spaced. None where the output is no batch of numbers.
    """
    if isinstance(output, tuple | list):
        output = next((part for part in output if isinstance(part, torch.Tensor)), None)
    if not isinstance(output, torch.Tensor) or not output.is_floating_point() or not output.numel():
        return None
    if output.layout != torch.strided or not output.dim() or len(output) < _FEWEST:
        return None
    with torch.no_grad():
        rows = output.detach()[:_BATCH]
        rows = rows.reshape(len(rows), -1)
        rows = rows[:, :: _stride(rows.shape[1])]
        deviation, mean = torch.std_mean(rows if rows.dtype == torch.float32 else rows.float(), 0, correction=0)
        largest = deviation.amax()
        size = (mean.square() + deviation.square()).mean().sqrt().clamp_min(torch.finfo(torch.float32).tiny)
        return torch.stack([largest / size, largest])


def _stride(count: int) -> int:
    """Distance between at most `_OUTPUTS` of so many; it shares no factor with them, else only a few classes would be
    seen.
    """
    stride = -(-count // _OUTPUTS)
    while math.gcd(stride, count) > 1:
        stride += 1
    return stride


def _size(args: tuple[Any, ...]) -> torch.Tensor | None:
    """Root mean square of the first dense tensor, 0-dim; None where there is none, or one without numbers."""
    given = next((arg for arg in args if isinstance(arg, torch.Tensor)), None)
    if given is None or given.layout != torch.strided or given.is_complex() or not given.numel():
        return None
    return given.detach().float().square().mean().sqrt()


def _storage(value: Any) -> torch.UntypedStorage | None:
    """Storage of the tensor's numbers; None where the value is no tensor, or has no such storage."""
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided:
        return None
    try:
        return value.untyped_storage()
    except (RuntimeError, NotImplementedError):  # meta and functional tensors lie nowhere
        return None


def _zeroing(module: nn.Module) -> bool:
    return isinstance(module, _ZEROING) or (isinstance(module, nn.RNN) and module.nonlinearity == "relu")


def _bounds(module: nn.Module) -> tuple[float, float] | None:
    if isinstance(module, nn.RNN):
        return (-1.0, 1.0)
    return next((bounds for kind, bounds in _BOUNDS.items() if isinstance(module, kind)), None)


def _all_but(output: torch.Tensor, axis: int) -> list[int]:
    return [i for i in range(output.dim()) if i != axis]


def _loaded(block: dict[str, Any], device: torch.device) -> Block:
    tensor_names = ("highest", "lowest", "saturated")
    tensors = {key: None if block.get(key) is None else block[key].to(device).clone() for key in tensor_names}
    return Block(**tensors, calls=block["calls"])
