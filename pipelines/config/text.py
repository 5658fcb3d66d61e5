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

from flowgrad.verification.config_text import config_text
from pipelines.config.plain import plain_of

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


def read_fast() -> None:
    """Let OmegaConf, and with it Hydra, read YAML by libyaml."""
    _utils.get_yaml_loader = lambda: _Loader


def to_yaml(config: Any, *, resolve: bool = True, sort_keys: bool = False) -> str:
    """Write a config, or a plain mapping, as `OmegaConf.to_yaml` does."""
    plain = plain_of(config, resolve=resolve) if OmegaConf.is_config(config) else config
    if not isinstance(plain, dict) or not isinstance(plain.get("rules"), dict):
        return config_text(plain, sort_keys=sort_keys)
    keys = sorted(plain) if sort_keys else plain
    return "".join(
        _dumped_again(pickle.dumps({key: plain[key]}), sort_keys)
        if key == "rules"
        else config_text({key: plain[key]}, sort_keys=sort_keys)
        for key in keys
    )


@lru_cache(maxsize=16)
def _dumped_again(pickled: bytes, sort_keys: bool) -> str:
    """Write a mapping that was written before: rules are most of a config, and the same in all configs of a run."""
    return config_text(pickle.loads(pickled), sort_keys=sort_keys)
