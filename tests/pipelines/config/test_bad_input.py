"""Every mistake is one line that names the thing, and exit code 2."""

from __future__ import annotations

import os
import shlex

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser

from pipelines import run as application
from pipelines.benchmarks.claims import reproduction

RULE = "subject: embedding, type: MINE, premise: p, implies: i, action: LOOK, expected_effect: e"

MISTAKES = {
    "key": (["optimizer.lrx=1"], ["optimizer.lrx", "did you mean 'lr'?"]),
    "key of others": (["optimizer.speed=1"], ["optimizer.speed", "known: lr, weight_decay"]),
    "top key": (["nope=1"], ["nope"]),
    "type": (["optimizer.lr=abc"], ["optimizer.lr", "abc"]),
    "no value": (["optimizer.lr="], ["optimizer.lr"]),
    "group": (["optimizer=adamm"], ["optimizer/adamm", "sparse_adam"]),
    "experiment": (["experiment=nope"], ["experiment/nope", "movielens_mf"]),
    "target": (["optimizer._target_=torch.optim.Nope"], ["optimizer._target_", "torch.optim.Nope"]),
    "no model": (["model=null"], ["NoneType"]),
    "a booster in epochs": (["model=xgboost"], ["model", "Factorization", "model=mf"]),
    "a table in epochs": (["dataset=movielens_table"], ["dataset", "dataset=movielens_100k"]),
    "epochs of a booster": (["training=boosting"], ["Boosting", "dataset=movielens_table"]),
    "negative lr": (["optimizer.lr=-1"], ["optimizer.lr=-1"]),
    "infinite lr": (["optimizer.lr=inf"], ["optimizer.lr=inf"]),
    "dim": (["model.dim=0"], ["model.dim=0", "at least 1"]),
    "split": (["dataset.split=x"], ["dataset.split", "leave_one_out"]),
    "metric": (["comparison.metrics=[ndcg@10]"], ["ndcg@10", "mse"]),
    "evaluation": (["training.evaluation=x"], ["training.evaluation", "ranking"]),
    "one seed": (["seeds.test=[1]"], ["seeds.test=[1]", "at least 2"]),
    "double seed": (["seeds.test=[1,1]"], ["seeds.test=[1, 1]", "different"]),
    "diagnosis seed": (["seeds.diagnosis=101"], ["seeds.diagnosis=101", "seeds.test"]),
    "pruning and proof": (["seeds.pruning=[5,6,101]"], ["seeds.pruning", "101", "of the proof"]),
    "pruning and diagnosis": (["seeds.pruning=[0,5,6]"], ["seeds.pruning", "0", "diagnosis"]),
    "pruning and control": (["seeds.pruning=[1101,5,6]"], ["seeds.pruning", "1101"]),
    "pruning and pilot": (["seeds.test=auto", "seeds.pruning=[901,5,6]"], ["seeds.pruning", "901", "pilot"]),
    "few of pruning": (["seeds.pruning=[5,6]"], ["seeds.pruning=[5, 6]", "3 seeds", "pruning.enabled=false"]),
    "margin of pruning": (["pruning.margin=1.5"], ["pruning.margin", "below 1"]),
    "A/A overlap": (["comparison.aa_offset=1"], ["comparison.aa_offset=1"]),
    "setting the optimizer lacks": (["optimizer=sparse_adam", "optimizer.weight_decay=0.1"], ["weight_decay"]),
    "setting the loss lacks": (["loss.logq=1"], ["loss.logq"]),
    "table": (["tracker.tables=[x]"], ["tracker.tables", "user_emb"]),
    "missing path": (["dataset=ratings_csv"], ["dataset.path is missing; give it as dataset.path=VALUE"]),
    "missing name": (["name=???"], ["name is missing; give it as name=VALUE"]),
    "no file": (["dataset=ratings_csv", "dataset.path=/no/such.csv"], ["/no/such.csv"]),
    "rule name": (["rules.zombie_rows.condition='zombi_share > 1'"], ["zombie_rows", "zombi_share", "column 1"]),
    "rule syntax": (["rules.zombie_rows.condition='zombie_share >'"], ["zombie_rows", "column"]),
    "rule key": ([f"+rules.mine={{{RULE}, condition: 'rows > 1', colour: red}}"], ["mine", "colour"]),
    "rule lacks key": (["+rules.mine={subject: embedding}"], ["mine", "condition"]),
    "rule reaches Python": (["rules.zombie_rows.condition=\"__import__('os').getcwd()\""], ["zombie_rows"]),
    "fix path": (
        [f"+rules.mine={{{RULE}, condition: 'rows > 1', fix: {{set: {{optimizer.lrr: 1}}}}}}"],
        ["command line", "mine", "optimizer.lrr", "optimizer.lr"],
    ),
    "fix of a seed": (
        [f"+rules.mine={{{RULE}, condition: 'rows > 1', fix: {{set: {{seeds.diagnosis: 101}}}}}}"],
        ["mine", "seeds.diagnosis"],
    ),
    "fix to a config that cannot run": (
        [f"+rules.mine={{{RULE}, condition: 'rows > 1', fix: {{set: {{training.epochs: 0}}}}}}"],
        ["mine", "training.epochs=0"],
    ),
    "fix of a group": (
        [f"+rules.mine={{{RULE}, condition: 'rows > 1', fix: {{set: {{optimizer: sgd}}}}}}"],
        ["mine", "'optimizer'"],
    ),
    "loss and evaluation": (["loss=in_batch_softmax"], ["training.evaluation=rating", "training=ranking"]),
    "a format that is none": (["dataset=ratings_csv", "dataset.path=x", "dataset.encoding=utf9"], ["dataset.encoding"]),
    "no header and names": (
        ["dataset=ratings_csv", "dataset.header=maybe", "dataset.path=x"],
        ["dataset.header", "auto"],
    ),
    "a share above 1": (["dataset=ratings_csv", "dataset.path=x", "dataset.max_bad_share=2"], ["max_bad_share"]),
    "a trial of two signs": (["trial=['model.dim=a=b']"], ["trial", """'model.dim="a=b"'"""]),
    "no workers": (["workers=0"], ["workers=0"]),
    "sparse gradients": (["optimizer.sparse_gradients=true"], ["Adam", "sparse_gradients"]),
    "a student that is treated": (
        ["experiment=distillation_movielens", "training.treat=true"],
        ["training.treat=true"],
    ),
    "name": (["name=../out"], ["name='../out'"]),
    "share of a removed rule": (
        ["~rules.hot_rows", "rules.dead_rows.condition='hot_share > 0.1'"],
        ["dead_rows", "hot_share"],
    ),
}


