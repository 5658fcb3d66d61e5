"""Writes configs as YAML text by libyaml, where PyYAML was built with it: the same as OmegaConf writes, several times
as fast. It is the text that `config_sha256` is a hash of.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import yaml
from omegaconf import _utils


class _Dumper(getattr(yaml, "CDumper", yaml.Dumper)):  # type: ignore[misc]
    yaml_representers = _utils.get_omega_conf_dumper().yaml_representers.copy()


@lru_cache(maxsize=1 << 13)
def _reads_as_other(text: str) -> bool:
    """Whether the text without quotes would be read as a number or a truth value. The texts of the rules are those of
    every config.
    """
    return bool(_utils.yaml_is_bool(text) or _utils.is_int(text) or _utils.is_float(text))


def _represent_text(dumper: Any, text: str) -> yaml.ScalarNode:
    """Represent a text as OmegaConf does."""
    tag = yaml.resolver.BaseResolver.DEFAULT_SCALAR_TAG
    return dumper.represent_scalar(tag, text, style="'" if _reads_as_other(text) else None)


_Dumper.add_representer(str, _represent_text)


def config_text(plain: Any, *, sort_keys: bool) -> str:
    """Write plain values as `OmegaConf.to_yaml` writes a config of them.

    Raises:
        yaml.YAMLError: a value has no form in YAML.
    """
    return str(yaml.dump(plain, default_flow_style=False, allow_unicode=True, sort_keys=sort_keys, Dumper=_Dumper))
