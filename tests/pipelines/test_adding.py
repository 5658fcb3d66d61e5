"""What a user adds from a folder outside the tree, one of each: a model, a dataset, an experiment, a rule, a tracker.

The files are those that docs/extending.md and docs/own_trackers.md show.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import textwrap
import zlib
from pathlib import Path

import pandas as pd
import pytest
import torch

from flowgrad.__main__ import main
from flowgrad.errors import FlowGradError
from flowgrad.report import read
from pipelines.config.code_fingerprint import code_sha256, source_sha256
from pipelines.config.compose import config_sha256
from pipelines.config.schema.limits import limit_of
from pipelines.config.settings_types import settings_type
from pipelines.stages.check import check_settings
from pipelines.stages.diagnose import diagnose
from pipelines.stages.experiment import Experiment
from pipelines.stages.rule_book import rule_book
from pipelines.trainers.trainer import trainer_of
from tests.forked import ForkedPopen

ROOT = Path(__file__).parents[2]
PAGES = ("docs/extending.md", "docs/own_trackers.md")
_FILE = re.compile(r"^```(?:python|yaml)\n# my_folder/(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NAMED = re.compile(r"`my_folder/(\S+)` holds `([^`]+)`")
TINY = ["training.epochs=2", "seeds.test=[1,2]", "rounds=0", "workers=1"]


def shown():
    """Every file that the pages show, by its path in the user's folder."""
    texts = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    return dict(_FILE.findall(texts)) | dict(_NAMED.findall(texts))


def written(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text), encoding="utf-8")
    return folder


def renamed(text, tag):
    """The text with modules of another name: a process imports each once, and a kind is one class's."""
    return re.sub(r"\bmy_(models|data|trackers|nets|tables)\b", rf"{tag}_\1", text).replace(
        "layer_norms", f"{tag}_norms"
    )


@pytest.fixture
def own(tmp_path, monkeypatch, request):
    """Write files into a folder of the user's, which this process can import from; give the overrides that name it."""
    (tmp_path / "mine").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path / "mine"))
    tag = f"t{zlib.crc32(request.node.name.encode())}"

    def write(files):
        written(tmp_path / "mine", {renamed(name, tag): renamed(text, tag) for name, text in files.items()})
        importlib.invalidate_caches()
        return f"hydra.searchpath=[file://{tmp_path / 'mine'}, library://flowgrad.conf, settings://]"

    write.tag = tag
    return write


def started(folder, place, *arguments):
    """Start a run from the repository, with the user's folder on the path; give its exit code, and what it printed to
    standard output and standard error, which is put into files at the place.
    """
    words = [sys.executable, "-m", "pipelines.run", *arguments]
    with open(place / "out", "w+") as out, open(place / "err", "w+") as err:
        process = ForkedPopen(words, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(folder)}, stdout=out, stderr=err)
        return process.wait(300), out.read(), err.read()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The command of docs/extending.md, in a process of its own, with workers that import the user's modules too."""
    place = tmp_path_factory.mktemp("adding")
    folder = written(place / "my_folder", shown())
    before = {path: path.stat().st_mtime_ns for top in ("conf", "flowgrad") for path in (ROOT / top).rglob("*.*ml")}
    code, out, err = started(
        folder,
        place,
        "--config-dir",
        str(folder),
        "experiment=mine",
        "training.epochs=3",
        "seeds.test=[1,2,3]",
        "workers=2",
        "rounds=1",
        f"hydra.run.dir={place / 'run'}",
    )
    assert code == 0, err + out
    assert before == {path: path.stat().st_mtime_ns for path in before}
    return place / "run", out, folder


def test_the_pages_show_one_of_each():
    kinds = {name.partition("/")[0] for name in shown() if "/" in name}
    assert kinds == {"model", "dataset", "experiment", "rules"}
    assert {name for name in shown() if name.endswith(".py")} == {"my_models.py", "my_data.py", "my_trackers.py"}
    assert "experiment=mine" in (ROOT / PAGES[0]).read_text(encoding="utf-8")
    assert all(len((ROOT / page).read_text(encoding="utf-8").splitlines()) <= 80 for page in PAGES)


