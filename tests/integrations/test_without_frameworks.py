"""What a missing framework says, and that none is imported before it is asked for."""

import subprocess
import sys

import pytest

WITHOUT = """
import sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {packages!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Without())
try:
    import flowgrad.integrations.{module}
except ImportError as error:
    print(type(error).__name__, error)
"""


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
    code = WITHOUT.format(module=module, packages=packages)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"ImportError flowgrad.integrations.{module} needs {said}"


def test_the_library_imports_no_framework():
    code = (
        "import sys, flowgrad, flowgrad.integrations; from flowgrad import watch, BoostingTracker\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & "
        "{'pytorch_lightning', 'lightning', 'transformers', 'accelerate', 'peft'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
