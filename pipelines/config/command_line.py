"""Extends the command line beyond Hydra: flags in any place, errors in one line."""

from __future__ import annotations

import re
from collections.abc import Sequence

from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from flowgrad.lines import told_line
from flowgrad.rules.suggestion import did_you_mean
from pipelines.config.override_errors import explained

_TAKE_A_VALUE = {
    "--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--package", "-p", "--cfg", "-c",
    "--experimental-rerun",
}  # fmt: skip

SEARCH_PATH = "hydra.searchpath="
SHIPPED = ("library://flowgrad.conf", "settings://")
"""Places of `hydra.searchpath` in conf/config.yaml."""


def flags_first(arguments: Sequence[str]) -> list[str]:
    """Put flags before overrides; Hydra's parser takes overrides in one stretch only.

    >>> flags_first(["experiment=movielens_mf", "--config-dir", "mine", "+rules=mine"])
    ['--config-dir', 'mine', 'experiment=movielens_mf', '+rules=mine']
    """
    flags, overrides = [], []
    rest = iter(arguments)
    for argument in rest:
        if argument.startswith("-"):
            flags.append(argument)
            if argument in _TAKE_A_VALUE:
                flags += [value for value in [next(rest, None)] if value is not None]
        else:
            overrides.append(argument)
    return flags + overrides


def with_shipped(arguments: Sequence[str]) -> list[str]:
    """Complete `hydra.searchpath=[...]`, which replaces all folders of ours, by those that every run needs.

    >>> with_shipped(["hydra.searchpath=[file://mine]"])
    ['hydra.searchpath=[file://mine, library://flowgrad.conf, settings://]']
    """
    return [_completed(one) if one.startswith(SEARCH_PATH) else one for one in arguments]


def _completed(argument: str) -> str:
    given = argument.rstrip()
    missing = [place for place in SHIPPED if place not in given]
    if not given.endswith("]") or not missing:
        return argument  # what is no list, Hydra refuses
    kept = given.removesuffix("]").rstrip().removesuffix(",")
    return f"{kept}{'' if kept.endswith('[') else ', '}{', '.join(missing)}]"


def one_line(error: BaseException, given: Sequence[str] = ()) -> str:
    """Write the error and its cause as one line without Hydra's hints on debugging.

    Args:
        error: what was raised.
        given: the arguments of the command line, where the error may be about one of them.
    """
    parts: list[str] = []
    current: BaseException | None = error
    while current is not None:
        part = explained(current, given) or _flat(current).rstrip(".")
        if part and not any(part in seen for seen in parts):
            parts.append(part)
        current = current.__cause__
    return told_line(": ".join(parts))


def _nearest_key(error: BaseException) -> str:
    """Suggest a setting where the error is about one that its node does not have; else the empty text."""
    if not isinstance(error, ConfigKeyError | ConfigAttributeError) or not isinstance(error.parent_node, DictConfig):
        return ""
    return did_you_mean(str(error.key), (name for name in map(str, error.parent_node) if not name.startswith("_")))


def _flat(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    kept = [line for line in lines if line and not line.startswith(_NOISE)]
    if not any("rules." in line for line in kept):  # every other node is typed: appending a key fails as well
        kept = [line for line in kept if not line.startswith("To append to your config")]
    if found := _UNTYPED.search(" ".join(kept)):
        kept.append(f"(a {found[1]} of your own names its settings by `defaults: [/types/MODULE.CLASS@_here_]`)")
    cut = next((n for n, line in enumerate(kept) if line.startswith("Config search path")), len(kept))
    text = " ".join(kept[:cut])
    plugin = re.match(
        r"In '.*': Could not find 'hydra/(?:launcher|sweeper(?:/sampler)?)/(joblib|submitit|ray|optuna|tpe)", text
    )
    if plugin:
        group = {"tpe": "optuna"}.get(plugin[1], plugin[1])
        return f"{group} is not installed: pip install --group {group} (docs/sweeps.md)"
    text += _nearest_key(error)
    key = error.full_key if isinstance(error, OmegaConfBaseException) else None
    return f"{key}: {text}" if key and str(key) not in text else text


_NOISE = ("full_key:", "object_type=", "reference_type=", "Set the environment variable", "See https://")
_UNTYPED = re.compile(r"In '(model|dataset)/[^']*': .*not in '(?:Model|Dataset)Settings'")
