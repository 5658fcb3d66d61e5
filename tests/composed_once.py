"""Makes composing a config that is like one before a matter of hundredths of a second."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict, defaultdict
from dataclasses import replace
from pathlib import Path

from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.defaults_list import Overrides
from omegaconf import AnyNode, BooleanNode, DictConfig, FloatNode, IntegerNode, StringNode

from pipelines.config import merged_rules

ROOT = Path(__file__).parents[1]


class ComposedOnce:
    """Gives what Hydra makes of the choices of groups before it puts values into it: a copy of what it made of the same
    ones before. That is most of the third of a second that composing a config takes. Where a test has configs of its
    own, in a folder that may change, Hydra makes it each time.
    """

    MOST = 64

    def __init__(self, order, compose):
        self._order, self._compose = order, compose
        self._lists, self._configs = {}, OrderedDict()

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
            self._configs[key] = pickle.dumps(self._compose(loader, defaults, repo))
            if len(self._configs) > self.MOST:
                self._configs.popitem(last=False)
        self._configs.move_to_end(key)
        return pickle.loads(self._configs[key])


def copied(config, memo):
    """Take the place of `DictConfig.__deepcopy__`, which takes a tenth of a second for one with the rules: it makes and
    checks a new node for each that it copies.
    """
    made = object.__new__(DictConfig)
    content, cache = config.__dict__["_content"], config.__dict__["_flags_cache"]
    made.__dict__.update(_metadata=_metadata(config), _parent=config.__dict__["_parent"], _content=content)
    made.__dict__["_flags_cache"] = None if cache is None else dict(cache)
    if isinstance(content, dict):
        made.__dict__["_content"] = {key: _child(node, made, memo) for key, node in content.items()}
    return made


def _child(node, parent, memo):
    if type(node) in (AnyNode, StringNode, IntegerNode, FloatNode, BooleanNode):
        made = object.__new__(type(node))
        made.__dict__.update(_metadata=_metadata(node), _parent=parent, _flags_cache=None, _val=node.__dict__["_val"])
        return made
    made = copied(node, memo) if type(node) is DictConfig else copy.deepcopy(node, memo)
    made.__dict__["_parent"] = parent
    return made


def _metadata(node):
    held = node.__dict__["_metadata"]
    made = object.__new__(type(held))
    made.__dict__.update(held.__dict__, flags=None if held.flags is None else dict(held.flags))
    made.resolver_cache = copy.deepcopy(held.resolver_cache) if held.resolver_cache else defaultdict(dict)
    return made


def _places(repo):
    """Where configs are looked for, in their order; None if some of them are a test's own."""
    found = tuple((source.provider, source.scheme(), source.path) for source in repo.get_sources())
    own = any(scheme == "file" and path != str(ROOT / "conf") for _, scheme, path in found)
    return None if own else found


OMEGACONFS_COPY = DictConfig.__deepcopy__


def compose_once(patch):
    """Have Hydra compose so, by patches of pytest's."""
    once = ComposedOnce(config_loader_impl.create_defaults_list, merged_rules.merged_once)
    patch.setattr(DictConfig, "__deepcopy__", copied)
    patch.setattr(config_loader_impl, "create_defaults_list", once.order)
    patch.setattr(
        ConfigLoaderImpl,
        "_compose_config_from_defaults_list",
        lambda *given, **named: once.compose(*given, **named),
    )