UNREADABLE = {
    "equals sign": "dataset.path=data/epoch=3.csv",
    "space and brackets": "dataset.path=data/my ratings (1).csv",
    "comma": "dataset.path=data/a,b.csv",
    "a call": "dataset.path=backup(2).csv",
    "square brackets": "dataset.path=[old] ratings.csv",
    "braces": "dataset.path={old}.csv",
    "one single quote": "dataset.path=it's.csv",
    "one double quote": 'dataset.path=12" records.csv',
    "both quotes": "dataset.path=a'b\"c=d.csv",
    "letters with accents": "dataset.path=café.csv",
    "home": "dataset.path=~/ratings.csv",
    "shell characters": "dataset.path=a#b&c;d.csv",
    "semicolon": "dataset.separator=;",
    "comma alone": "dataset.decimal=,",
    "run folder": "hydra.run.dir=data/x=(1)",
}


@pytest.mark.parametrize("argument", UNREADABLE.values(), ids=UNREADABLE)
def test_an_argument_that_hydra_does_not_read_is_shown_quoted_for_the_shell(capsys, argument):
    """It was "mismatched input '='", which names neither the argument nor the way out."""
    GlobalHydra.instance().clear()
    code = application.main(["dataset=ratings_csv", argument])
    (line,) = capsys.readouterr().err.splitlines()
    assert code == 2
    assert argument in line
    pasted = line.partition("quote it: ")[2].partition("; for a list: ")[0]
    (word,) = shlex.split(pasted)
    key, _, value = argument.partition("=")
    override = OverridesParser.create().parse_override(word)
    assert (override.key_or_group, override.value()) == (key, value)


@pytest.mark.parametrize("stray", [",", ";", ", "])
def test_what_stands_behind_a_number_is_to_be_left_out(capsys, stray):
    """`optimizer.lr=1e-3,` was to be quoted, which makes no number of it."""
    GlobalHydra.instance().clear()
    assert application.main([f"optimizer.lr=1e-3{stray}"]) == 2
    assert "leave out what stands at its end: optimizer.lr=1e-3; or" in capsys.readouterr().err


def test_the_way_out_in_the_words_of_the_shell(capsys):
    GlobalHydra.instance().clear()
    application.main(["dataset=ratings_csv", "dataset.path=data/epoch=3.csv"])
    assert """'dataset.path="data/epoch=3.csv"'""" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["dataset.path=data/my", "ratings.csv"], """quote both: 'dataset.path="data/my ratings.csv"'"""),
        (["trial=[optimizer.lr=0.1]"], """'trial=["optimizer.lr=0.1"]'"""),
        (["seeds.test=[1,2"], "'seeds.test=[1, 2]'"),
        (["seeds.test=1,2,3"], "for a list: 'seeds.test=[1,2,3]'"),
        (["dataset path=3"], "'dataset path' is no key"),
    ],
)
def test_arguments_that_are_no_single_text(capsys, arguments, named):
    GlobalHydra.instance().clear()
    code = application.main(["dataset=ratings_csv", *arguments])
    (line,) = capsys.readouterr().err.splitlines()
    assert code == 2
    assert named in line


