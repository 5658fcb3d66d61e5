"""Makes composing a config that is like one before a matter of hundredths of a second."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

from hydra._internal import config_loader_impl, defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository
from hydra._internal.defaults_list import Overrides
from hydra.core.object_type import ObjectType

from pipelines.config import merged_rules
from pipelines.config.copies import copied
from pipelines.config.shared_config import SharedConfig, Source

ROOT = Path(__file__).parents[1]


class ComposedOnce:
    """Gives what Hydra makes of the choices of groups before it puts values into it: a copy of what it made of the same
    ones before. That is most of the third of a second that composing a config takes. Where a test has configs of its
    own, in a folder that may change, Hydra makes it each time.
    """

    MOST = 64

    def __init__(self, load, order, compose):
        self._load, self._order, self._compose = load, order, compose
        self._files, self._lists, self._configs = {}, {}, OrderedDict()

    def load(self, repo, config_path):
        """Take the place of `ConfigRepository.load_config`."""
        source = repo._find_object_source(config_path, ObjectType.CONFIG)
        if source is None or _is_own(source):
            return self._load(repo, config_path)
        key = (*_place(source), config_path)
        if key not in self._files:
            made = self._load(repo, config_path)
            config = None if made is None else made.config
            rest = None if made is None else replace(made, config=None)
            self._files[key] = None if config is None else Source(config), pickle.dumps(rest, pickle.HIGHEST_PROTOCOL)
        source, rest = self._files[key]
        made = pickle.loads(rest)
        return made if source is None else replace(made, config=SharedConfig.of(source, source.config))

    def order(self, repo, config_name, overrides_list, prepend_hydra, skip_missing):
        """Take the place of `create_defaults_list`."""
        places, given = _places(repo), (prepend_hydra, skip_missing)
        if places is None:
            return self._order(repo, config_name, overrides_list, *given)
        chosen = Overrides(repo, overrides_list)
        choices = (chosen.override_choices, chosen.append_group_defaults, chosen.deletions)
        key = (config_name, *given, places, repr(choices))
        if key not in self._lists:
            self._lists[key] = self._order(repo, config_name, overrides_list, *given)
        return replace(self._lists[key], config_overrides=chosen.config_overrides)

    def compose(self, loader, defaults, repo):
        """Take the place of `ConfigLoaderImpl._compose_config_from_defaults_list`."""
        places = _places(repo)
        if places is None:
            return self._compose(loader, defaults, repo)
        key = (places, *(repr(one) for one in defaults))
        if key not in self._configs:
            self._configs[key] = self._compose(loader, defaults, repo)
            if len(self._configs) > self.MOST:
                self._configs.popitem(last=False)
        self._configs.move_to_end(key)
        return copied(self._configs[key])


def _places(repo):
    """Where configs are looked for, in their order; None if some of them are a test's own."""
    return None if any(map(_is_own, repo.get_sources())) else tuple(map(_place, repo.get_sources()))


def _place(source):
    return source.provider, source.scheme(), source.path


def _is_own(source):
    return source.scheme() == "file" and source.path != str(ROOT / "conf")


def _look_as(caching, repo):
    """Take the place of `CachingConfigRepository.__init__`, which copies each place where configs are looked for: none
    of them changes, their list may.
    """
    caching.delegate, caching.cache = copy.copy(repo), {}


HYDRAS_OWN = {
    (place, name): getattr(place, name)
    for place, name in (
        (ConfigRepository, "load_config"),
        (CachingConfigRepository, "__init__"),
        (defaults_list, "_create_interpolation_map"),
        (config_loader_impl, "create_defaults_list"),
    )
}
"""Functions of Hydra that are replaced here, by where they are."""


def _choices(overrides, defaults, self_added):
    """Take the place of `_create_interpolation_map`, which only a default that names another choice asks for."""
    own = HYDRAS_OWN[defaults_list, "_create_interpolation_map"]
    return own(overrides, defaults, self_added) if any(one.is_interpolation() for one in defaults) else None


def compose_once(patch):
    """Have Hydra compose so, by patches of pytest's."""
    load, order = ConfigRepository.load_config, config_loader_impl.create_defaults_list
    once = ComposedOnce(load, order, merged_rules.merged_once)
    patch.setattr(CachingConfigRepository, "__init__", _look_as)
    patch.setattr(ConfigRepository, "load_config", lambda repo, config_path: once.load(repo, config_path))
    patch.setattr(defaults_list, "_create_interpolation_map", _choices)
    patch.setattr(config_loader_impl, "create_defaults_list", once.order)
    patch.setattr(
        ConfigLoaderImpl,
        "_compose_config_from_defaults_list",
        lambda *given, **named: once.compose(*given, **named),
    )
