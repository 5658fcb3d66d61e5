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
PACKAGES = {
    "lightning": "pytorch_lightning", "sklearn": "xgboost", "text_model": "transformers", "two_towers": "torch",
}  # fmt: skip
"""Package that a page needs, where it is not that of its name."""
OUTSIDE = """
import sys
from pathlib import Path
sys.path[:] = [one for one in sys.path if one and not (Path(one) / "pipelines").is_dir()]
sys.path.insert(0, {link!r})
"""


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_blocks_run(page, tmp_path):
    done = ran(page, tmp_path)
    assert "FINDINGS" in done or "HEALTHY" in done


def ran(page, tmp_path, behind=""):
    """Run the blocks of a page, and code behind them; returns what they print."""
    package = PACKAGES.get(page.stem, page.stem)
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "flowgrad").symlink_to(ROOT / "flowgrad")
    (tmp_path / "work").mkdir()
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    code = OUTSIDE.format(link=str(tmp_path / "link")) + "\n".join([*blocks, behind])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "work", capture_output=True, text=True, timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


AGAIN = """
import torch
init_seed(config["seed"], config["reproducibility"])
train, valid, test = data_preparation(config, create_dataset(config))
plain = get_model(config["model"])(config, train.dataset)
Trainer(config, plain).fit(train, valid, saved=False, verbose=False)
alike = all(torch.equal(one, other) for one, other in zip(model.parameters(), plain.parameters(), strict=True))
print("TOLD", watch.steps == 3 * len(train), alike, sorted(watch.tables))
"""


def test_every_step_of_recbole_is_counted_and_no_weight_is_another(tmp_path):
    page = ROOT / "docs" / "integrations" / "recbole.md"
    assert "TOLD True True ['item_embedding', 'user_embedding']" in ran(page, tmp_path, AGAIN)


def test_every_step_of_rechub_is_counted(tmp_path):
    page = ROOT / "docs" / "integrations" / "torch_rechub.md"
    behind = "print('TOLD', watch.steps == 8 * len(train), watch.to_report().status, watch.to_report().run.training)"
    assert "TOLD True HEALTHY {'optimizer': 'Adam', 'lr': 0.001, 'epochs': 8" in ran(page, tmp_path, behind)


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_pages_are_short_and_in_the_site(page):
    assert len(page.read_text("utf-8").splitlines()) <= 40
    assert f'"integrations/{page.name}"' in (ROOT / "zensical.toml").read_text("utf-8")
