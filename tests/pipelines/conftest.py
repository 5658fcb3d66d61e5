from __future__ import annotations

import os
import pickle
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from omegaconf import flag_override

from pipelines import run as application
from pipelines.config.compose import WITHOUT_RULES, store_without_rules
from pipelines.config.schema import register

ROOT = Path(__file__).parents[2]
SMALL = ["dataset=synthetic", "seeds.test=[1,2,3]", "workers=1"]
"""Overrides for a run of a few seconds without a network."""


class ComposedOnce:
    """`ConfigLoaderImpl.load_configuration`: a config that was composed before is a copy of what it was then. Composing
    one takes a third of a second, and every job of a sweep is composed twice. Configs from a folder of a test's own are
    composed each time, for that folder may change.
    """

    MOST = 64

    def __init__(self, load):
        self._load = load
        self._known = OrderedDict()

    def __call__(self, loader, config_name, overrides, run_mode, from_shell=True, validate_sweep_overrides=True):
        given = (config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        places = tuple((place.provider, place.path) for place in loader.config_search_path.get_path())
        own = any(place.startswith("file://") and place != f"file://{ROOT / 'conf'}" for _, place in places)
        if own or any("searchpath" in override for override in overrides):
            return self._load(loader, *given)
        key = (*given[:1], tuple(overrides), *given[2:], places, os.getcwd(), tuple(sys.argv[:1]))
        if key in self._known:
            self._known.move_to_end(key)
            return pickle.loads(self._known[key])
        made = self._load(loader, *given)
        self._known[key] = pickle.dumps(made)
        if len(self._known) > self.MOST:
            self._known.popitem(last=False)
        return made


@pytest.fixture(autouse=True, scope="session")
def configs_composed_once():
    once = ComposedOnce(ConfigLoaderImpl.load_configuration)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigLoaderImpl, "load_configuration", lambda *given, **named: once(*given, **named))
        yield


RULES = "rules"
"""Of the configs composed so far, the rules of those that change none."""


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
        key = (*overrides, rules)
        if key not in compositions:
            apart = not rules or not any(override.lstrip("+~").startswith("rules") for override in overrides)
            made = compose(WITHOUT_RULES if apart else "config", overrides=list(overrides))
            if rules and apart:
                if RULES not in compositions:
                    compositions[RULES] = pickle.dumps(compose("config").rules)
                with flag_override(made, ["struct", "no_deepcopy_set_nodes"], [False, True]):
                    made.rules = pickle.loads(compositions[RULES])
            compositions[key] = pickle.dumps(made)
        return pickle.loads(compositions[key])

    monkeypatch.setenv("FLOWGRAD_RUN_ID", "test")
    register()
    store_without_rules()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield config


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """Run the command line in this process, into a folder of its own: (exit code, folder, standard error)."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setenv("FLOWGRAD_RUN_ID", "test")
    monkeypatch.setattr(sys, "argv", ["test"])

    def run(*arguments, folder="run"):
        place = tmp_path / folder
        GlobalHydra.instance().clear()
        kind = "sweep" if "-m" in arguments else "run"
        code = application.main([*arguments, f"hydra.{kind}.dir={place}"])
        return code, place, capsys.readouterr().err

    return run