def test_model_dataset_and_experiment_of_a_user_go_through_the_closed_loop(finished):
    folder, out, _ = finished
    config = (folder / "config.yaml").read_text()
    assert "_target_: my_models.Scaled" in config
    assert "_target_: my_data.load_grid" in config
    table = pd.read_csv(folder / "observations.csv")
    assert set(table["arm"]) == {"baseline", "treated", "aa"}
    assert set(table["experiment"]) == {"mine"}
    assert "LARGE_LAYER on norms" in out


def test_figures_and_finding_of_the_tracker_stand_in_the_report(finished):
    folder, _, _ = finished
    own = next(part for part in read(folder / "report.xml").reports if part.kind == "layer_norms")
    assert [metric.name for metric in own.measurements] == ["largest_norm"]
    assert own.measurements[0].unit == "norm"
    assert [finding.type for finding in own.findings] == ["LARGE_LAYER"]
    assert [(change.path, change.value) for change in own.findings[0].fix] == [("optimizer.lr", "0.025")]
    assert own.findings[0].validation is not None


def test_the_report_is_valid_where_nobody_has_the_users_code(finished, capsys):
    """`flowgrad validate` refused the kind of a report, and then its rules, as nothing it knew measured them."""
    folder, _, _ = finished
    assert not {"my_models", "my_data", "my_trackers"} & set(sys.modules), "this process is one without that code"
    assert main(["validate", str(folder / "report.xml")]) == 0
    assert "1 verdict(s) follow" in capsys.readouterr().out
    forged = (folder / "report.xml").read_text().replace('type="LARGE_LAYER"', 'type="SMALL_LAYER"')
    (folder / "forged.xml").write_text(forged)
    assert main(["validate", str(folder / "forged.xml")]) == 1
    assert "large_layer" in capsys.readouterr().out


def test_the_users_model_on_a_dataset_of_ours(own, composed):
    path = own(shown())
    config = composed(path, "experiment=movielens_mf", "dataset=synthetic", "model=scaled", *TINY)
    check_settings(config)
    program = trainer_of(config)
    data = program.load()
    trained = [program.train(data, 3) for _ in range(2)]
    assert type(trained[0].model).__name__ == "Scaled"
    assert trained[0].train_losses == trained[1].train_losses
    assert program.evaluate(trained[0], data, 3).metrics["mse"] > 0


def test_a_model_of_ours_on_the_users_dataset(own, composed):
    path = own(shown())
    config = composed(path, "experiment=movielens_mf", "dataset=grid", "dataset.users=12", *TINY)
    check_settings(config)
    data = trainer_of(config).load()
    assert (data.n_users, data.n_items, data.source) == (12, 20, "made up")
    assert trainer_of(config).train(data, 3).steps > 0


NETWORK = {
    "my_nets.py": """
        from dataclasses import dataclass

        import torch
        from torch import nn

        from typing import Annotated

        from pipelines.config.schema.limits import Choices, Limit
        from pipelines.config.schema.models import NetworkSettings
        from pipelines.trainers.networks.models import Network

        @dataclass
        class MixerSettings(NetworkSettings):
            _target_: str = "my_nets.Mixer"
            pooling: Annotated[str, Choices(("mean", "max"))] = "mean"
            dropout: Annotated[float, Limit(least=0, below=1)] = 0.1

        class Mixer(Network):
            def __init__(self, settings, inputs, outputs):
                super().__init__()
                self.table = nn.Parameter(torch.randn(inputs, settings.width))
                self.layers = nn.ModuleList([nn.Linear(settings.width, settings.width, bias=False)])
                self.head = nn.Linear(settings.width, outputs)

            def forward(self, inputs):
                return self.head(torch.relu(self.layers[0](inputs @ self.table)))
        """,
    "model/mixer.yaml": "defaults: [/types/my_nets.MixerSettings@_here_]\nwidth: 8\ndepth: 1\n",
    "my_tables.py": """
        from dataclasses import dataclass

        import numpy as np
        from pandas import DataFrame

        from datasets.tables import Table, at_random, content_sha256
        from pipelines.config.schema.data import TableSettings

        @dataclass
        class MoonSettings(TableSettings):
            _target_: str = "my_tables.load_moons"
            rows: int = 200

        def load_moons(rows):
            random = np.random.default_rng(0)
            features = DataFrame(random.normal(size=(rows, 3)), columns=list("abc"))
            targets = {"odd": (features["a"] * features["b"] > 0).to_numpy(float)}
            parts = at_random(rows, 0.2, 0.2, 0)
            return Table("moons", "made up", features, targets, parts, None, content_sha256(features, targets))
        """,
    "dataset/moons.yaml": "defaults: [/types/my_tables.MoonSettings@_here_]\nkeep: 0.9\n",
}
ON_TABLES = ["experiment=layers_digits_tuned", "model=mixer", "dataset=moons", "task=odd", *TINY]


