"""Types of the config of `python -m pipelines.reproduce`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from flowgrad.errors import FlowGradError
from pipelines.config.command_line import one_line


@dataclass
class ClaimSettings:
    """One claim."""

    statement: str = MISSING
    runs: list[str] = MISSING
    """Ids of the runs that it rests on."""
    read: dict[str, Any] = MISSING
    """`_target_`, a function of `readings` that is called with the runs' folders, and its other arguments."""


@dataclass
class ClaimsSettings:
    """A set of claims."""

    name: str = MISSING
    runs: dict[str, list[str]] = MISSING
    """Id -> overrides of `python -m pipelines.run`. They are done in this order, those of `evidence` first."""
    timed: list[str] = field(default_factory=list)
    """Ids of the runs that measure time; nothing else is done meanwhile."""
    evidence: list[str] = field(default_factory=list)
    """Ids of the runs whose trials make `evidence.csv`; all of them, or none is written."""
    claims: dict[str, Any] = MISSING
    """Id -> `ClaimSettings`; checked by `typed`, for Hydra takes no typed entry from the command line."""


@dataclass
class ReproduceSettings:
    """A reproduction."""

    claims: ClaimsSettings = MISSING
    folder: str = MISSING
    only: list[str] | None = None
    fresh: bool = False
    at_once: int = MISSING
    """Number of runs at a time, each on its share of the cores: all of them begin and end on a single one."""
    alpha: float = MISSING


def typed(where: str, claim: DictConfig) -> DictConfig:
    """The claim with its types and defaults.

    Raises:
        FlowGradError: it is none.
    """
    try:
        whole = OmegaConf.merge(OmegaConf.structured(ClaimSettings), claim)
    except OmegaConfBaseException as error:
        raise FlowGradError(f"{where}: {one_line(error)}") from error
    missing = OmegaConf.missing_keys(whole)
    if missing:
        raise FlowGradError(f"{where} lacks {', '.join(sorted(missing))}")
    assert isinstance(whole, DictConfig)
    return whole


def register() -> None:
    """Make the types known to Hydra, for the YAML files to build on."""
    store = ConfigStore.instance()
    store.store(name="reproduce_settings", node=ReproduceSettings)
    store.store(group="types", name="claims", node=ClaimsSettings)
