"""Judges exchanges between teacher and student: by which loss, from which rows, and of which inputs."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from flowgrad.measures import formula as formulas
from flowgrad.measures.beside import Beside, beside
from flowgrad.measures.formula import Formula
from flowgrad.trackers.distillation.exchange import Call, Exchange, Exchanges
from flowgrad.trackers.distillation.probe import Forward, as_array, called, thinned, undisturbed

_FEATURES = 4096
_SEARCHES = 4
"""Number of exchanges without a formula after which answers on other rows are not sought any more."""
_SINGLE = 2.0**-20
"""Relative spacing of numbers that outputs may have for a formula to be found."""


@dataclass(frozen=True)
class Verdict:
    """Verdict on one exchange."""

    formula: Formula
    classes: int
    answers: np.ndarray | None
    """The teacher's most likely class for each row."""
    inputs: Beside
    seen: bool = False
    """Whether outputs of one shape and a gradient were seen, precise enough for a formula to be found."""
    swapped: bool = False
    """Whether answers and rows are two halves of the batch, swapped: two views of the same examples."""


@dataclass(frozen=True)
class LossTrial:
    """The teacher's response to inputs that it was given while it taught, or to the student's."""

    unlike: float = math.nan
    """Natural logarithm of the distance of the inputs from the teacher's first running statistics."""
    gap: float = math.nan
    """Median distance of its two highest outputs."""