def test_a_network_and_a_table_of_a_user(own, composed):
    """Weights that no layer of torch holds came from the global generator, and a layer without biases raised."""
    config = composed(own(NETWORK), *ON_TABLES)
    check_settings(config)
    program = trainer_of(config)
    data = program.load()
    trained = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        trained.append(program.train(data, 3))
    assert torch.equal(trained[0].model.table, trained[1].model.table)
    assert program.train(data, 4).train_losses != trained[0].train_losses


def test_a_stock_booster_on_the_table_of_a_user(own, composed):
    config = composed(
        own(NETWORK), "experiment=movielens_boosting", "dataset=moons", "task=odd", "model.rounds=3", "tuned=null",
        "seeds.test=[1,2]", "workers=1",
    )  # fmt: skip
    check_settings(config)
    data = trainer_of(config).load()
    assert trainer_of(config).train(data, 1).steps == 3


BOOSTER = {
    "my_models.py": """
        from dataclasses import dataclass

        from typing import Annotated

        from pipelines.config.schema.limits import Choices, Limit
        from pipelines.config.schema.models import BoosterSettings
        from pipelines.trainers.boosting.models import XGBoost

        @dataclass
        class StumpSettings(BoosterSettings):
            _target_: str = "my_models.Stumps"
            max_depth: Annotated[int, Limit(1, 2)] = 1

        class Stumps(XGBoost):
            pass
        """,
    "model/stumps.yaml": "defaults: [/types/my_models.StumpSettings@_here_]\nrounds: 3\nlearning_rate: 0.3\n",
}


def test_a_booster_of_a_user(own, composed):
    """Its bound on a setting of the base is narrower than the base's."""
    overrides = [own(NETWORK | BOOSTER), "experiment=movielens_boosting", "dataset=moons", "task=odd", "tuned=null"]
    config = composed(*overrides, "model=stumps", "model.max_depth=1", "model.rounds=3", "seeds.test=[1,2]")
    check_settings(config)
    trained = trainer_of(config).train(trainer_of(config).load(), 1, watched=True)
    assert trained.steps == 3
    assert trainer_of(config).facts(trained)["max_depth"] == 1
    with pytest.raises(FlowGradError, match=r"model.max_depth=3: must be at most 2"):
        check_settings(composed(*overrides, "model=stumps", "model.max_depth=3", "seeds.test=[1,2]"))


def test_code_of_a_users_own_is_part_of_what_a_job_ran_by(own, composed, tmp_path):
    """A sweep passed over a finished job though the model's module had changed since."""
    config = composed(own(shown()), "experiment=movielens_mf", "model=scaled", *TINY)
    before = code_sha256(config)
    assert before == code_sha256(config) != source_sha256()
    module = tmp_path / "mine" / f"{own.tag}_models.py"
    module.write_text(module.read_text() + "\n# another version\n")
    assert code_sha256(config) != before
    assert code_sha256(composed("experiment=movielens_mf", *TINY)) == source_sha256()


@pytest.mark.parametrize(
    ("model", "change", "named"),
    [
        ("scaled", "model.scale=0", "model.scale=0.0: must be above 0"),
        ("scaled", "model.scale=101", "model.scale=101.0: must be at most 100"),
        ("scaled", "model.dim=0", "model.dim=0: must be at least 1"),
        ("mixer", "model.pooling=median", "model.pooling='median': is unknown; use one of mean, max"),
        ("mixer", "model.dropout=1", "model.dropout=1.0: must be below 1"),
        ("mixer", "model.width=0", "model.width=0: must be at least 1"),
    ],
)
def test_bounds_stand_with_the_model(own, composed, model, change, named):
    overrides = ["experiment=movielens_mf", "model=scaled", *TINY] if model == "scaled" else ON_TABLES
    config = composed(own(shown() | NETWORK), *overrides, change)
    with pytest.raises(Exception, match=re.escape(named)):
        check_settings(config)