def test_a_sweep_does_not_take_the_name_of_a_file_apart(capsys, tmp_path):
    (tmp_path / "a,b.csv").write_text("user,item,rating\n")
    GlobalHydra.instance().clear()
    code = application.main(["-m", "dataset=ratings_csv", f"dataset.path={tmp_path}/a,b.csv"])
    (line,) = capsys.readouterr().err.splitlines()
    assert code == 2
    assert f"""'dataset.path="{tmp_path}/a,b.csv"'""" in line


@pytest.mark.parametrize("argument", ["folder=data/a=b", "folder=data/a,b", "folder=data/a (1)"])
def test_a_reproduction_shows_such_an_argument_quoted_too(capsys, argument):
    code = reproduction.main([argument])
    (line,) = capsys.readouterr().err.splitlines()
    assert code == 2
    assert f"""'folder="{argument.partition("=")[2]}"'""" in line


@pytest.mark.parametrize("mistake", MISTAKES)
def test_one_line_and_exit_code_2(command, mistake):
    arguments, named = MISTAKES[mistake]
    code, folder, err = command("dataset=synthetic", "seeds.test=[101,102]", "workers=1", *arguments)
    lines = [line for line in err.splitlines() if line.strip()]
    assert code == 2
    assert len(lines) == 1, err
    assert all(part in lines[0] for part in named), lines[0]
    assert "Traceback" not in err
    assert not (folder / "observations.csv").exists()


def test_a_bad_rule_file_is_named_with_its_line(command, tmp_path):
    (tmp_path / "mine" / "rules").mkdir(parents=True)
    (tmp_path / "mine" / "rules" / "own.yaml").write_text(
        "# a comment\nold_rows:\n  subject: embedding\n  type: HOT\n  condition: velocty > 1\n"
        "  premise: p\n  implies: i\n  action: LOOK\n  expected_effect: e\n"
    )
    code, _, err = command("dataset=synthetic", "--config-dir", str(tmp_path / "mine"), "+rules=own")
    assert code == 2
    assert "own.yaml:2" in err
    assert "old_rows" in err
    assert "'velocty' at column 1" in err


def test_a_mistake_in_a_sweep_ends_it_with_the_same_line(command):
    code, _, err = command("-m", "dataset=synthetic", "optimizer.lrx=1,2")
    assert code == 2
    assert "optimizer.lrx" in err


@pytest.mark.parametrize(
    "name", ["os.abort", "os.getcwd", "shutil.copytree", "pipelines.stages.check.check_settings", "int"]
)
def test_what_is_no_job_is_not_called(command, name):
    """`os.abort` was called with the config, and failed by nothing but the number of its arguments."""
    code, _, err = command("experiment=movielens_mf", "dataset=synthetic", f"job._target_={name}")
    assert code == 2
    assert err.count("\n") == 1
    assert f"job._target_={name}" in err


@pytest.mark.parametrize("name", ["run.log", ".hydra/config.yaml", ".hydra/hydra.yaml", "multirun.yaml", "."])
def test_a_pipe_in_the_place_of_a_file_of_a_run(command, tmp_path, name):
    """The run waited for ever for somebody who reads it."""
    path = tmp_path / "piped" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    swept = ["-m"] if name == "multirun.yaml" else []
    code, _, err = command(*swept, "dataset=synthetic", folder="piped")
    assert code == 2
    assert err.count("error: ") == 1
    assert len(err.splitlines()) == 1


CONFIGS = {
    "defaults: [mine]\n": "refers to itself",
    "a: &a [*a]\n": "refers to itself",
    "a: " + "[" * 3000: "refers to itself",
    "5\n": "hold a mapping",
    "name: '\udcff'\n": "no UTF-8",
}


@pytest.mark.parametrize("content", CONFIGS)
def test_a_config_of_the_users_own_that_is_none(command, tmp_path, content):
    """One that names itself was told as a choice of a group that is no name."""
    file = tmp_path / "mine" / "experiment" / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_bytes(f"# @package _global_\n{content}".encode(errors="surrogateescape"))
    code, _, err = command("--config-dir", str(tmp_path / "mine"), "experiment=mine")
    assert code == 2
    assert len(err.splitlines()) == 1
    assert CONFIGS[content] in err
