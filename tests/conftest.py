"""What all tests share: one hypothesis profile without chance, one thread, and no YAML file parsed twice."""

from __future__ import annotations

import functools
import pickle

import omegaconf.omegaconf
import pytest
import yaml
from hypothesis import settings

settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Two threads on each of two busy cores are four times slower than one."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


class ReadOnce:
    """PyYAML for OmegaConf, and with it for Hydra. A text that was read before gives what it gave then, as new
    objects: parsing the same forty files took two thirds of the time that composing a config takes.
    """

    def __init__(self):
        self._known = {}

    def __getattr__(self, name):
        return getattr(yaml, name)

    def load(self, stream, Loader):
        text = stream if isinstance(stream, str) else stream.read()
        if text not in self._known:
            content = yaml.load(text, Loader=Loader)
            self._known[text] = pickle.dumps(content)
            return content
        return pickle.loads(self._known[text])


@pytest.fixture(autouse=True, scope="session")
def yaml_read_once():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(omegaconf.omegaconf, "yaml", ReadOnce())
        patch.setattr(yaml, "compose", functools.cache(yaml.compose))
        yield
