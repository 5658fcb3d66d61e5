"""Checks the installed package, from a folder with nothing else in it: what it holds, its commands, its quickstart.

Usage: `python -P check_installed.py QUICKSTART.md`. It ends with an error that names the first thing that is wrong.
"""

import contextlib
import io
import re
import subprocess
import sys
import sysconfig
from importlib.metadata import distribution
from pathlib import Path

import flowgrad

HELD = (
    "py.typed", "report/report.xsd", "conf/evidence.csv", "conf/rules/embedding.yaml", "agents/schema.json",
    "agents/skill/SKILL.md", "agents/skill/references/proving.md", "html/templates/page.html",
)  # fmt: skip
OTHERS = {"flowgrad", "bin"}
"""Tops that the distribution may install, besides its own metadata."""
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"\d[\d.e+-]*")


def check_files() -> None:
    """Only `flowgrad` is installed, whole, and it is what is imported."""
    installed = distribution("flowgrad")
    place = Path(flowgrad.__file__).parent
    assert place.is_relative_to(sysconfig.get_path("purelib")), f"{place} is not what was installed"
    assert installed.version == flowgrad.__version__, (installed.version, flowgrad.__version__)
    for name in HELD:
        assert (place / name).is_file(), f"{name} is missing"
    tops = {file.parts[0] for file in installed.files or () if ".." not in file.parts}
    foreign = {top for top in tops if top not in OTHERS and not top.endswith(".dist-info")}
    assert not foreign, f"{sorted(foreign)} were installed too"
    assert "Requires-Python: >=3.11" in (installed.read_text("METADATA") or "")


def check_quickstart(page: Path) -> None:
    """Every Python block of the page runs, and prints what the page shows."""
    namespace: dict[str, object] = {"__name__": "quickstart"}
    printed = ""
    for kind, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if kind == "text":
            assert alike(text, printed), f"the page shows:\n{text}\nand this was printed:\n{printed}"
            continue
        with contextlib.redirect_stdout(io.StringIO()) as told:
            exec(compile(text, str(page), "exec"), namespace)
        printed = told.getvalue()


def alike(shown: str, printed: str) -> bool:
    """The same words, whatever the figures; the page may leave out the end."""
    words = [" ".join(NUMBER.sub("#", text).split()) for text in (shown, printed)]
    return words[1].startswith(words[0].removesuffix("…").rstrip())


def check_commands() -> None:
    """The command line runs, as a module and as a script, and takes the report that the quickstart wrote."""
    script = Path(sysconfig.get_path("scripts")) / "flowgrad"
    for command in ([sys.executable, "-P", "-m", "flowgrad"], [str(script)]):
        further = (["findings", "report.xml", "--json"], ["schema", "findings"], ["skill", "install", "somewhere"])
        for arguments in (["--help"], ["--version"], ["validate", "report.xml"], *further):
            done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr


if __name__ == "__main__":
    check_files()
    check_quickstart(Path(sys.argv[1]))
    check_commands()
