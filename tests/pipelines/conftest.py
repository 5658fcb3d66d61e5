from __future__ import annotations

import copy
import io
import pickle
import sys
from collections import OrderedDict, defaultdict
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.defaults_list import Overrides
from hydra.core.global_hydra import GlobalHydra
from omegaconf import AnyNode, BooleanNode, DictConfig, FloatNode, IntegerNode, StringNode, flag_override

from pipelines import run as application
from pipelines.config import merged_rules
from pipelines.config.compose import WITHOUT_RULES, store_without_rules
from pipelines.config.schema import register

ROOT = Path(__file__).parents[2]
SMALL = ["dataset=synthetic", "seeds.test=[1,2,3]", "workers=1"]
"""Overrides for a run of a few seconds without a network."""


class ComposedOnce:
    """What Hydra makes of the choices of groups before it puts values into it: a copy of what it made of the same ones
    before. That is most of the third of a second that composing a config takes. Where a test has configs of its own, in
    a folder that may change, Hydra makes it each time.
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


@pytest.fixture(autouse=True, scope="session")
def configs_composed_once():
    once = ComposedOnce(config_loader_impl.create_defaults_list, merged_rules.merged_once)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DictConfig, "__deepcopy__", copied)
        patch.setattr(config_loader_impl, "create_defaults_list", once.order)
        patch.setattr(
            ConfigLoaderImpl,
            "_compose_config_from_defaults_list",
            lambda *given, **named: once.compose(*given, **named),
        )
        yield


RULES = "rules"
"""Where the rules of all configs that change none are kept among those composed so far."""


@pytest.fixture(scope="session")
def compositions():
    """Configs composed so far, pickled, by their overrides: composing one takes half a second."""
    return {}


@pytest.fixture
def composed(monkeypatch, compositions):
    """Compose a config of the repository from overrides; `rules=False` leaves the rules out, which is three times as
    fast. Where no override names a rule they are those of every other config, and are put in afterwards.
    """

    def config(*overrides, rules=True):
        apart = not rules or not any(override.lstrip("+~").startswith("rules") for override in overrides)
        key = (*overrides, apart)
        if key not in compositions:
            made = compose(WITHOUT_RULES if apart else "config", overrides=list(overrides))
            compositions[key] = pickle.dumps(made)
        made = pickle.loads(compositions[key])
        if rules and apart:
            if RULES not in compositions:
                compositions[RULES] = compose("config").rules
            with flag_override(made, ["struct", "no_deepcopy_set_nodes"], [False, True]):
                made.rules = copy.deepcopy(compositions[RULES])
        return made

    monkeypatch.setenv("FLOWGRAD_RUN_ID", "test")
    register()
    store_without_rules()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield config


def run_command(arguments, place):
    """Run the command line in this process, into a folder, and return its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYDRA_FULL_ERROR", "1")
        patch.setenv("FLOWGRAD_RUN_ID", "test")
        patch.setattr(sys, "argv", ["test"])
        GlobalHydra.instance().clear()
        kind = "sweep" if "-m" in arguments else "run"
        return application.main([*arguments, f"hydra.{kind}.dir={place}"])


@pytest.fixture
def command(tmp_path, capsys):
    """Run the command line in this process, into a folder of its own: (exit code, folder, standard error)."""

    def run(*arguments, folder="run"):
        place = tmp_path / folder
        code = run_command(arguments, place)
        return code, place, capsys.readouterr().err

    return run


@pytest.fixture(scope="session")
def command_once(tmp_path_factory):
    """As `command`, for what several tests look at and none changes: each command is run once."""
    known = {}

    def run(*arguments):
        if arguments not in known:
            place = tmp_path_factory.mktemp("once") / "run"
            with redirect_stderr(io.StringIO()) as err, redirect_stdout(io.StringIO()) as out:
                code = run_command(arguments, place)
            known[arguments] = code, place, err.getvalue(), out.getvalue()
        return known[arguments]

    return run