class Audit:
    """Verdicts on exchanges, each reached once, when it is asked for."""

    def __init__(self, exchanges: Exchanges) -> None:
        self._exchanges = exchanges
        self._verdicts: list[Verdict] = []
        self._asked: Verdict | None = None
        """Verdict on the last exchange, where the teacher's answers were asked for anew."""
        self.own, self.other = LossTrial(), LossTrial()
        """Trials on the teacher's inputs of the last exchange and on the student's."""
        self._missed = 0

    def verdicts(self) -> list[Verdict]:
        """Verdicts, one an exchange."""
        for exchange in self._exchanges.found[len(self._verdicts) - self._exchanges.earlier :]:
            self._verdicts.append(self._judge(exchange))
        return [*self._verdicts, *([] if self._asked is None else [self._asked])]

    def seen(self) -> int:
        """Number of exchanges of which outputs of one shape and a gradient in single precision were seen."""
        return sum(one.seen for one in self.verdicts())

    def _judge(self, exchange: Exchange) -> Verdict:
        ours, theirs = exchange.student, exchange.teacher
        if theirs is None or theirs.logits.shape != ours.logits.shape or ours.gradient is None:
            return Verdict(Formula(), ours.logits.shape[1], None, _inputs(exchange))
        return self._found(ours, as_array(theirs.logits), _inputs(exchange), theirs.logits.dtype)

    def _found(self, ours: Call, answers: np.ndarray, inputs: Beside, dtype: torch.dtype) -> Verdict:
        exact = max(torch.finfo(ours.logits.dtype).eps, torch.finfo(dtype).eps) <= _SINGLE
        found = Formula()
        if exact and ours.gradient is not None:
            known = [one.formula.temperature for one in self._verdicts if one.formula.kind]
            found = formulas.formula(
                as_array(ours.logits),
                answers,
                as_array(ours.gradient),
                ours.rows,
                known[-1:],
                elsewhere=self._missed < _SEARCHES,
            )
            self._missed += not found.kind
        swapped = found.offsets is not None and bool((2 * np.abs(found.offsets) == len(answers)).all())
        return Verdict(found, ours.logits.shape[1], answers.argmax(axis=1), inputs, exact, swapped)

    @torch.no_grad()
    def ask(self, teacher: nn.Module, forward: Forward | None) -> None:
        """Show the teacher the inputs of the last exchange again, in evaluation mode, with nothing left in it."""
        if not self._exchanges.found:
            return
        ours, theirs = self._exchanges.found[-1].student, self._exchanges.found[-1].teacher
        shown = theirs is not None and theirs.single and not theirs.training
        self.own = _tried(teacher, theirs.inputs, forward)[0] if theirs is not None and shown else LossTrial()
        alike = (
            theirs is None
            or theirs.inputs is None
            or (ours.inputs is not None and theirs.inputs.shape == ours.inputs.shape)
        )
        self.other, answers = _tried(teacher, ours.inputs if ours.single and alike else None, forward)
        if theirs is None and answers is not None and answers.shape == ours.logits.shape and ours.examples == ours.rows:
            self._asked = self._found(ours, as_array(answers), Beside(), answers.dtype)

    def figures(self) -> dict[str, float]:
        """Scalars of `MEASURES` that begin with `formula`, `kd` and `shown`."""
        verdicts = self.verdicts()
        known = [one for one in verdicts if one.seen]
        found = [one for one in known if one.formula.kind]
        rows = [one for one in found if one.formula.kind == formulas.OTHER_ROWS and not one.swapped]
        kinds = [one.formula.kind for one in found]
        wrong = sum(kind in (formulas.PROBABILITIES, formulas.LOGITS) for kind in kinds)
        labelled = [one for one in found if one.formula.labels is not None]
        pairs = [(one.formula.labels[at], one.answers[at]) for one in labelled
                 if one.formula.labels is not None and one.answers is not None
                 for at in [one.formula.labels >= 0]]  # fmt: skip
        kappa, mapped = math.nan, math.nan
        if pairs:
            labels, answers = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
            kappa, mapped = formulas.class_agreement(labels, answers)
        count = len(found)
        inputs = [one.inputs for one in verdicts]
        return {
            "formulas": float(len(known)),
            "formulas_found": float(count),
            "formula_asked": float(self._asked is not None),
            "formula_divergence": kinds.count(formulas.DIVERGENCE) / count if count else math.nan,
            "formula_probabilities": wrong / count if count else math.nan,
            "formula_other_rows": len(rows) / count if count else math.nan,
            "formula_temperature": _middle([one.formula.temperature for one in found]),
            "formula_hard": _middle([one.formula.hard for one in found]),
            "formula_soft": _middle([one.formula.soft for one in found]),
            "formula_share": _middle([one.formula.share for one in found]),
            "formula_unsquared": _least([formulas.unsquared(one.formula) for one in found]),
            "formula_over_classes": _least([formulas.over_classes(one.formula, one.classes) for one in found]),
            "labels_kappa": kappa,
            "labels_mapped": mapped,
            "shown_same": _middle([one.same for one in inputs]),
            "shown_scale": _middle([one.scale for one in inputs]),
            "shown_shift": _middle([one.shift for one in inputs]),
            "shown_other_rows": max((one.moved for one in inputs if not math.isnan(one.moved)), default=math.nan),
            "shown_unrelated": _least([one.unrelated for one in inputs]),
            "shown_unlike": self.own.unlike,
            "shown_unlike_students": self.other.unlike,
            "shown_gap": self.own.gap,
            "shown_gap_students": self.other.gap,
        }

    def state_dict(self) -> dict[str, Any]:
        """Verdicts as tensors and numbers; exchanges are not kept."""
        return {
            "verdicts": [_packed(one) for one in self.verdicts()],
            "own": asdict(self.own),
            "other": asdict(self.other),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        self._exchanges.take_up(len(state["verdicts"]))
        self._verdicts = [_unpacked(one) for one in state["verdicts"]]
        self._asked = None
        self.own, self.other = LossTrial(**state["own"]), LossTrial(**state["other"])


def _inputs(exchange: Exchange) -> Beside:
    ours, theirs = exchange.student, exchange.teacher
    if theirs is None or ours.inputs is None or theirs.inputs is None or ours.inputs.shape != theirs.inputs.shape:
        return Beside()
    if ours.inputs.is_complex() or theirs.inputs.is_complex():
        return Beside()
    return beside(*(as_array(thinned(one.reshape(len(one), -1), 1, _FEATURES)) for one in (ours.inputs, theirs.inputs)))


def _tried(
    teacher: nn.Module, inputs: torch.Tensor | None, forward: Forward | None
) -> tuple[LossTrial, torch.Tensor | None]:
    if inputs is None:
        return LossTrial(), None
    first: list[float] = []
    handles = [
        module.register_forward_pre_hook(_Unlike(first))
        for module in teacher.modules()
        if module._buffers.get("running_mean") is not None and module._buffers.get("running_var") is not None
    ]
    try:
        with undisturbed(teacher):
            output = called(teacher, inputs) if forward is None else forward(teacher, inputs)
    except (TypeError, RuntimeError, ValueError, KeyError, AttributeError, IndexError):
        return LossTrial(), None  # inputs of the student that the teacher does not take
    finally:
        for handle in handles:
            handle.remove()
    logits = getattr(output, "logits", output)
    if not isinstance(logits, torch.Tensor) or logits.dim() != 2 or logits.shape[1] < 2:
        return LossTrial(first[0] if first else math.nan), None
    two = logits.double().topk(2, dim=1).values
    return LossTrial(first[0] if first else math.nan, float((two[:, 0] - two[:, 1]).median())), logits


class _Unlike:
    """Notes the distance of inputs from running statistics, for the first module with such statistics that is
    called.
    """

    def __init__(self, found: list[float]) -> None:
        self._found = found

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if self._found or not args or not isinstance(args[0], torch.Tensor) or args[0].dim() < 2:
            return
        mean, variance = module._buffers["running_mean"], module._buffers["running_var"]
        assert mean is not None
        assert variance is not None
        units = args[0].detach().movedim(1, -1).reshape(-1, args[0].shape[1]).double()
        if units.shape[1] != len(mean) or len(units) < 2:
            return
        little = float(getattr(module, "eps", 1e-5))
        width = (variance.double() + little).sqrt()
        wider = ((units.var(dim=0) + little).sqrt() / width).log().mul(2).median().abs()
        off = ((units.mean(dim=0) - mean.double()).abs() / width).median().log1p()
        self._found.append(float(torch.maximum(wider, off)))


def _middle(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.median(known)) if known else math.nan


def _least(values: list[float]) -> float:
    return min((value for value in values if not math.isnan(value)), default=math.nan)


def _packed(verdict: Verdict) -> dict[str, Any]:
    found = asdict(verdict)
    for part in (found, found["formula"]):
        for key, value in part.items():
            if isinstance(value, np.ndarray):
                part[key] = torch.from_numpy(value.copy())
    return found


def _unpacked(state: dict[str, Any]) -> Verdict:
    kept: dict[str, Any] = {
        key: value.cpu().numpy() if isinstance(value, torch.Tensor) else value
        for key, value in state["formula"].items()
    }
    answers = state["answers"]
    whole = Verdict(Formula(**kept), state["classes"], None, Beside(**state["inputs"]), state["seen"], state["swapped"])
    return whole if answers is None else replace(whole, answers=answers.cpu().numpy())
