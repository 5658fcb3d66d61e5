"""Reads and writes configs as YAML text by libyaml, where PyYAML was built with it: the same as OmegaConf does, several
times as fast.
"""

from __future__ import annotations

import io
import pickle
from functools import lru_cache
from typing import Any

import yaml
from omegaconf import OmegaConf, _utils

_SlowLoader: Any = _utils.get_yaml_loader()
"""OmegaConf's loader of YAML."""


class _NamedText(io.StringIO):
    """A text that errors call by the name of its file."""

    name = "<unicode string>"


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """OmegaConf's loader by libyaml. A text that is no YAML is read once more by the slow one, whose error shows the
    line that is wrong.
    """

    yaml_implicit_resolvers = _SlowLoader.yaml_implicit_resolvers
    yaml_constructors = _SlowLoader.yaml_constructors

    def __init__(self, stream: Any) -> None:
        self._text = _NamedText(stream.read() if hasattr(stream, "read") else stream)
        self._text.name = str(getattr(stream, "name", _NamedText.name))
        super().__init__(self._text.getvalue())

    def get_single_data(self) -> Any:
        """Read the text's only document."""
        try:
            return super().get_single_data()
        except yaml.YAMLError:
            return _SlowLoader(self._text).get_single_data()

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> Any:
        """Make a dictionary of a mapping, whose keys differ."""
        keys = [key.value for key, _ in node.value if key.tag == yaml.resolver.BaseResolver.DEFAULT_SCALAR_TAG]
        if len(keys) != len(set(keys)):
            raise yaml.constructor.ConstructorError(problem="found duplicate key")
        return super().construct_mapping(node, deep=deep)


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


def read_fast() -> None:
    """Let OmegaConf, and with it Hydra, read YAML by libyaml."""
    _utils.get_yaml_loader = lambda: _Loader


def to_yaml(config: Any, *, resolve: bool = True, sort_keys: bool = False) -> str:
    """Write a config, or a plain mapping, as `OmegaConf.to_yaml` does."""
    plain = OmegaConf.to_container(config, resolve=resolve, enum_to_str=True) if OmegaConf.is_config(config) else config
    if not isinstance(plain, dict) or not isinstance(plain.get("rules"), dict):
        return _dumped(plain, sort_keys)
    keys = sorted(plain) if sort_keys else plain
    return "".join(
        _dumped_again(pickle.dumps({key: plain[key]}), sort_keys)
        if key == "rules"
        else _dumped({key: plain[key]}, sort_keys)
        for key in keys
    )


@lru_cache(maxsize=16)
def _dumped_again(pickled: bytes, sort_keys: bool) -> str:
    """Write a mapping that was written before: rules are most of a config, and the same in all configs of a run."""
    return _dumped(pickle.loads(pickled), sort_keys)


def _dumped(plain: Any, sort_keys: bool) -> str:
    return str(yaml.dump(plain, default_flow_style=False, allow_unicode=True, sort_keys=sort_keys, Dumper=_Dumper))
