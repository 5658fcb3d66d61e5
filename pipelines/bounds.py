"""Bounds of the numbers in a config. A key that is null passes; what may be null is for its type to say."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from omegaconf import DictConfig, OmegaConf

from flowgrad.errors import FlowGradError


def at_least(config: DictConfig, least: Mapping[str, float], prefix: str = "") -> None:
    """Refuse values below the least that each key may have.

    Args:
        config: holds the keys.
        least: key -> its least value.
        prefix: what messages put before a key, such as `job.` where `config` is that node.

    Raises:
        FlowGradError: names the key, the value and what would be right.
    """
    for key, bound in least.items():
        value = OmegaConf.select(config, key)
        if value is not None and value < bound:
            raise FlowGradError(f"{prefix}{key}={value}: must be at least {bound}")


def not_negative(config: DictConfig, keys: Iterable[str], prefix: str = "") -> None:
    """Refuse values that are negative or not finite. Raises as `at_least`."""
    _refuse(config, keys, lambda value: math.isfinite(value) and value >= 0, "a finite number of at least 0", prefix)


def above_zero(config: DictConfig, keys: Iterable[str], prefix: str = "") -> None:
    """Refuse values that are 0, negative or not finite. Raises as `at_least`."""
    _refuse(config, keys, lambda value: math.isfinite(value) and value > 0, "a finite number above 0", prefix)


def shares(config: DictConfig, keys: Iterable[str], prefix: str = "") -> None:
    """Refuse values that are no share of something. Raises as `at_least`."""
    _refuse(config, keys, lambda value: 0 < value <= 1, "above 0 and at most 1", prefix)


def _refuse(config: DictConfig, keys: Iterable[str], fits: Callable[[float], bool], wanted: str, prefix: str) -> None:
    for key in keys:
        value = OmegaConf.select(config, key)
        if value is not None and not fits(value):
            raise FlowGradError(f"{prefix}{key}={value}: must be {wanted}")
