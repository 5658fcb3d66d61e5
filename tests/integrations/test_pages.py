"""The blocks of the pages on integrations run, outside of this repository, whose folder `datasets` passes for a package
of that name.
"""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "integrations").glob("*.md"))
PACKAGES = {"lightning": "pytorch_lightning", "sklearn": "xgboost"}
"""Package that a page needs, where it is not that of its name."""
OUTSIDE = """
import sys
from pathlib import Path
sys.path[:] = [one for one in sys.path if one and not (Path(one) / "pipelines").is_dir()]
sys.path.insert(0, {link!r})
"""


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_blocks_run(page, tmp_path):
    package = PACKAGES.get(page.stem, page.stem)
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "flowgrad").symlink_to(ROOT / "flowgrad")
    (tmp_path / "work").mkdir()
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    code = OUTSIDE.format(link=str(tmp_path / "link")) + "\n".join(blocks)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "work", capture_output=True, text=True, timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "FINDINGS" in done.stdout or "HEALTHY" in done.stdout


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_pages_are_short_and_in_the_site(page):
    assert len(page.read_text("utf-8").splitlines()) <= 40
    assert f'"integrations/{page.name}"' in (ROOT / "zensical.toml").read_text("utf-8")
