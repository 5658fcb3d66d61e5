"""Audits a loss: it finds which of the losses that outputs and targets allow was reported, right or wrong.

At some steps the loss is recomputed in double precision under every hypothesis at hand. One that equals the reported
loss to rounding at every sampled step, where no sound one does, names what the loss does. A loss that matches none is
not judged.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from flowgrad.measures.blanks import blank_facts
from flowgrad.measures.loss_batch import BINARY_PARTS, KINDS, Batch, read, readings, recompute
from flowgrad.measures.loss_figures import LOSS_MEASURES
from flowgrad.measures.loss_large import is_large, read_large
from flowgrad.measures.loss_values import RELATIVE
from flowgrad.measures.sequences import place_figures, place_losses
from flowgrad.measures.telling import telling_facts, telling_figures

__all__ = ["LOSS_MEASURES", "LossAudit"]

LEAST_LOOKS = 3
"""Number of sampled steps that decide about a hypothesis before its share is known."""
FACTOR_LOOKS = 5
"""Number of sampled steps that a constant factor of the reported loss rests on."""
VARIED = 1e-3
"""Least relative deviation of a recomputed loss over the sampled steps: a constant one has a constant factor to any
other.
"""
SPARE_LOOKS, SOLVED = 3, 100.0
"""Number of sampled steps more than there are ratios of weights of classes that these rest on, and how much larger the
next singular value has to be than that of the solution.
"""
LEAST_TOLD, ANOTHER = 2, 0.01
"""Number of sampled validations that name what the validation loss is, and relative distance of a training loss from
that quantity from which on it is another one.
"""
MOST_LOOKS = 64
"""Number of sampled steps that are kept; beyond, every other one is dropped but for the first."""
WIDE = 10.0
"""Number of roundings within which a sound loss still counts as the reported one, so that no other is named."""
LEAST_ROWS = 8
"""Number of rows of a batch from which on outputs are said to differ between them."""
EARLY_LOOKS = 8
"""Number of first looks at which scores know little of items."""
OFTEN, LEAST_ITEMS = 5, 16
"""Times that an item has to have come for its logarithm to be known within a half, and number of such items of a batch
from which a slope is taken.
"""
MASKED = 1e4
"""Size of scores below 0 that only a mask has."""
MOST_ITEMS = 50_000
"""Number of items of rows that are counted."""
USUAL = tuple(
    f"{family}/mean"
    for family in ("sound/cross_entropy", "counted/cross_entropy", "sound/in_batch_rows", "sound/binary",
                   "sound/squared")
)  # fmt: skip
"""Losses that others are compared with, the first that can be recomputed."""
USUAL_LOOKS = 8
"""Number of sampled steps that such a comparison rests on."""
ENTRIES = ("sound/squared/", "sound/absolute/")
"""Losses that compare each output with its own target, by the beginnings of their keys."""
_WITHOUT = "_without_"
"""Part of the key of a loss that leaves out a class, before its number."""
MISTAKES = ("pairs", "twice", "logs", "raw", "axis", "one", "outside")
"""Kinds that exclude each other; see `loss_values`."""
FLIPPABLE = ("sound", "counted", "pairs")
"""Kinds whose negative is a wrong sign."""

_PLACES = ("last_place", "other_places", "last_place_error")

Look = dict[str, Any]
"""Record of one sampled step. `told`: the reported loss; `values`: key -> [loss, rounding]; `facts`: what else the
batch said.
"""


class LossAudit:
    """Audits the loss by outputs and targets of some sampled steps. State is plain numbers and lists."""

    def __init__(self, *, maximised: bool = False) -> None:
        """Start an audit; `maximised` says that the optimizer maximises (`maximize=True`), so that minus is right."""
        self.maximised = maximised
        self.unread = 0
        self.looks: list[Look] = []
        self._items: Counter[int] = Counter()
        self._kinds: Counter[int] = Counter()
        self._targets = 0
        self._labels = True

    def see(
        self, outputs: Any, targets: Any, loss: Any, inputs: Any = None, items: Any = None, teacher: Any = None
    ) -> bool:
        """Take in one step.

        Args:
            outputs: as they were given to the loss.
            targets: as they were given to it; None: there are none.
            loss: the reported loss: a tensor of one number, or a number.
            inputs: what the model was given, where it is known; used where they are integers.
            items: item of each row of a batch whose negatives are the other rows.
            teacher: outputs of a teacher for the same rows, as they come, where the loss compares with them.

        Returns:
            Whether the loss could be recomputed. Nothing is raised, whatever is given: a loss that cannot be read is
            counted, and training goes on.
        """
        try:
            if is_large(outputs):
                batch, values, facts = read_large(outputs, targets, loss, inputs)
            else:
                batch = read(outputs, targets, loss, inputs, items, teacher)
                values, facts = recompute(batch)
            facts = {**facts, **_place_facts(batch), **_reconstruction_facts(batch, inputs)}
            facts |= blank_facts(batch.x, batch.t) | telling_facts(batch.x, batch.t)
        except Exception:
            # The arguments are the user's, of any type: no error of the audit may end a training.
            self.unread += 1
            return False
        if not values:
            self.unread += 1
        self._count(batch.t, batch.items)
        if len(self.looks) < EARLY_LOOKS and batch.items is not None and "repeated" in facts:
            facts |= self._popularity_slope(batch.x, batch.items)
        self.looks.append({
            "told": batch.told,
            "values": {key: [value, rounding] for key, (value, rounding) in values.items()},
            "facts": facts,
        })  # fmt: skip
        if len(self.looks) > MOST_LOOKS:
            self.looks = self.looks[:1] + self.looks[1:-1:2] + self.looks[-1:]
        return bool(values)

    def figures(self) -> dict[str, float]:
        """Figures of `LOSS_MEASURES` by name; NaN where they are not known."""
        found = dict.fromkeys((measure.name for measure in LOSS_MEASURES), math.nan)
        found |= {"loss_looks": float(sum(bool(look["values"]) for look in self.looks)), "loss_unread": self.unread}
        if self.looks:
            found |= _reconstruction(_values(self.looks, "reconstruction"))
            found |= telling_figures(*(_values(self.looks, name) for name in ("telling", "telling_variance")))
            found |= place_figures(*(_values(self.looks, name) for name in _PLACES))
            found |= _facts(self.looks) | _matches(self.looks, self.maximised) | self._counted()
        return {name: float(value) for name, value in found.items()}

    def differs_from(self, other: LossAudit) -> float:
        """Share of the sampled steps at which the loss is another quantity than the one that another audit names: a
        known loss, as it is meant, to rounding at all of that audit's steps. NaN where it names none, or fewer than
        `LEAST_LOOKS` steps allow that loss.
        """
        named = [frozenset(key for key in _told(look, 1.0) if _plain(key)) for look in other.looks]
        keys = frozenset.intersection(*named) if len(named) >= LEAST_TOLD else frozenset()
        apart = [
            all(abs(look["told"] - value) > ANOTHER * max(abs(look["told"]), abs(value)) for value in values)
            for look in self.looks
            if (values := [look["values"][key][0] for key in keys if key in look["values"]])
        ]
        return _mean([float(one) for one in apart]) if len(apart) >= LEAST_LOOKS else math.nan

    def state_dict(self) -> dict[str, Any]:
        """State of the audit, as plain values."""
        return {
            "unread": self.unread, "looks": [dict(look) for look in self.looks], "items": dict(self._items),
            "kinds": dict(self._kinds), "targets": self._targets, "labels": self._labels,
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        self.unread, self._targets = int(state["unread"]), int(state["targets"])
        self.looks, self._labels = [dict(look) for look in state["looks"]], bool(state["labels"])
        self._items = Counter({int(key): int(count) for key, count in state["items"].items()})
        self._kinds = Counter({int(key): int(count) for key, count in state["kinds"].items()})

    def _count(self, t: np.ndarray | None, items: np.ndarray | None) -> None:
        if items is not None and self._items.total() < MOST_ITEMS:
            numbers, counts = np.unique(items, return_counts=True)
            self._items.update(dict(zip(numbers.tolist(), counts.tolist(), strict=True)))
        if t is None:
            return
        self._targets += t.size
        self._labels = self._labels and (t.dtype.kind == "i" or bool(np.isin(t, (0.0, 1.0)).all()))
        if self._labels and len(self._kinds) < KINDS:
            numbers, counts = np.unique(t[t >= 0], return_counts=True)
            self._kinds.update(dict(zip((int(n) for n in numbers[:KINDS]), counts.tolist()[:KINDS], strict=True)))

    def _popularity_slope(self, x: np.ndarray, items: np.ndarray) -> dict[str, float]:
        """Slope of the mean score of each item of a batch on the logarithm of how often it came so far: -1 where that
        was subtracted from scores that know nothing yet. Empty where too few items came often enough to tell.

        Args:
            x: scores, shape (rows, rows); those of the row's own item, and those that were masked, count in no mean.
            items: item of each column, shape (rows,).
        """
        came = np.array([self._items[int(item)] for item in items])
        other = (items[:, None] != items[None, :]) & (x > -MASKED)
        told = (came >= OFTEN) & other.any(0)
        if len(np.unique(items[told])) < LEAST_ITEMS or np.ptp(came[told]) == 0:
            return {}
        means = np.where(other, x, 0.0).sum(0)[told] / other.sum(0)[told]
        logs = np.log(came[told])
        return {"popularity_slope": float(np.cov(logs, means)[0, 1] / logs.var(ddof=1))}

    def _counted(self) -> dict[str, float]:
        found = {"targets_count": float(self._targets)}
        total = self._items.total()
        if total > 1:
            pairs = sum(count * (count - 1) for count in self._items.values())
            found["items_pairs"] = pairs / 2
            found["items_skew"] = len(self._items) * pairs / (total * (total - 1))
        if self._kinds and self._labels:
            found["targets_kinds"] = float(len(self._kinds))
        classes = _values(self.looks, "classes")
        if self._kinds and self._labels and classes and len(self._kinds) < KINDS:
            wanted = set(range(1, int(classes[0])))
            found["labels_from_one"] = float(len(wanted) > 1 and set(self._kinds) == wanted)
        return found


def _place_facts(batch: Batch) -> dict[str, float]:
    """Loss by place of a batch whose targets are the next tokens of its inputs."""
    if batch.inputs is None or batch.inputs.ndim != 2:
        return {}
    for scores, targets in readings(batch)[:1]:
        if targets.shape == batch.inputs.shape:
            return place_losses(scores, targets, batch.inputs)
    return {}


def _reconstruction_facts(batch: Batch, inputs: Any) -> dict[str, float]:
    """Compare how outputs differ between rows with how targets do that are the inputs, as an autoencoder's are."""
    outputs, targets = batch.x, batch.t
    if targets is None or targets.dtype.kind != "f" or not targets.ndim or targets.shape != outputs.shape:
        return {}
    if len(targets) < LEAST_ROWS or not hasattr(inputs, "detach") or inputs.numel() != targets.size:
        return {}
    given = inputs.detach().double().cpu().numpy()
    whole = float(targets.var(0).sum())
    if not np.array_equal(given.reshape(targets.shape), targets) or not whole > 0:
        return {}
    return {"reconstruction": float(outputs.var(0).sum()) / whole}


