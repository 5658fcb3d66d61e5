"""Measures one sampled step, or look, on the tensors of a device: figures are computed there, and fetched as one
vector.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np
import torch

from flowgrad.trackers.flow.half_precision import HALF, share_still
from flowgrad.trackers.flow.samples import GradientSamples
from flowgrad.trackers.flow.shared_sums import SharedSums
from flowgrad.trackers.flow.sparse_rows import every_nth, rows_of

P = ParamSpec("P")
R = TypeVar("R")


def apart(function: Callable[P, R]) -> Callable[P, R]:
    """Run the function without gradients, and outside of inference mode: tensors made in that could not be written to
    later.
    """

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.inference_mode(False), torch.no_grad():  # in this order: the former turns gradients on
            return function(*args, **kwargs)

    return wrapper


PART = 1 << 14
"""Number of entries of a weight that are copied and compared, at most; of larger ones, runs of entries, evenly spaced.
The norm of a part, scaled up, is that of the whole to about two percent.
"""
_ROWS_PART = 1 << 10
"""Number of such entries of a table with a sparse gradient, whose norm alone is needed: to about five percent."""
LARGE = 1 << 17
"""Number of entries of a table of embeddings above which a part of it is read: a step changes few of its rows, so that
one of fewer is read whole.
"""
_TABLE_PART = 1 << 14
"""Number of entries of such a part, about; more where the share of the table would be too small."""
_LARGE_SHARE = 128
"""Factor by which the part of a table is smaller than the table, at most."""
_RUN = 64
"""Number of entries in a row: a cache line or two, so that a part costs what its share of the memory does."""

_MANY = 0.5
"""Share of a bias without gradient from which on the weight is read: rules judge layers of which half is silent."""
_CACHED = 1 << 17
"""Number of entries that are worked on together on a CPU: half a megabyte, and as much of their copies."""
_KNOWN = 32
"""Number of sets of tensors whose groups are kept: mostly the same tensors have a gradient."""


class StepSnapshot(NamedTuple):
    """Figures of one sampled step, one a tensor, shape (tensors,); NaN where there is none."""

    weight_norm: np.ndarray
    gradient_norm: np.ndarray
    velocity: np.ndarray
    product: np.ndarray
    """Inner product of the sampled gradient and that of the look before."""
    square: np.ndarray
    """Squared norm of the sampled gradient."""
    seen_gradient: np.ndarray
    """1 where the tensor had a gradient."""
    sampled: np.ndarray
    """1 where a sample was taken of it."""
    unread: np.ndarray
    """Sum of all values of a sparse gradient that was read in part: not finite where one of them is not."""
    still: np.ndarray
    """Share of the entries with a gradient that the step did not move, of weights of 16 bits."""

    @classmethod
    def nothing(cls, count: int) -> StepSnapshot:
        """Figures that are all NaN."""
        return cls(*np.full((len(cls._fields), count), math.nan))


def fetch(values: torch.Tensor) -> np.ndarray:
    """Make the one transfer of a look: figures (never tensors of the model) to the host."""
    return values.cpu().numpy().astype(float)


class DeviceLook:
    """Measures the tensors of one device. A look is `before`, `gradients` and `after`, in this order around a step."""

    def __init__(self, parameters: Sequence[torch.Tensor], whole: Sequence[bool]) -> None:
        """Allocate nothing yet: buffers are made at the first look, so that a model may be moved before.

        Args:
            parameters: all that are watched on the device.
            whole: whether each is read whole, because steps change few of its rows.
        """
        self._all = list(parameters)
        self._whole = list(whole)
        count = len(self._all)
        self._copies: dict[int, torch.Tensor] = {}
        self._rows: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        """Ids of the rows of each tensor with a sparse gradient, and these rows before the step."""
        self._summed: dict[int, torch.Tensor] = {}
        """Values of each sparse gradient summed by row, from `before` to `gradients`."""
        self._shared = SharedSums()
        self._read: dict[int, int] = {}
        """Number of entries that the norm of each tensor is of."""
        self._known_groups: dict[tuple[int, ...], list[list[int]]] = {}
        """Groups of tensors that were put together before."""
        self._grown: dict[int, float] = {}
        """Factor from the norm of the part of a gradient that was read to that of the whole, by tensor."""
        self._kept: set[int] = set()
        """Tensors with a sparse gradient that are no small tables."""
        self._one_in: dict[int, int] = {}
        """Number of rows of a large table with a sparse gradient of which one is read, by tensor; all of any other."""
        self._unread: list[int] = []
        """Tensors with a sparse gradient that was read in part."""
        self.open = False
        """Whether a look has begun that `take` has not ended."""
        self._live: list[int] = []
        self._dense: list[int] = []
        self._fresh: list[int] = []
        """Indices among `_live` whose gradients are still to be read."""
        self._found: list[int] = []
        """Tensors that had a gradient."""
        self._sampled: list[int] = []
        self._pieces: list[tuple[str, list[int], list[torch.Tensor]]] = []
        self._views: dict[tuple[int, int], tuple[int, torch.Tensor]] = {}
        """Address of each tensor's memory, and the view that is read, by tensor and number of entries at most."""
        self._stood: dict[int, tuple[int, int]] = {}
        """Address and version of each large table at the end of the look before, which its copy is of."""
        self._products: tuple[list[int], torch.Tensor] | None = None
        """Tensors that were sampled, and the inner products of their samples (`GradientSamples.end`)."""
        self.samples = GradientSamples(count, self._all[0].device)
        self.zero_rows: dict[int, torch.Tensor] = {}
        """Map of tensor -> units (rows) without gradient at any look since `turn`, for those asked for in
        `follow_rows`.
        """
        self.zero_rows_before: dict[int, torch.Tensor] = {}
        self.follow_rows: dict[int, tuple[int, int]] = {}
        """Map of tensor -> (the tensor that shows its units, the axis of the units in that)."""
        self.unit_axes: dict[int, int] = {}
        """Axis of the units in the tensor itself, for those of `follow_rows` whose bias shows them."""

    def turn(self) -> None:
        """Begin a new block of sampled steps."""
        self.samples.turn()
        self.zero_rows, self.zero_rows_before = {}, self.zero_rows

    def before(self, chosen: Collection[int] | None = None, *, share: bool = False) -> None:
        """Copy the weights that the step may change (a part of large ones; of a sparse gradient, the rows), and take
        their norms.

        Args:
            chosen: those that the optimizer about to step holds, where there are several; changes since an earlier step
                of the same look are left as they were then. None: all, and the look begins anew.
            share: whether the step is to use sums of sparse gradients that are computed here (`sums_by_row`).
        """
        if chosen is None or not self.open:
            self._begin()
        known = set(self._live)
        self._fresh = [
            i
            for i in (range(len(self._all)) if chosen is None else chosen)
            if i not in known and self._all[i].requires_grad
        ]
        self._live += self._fresh
        sparse = [i for i in self._fresh if (g := self._all[i].grad) is not None and g.layout != torch.strided]
        self._keep_rows(sparse, share=share)
        dense = [i for i in self._fresh if i not in self._kept]
        for i in dense:
            own = self._part(i)
            if i not in self._copies or self._copies[i].shape != own.shape:
                self._copies[i] = torch.empty_like(own, requires_grad=False)
            self._read[i] = own.numel()
        self._dense += dense
        changed = {i for i in dense if (stood := self._stood.pop(i, None)) is None or stood != self._stand(i)}
        for group in self._groups(dense):
            if anew := [i for i in group if i in changed]:
                torch._foreach_copy_([self._copies[i] for i in anew], [self._part(i) for i in anew])
            self._pieces.append(("weight_norm", group, _norms([self._copies[i] for i in group])))
        sparse = [i for i in self._fresh if i in self._rows]
        for group in self._groups(sparse):
            parts = [self._part(i, _ROWS_PART) for i in group]
            self._read.update(zip(group, (one.numel() for one in parts), strict=True))
            self._pieces.append(("weight_norm", group, _norms(parts)))

    def _begin(self) -> None:
        self.open, self._pieces, self._rows = True, [], {}
        self._summed, self._one_in, self._grown = {}, {}, {}
        self._kept, self._unread = set(), []
        self._live, self._dense, self._found, self._sampled = [], [], [], []
        self.samples.begin()

    def _part(self, i: int, most: int = PART) -> torch.Tensor:
        """View of a weight's entries that are read; of a table, rows where it is not said how many at most."""
        weight = self._all[i]
        lies, view = self._views.get((i, most), (0, None))
        if view is None or lies != weight.data_ptr():  # a step may put other memory under the tensor
            rows = self._whole[i] and most == PART
            view = _table_part(weight.detach()) if rows else part(weight.detach(), most)
            self._views[i, most] = weight.data_ptr(), view
        return view

    def _is_large(self, i: int) -> bool:
        """Whether rows of a table are read, and not all of it."""
        return self._whole[i] and self._copies[i].numel() < self._all[i].numel()

    def _stand(self, i: int) -> tuple[int, int] | None:
        """Address of a tensor's memory, and its version, which writes to it raise; None where it has none."""
        weight = self._all[i]
        return None if weight.is_inference() else (weight.data_ptr(), weight._version)

    def __getstate__(self) -> dict[str, Any]:
        """State of a copy or a pickle, whose weights lie elsewhere."""
        return {**vars(self), "_views": {}, "_stood": {}}

    def _keep_rows(self, sparse: Sequence[int], *, share: bool) -> None:
        """Keep the rows that each of these sparse gradients is of, and its sum for each. A small table is copied whole
        instead, as a dense gradient's is.
        """
        large: list[tuple[int, torch.Tensor, torch.Tensor]] = []
        unread: dict[int, torch.Tensor] = {}
        for i in sparse:
            gradient, table = self._all[i].grad, self._all[i].detach()
            assert gradient is not None
            if gradient.layout != torch.sparse_coo or gradient.sparse_dim() != 1:
                self._kept.add(i)
                continue
            if share and table.device.type == "cpu":
                gradient = self._shared.lend(self._all[i])
                self._summed[i] = gradient._values()
                if table.shape[0] > 2 * gradient._nnz():
                    self._keep(i, every_nth(gradient._indices()[0]))
                continue
            # To coalesce sorts all values; it would be most of the cost of a look.
            ids, values = gradient._indices()[0], gradient._values()
            if table.shape[0] <= 2 * ids.shape[0]:
                self._summed[i] = torch.zeros_like(table).index_add_(0, ids, values)
            else:
                large.append((i, ids, values))
        for (i, _, values), read in zip(large, rows_of([(ids, values) for _, ids, values in large]), strict=True):
            if read.one_in > 1:
                self._grown[i] = math.sqrt(read.one_in)
                unread[i] = values.sum(dtype=_precise(values))
            self._summed[i] = read.sums
            self._keep(i, (read.ids, read.one_in))
        self._unread += unread
        if unread:
            self._pieces.append(("unread", list(unread), list(unread.values())))

    def _keep(self, i: int, read: tuple[torch.Tensor, int]) -> None:
        """Keep rows of a table as they are before the step.

        Args:
            i: place of the table.
            read: their ids, and the number of rows of which one is read.
        """
        ids, one_in = read
        self._kept.add(i)
        if one_in > 1:
            self._one_in[i] = one_in
        self._rows[i] = (ids, self._all[i].detach().index_select(0, ids))

    def gradients(self, scale: torch.Tensor | None) -> None:
        """Take norms and samples of the gradients as they are now, of the tensors that `before` took last.

        Args:
            scale: factor that they are still multiplied by, as under AMP with a fused optimizer.
        """
        found = {i: g for i in self._fresh if (g := self._all[i].grad) is not None}
        whole = {i: _plain(g) for i, g in found.items() if g.layout == torch.strided}
        read = {i: self._gradient_part(i, gradient) for i, gradient in whole.items()}
        norms = self._gradient_norms(whole, read)
        pieces = [(list(norms), list(norms.values()))]
        sparse = {i: self._values(i, g) for i, g in found.items() if i not in whole}
        pieces += [(group, _norms([sparse[i] for i in group])) for group in self._groups(list(sparse))]
        self._summed = {}
        self._found += found
        self._sampled += whole
        self._fresh = []
        self._note_zero_rows(whole)
        if scale is not None:
            scale = scale.to(self._all[0].device)  # one scale serves the tensors on all devices
            pieces = [(group, [v / scale for v in values]) for group, values in pieces]
        self.samples.take(read, scale)
        self._pieces += [("gradient_norm", group, values) for group, values in pieces]

    def _gradient_norms(
        self, whole: Mapping[int, torch.Tensor], read: Mapping[int, torch.Tensor]
    ) -> dict[int, torch.Tensor]:
        """Norm of each dense gradient: of the part that is read, unless no row of that has any gradient."""
        norms: dict[int, torch.Tensor] = {}
        for group in self._groups(list(read)):
            norms.update(zip(group, _norms([read[i] for i in group]), strict=True))
        parts = [i for i, own in read.items() if own is not whole[i] and i in norms]
        # One question for all of them: each waits for the numbers that it asks for.
        found = torch.stack([norms[i].float() for i in parts]).tolist() if parts else []
        for i, norm in zip(parts, found, strict=True):
            if norm == 0:
                norms[i] = _norms([whole[i]])[0]
            else:
                self._grown[i] = math.sqrt(whole[i].numel() / read[i].numel())
        return norms

    def _gradient_part(self, i: int, gradient: torch.Tensor) -> torch.Tensor:
        """Entries of a dense gradient that are read: of a large table on a CPU, where to read all would cost as much as
        a layer, a copy of some rows. Whatever is read of these finds them in one piece.
        """
        self._grown.pop(i, None)
        if not self._whole[i] or gradient.device.type != "cpu":
            return gradient
        rows = _table_part(gradient)
        return gradient if rows is gradient else rows.contiguous()

    def _values(self, i: int, gradient: torch.Tensor) -> torch.Tensor:
        """Values of a sparse gradient, one a row."""
        known = self._summed.get(i)
        if known is not None:
            return known
        return gradient.coalesce().values() if gradient.layout == torch.sparse_coo else gradient.values()

    def _note_zero_rows(self, whole: dict[int, torch.Tensor]) -> None:
        self._doubt_biases(whole)
        for i, (source, axis) in self.follow_rows.items():
            gradient = whole.get(source)
            if gradient is None:
                continue
            others = [k for k in range(gradient.dim()) if k != axis]
            zero = gradient == 0 if not others else torch.linalg.vector_norm(gradient, math.inf, others) == 0
            known = self.zero_rows.get(i)
            self.zero_rows[i] = zero if known is None else zero & known

    def _doubt_biases(self, whole: dict[int, torch.Tensor]) -> None:
        """Go over to the weight where half of a bias has no gradient at the first look of a block.

        The gradient of a bias is a sum over examples. It is zero where a unit is silent on all of them, and where the
        loss counts differences between examples alone, as that of a Wasserstein critic or of a ranking by pairs.
        """
        begun = [i for i in self.unit_axes if i in whole and i not in self.zero_rows and i in self.follow_rows]
        biases = [whole.get(self.follow_rows[i][0]) for i in begun]
        shares = [(bias == 0).float().mean() for bias in biases if bias is not None]
        if not shares:
            return
        known = [i for i, bias in zip(begun, biases, strict=True) if bias is not None]
        for i, share in zip(known, torch.stack(shares).tolist(), strict=True):
            if share >= _MANY:
                self.follow_rows[i] = (i, self.unit_axes.pop(i))

    def stepped(self) -> None:
        """Undo what `before` did for the step, right after it."""
        self._shared.take_back()

    def after(self) -> None:
        """Take the norms of the changes by the step."""
        if not self.open:  # no step of an optimizer that holds one of these tensors
            self._begin()
        self._products = self.samples.end()
        for group in self._groups(self._dense):
            copies = [self._copies[i] for i in group]
            # What is read of a large table is far apart in memory, and dear: a look at the next step goes on from it.
            now = {i: self._part(i).contiguous() for i in group if self._is_large(i)}
            torch._foreach_sub_(copies, [now[i] if i in now else self._part(i) for i in group])
            self._pieces.append(("velocity", group, _norms(copies)))
            if now:
                torch._foreach_copy_([self._copies[i] for i in now], list(now.values()))
                self._stood.update((i, stand) for i in now if (stand := self._stand(i)) is not None)
        self._note_still([i for i in self._dense if self._all[i].dtype in HALF])
        moved = {i: self._all[i].detach().index_select(0, ids) - rows for i, (ids, rows) in self._rows.items()}
        self._pieces += [("velocity", group, _norms([moved[i] for i in group])) for group in self._groups(list(moved))]

    def _note_still(self, halves: Sequence[int]) -> None:
        read = [(i, part(g.detach())) for i in halves if (g := self._all[i].grad) is not None and not self._whole[i]]
        read = [(i, own) for i, own in read if own.shape == self._copies[i].shape]
        if read:
            still = [share_still(self._copies[i], own) for i, own in read]
            self._pieces.append(("still", [i for i, _ in read], still))

    def take(self, extra: Sequence[torch.Tensor] = ()) -> tuple[StepSnapshot, list[float]]:
        """Return all figures of the look, with other 0-dim tensors of this device, by one transfer."""
        values = [v for _, _, vs in self._pieces for v in vs]
        seen = StepSnapshot.nothing(len(self._all))
        # Most are float32 already; a call a number would be half of the cost of a sampled step of a small network.
        apart = [v if v.dtype == torch.float32 else v.float() for v in (*values, *extra)]
        together = [torch.stack(apart)] if apart else []
        if self._products is not None:
            together.insert(0, self._products[1])
        if not together:
            return seen, []
        numbers = fetch(torch.cat(together))
        at = 0
        if self._products is not None:
            places, at = self._products[0], len(self._products[1])
            seen.product[places], seen.square[places] = numbers[:at].reshape(2, -1)
        for name, group, _ in self._pieces:
            getattr(seen, name)[group] = numbers[at : at + len(group)]
            at += len(group)
        scale = np.ones(len(self._all))
        for i in self._live:
            scale[i] = math.sqrt(self._all[i].numel() / max(self._read.get(i, 0), 1))
        seen.weight_norm[:] *= scale
        seen.velocity[self._dense] *= scale[self._dense]
        for i, factor in self._grown.items():
            seen.gradient_norm[i] *= factor
        with np.errstate(invalid="ignore"):  # 0 times infinity: then the norm is to be NaN
            for i in self._unread:
                seen.gradient_norm[i] += 0.0 * seen.unread[i]
        if drawn := list(self._one_in):
            seen.velocity[drawn] *= np.sqrt(list(self._one_in.values()))
        # A step may change no row of a part, and of a table a row for each of the batch.
        still = [i for i in self._dense if self._whole[i] and scale[i] > 1]
        seen.velocity[still] = np.where(seen.velocity[still] == 0, math.nan, seen.velocity[still])
        seen.seen_gradient[self._found] = 1
        seen.sampled[self._sampled] = 1
        self._pieces, self._products, self.open = [], None, False
        return seen, [float(x) for x in numbers[at:]]

    def _groups(self, chosen: Sequence[int]) -> list[list[int]]:
        """Group the tensors into `_foreach` calls: of one type, and on a CPU few enough to stay in its cache."""
        key = tuple(chosen)
        if (known := self._known_groups.get(key)) is not None:
            return known
        if len(self._known_groups) >= _KNOWN:
            self._known_groups.clear()
        groups: list[list[int]] = []
        open_groups: dict[torch.dtype, tuple[list[int], int]] = {}
        for i in chosen:
            tensor = self._all[i]
            size = min(tensor.numel(), PART)
            if not size:
                continue
            group, so_far = open_groups.get(tensor.dtype, ([], 0))
            if not group or (tensor.device.type == "cpu" and so_far + size > _CACHED):
                group, so_far = [], 0
                groups.append(group)
            group.append(i)
            open_groups[tensor.dtype] = (group, so_far + size)
        self._known_groups[key] = groups
        return groups

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint: the sums over looks."""
        return {
            **self.samples.state_dict(),
            "zero_rows": {i: t.clone() for i, t in self.zero_rows.items()},
            "zero_rows_before": {i: t.clone() for i, t in self.zero_rows_before.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        self.samples.load_state_dict(state)
        device = self._all[0].device
        self.zero_rows = {i: t.to(device).clone() for i, t in state["zero_rows"].items()}
        self.zero_rows_before = {i: t.to(device).clone() for i, t in state["zero_rows_before"].items()}


@apart
def weight_figures(parameters: Sequence[torch.Tensor]) -> np.ndarray:
    """Norm, mean, deviation, range and number of non-finite entries of each tensor now, shape (tensors, 5)."""
    by_device: dict[torch.device, list[int]] = {}
    for i, parameter in enumerate(parameters):
        by_device.setdefault(parameter.device, []).append(i)
    found = np.full((len(parameters), 5), math.nan)
    for group in by_device.values():
        found[group] = fetch(torch.stack([_figures(parameters[i].detach()) for i in group]))
    return found


def _figures(weight: torch.Tensor) -> torch.Tensor:
    values = _plain(weight).float()
    if not values.numel():
        return torch.full((5,), math.nan, device=weight.device)
    low, high = torch.aminmax(values)
    deviation, mean = torch.std_mean(values, correction=0)
    return torch.stack(
        [torch.linalg.vector_norm(values), mean, deviation, high - low, (~torch.isfinite(values)).sum().float()]
    )


def part(weight: torch.Tensor, most: int = PART) -> torch.Tensor:
    """View of at most `most` entries of a larger tensor that lies in one piece of memory; any other as it is."""
    count = weight.numel()
    if count <= most or not weight.is_contiguous():
        return weight
    runs, stride = _runs(count, most)
    return weight.view(-1)[: runs * _RUN].view(runs, _RUN)[::stride]


@functools.cache
def _runs(count: int, most: int) -> tuple[int, int]:
    """Number of runs of so many entries, and distance between those that at most `most` entries are of."""
    runs = count // _RUN
    stride = -(-runs * _RUN // most)
    while math.gcd(stride, runs) > 1:  # else it would see a few of the columns only
        stride += 1
    return runs, stride


def _table_part(weight: torch.Tensor) -> torch.Tensor:
    """View of evenly spaced rows of a large table; a smaller one as it is, and one that is not of one piece."""
    if weight.numel() <= LARGE or not weight.is_contiguous():
        return weight
    stride = min(_LARGE_SHARE, weight.numel() // _TABLE_PART)
    while math.gcd(stride, len(weight)) > 1 and stride > 2:
        stride -= 1
    return weight[stride // 2 :: stride]  # not the first, which is often the one looked up most


def _norms(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Norms of tensors of one type; in single precision or better, in which squares of half precision do not
    overflow.
    """
    plain = [_plain(t) for t in tensors]
    return list(torch._foreach_norm(plain, 2, dtype=_precise(plain[0])))


def _precise(values: torch.Tensor) -> torch.dtype:
    return torch.promote_types(values.dtype, torch.float32)


def _plain(values: torch.Tensor) -> torch.Tensor:
    return torch.view_as_real(values) if values.is_complex() else values