def test_bounds_of_a_field_come_before_those_of_its_base(own):
    own({"my_models.py": shown()["my_models.py"]})
    kind = settings_type(f"{own.tag}_models.ScaledSettings")
    assert limit_of(kind, "scale").most == 100
    assert limit_of(kind, "dim").least == 1
    assert limit_of(kind, "nothing") is None


BROKEN = {
    "my_models.py": """
        from dataclasses import dataclass

        from pipelines.config.schema.models import ModelSettings

        class Plain:
            pass

        @dataclass
        class Loose:
            _target_: str = "my_models.Plain"
            dim: int = 3

        @dataclass
        class Other(ModelSettings):
            _target_: str = "my_models.Plain"
            dim: int = 3

        @dataclass
        class Odd:
            shape: tuple[Plain, ...] = ()
        """,
    "my_data.py": "values = [\n",
    "my_tables.py": "import nothing_by_that_name\n",
    "my_nets.py": "missing_name\n",
    "experiment/mine.yaml": "# @package _global_\ndefaults: [movielens_mf_tuned]\n",
    "model/untyped.yaml": "_target_: my_models.Plain\ndim: 3\n",
    **{
        f"model/{name}.yaml": f"defaults: [/types/{kind}@_here_]\n"
        for name, kind in {
            "nowhere": "no_such_module.Settings", "absent": "my_models.Lose", "plain": "my_models.Plain",
            "syntax": "my_data.Settings", "needs": "my_tables.Settings", "raises": "my_nets.Settings",
            "odd": "my_models.Odd", "loose": "my_models.Loose", "other": "my_models.Other",
        }.items()
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ("nowhere", "no module named 'no_such_module'; put the folder that holds it into PYTHONPATH"),
        ("absent", "has no 'Lose'; did you mean 'Loose'?"),
        ("plain", "is no dataclass; put @dataclass before the class"),
        ("syntax", "cannot be imported: SyntaxError"),
        ("needs", "needs 'nothing_by_that_name', which is not installed"),
        ("raises", "nets.py, line 1)"),
        ("odd", "/types/"),
        ("loose", "Loose is not a subclass of ModelSettings"),
        ("other", "_models.Other is no subclass of pipelines.config.schema.models.FactorizationSettings"),
        ("untyped", "a model of your own names its settings by `defaults: [/types/MODULE.CLASS@_here_]`"),
    ],
)
def test_a_mistake_is_told_in_one_line(own, command, tmp_path, model, named):
    own(BROKEN)
    code, _, err = command("dataset=synthetic", "--config-dir", str(tmp_path / "mine"), f"model={model}", *TINY)
    assert code == 2
    assert named in err
    assert len(err.strip().splitlines()) == 1


def test_an_unknown_key_names_the_settings(own, command, tmp_path):
    own(shown() | {"model/scaled.yaml": shown()["model/scaled.yaml"] + "scail: 2\n"})
    code, _, err = command("dataset=synthetic", "--config-dir", str(tmp_path / "mine"), "model=scaled", *TINY)
    assert code == 2
    assert "In 'model/scaled'" in err
    assert "Key 'scail' not in 'ScaledSettings'" in err


def test_a_config_that_one_of_ours_hides_is_refused(own, command, tmp_path):
    """`model=mf` of a user was passed over for ours without a word."""
    own({"model/mf.yaml": shown()["model/scaled.yaml"], "my_models.py": shown()["my_models.py"]})
    code, _, err = command("dataset=synthetic", "--config-dir", str(tmp_path / "mine"), "model=mf", *TINY)
    assert code == 2
    assert f"hides {tmp_path}/mine/model/mf.yaml; give yours another name" in err


def test_the_search_path_of_the_command_line_keeps_our_rules(own, command, tmp_path):
    """`hydra.searchpath=[...]` took the place of the rules, and configs composed later did not know of it."""
    own(shown())
    code, folder, err = command(
        f"hydra.searchpath=[file://{tmp_path / 'mine'}]", "experiment=mine", "rounds=1", "training.epochs=2",
        "seeds.test=[1,2]", "workers=1", 'trial=["model.scale=2"]',
    )  # fmt: skip
    assert code == 0, err
    assert f"{tmp_path / 'mine'}" in (folder / "prescription.yaml").read_text()


