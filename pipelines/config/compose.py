"""Composes configs anew from a run's overrides, so that a changed run is the same program with another config."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import yaml
from hydra import compose
from hydra._internal.hydra import Hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from flowgrad.verification.run_config import APART
from pipelines.config.code_fingerprint import ROOT
from pipelines.config.command_line import SEARCH_PATH
from pipelines.config.copies import copied
from pipelines.config.plain import plain_of
from pipelines.config.text import to_yaml

WITHOUT_RULES = "config_without_rules"
"""Name of the primary config without rules."""
SHARED_WITH_TUNED = ("dataset", "teacher", "seeds", "training.threads", "training.cutoff", "rules", "evidence")
"""Keys of overrides that hold for the tuned arm too: they say what is measured and not how it is trained."""


def with_overrides(task: Sequence[str], changes: Sequence[str]) -> list[str]:
    """Join the task's overrides and the changes; a value that a change replaces is left out."""
    changed = {key_of(change) for change in changes}
    return [override for override in task if key_of(override) not in changed] + list(changes)


def without(task: Sequence[str], nodes: Sequence[str]) -> list[str]:
    """Select the overrides of other nodes than these."""
    return [override for override in task if key_of(override).partition(".")[0] not in nodes]


def tuned_overrides(task: Sequence[str], tuned: str) -> list[str]:
    """Make the overrides of the tuned arm: its own experiment on the data and seeds that the task names."""
    return [f"experiment={tuned}", *(one for one in task if _is_shared(key_of(one)) or _is_of_task(key_of(one)))]


def shared_overrides(task: Sequence[str]) -> list[str]:
    """Select the overrides that say what is measured and not how it is trained."""
    return [override for override in task if _is_shared(key_of(override))]


def composed(overrides: Sequence[str], *, rules: bool = True) -> DictConfig:
    """Compose the config of these overrides, from the same primary config and search path as the running job.

    Args:
        overrides: as on the command line.
        rules: whether it holds the rules too. They are most of it: without them it is composed three times as fast.

    Raises:
        HydraException: as on the command line.
    """
    if rules:
        return compose("config", overrides=[*search_path(), *overrides])
    store_without_rules()
    kept = [one for one in overrides if not re.match(r"rules\b", key_of(one))]
    values = [one for one in kept if "." in key_of(one)]
    changed = _with_values(_chosen([one for one in kept if one not in values]), values) if values else None
    return _chosen(kept) if changed is None else changed


_made: WeakKeyDictionary[Hydra, dict[tuple[str, ...], DictConfig]] = WeakKeyDictionary()
"""Configs without rules, by the overrides that chose their parts; for as long as Hydra reads the same folders."""


def _chosen(overrides: Sequence[str]) -> DictConfig:
    """Compose without rules, once; benchmarks ask for the same parts with other values, over and over."""
    hydra = GlobalHydra.instance().hydra
    made = {} if hydra is None else _made.setdefault(hydra, {})
    key = (*search_path(), *overrides)
    if key not in made:
        made[key] = compose(WITHOUT_RULES, overrides=list(key))
    return copied(made[key])


def search_path() -> list[str]:
    """The override `hydra.searchpath=...` that the running job was given, if any. Hydra keeps folders that are given by
    `--config-dir`, and forgets these.
    """
    given = HydraConfig.get().overrides.hydra if HydraConfig.initialized() else []
    return [one for one in given if one.startswith(SEARCH_PATH)]


@cache
def store_without_rules() -> None:
    """Give Hydra the primary config `WITHOUT_RULES`; once a process."""
    primary = yaml.safe_load((ROOT / "conf" / "config.yaml").read_text("utf-8"))
    primary["defaults"] = [one for one in primary["defaults"] if not str(one).startswith("rules/")]
    ConfigStore.instance().store(WITHOUT_RULES, primary)


def treated(config: DictConfig, task: Sequence[str], changes: Sequence[str]) -> DictConfig:
    """Make `composed(with_overrides(task, changes))`, where `config` is that of `task`; without composing anew, which
    takes a third of a second, where the changes are of single values.

    Raises:
        HydraException: as on the command line.
    """
    changed = _with_values(copied(config), changes)
    return composed(with_overrides(task, changes)) if changed is None else changed


def _with_values(config: DictConfig, changes: Sequence[str]) -> DictConfig | None:
    """Change single values of the config in place, as these overrides do; None where they do more, or cannot: Hydra's
    error names the override then.
    """
    parsed = OverridesParser.create().parse_overrides(list(changes))
    if not all(one.type is OverrideType.CHANGE and _is_value(config, one.key_or_group) for one in parsed):
        return None
    try:
        for one in parsed:
            OmegaConf.update(config, one.key_or_group, one.value(), merge=True, force_add=False)
    except OmegaConfBaseException:
        return None
    return config


def _is_value(config: DictConfig, key: str) -> bool:
    """Whether the config has a single value at the key, and no group, list or nothing."""
    node, _, name = key.rpartition(".")
    parent = OmegaConf.select(config, node) if node else None
    if not isinstance(parent, DictConfig) or name not in parent or OmegaConf.is_missing(parent, name):
        return False
    return not OmegaConf.is_config(parent[name])


def config_sha256(config: DictConfig) -> str:
    """Hash of everything that decides a training run's outcome, except its seeds and the place of its data."""
    kept = {key: value for key, value in plain_of(config, resolve=True).items() if key not in APART}
    return hashlib.sha256(to_yaml(kept, sort_keys=True).encode()).hexdigest()


def trains_alike(one: DictConfig, other: DictConfig) -> bool:
    """Whether both configs train the same: they differ in nothing but what is watched, evaluated, or has no effect."""
    return training_of(one) == training_of(other)


def training_of(config: DictConfig, *, evaluated: bool = False) -> dict[str, Any]:
    """Settings that decide the training, without those that have no effect given the rest; with those that decide what
    is evaluated, where asked for.
    """
    return effective(settings_of(config), evaluated=evaluated)


def settings_of(config: DictConfig) -> dict[str, Any]:
    """Settings of the nodes that a training rests on, by node."""
    nodes = ("dataset", "task", "teacher", "model", "optimizer", "sampler", "loss", "fault", "training", "parameters")
    return {node: None if config[node] is None else plain_of(config[node], resolve=True) for node in nodes}


def effective(settings: Mapping[str, Any], *, evaluated: bool = False) -> dict[str, Any]:
    """Such settings without those that have no effect given the rest; see `training_of`."""
    found = {**settings, "training": {**settings["training"]}}
    training, fault = found["training"], found["fault"]
    for key in ("threads",) if evaluated else ("threads", "evaluation", "cutoff"):
        training.pop(key, None)
    if not training.get("early_stopping", True):
        training.pop("patience", None)
    if fault is not None and fault["kind"] == "none":
        found["fault"] = fault = None
    if fault is None and not (training.get("left_out") or training.get("layer_lr")):
        training.pop("full_rate", None)
    if fault is None and not (training.get("left_out") or training.get("frozen")):
        training.pop("unfrozen_layers", None)
    return found


def key_of(override: str) -> str:
    """The key that an override sets, adds or takes out."""
    return override.partition("=")[0].lstrip("+~")


def _is_of_task(key: str) -> bool:
    """Whether the key is about the target of prediction: the benchmarks' settings have tasks of their own."""
    return key.partition(".")[0] == "task"


def _is_shared(key: str) -> bool:
    return any(key == shared or key.startswith(shared + ".") for shared in SHARED_WITH_TUNED)
