"""All tests share this: one hypothesis profile without chance, one thread, no config file read and no choice of groups
composed twice, and few searches for garbage among all there is.
"""

from __future__ import annotations

import functools
import gc
import importlib.util
import io
import pickle

import pytest
import yaml
from hypothesis import settings
from omegaconf import OmegaConf

settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("fixed")

# With torch, pandas and pytest loaded a search of all objects takes a fifth of a second, and a config of some thousand
# nodes brings one on: half of the time of such tests. Young objects are searched in larger lots, and none while all
# that lives to the end is imported.
gc.set_threshold(20_000, 20, 400)
gc.disable()


def pytest_collection_finish():
    """Leave what was imported, which lives to the end, out of every search for garbage."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Two threads on each of two busy cores are four times slower than one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


class ReadOnce:
    """`OmegaConf.load`, by which Hydra reads configs. An open text that was read before gives what it gave then, as a
    new config: reading the same forty files took half of the time that composing a config takes.
    """

    def __init__(self, load):
        self._load = load
        self._known = {}

    def __call__(self, file_):
        if not isinstance(file_, io.TextIOBase):
            return self._load(file_)
        start, text = file_.tell(), file_.read()
        if text not in self._known:
            file_.seek(start)
            self._known[text] = pickle.dumps(self._load(file_))  # of the file itself, which an error names
        return pickle.loads(self._known[text])


@pytest.fixture(autouse=True, scope="session")
def configs_made_once():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OmegaConf, "load", staticmethod(ReadOnce(OmegaConf.load)))
        patch.setattr(yaml, "compose", functools.cache(yaml.compose))
        if importlib.util.find_spec("hydra") is not None:
            from tests.composed_once import compose_once
            from tests.plain_omegaconf import make_plain

            make_plain(patch)
            compose_once(patch)
        yield