def rule_on(kind, **changes):
    rule = {"subject": kind, "type": "LARGE", "condition": "largest_norm > 0", "premise": "{largest_norm}",
            "implies": "Large.", "action": "LOOK", "expected_effect": "None."} | changes  # fmt: skip
    return (
        "+rules.own={"
        + ", ".join(f"{key}: {value if key == 'fix' else repr(value)}" for key, value in rule.items())
        + "}"
    )


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ("{_target_: MODULE.LayerNorms, evry: 2}", "got an unexpected keyword argument 'evry'"),
        ("{_target_: MODULE.Norms}", "cannot be imported"),
        ("{_target_: flowgrad.FlowTracker}", "is no tracker of your own"),
        ("{_target_: torch.nn.Linear}", "is no tracker of your own"),
        ("{every: 2}", "own_trackers.norms must name a class"),
        ("MODULE.LayerNorms", "own_trackers.norms must name a class"),
    ],
)
def test_entries_of_trackers_are_checked(own, composed, entry, named):
    path = own(shown())
    entry = entry.replace("MODULE", f"{own.tag}_trackers")
    config = composed(path, "experiment=movielens_mf", *TINY, "+own_trackers={norms: " + entry + "}")
    with pytest.raises(Exception, match=re.escape(named)) as caught:
        check_settings(config)
    assert "own_trackers.norms" in str(caught.value)


def test_a_tracker_attaches_to_networks_and_changes_no_hash(own, composed):
    path = own(shown())
    plain = composed("experiment=layers_digits", *TINY)
    entry = "+own_trackers={norms: {_target_: " + own.tag + "_trackers.LayerNorms}}"
    overrides = (
        path,
        "experiment=layers_digits",
        *TINY,
        entry,
        rule_on(f"{own.tag}_norms", fix="{scale: {optimizer.lr: 0.5}}"),
    )
    config = composed(*overrides)
    assert config_sha256(config) != ""
    book = rule_book(config, overrides, [])
    seen = diagnose(Experiment(config, overrides, book, trainer_of(config).load()), 1)
    assert "LARGE" in [finding.type for finding in seen.all_findings]
    assert [measured.subject for measured, _ in seen.findings] == ["model", "norms"]
    unwatched = trainer_of(plain).train(trainer_of(plain).load(), plain.seeds.diagnosis)
    assert unwatched.train_losses == seen.trained.train_losses


def test_a_tracker_that_fails_lets_the_run_go_on(own, composed):
    broken = shown()["my_trackers.py"].replace(
        "        self.steps += 1\n", "        self.steps += 1\n        1 / (self.steps - 3)\n"
    )
    path = own({"my_trackers.py": broken})
    entry = "+own_trackers={norms: {_target_: " + own.tag + "_trackers.LayerNorms}}"
    overrides = (path, "experiment=movielens_mf", "dataset=synthetic", *TINY, entry, rule_on(f"{own.tag}_norms"))
    config = composed(*overrides)
    book = rule_book(config, overrides, [])
    seen = diagnose(Experiment(config, overrides, book, trainer_of(config).load()), 1)
    measured, findings = seen.findings[-1]
    assert measured.coverage.stopped
    assert "after 2 steps: ZeroDivisionError" in measured.coverage.blind
    assert findings == ()
    assert seen.trained.steps > 3


def test_a_rule_on_a_kind_without_its_tracker_says_so(composed):
    overrides = ("experiment=movielens_mf", *TINY, rule_on("nobody_measures"))
    with pytest.raises(Exception, match=r"nothing measures 'nobody_measures'.*own_trackers"):
        rule_book(composed(*overrides), overrides, [])


def test_boosters_and_other_jobs_attach_none(own, composed):
    path = own(shown())
    entry = "+own_trackers={norms: {_target_: " + own.tag + "_trackers.LayerNorms}}"
    with pytest.raises(Exception, match="training by Boosting attaches none"):
        check_settings(composed(path, "experiment=movielens_boosting", "seeds.test=[1,2]", entry))
