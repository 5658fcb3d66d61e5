"""What a missing framework says, and that none is imported before it is asked for."""

import importlib
import sys

import pytest

from tests.forked import run_forked

FRAMEWORKS = {"pytorch_lightning", "lightning", "transformers", "accelerate", "peft"}


class Without:
    """Finds no module of these packages."""

    def __init__(self, packages):
        self.packages = packages

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.packages:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def said_without(packages, module):
    """Return the error that importing the module gives where the packages are missing."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("flowgrad", *packages)]:
        del sys.modules[name]
    sys.meta_path.insert(0, Without(packages))
    try:
        importlib.import_module(f"flowgrad.integrations.{module}")
    except ImportError as error:
        return f"{type(error).__name__} {error}"


def frameworks_loaded():
    import flowgrad.integrations
    from flowgrad import BoostingTracker, watch

    assert flowgrad.integrations
    assert BoostingTracker
    assert watch
    return {name.partition(".")[0] for name in sys.modules} & FRAMEWORKS


@pytest.mark.parametrize(
    ("module", "packages", "said"),
    [
        ("lightning", ("lightning", "pytorch_lightning"), "pytorch-lightning: pip install 'flowgrad[lightning]'"),
        ("transformers", ("transformers",), "transformers: pip install 'flowgrad[transformers]'"),
        ("transformers", ("torch",), "torch: pip install 'flowgrad[transformers]'"),
        ("lightning", ("torch",), "torch: pip install 'flowgrad[lightning]'"),
    ],
)
def test_a_framework_that_is_missing_is_named_with_its_extra(module, packages, said):
    assert run_forked(said_without, packages, module) == f"ImportError flowgrad.integrations.{module} needs {said}"


def test_the_library_imports_no_framework():
    assert run_forked(frameworks_loaded) == set()
