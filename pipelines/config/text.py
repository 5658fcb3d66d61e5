"""Writes configs as YAML text, by libyaml where PyYAML was built with it: the same text, several times as fast."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf._utils import get_omega_conf_dumper, is_float, is_int, yaml_is_bool

_TAG = yaml.resolver.BaseResolver.DEFAULT_SCALAR_TAG


class _Dumper(getattr(yaml, "CDumper", yaml.Dumper)):  # type: ignore[misc]
    yaml_representers = get_omega_conf_dumper().yaml_representers.copy()


@lru_cache(maxsize=1 << 13)
def _reads_as_other(text: str) -> bool:
    """Whether the text without quotes would be read as a number or a truth value. The texts of the rules are those of
    every config.
    """
    return bool(yaml_is_bool(text) or is_int(text) or is_float(text))


def _represent_text(dumper: Any, text: str) -> yaml.ScalarNode:
    """As OmegaConf does."""
    return dumper.represent_scalar(_TAG, text, style="'" if _reads_as_other(text) else None)


_Dumper.add_representer(str, _represent_text)


def to_yaml(config: Any, *, resolve: bool = True, sort_keys: bool = False) -> str:
    """Write a config, or a plain mapping, as `OmegaConf.to_yaml` does."""
    plain = OmegaConf.to_container(config, resolve=resolve, enum_to_str=True) if OmegaConf.is_config(config) else config
    return str(yaml.dump(plain, default_flow_style=False, allow_unicode=True, sort_keys=sort_keys, Dumper=_Dumper))
