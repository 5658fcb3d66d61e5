from __future__ import annotations

import gc
import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from pipelines import run as application
from pipelines.config.compose import WITHOUT_RULES, store_without_rules
from pipelines.config.copies import copied
from pipelines.config.merged_rules import put_rules, rules_of
from pipelines.config.schema import register
from pipelines.stages import parallel
from tests.forked import forked_from

ROOT = Path(__file__).parents[2]
SMALL = ["dataset=synthetic", "seeds.test=[1,2,3]", "workers=1"]
"""Overrides for a run of a few seconds without a network."""


RULES = "rules"
"""Where the rules of all configs that change none are kept among those composed so far."""


@pytest.fixture(autouse=True)
def workers_are_forked(monkeypatch):
    """Fork workers of pools from one process for all tests, as a run of several workers has a process of its own."""
    monkeypatch.setattr(parallel, "_context", forked_from)


BLANK = {
    "png": bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
        "0000000a49444154789c636000000002000148afa4710000000049454e44ae426082"
    ),
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
}
"""The file that takes the place of a picture that no test looks at."""


@pytest.fixture
def drawn():
    """Have the pictures of a run drawn: each kind is, by a test that names it."""


@pytest.fixture(autouse=True)
def pictures_are_blank(request, monkeypatch):
    """Write an empty file for each picture of a run, whose figure is made all the same: to draw them takes a third of a
    small run. Where matplotlib is yet to be imported, which a run does in its own way, they are drawn.
    """
    if "drawn" not in request.fixturenames and "matplotlib.figure" in sys.modules:
        figure = sys.modules["matplotlib.figure"].Figure
        monkeypatch.setattr(figure, "savefig", lambda self, file, *, format, **how: file.write(BLANK[format]))


@pytest.fixture
def garbage_is_left(monkeypatch):
    """Leave out the search for garbage before a measurement: late in a suite, among all configs, it takes a second."""
    monkeypatch.setattr(gc, "collect", lambda *generation: 0)


@pytest.fixture(scope="session")
def compositions():
    """Configs composed so far, by their overrides: composing one takes half a second."""
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
            compositions[key] = made
        made = copied(compositions[key])
        if rules and apart:
            if RULES not in compositions:
                compositions[RULES] = rules_of(compose("config")).source
            assert put_rules(made, compositions[RULES])
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
    """Runs commands as `command` does, each once: several tests look at the result, and none changes it."""
    known = {}

    def run(*arguments):
        if arguments not in known:
            place = tmp_path_factory.mktemp("once") / "run"
            with redirect_stderr(io.StringIO()) as err, redirect_stdout(io.StringIO()) as out:
                code = run_command(arguments, place)
            known[arguments] = code, place, err.getvalue(), out.getvalue()
        return known[arguments]

    return run
