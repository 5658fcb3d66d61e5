"""Stops training when the validation loss no longer falls, and goes back to the best weights."""

from __future__ import annotations

import copy
import math
from typing import Any

from omegaconf import DictConfig
from torch import Tensor, nn


class EarlyStopping:
    """Keeps the best weights of a training, if `training.early_stopping` asks for it (Prechelt 1998)."""

    def __init__(self, settings: DictConfig, model: nn.Module) -> None:
        """Watch a model that is trained in place.

        Args:
            settings: the config's `training`, with `early_stopping` and `patience`, in epochs.
            model: the model.
        """
        self._asked, self._patience = bool(settings.early_stopping), settings.patience
        self._model = model
        self._best, self._bad_epochs = math.inf, 0
        self._best_weights: dict[str, Any] | None = None

    def ends(self, validation_loss: float) -> bool:
        """Take the validation loss of an epoch; return whether it was the last."""
        if not self._asked:
            return False
        if validation_loss < self._best:
            self._best, self._bad_epochs = validation_loss, 0
            self._best_weights = {
                name: held.clone() if isinstance(held, Tensor) else copy.deepcopy(held)
                for name, held in self._model.state_dict().items()
            }
        else:
            self._bad_epochs += 1
        return bool(self._bad_epochs >= self._patience)

    def restore(self, model: nn.Module | None = None) -> None:
        """Give the model, or another one of its kind, the weights of its best epoch, where there was one."""
        if self._best_weights is not None:
            (self._model if model is None else model).load_state_dict(self._best_weights)
