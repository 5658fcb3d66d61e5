"""Configs composed anew from a run's overrides, so that a changed run is the same program with another config."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from hydra import compose
from omegaconf import DictConfig, OmegaConf

SHARED_WITH_TUNED = ("dataset", "teacher", "seeds", "training.threads", "training.cutoff", "rules", "evidence")
"""Overrides that hold for the tuned arm too: those that say what is measured and not how it is trained."""


def with_overrides(task: Sequence[str], changes: Sequence[str]) -> list[str]:
    """The task's overrides followed by the changes; a value that a change replaces is left out."""
    changed = {_key(change) for change in changes}
    return [override for override in task if _key(override) not in changed] + list(changes)


def without(task: Sequence[str], nodes: Sequence[str]) -> list[str]:
    """The overrides of other nodes than these."""
    return [override for override in task if _key(override).partition(".")[0] not in nodes]


def tuned_overrides(task: Sequence[str], tuned: str) -> list[str]:
    """The overrides of the tuned arm: its own experiment on the data and seeds that the task names."""
    return [f"experiment={tuned}", *shared_overrides(task)]


def shared_overrides(task: Sequence[str]) -> list[str]:
    """Those of the overrides that say what is measured and not how it is trained."""
    return [override for override in task if _is_shared(_key(override))]


def composed(overrides: Sequence[str]) -> DictConfig:
    """The config that these overrides give, of the same primary config and search path as the running job.

    Raises:
        HydraException: as on the command line.
    """
    return compose("config", overrides=list(overrides))


def config_sha256(config: DictConfig) -> str:
    """Hash of everything that decides a training run's outcome; not of its seeds or of where data lie."""
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    kept = {
        key: value
        for key, value in plain.items()
        if key not in ("job", "seeds", "dataset", "workers", "trial", "evidence", "hydra", "compression")
    }
    return hashlib.sha256(OmegaConf.to_yaml(OmegaConf.create(kept), sort_keys=True).encode()).hexdigest()


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _is_shared(key: str) -> bool:
    return any(key == shared or key.startswith(shared + ".") for shared in SHARED_WITH_TUNED)
