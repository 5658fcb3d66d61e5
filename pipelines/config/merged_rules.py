"""Merges the library's files of rules once a process, for a run composes several configs of them."""

from __future__ import annotations

from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import DictConfig

from pipelines.config.shared_config import SharedConfig, Source

SCHEME = "library"
"""How the place of the library's own configs begins in a search path."""
_RULES = "rules"
_merged: dict[tuple[tuple[str, str], ...], Source] = {}
"""The library's rules by place and name of their files."""

in_turn = ConfigLoaderImpl._compose_config_from_defaults_list
"""Hydra's own way: each file is merged into all those before it, which takes half of the time of composing."""


def merged_once(self: ConfigLoaderImpl, defaults: list[Any], repo: Any) -> DictConfig:
    """Compose as `in_turn` does, save that the library's rules, most of every config, are merged with each other once.
    Where another file holds rules too, all of them are merged in turn.
    """
    loaded = [(one, repo.load_config(config_path=one.config_path)) for one in defaults]
    library = [one for one, file in loaded if _is_of_library(one, file)]
    others = [one for one in defaults if one not in library]
    if not library or any(_has_rules(one, file) for one, file in loaded if one not in library):
        return in_turn(self, defaults, repo)
    key = tuple((file.path, str(one.config_path)) for one, file in loaded if one in library)
    if key not in _merged:
        _merged[key] = Source(in_turn(self, library, repo)[_RULES])
    made = in_turn(self, others, repo)
    return made if put_rules(made, _merged[key]) else in_turn(self, defaults, repo)


def put_rules(config: DictConfig, source: Source) -> bool:
    """Put shared rules into a config that has none, where a merge would make and check each node anew. Returns whether
    it has a place for them, with nothing in it.
    """
    rules = config._get_node(_RULES)
    if not isinstance(rules, DictConfig) or rules.__dict__["_content"] != {}:
        return False
    config.__dict__["_content"][_RULES] = SharedConfig.of(source, rules)
    return True


def rules_of(config: DictConfig) -> DictConfig:
    """The rules of a config, which need not be made its own to be read."""
    rules: DictConfig = config.__dict__["_content"][_RULES]
    return rules


def _is_of_library(default: Any, file: Any) -> bool:
    return bool(default.package == _RULES and file is not None and file.path.startswith(f"{SCHEME}://"))


def _has_rules(default: Any, file: Any) -> bool:
    """Whether a file holds rules, or something in their place."""
    if file is None:
        return True
    package = file.header["package"] if default.package is None else default.package
    if package:
        return bool(package.partition(".")[0] == _RULES)
    if not isinstance(file.config, DictConfig) or _RULES not in file.config:
        return not isinstance(file.config, DictConfig)
    return file.config.get(_RULES) != {}


ConfigLoaderImpl._compose_config_from_defaults_list = merged_once  # type: ignore[method-assign]