def _reconstruction(values: list[float]) -> dict[str, float]:
    later = values[len(values) // 2 :]
    return {"reconstruction_looks": float(len(values)), "reconstruction_spread": _median(later)}


def _values(looks: Iterable[Look], name: str) -> list[float]:
    return [look["facts"][name] for look in looks if not math.isnan(look["facts"].get(name, math.nan))]


def _median(values: list[float]) -> float:
    return float(np.median(values)) if values else math.nan


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def _facts(looks: list[Look]) -> dict[str, float]:
    least, most = _values(looks, "target_least"), _values(looks, "target_most")
    pads = _values(looks, "pad")
    floors, choices = _values(looks, "least"), _median(_values(looks, "choices"))
    floor, top = min(floors, default=math.nan), max(_values(looks, "most"), default=math.nan)
    return {
        "outputs_at_floor": _at_floor(looks, floor, top),
        "targets_below": _mean(_values(looks, "below")),
        "targets_outside_unit": _mean(_values(looks, "outside_unit")),
        "loss_choices": choices,
        "likeliest": 1 / (1 + (choices - 1) * math.exp(floor - top)),
        "loss_rows": _median(_values(looks, "rows")),
        "outputs_history": float(bool(_values(looks, "activation"))),
        "outputs_activation": _mean(_values(looks, "activation")),
        "outputs_probable": _mean(_values(looks, "probable")),
        "outputs_least": floor,
        "outputs_most": top,
        "outputs_constant": _mean(_values(looks, "constant")),
        "loss_outputs_column": _mean(_values(looks, "column")),
        "padding_id": float(np.median(pads)) if pads else math.nan,
        "padding_share": _mean(_values(looks, "pad_share")),
        "padding_in_inputs": _mean(_values(looks, "pad_inputs")),
        "items_repeated": _mean(_values(looks, "repeated")),
        "items_corrected": _corrected(_values(looks, "popularity_slope"), _values(looks, "repeated")),
        "targets_least": min(least) if least else math.nan,
        "targets_most": max(most) if most else math.nan,
    }


def _at_floor(looks: list[Look], floor: float, top: float) -> float:
    """Mean share of the outputs at the least one of all looks; 0 where most looks do not reach it, or all are one."""
    known = [look["facts"] for look in looks if "floor_share" in look["facts"]]
    shares = [facts["floor_share"] if facts["least"] == floor else 0.0 for facts in known]
    if not shares:
        return math.nan
    return _mean(shares) if floor < top and np.count_nonzero(shares) > len(shares) / 2 else 0.0


def _corrected(slopes: list[float], batches: list[float]) -> float:
    """1 where the last slope is nearer to -1 than to 0; 0 where it is not, or where there is none."""
    return float(bool(slopes) and slopes[-1] < -0.5) if batches else math.nan


def _blanks(looks: list[Look], told: list[frozenset[str]]) -> dict[str, float]:
    """Figures of `blanks.BLANK_MEASURES`."""
    at = [(look, keys) for look, keys in zip(looks, told, strict=True) if "blank" in look["facts"]]
    if len(at) < LEAST_LOOKS:
        return {}
    return {
        "blank_share": _median([look["facts"]["blank"] for look, _ in at]),
        "blank_distance": _median(_values([look for look, _ in at], "blank_distance")),
        "blanks_counted": _mean([float(any(key.startswith(ENTRIES) for key in keys)) for _, keys in at]),
    }


def _left_out(looks: list[Look], told: list[frozenset[str]]) -> dict[str, float]:
    """Figures of `left_out.LEFT_OUT_MEASURES`: of a class without which alone the loss is one that is known."""
    matched = [key for keys in told for key in keys]
    numbers = {key.split(_WITHOUT)[1].split("/")[0] for key in matched if _WITHOUT in key}
    if len(numbers) != 1 or not all(_WITHOUT in key for key in matched):
        return {}
    (number,) = numbers
    within = _values([look for look, keys in zip(looks, told, strict=True) if keys], f"left_out/{number}")
    if len(within) < LEAST_LOOKS:
        return {}
    return {"class_left_out": float(number), "left_out_within": _median(within)}


def _plain(key: str) -> bool:
    """Whether the loss of a key is a mean, and what its family is for."""
    return key.startswith("sound/") and key.endswith("/mean")


def _kind(key: str) -> str:
    return key.split("/", 1)[0]


def _matches(looks: list[Look], maximised: bool) -> dict[str, float]:
    """Shares of the sampled steps by the loss that equals the reported one."""
    looks = [look for look in looks if look["values"]]
    if len(looks) < LEAST_LOOKS:
        return {}
    sign = -1.0 if maximised else 1.0
    factor = 1.0
    told = [_told(look, sign) for look in looks]
    flipped = [_told(look, -sign) for look in looks]
    if 2 * sum(map(bool, told)) < len(looks) and 2 * sum(map(bool, flipped)) < len(looks):
        factor = _factor(looks, sign)
        told = [_told(look, sign * factor) for look in looks] if factor > 0 else told
        flipped = [_told(look, sign * factor) for look in looks] if factor < 0 else flipped
    return (
        {"loss_known": _mean([float(bool(one or other)) for one, other in zip(told, flipped, strict=True)])}
        | ({} if math.isnan(factor) else {"loss_factor": abs(factor)})
        | _mistakes(looks, told, sign * (1.0 if math.isnan(factor) else abs(factor)))
        | _signs(looks, told, flipped)
        | _sums(looks, told)
        | _tokens(looks, told)
        | _blanks(looks, told)
        | _left_out(looks, told)
        | _weights([] if any(told) else looks)
        | _binary_weights(looks)
        | _usual(looks, [bool(one or other) for one, other in zip(told, flipped, strict=True)])
    )


def _told(look: Look, factor: float, roundings: float = 1.0) -> frozenset[str]:
    """Keys whose loss times a factor equals the reported loss, up to so many roundings."""
    return frozenset(
        key
        for key, (value, rounding) in look["values"].items()
        if abs(look["told"] - factor * value) <= abs(factor) * rounding * roundings
    )


def _factor(looks: list[Look], sign: float) -> float:
    """Constant factor from a recomputed loss to the reported one, at nine of ten sampled steps; NaN where there is
    none.
    """
    for key in dict.fromkeys(key for look in looks for key in look["values"]):
        at = [look for look in looks if key in look["values"]]
        values = np.array([look["values"][key] for look in at])
        told = np.array([look["told"] for look in at])
        if len(at) < max(FACTOR_LOOKS, 0.9 * len(looks)) or not values[:, 0].all():
            continue
        if np.std(values[:, 0]) < VARIED * np.abs(values[:, 0]).mean():
            continue
        factor = float(np.median(told / values[:, 0]))
        close = np.abs(told - factor * values[:, 0]) <= 2 * abs(factor) * values[:, 1]
        if 1e-6 < abs(factor) < 1e6 and close.mean() >= 0.9 and (factor * sign > 0 or _kind(key) in FLIPPABLE):
            return factor * sign
    return math.nan


def _mistakes(looks: list[Look], told: list[frozenset[str]], factor: float) -> dict[str, float]:
    """Share of each kind of mistake among the sampled steps that decide on it."""
    names = {
        "pairs": "loss_of_pairs", "twice": "softmax_twice", "logs": "loss_of_probabilities", "raw": "loss_of_logits",
        "axis": "loss_over_rows", "one": "loss_of_one_column", "outside": "targets_outside",
    }  # fmt: skip
    decided: dict[str, list[float]] = {name: [] for name in (*names.values(), "sigmoid_twice")}
    unit = all(look["facts"]["least"] >= 0 and look["facts"]["most"] <= 1 for look in looks)
    for look, keys in zip(looks, told, strict=True):
        near = {_kind(key) for key in _told(look, factor, WIDE)} & {"sound", "counted"}
        kinds = {_kind(key) for key in keys} & {*MISTAKES}
        possible = {_kind(key) for key in look["values"]}
        for kind, name in names.items():
            # Where a sound loss is the same number, or two mistakes are, this step does not decide.
            if kind in possible and not (kind in kinds and (near or len(kinds) > 1)):
                decided[name].append(float(kind in kinds and not _binary(keys, kind)))
        if any(key.startswith(("sound/binary/", "twice/binary/")) for key in look["values"]):
            inside = bool(kinds == {"twice"} and _binary(keys, "twice") and not near)
            outside = unit and _constant_only(keys)
            decided["sigmoid_twice"].append(float(inside or outside))
    return {name: _mean(values) if len(values) >= LEAST_LOOKS else math.nan for name, values in decided.items()}


def _binary(keys: frozenset[str], kind: str) -> bool:
    """Whether the only family of a kind is the binary cross-entropy."""
    families = {key.split("/")[1] for key in keys if _kind(key) == kind}
    return kind == "twice" and families == {"binary"}


def _constant_only(keys: frozenset[str]) -> bool:
    """Whether binary cross-entropy of logits matches, and no other loss."""
    return bool(keys) and {key.split("/")[1] for key in keys} == {"binary"} and {_kind(k) for k in keys} == {"sound"}


def _signs(looks: list[Look], told: list[frozenset[str]], flipped: list[frozenset[str]]) -> dict[str, float]:
    decided, sizes = [], []
    for look, keys, others in zip(looks, told, flipped, strict=True):
        usual = [key for key in look["values"] if _kind(key) in FLIPPABLE]
        # A loss against one constant target may be maximised on purpose, as an adversary's.
        if not usual or look["facts"].get("target_constant", 0.0) == 1 or abs(look["told"]) <= RELATIVE:
            continue
        match = any(_kind(key) in FLIPPABLE for key in others)
        if match and keys:
            continue
        decided.append(float(match))
        sizes += [abs(look["told"])] if match else []
    if len(decided) < LEAST_LOOKS:
        return {}
    growth = {"flipped_growth": sizes[-1] / sizes[0]} if len(sizes) >= LEAST_LOOKS else {}
    return {"loss_flipped": _mean(decided), **growth}


def _weights(looks: list[Look]) -> dict[str, float]:
    """How weights of classes go with their frequency, where the loss is a cross-entropy that is weighted by class.

    The product of that loss and the weights of the batch's labels is the sum of their weighted terms: each look gives a
    linear equation in the weights. Their only solution has to be positive and to meet more equations than there are
    weights.
    """
    looks = [look for look in looks if any(name.startswith("count/") for name in look["facts"])]
    labels = sorted({name.partition("/")[2] for look in looks for name in look["facts"] if name.startswith("count/")})
    if len(labels) < 2 or len(looks) < len(labels) - 1 + SPARE_LOOKS:
        return {}
    counts, sums = (
        np.array([[look["facts"].get(f"{name}/{label}", 0.0) for label in labels] for look in looks])
        for name in ("count", "sum")
    )
    told = np.array([look["told"] for look in looks])
    scale = np.abs(told) * counts.sum(1)
    _, sizes, ways = np.linalg.svd((sums - told[:, None] * counts) / scale[:, None])
    weights = ways[-1] * np.sign(ways[-1].sum())
    off = np.abs((sums - told[:, None] * counts) @ weights) / (np.abs(told) * (counts @ np.abs(weights)))
    if weights.min() <= 0 or off.max() > WIDE * RELATIVE or sizes[-2] < SOLVED * sizes[-1]:
        return {}
    often, weigh = np.log(counts.sum(0)), np.log(weights)
    found = {"class_weights_span": float(np.exp(np.ptp(weigh))), "class_counts_span": float(np.exp(np.ptp(often)))}
    if np.ptp(often) > 0 and np.ptp(weigh) > VARIED:
        found["class_weights_cosine"] = float(np.corrcoef(often, weigh)[0, 1])
    return found


def _binary_weights(looks: list[Look]) -> dict[str, float]:
    """Weight of labels of 1 over that of labels of 0, where the loss is a binary cross-entropy of logits in which both
    have one each; with the mean probability and label of the later looks. Empty for other losses.
    """
    looks = [look for look in looks if all(name in look["facts"] for name in BINARY_PARTS)]
    if len(looks) < FACTOR_LOOKS:
        return {}
    facts = np.array([[look["facts"][name] for name in BINARY_PARTS] for look in looks])
    told, parts = np.array([look["told"] for look in looks]), facts[:, :2]
    if not told.all():
        return {}
    weights, _, rank, sizes = np.linalg.lstsq(parts / told[:, None], np.ones(len(looks)), rcond=None)
    off = np.abs(parts @ weights / told - 1).max()
    if rank < 2 or off > WIDE * RELATIVE or weights.min() <= 0 or sizes[1] < VARIED * sizes[0]:
        return {}
    predicted, labelled = facts[len(facts) // 2 :, 2:].mean(0)
    return {"positive_weight": weights[0] / weights[1], "predicted_rate": predicted, "label_rate": labelled}


def _usual(looks: list[Look], known: list[bool]) -> dict[str, float]:
    """Course of an unknown loss against the usual one for such outputs and targets; empty for a known one."""
    key = next((key for key in USUAL if all(key in look["values"] for look in looks)), None)
    if key is None or len(looks) < USUAL_LOOKS or any(known):
        return {}
    usual, told = np.array([look["values"][key][0] for look in looks]), np.array([look["told"] for look in looks])
    found = {"told_most": float(told.max()), "usual_growth": float(usual[-1] / max(usual[0], 1e-12))}
    if usual.std() > VARIED * np.abs(usual).mean() and told.std() > VARIED * np.abs(told).mean():
        found["usual_cosine"] = float(np.corrcoef(usual, told)[0, 1])
    return found


def _sums(looks: list[Look], told: list[frozenset[str]]) -> dict[str, float]:
    decided, terms = [], []
    for look, keys in zip(looks, told, strict=True):
        ways = {key.rsplit("/", 1)[-1] for key in keys}
        if look["facts"]["rows"] < 2 or not keys or (ways & {"sum", "rows"} and ways - {"sum", "rows"}):
            continue
        decided.append(float(bool(ways & {"sum", "rows"})))
        terms += [_terms(look, keys)] if decided[-1] else []
    if len(decided) < LEAST_LOOKS or 2 * len(decided) < len(looks):
        return {}
    return {"loss_summed": _mean(decided)} | ({"loss_terms": float(np.median(terms))} if terms else {})


def _terms(look: Look, keys: frozenset[str]) -> float:
    """Ratio of the reported sum to the mean, a whole number."""
    key = next(key for key in sorted(keys) if key.rsplit("/", 1)[-1] in ("sum", "rows"))
    mean = look["values"].get(key.rsplit("/", 1)[0] + "/mean", (0.0, 0.0))[0]
    return abs(round(look["values"][key][0] / mean)) if mean else math.nan


def _tokens(looks: list[Look], told: list[frozenset[str]]) -> dict[str, float]:
    """Figures on padding that is counted, targets that are the inputs, and negatives of the batch."""
    padded, given, batched = [], [], []
    for look, keys in zip(looks, told, strict=True):
        facts, kinds = look["facts"], {_kind(key) for key in keys}
        if "pad" in facts and keys and not {"counted", "sound"} <= kinds:
            padded.append(float("counted" in kinds))
        if not math.isnan(facts.get("given", math.nan)) and keys:
            placed = any("/shifted" not in key for key in keys)
            given.append(float(facts["given"] == 1 and placed))
        if any("/in_batch" in key for key in look["values"]):
            batched.append(float(any("/in_batch" in key for key in keys)))
    shares = {"padding_counted": padded, "targets_given": given, "in_batch_softmax": batched}
    return {name: _mean(values) for name, values in shares.items() if len(values) >= LEAST_LOOKS}
