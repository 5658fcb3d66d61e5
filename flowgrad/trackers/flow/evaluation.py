"""Says whether the trained model is the one that is validated, and whether its evaluation draws random numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

_MOST = 16
"""Number of passes in evaluation mode that are looked at, at most."""
_COUNTS = ("trained", "validations", "elsewhere", "evaluated", "drew")


class Evaluation:
    """Counts passes of the whole model behind the last step of an epoch, where a validation is expected.

    The state of the generator of random numbers is compared before and after the first of them; it is read, never
    written.
    """

    def __init__(self, model: nn.Module, switched: Iterable[nn.Module]) -> None:
        """Watch no pass yet.

        Args:
            model: the whole model.
            switched: modules that do another thing in training than in evaluation.
        """
        self._model = model
        self._switched = list(switched)
        self.trained = 0
        """1 once a pass of the whole model with gradients was seen."""
        self.validations = 0
        """Epochs that were validated and at whose end a pass of the model would have been seen."""
        self.elsewhere = 0
        """Number of these epochs at whose end there was none."""
        self.evaluated = 0
        """Passes without gradients and in evaluation mode whose generator was looked at."""
        self.drew = 0
        """Number of these passes that drew random numbers."""
        self._met = False
        """Whether a pass was seen since the last step of this epoch."""
        self._over = False
        """Whether the epoch is over and the next has taken no step."""
        self._before: torch.Tensor | None = None
        """State of the generator when the pass under way began."""

    def begin(self, *, trains: bool, expected: bool) -> None:
        """Note that a pass of the whole model begins.

        Args:
            trains: whether it records gradients.
            expected: whether it comes where a validation is expected.
        """
        self.trained |= int(trains)
        self._met |= expected and not self._over
        self._before = None
        if expected and not trains and self.evaluated < _MOST and not self._in_training():
            self._before = _generator(self._model)

    def end(self) -> None:
        """Note that the pass is over."""
        before, self._before = self._before, None
        after = None if before is None else _generator(self._model)
        if before is not None and after is not None:
            self.evaluated += 1
            self.drew += not torch.equal(before, after)

    def stepped(self) -> None:
        """Note that a step was taken."""
        self._over = False

    def end_epoch(self, *, validated: bool, expected: bool) -> None:
        """Note that an epoch is over, whether it was validated, and whether a pass of the model was to be seen."""
        if validated and expected and self.trained:
            self.validations += 1
            self.elsewhere += not self._met
        self._met, self._over = False, True

    def scalars(self) -> dict[str, float]:
        """Figures of `flowgrad.measures.flow_passes.EVALUATION`."""
        nan = float("nan")
        return {
            "validations_followed": float(self.validations),
            "validated_elsewhere": self.elsewhere / self.validations if self.validations else nan,
            "evaluation_passes": float(self.evaluated),
            "evaluation_draws": self.drew / self.evaluated if self.evaluated else nan,
        }

    def state_dict(self) -> dict[str, int]:
        """State for a checkpoint."""
        return {name: int(getattr(self, name)) for name in _COUNTS}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from a state that `state_dict` gave."""
        for name in _COUNTS:
            setattr(self, name, state[name])

    def __getstate__(self) -> dict[str, Any]:
        """State of a copy or a pickle, within no pass."""
        return {**vars(self), "_before": None}

    def _in_training(self) -> bool:
        return self._model.training or any(module.training for module in self._switched)


def _generator(model: nn.Module) -> torch.Tensor | None:
    """State of the generator that modules draw from where the model's first parameter lies; None where it cannot be
    read without waiting for the device.
    """
    first = next(model.parameters(), None)
    if first is None or first.device.type == "cpu":
        return torch.random.get_rng_state()
    if first.device.type == "cuda" and not torch.cuda.is_current_stream_capturing():
        return torch.cuda.get_rng_state(first.device)
    return None
