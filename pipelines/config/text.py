"""Writes configs as YAML text, by libyaml where PyYAML was built with it: the same text, several times as fast."""

from __future__ import annotations

from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf._utils import get_omega_conf_dumper


class _Dumper(getattr(yaml, "CDumper", yaml.Dumper)):  # type: ignore[misc]
    yaml_representers = get_omega_conf_dumper().yaml_representers


def to_yaml(config: Any, *, resolve: bool = True, sort_keys: bool = False) -> str:
    """Write a config, or a plain mapping, as `OmegaConf.to_yaml` does."""
    plain = OmegaConf.to_container(config, resolve=resolve, enum_to_str=True) if OmegaConf.is_config(config) else config
    return str(yaml.dump(plain, default_flow_style=False, allow_unicode=True, sort_keys=sort_keys, Dumper=_Dumper))
