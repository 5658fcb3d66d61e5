"""Reads how a model is called at sampled steps: labels beside tokens, and the axis that is taken for time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

_MOST = 8
"""Number of passes whose labels are read."""
_LARGEST = 2**24
"""Number of outputs above which the loss is not computed again."""
_SAME, _OTHER = 1e-4, 1e-3
"""Share of the loss within which it is one computed again, and beyond which it is not."""
_COUNTS = ("running", "along_rows", "labelled", "ahead", "twice")


class Calls:
    """Counts of passes of the whole model that record gradients."""

    def __init__(self) -> None:
        """Start with no pass."""
        self._axes: list[tuple[int, int]] = []
        """Length of the sequence, and number of sequences, of each layer of this pass that takes time first."""
        self.running = 0
        """Number of passes with such a layer and with one row of outputs an example."""
        self.along_rows = 0
        """Passes among them in which each such layer took the examples for the moments of a sequence."""
        self.labelled = 0
        """Number of passes that were given tokens and labels of one shape."""
        self.ahead = 0
        """Passes among them whose labels are the tokens one place later."""
        self.twice = 0
        """Passes among them whose loss is that of the labels moved by one place more."""

    def begin(self) -> None:
        """Note that a pass begins."""
        self._axes.clear()

    def note(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """Note the input of a layer."""
        if isinstance(module, nn.RNNBase | nn.MultiheadAttention) and not module.batch_first and args:
            given = args[0]
            if isinstance(given, torch.Tensor) and given.dim() == 3:
                self._axes.append((given.shape[0], given.shape[1]))

    def end(self, kwargs: Mapping[str, Any], output: Any) -> None:
        """Note the end of a pass: the named inputs of the model, and its output."""
        rows = _rows(output)
        if self._axes and rows:
            self.running += 1
            self.along_rows += all(length == rows and count > 1 and count % rows for length, count in self._axes)
        self._axes.clear()
        if self.labelled < _MOST:
            self._note_labels(kwargs, output)

    def _note_labels(self, kwargs: Mapping[str, Any], output: Any) -> None:
        tokens: Any = kwargs.get("input_ids")
        labels: Any = kwargs.get("labels")
        if not _are_sequences(tokens, labels):
            return
        with torch.no_grad():
            asked, told = labels[:, :-1] >= 0, labels >= 0
            if not asked.any():
                return
            ahead = (labels[:, :-1] == tokens[:, 1:])[asked].double().mean()
            placed = (labels == tokens)[told].double().mean()
            self.labelled += 1
            if ahead > 0.99 and placed < 0.9:
                self.ahead += 1
                self.twice += _moved_again(output, labels, kwargs.get("num_items_in_batch"))

    def scalars(self) -> dict[str, float]:
        """Figures of `flowgrad.measures.flow_passes.CALLS`."""
        nan = float("nan")
        return {
            "along_rows": self.along_rows / self.running if self.running else nan,
            "time_first_passes": float(self.running),
            "labelled_passes": float(self.labelled),
            "labels_ahead": self.ahead / self.labelled if self.labelled else nan,
            "labels_moved_again": self.twice / self.labelled if self.labelled else nan,
        }

    def state_dict(self) -> dict[str, int]:
        """State for a checkpoint."""
        return {name: getattr(self, name) for name in _COUNTS}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from a state that `state_dict` gave."""
        for name in _COUNTS:
            setattr(self, name, state[name])


def _rows(output: Any) -> int:
    """Number of rows of an output that has one row an example; 0 of any other."""
    if isinstance(output, tuple | list):
        output = next((part for part in output if isinstance(part, torch.Tensor)), None)
    return len(output) if isinstance(output, torch.Tensor) and output.dim() in (1, 2) else 0


def _are_sequences(tokens: Any, labels: Any) -> bool:
    both = all(isinstance(one, torch.Tensor) and one.dim() == 2 for one in (tokens, labels))
    return both and tokens.shape == labels.shape and tokens.shape[1] > 1 and not labels.is_floating_point()


def _moved_again(output: Any, labels: torch.Tensor, items: Any) -> bool:
    """Whether the loss of the output is the cross-entropy with labels one place later still, and not with these."""
    loss, scores = (output.get(key) if isinstance(output, Mapping) else None for key in ("loss", "logits"))
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1 or not isinstance(scores, torch.Tensor):
        return False
    if scores.dim() != 3 or scores.shape[:2] != labels.shape or scores.numel() > _LARGEST:
        return False
    told, losses = float(loss), []
    for own, targets in ((scores[:, :-1], labels[:, 1:]), (scores, labels)):
        whole = functional.cross_entropy(own.flatten(0, 1).float(), targets.flatten(), reduction="sum")
        losses.append(float(whole) / max(float((targets >= 0).sum() if items is None else items), 1.0))
    again, once = (abs(told - one) / max(abs(told), 1e-12) for one in losses)
    return again < _SAME and once > _OTHER
