import subprocess
import sys

import pytest

from flowgrad.__main__ import main
from flowgrad.report import write


@pytest.fixture
def good(tmp_path, healthy):
    path = tmp_path / "good.xml"
    write(healthy, path)
    return str(path)


@pytest.fixture
def bad(tmp_path, good):
    path = tmp_path / "bad.xml"
    with open(good) as file:
        path.write_text(file.read().replace("HEALTHY", "FINE"))
    return str(path)


def test_valid(good, capsys):
    assert main(["validate", good, good]) == 0
    assert capsys.readouterr().out == f"{good}: valid\n{good}: valid\n"


def test_invalid(good, bad, capsys):
    assert main(["validate", bad, good]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{bad}:6: Element 'status'")
    assert second == f"{good}: valid"


@pytest.mark.parametrize("content", ["", "no xml", "<a>", "{}"])
def test_not_xml(content, tmp_path, capsys):
    path = tmp_path / "other.xml"
    path.write_text(content)
    assert main(["validate", str(path)]) == 1
    assert capsys.readouterr().out.startswith(f"{path}:1: not XML: ")


def test_unreadable(good, bad, tmp_path, capsys):
    missing = str(tmp_path / "missing.xml")
    assert main(["validate", missing, str(tmp_path), bad, good]) == 2
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        f"{missing}: cannot be read: No such file or directory",
        f"{tmp_path}: cannot be read: Is a directory",
    ]
    assert captured.out.endswith(f"{good}: valid\n")


@pytest.mark.parametrize("argv", [[], ["validate"], ["check", "a.xml"], ["validate", "--fast", "a.xml"]])
def test_bad_usage(argv, capsys):
    with pytest.raises(SystemExit) as left:
        main(argv)
    assert left.value.code == 2
    assert "usage: " in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith("flowgrad ")


def test_module_and_no_heavy_imports(good):
    code = (
        "import runpy, sys; sys.argv = ['flowgrad', 'validate', sys.argv[1]]\n"
        "try: runpy.run_module('flowgrad', run_name='__main__')\n"
        "except SystemExit as left: assert not left.code\n"
        "assert not {'torch', 'hydra', 'pipelines', 'xgboost'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, good], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{good}: valid\n", "")
