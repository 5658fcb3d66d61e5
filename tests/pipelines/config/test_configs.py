"""Every overlay and every choice composes, and every shipped fix changes what it says on every experiment."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from hydra import compose
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError

from flowgrad.evidence.confidence import posterior
from flowgrad.prescription import prescribe
from flowgrad.rules import Finding, RuleBook
from flowgrad.rules.rule import Fix
from pipelines.config.compose import composed as composed_without_rules
from pipelines.config.compose import config_sha256, treated, tuned_overrides, with_overrides
from pipelines.config.copies import OMEGACONFS_OWN
from pipelines.config.merged_rules import in_turn, merged_once
from pipelines.stages.check import check_settings
from pipelines.stages.rule_book import fitting, rule_book
from pipelines.trainers.trainer import trainer_of
from tests.composed_once import HYDRAS_OWN

CONF = Path(__file__).parents[3] / "conf"
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
CHOICES = [
    f"{group}={path.stem}"
    for group in ("dataset", "model", "optimizer", "sampler", "loss", "training", "tracker", "comparison", "job")
    for path in sorted((CONF / group).glob("*.yaml"))
]
PRESCRIBING = (
    "pipelines.jobs.closed_loop.run",
    "pipelines.jobs.compression.job.run",
    "pipelines.jobs.feature_synergy.job.run",
)
BOOK = RuleBook.load()


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_overlay_is_whole(composed, experiment):
    config = composed(f"experiment={experiment}")
    assert config.name == experiment
    check_settings(config)
    assert set(BOOK) <= set(rule_book(config, [], []))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_overlay_opens_with_its_command(experiment):
    lines = (CONF / "experiment" / f"{experiment}.yaml").read_text().splitlines()
    assert lines[1] == f"# python -m pipelines.run experiment={experiment}"


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_composes(composed, choice):
    composed(choice, rules=False)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_fix_reaches_every_experiment(composed, experiment):
    """A value that an experiment pins must not outlive the fix: the recomposed config holds what was prescribed."""
    task = [f"experiment={experiment}"]
    config = composed(*task, rules=False)
    if config.job._target_ not in PRESCRIBING:
        return  # what it prescribes is for settings that are experiments of their own
    subjects = trainer_of(config).SUBJECTS
    if config.optimizer is not None:
        task.append("optimizer.weight_decay=0.01")
        config = composed(*task, rules=False)
    for rule in fitting(BOOK, config).values():
        if rule.fix is None or rule.subject not in subjects:
            continue  # another kind of model's
        finding = Finding(rule.id, "T", "high", "s", "", "", "", "", posterior(), fix=rule.fix)
        prescription = prescribe([finding], config)
        after = composed(*with_overrides(task, prescription.overrides), rules=False)
        assert plain(treated(config, task, prescription.overrides)) == plain(after)
        for path in prescription.was:
            assert OmegaConf.select(after, path) != OmegaConf.select(config, path), (rule.id, path)
        for path, value in rule.fix.set.items():
            assert OmegaConf.select(after, path) == value, (rule.id, path)
        for path, factor in rule.fix.scale.items():
            before = OmegaConf.select(config, path)
            assert OmegaConf.select(after, path) == pytest.approx(before * factor), (rule.id, path)


def test_a_fix_that_changes_nothing_is_none(composed):
    config = composed("model.biases=true")
    finding = Finding("r", "T", "high", "s", "", "", "", "", posterior(), fix=Fix(set={"model.biases": True}))
    assert not prescribe([finding], config)


def test_tuned_arm_shares_data_and_seeds_only():
    task = ["experiment=a", "dataset=synthetic", "dataset.seed=3", "seeds.test=[1,2]", "optimizer.lr=1", "model.dim=2"]
    assert tuned_overrides(task, "b") == ["experiment=b", "dataset=synthetic", "dataset.seed=3", "seeds.test=[1,2]"]


def test_overrides_replace_those_of_the_same_key():
    assert with_overrides(["experiment=a", "optimizer.lr=1"], ["optimizer.lr=2", "x=3"]) == [
        "experiment=a",
        "optimizer.lr=2",
        "x=3",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        ["optimizer.lr=0.7", "training.epochs=3"],
        ["training.early_stopping=true"],
        ["seeds.test=[1,2,3]"],
        ["optimizer=adagrad"],
        ["optimizer=adagrad", "optimizer.lr=0.7"],
        ["tuned=null"],
        ["loss.l2=0"],
        ["name=other"],
        ["+dataset.keep=0.5"],
        ["~tuned"],
        [],
    ],
    ids=str,
)
def test_a_config_changed_is_the_one_composed_anew(composed, changes):
    task = ["experiment=movielens_mf", "model.dim=8", "optimizer.lr=0.1"]
    config = composed(*task)
    wanted = composed(*with_overrides(task, changes))
    found = treated(config, task, changes)
    assert plain(found) == plain(wanted)
    assert OmegaConf.get_type(found) is OmegaConf.get_type(wanted)
    assert plain(config) == plain(composed(*task))


@pytest.mark.parametrize(
    "values",
    [["optimizer.lr=0.7"], ["seeds.test=[1,2]", "loss.l2=0.1"], ["+dataset.keep=0.5"], ["name=other"], []],
    ids=str,
)
def test_parts_that_were_composed_before_take_other_values(composed, values):
    """Benchmarks compose hundreds of configs of the same parts; Hydra takes a seventh of a second for each."""
    task = ["experiment=movielens_mf_tuned", "optimizer=adagrad"]
    wanted = composed(*task, *values, rules=False)
    for _ in range(2):
        found = composed_without_rules([*task, *values], rules=False)
        assert plain(found) == plain(wanted)
        assert OmegaConf.get_type(found, "optimizer") is OmegaConf.get_type(wanted, "optimizer")
        found.model.dim = 3  # it is nobody else's


def plain(config):
    """To compare configs as such takes seconds."""
    return OmegaConf.to_container(config)


def in_order(config):
    """Values with their types and in their order, which to write as YAML takes half a second."""
    return json.dumps(plain(config))


@pytest.mark.parametrize("change", ["optimizer.lr=fast", "optimizer.rate=1", "nowhere.lr=1", "training.epochs=1.5"])
def test_what_cannot_be_composed_cannot_be_changed(composed, change):
    with pytest.raises(HydraException) as composing:
        composed("experiment=movielens_mf", change)
    with pytest.raises(HydraException) as changing:
        treated(composed("experiment=movielens_mf"), ["experiment=movielens_mf"], [change])
    assert str(changing.value) == str(composing.value)


def test_config_hash_ignores_seeds_data_and_workers(composed):
    one = composed("seeds.diagnosis=3", "dataset=synthetic", "workers=2")
    assert config_sha256(one) == config_sha256(composed())
    assert config_sha256(one) != config_sha256(composed("model.dim=31"))


@pytest.mark.parametrize(
    ("arguments", "check"),
    [
        (['rules.zombie_rows.condition="zombie_share > 0.7"'], lambda b: "0.7" in b["zombie_rows"].condition.text),
        (["~rules.dead_rows"], lambda b: "dead_rows" not in b),
        (
            [
                '+rules.mine={subject: embedding, type: MY_RULE, condition: "exposure_gini > 0.7", premise: "…", '
                'implies: "…", action: LOOK, expected_effect: "…"}'
            ],
            lambda b: b["mine"].type == "MY_RULE" and b["mine"].source.startswith("command line"),
        ),
    ],
)
def test_rules_from_the_command_line(composed, arguments, check):
    assert check(rule_book(composed(*arguments), arguments, []))


@pytest.fixture
def hydras_own(monkeypatch):
    """Let Hydra compose as it does of itself, from here on."""

    def start():
        for (place, name), own in HYDRAS_OWN.items():
            monkeypatch.setattr(place, name, own)
        monkeypatch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", in_turn)

    return start


@pytest.mark.parametrize(
    "overrides",
    [
        ["experiment=movielens_mf"],
        ["experiment=layers_digits"],
        ["experiment=movielens_mf", "optimizer=adagrad", "optimizer.lr=0.7", "tuned=null", "~fault", "model.dim=3"],
        ["rules.zombie_rows.severity=low", "+rules.mine={subject: embedding}", "seeds.test=[1,2,3]"],
    ],
    ids=str,
)
def test_the_tests_compose_what_hydra_composes(composed, hydras_own, overrides):
    """They put the rules in afterwards, and the values into a config of the same choices, which is faster."""
    composed(*overrides, "workers=2")
    made = composed(*overrides)
    told = compose("config", overrides=overrides, return_hydra_config=True)
    hydras_own()
    wanted = compose("config", overrides=overrides)
    assert in_order(made) == in_order(wanted)
    assert nodes(told) == nodes(compose("config", overrides=overrides, return_hydra_config=True))
    for config in (made, wanted):
        with pytest.raises(ConfigAttributeError):
            config.rules.zombie_rows.nothing = 1


def nodes(config):
    """All there is to a config: of each node its kind, type, flags, parent and content."""
    kept, content = dict(config._metadata.__dict__), config.__dict__.get("_content", config.__dict__.get("_val"))
    kept.pop("resolver_cache", None)
    if isinstance(content, dict):
        content = [(key, node._get_parent() is config, nodes(node)) for key, node in content.items()]
    elif isinstance(content, list):
        content = [(node._get_parent() is config, nodes(node)) for node in content]
    return type(config).__name__, kept, content


OWN = "own:\n  subject: embedding\nzombie_rows:\n  severity: low\n"


def test_configs_are_copied_as_omegaconf_does(composed, monkeypatch):
    config = composed("experiment=movielens_mf", "seeds.test=[1,2]")
    OmegaConf.set_readonly(config.model, True)
    assert config.rules.zombie_rows._get_flag("struct")
    parts = [config, config.model, config.rules, config.seeds]
    found = [copy.deepcopy(part) for part in parts]
    for kind, copies in OMEGACONFS_OWN.items():
        monkeypatch.setattr(kind, "__deepcopy__", copies)
    assert [nodes(one) for one in found] == [nodes(copy.deepcopy(part)) for part in parts]
    assert [one._get_parent() for one in found] == [None, config, config, config]
    OmegaConf.set_readonly(found[0].model, False)
    found[0].model.dim = config.model.dim + 1
    assert OmegaConf.is_readonly(config.model)
    assert found[0].model.dim == config.model.dim + 1


@pytest.mark.parametrize(
    "overrides",
    [
        ["experiment=movielens_mf"],
        ["experiment=robustness", "optimizer.lr=0.5"],
        ["~rules.zombie_rows", "rules.dead_rows.severity=low", "+rules.mine={subject: embedding}"],
        ["hydra.searchpath=[library://flowgrad.conf,FOLDER]", "+rules=own"],
        ["hydra.searchpath=[FOLDER,library://flowgrad.conf]", "+rules=own"],
        ["hydra.searchpath=[FOLDER,library://flowgrad.conf]"],
        ["hydra.searchpath=[library://flowgrad.conf,FOLDER]", "experiment=own"],
    ],
    ids=str,
)
def test_rules_that_are_merged_once_are_those_merged_in_turn(composed, hydras_own, monkeypatch, tmp_path, overrides):
    """Of what a user has put over them too, by a file of a name of its own, or of one of theirs."""
    for folder in ("rules", "experiment"):
        (tmp_path / folder).mkdir()
    (tmp_path / "rules" / "own.yaml").write_text(OWN)
    (tmp_path / "rules" / "embedding.yaml").write_text(OWN)
    (tmp_path / "experiment" / "own.yaml").write_text("# @package _global_\nrules:\n  mine: {subject: embedding}\n")
    given = [override.replace("FOLDER", f"file://{tmp_path}") for override in overrides]
    hydras_own()
    monkeypatch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", merged_once)
    found = [compose("config", overrides=given, return_hydra_config=True) for _ in range(2)]
    hydras_own()
    wanted = nodes(compose("config", overrides=given, return_hydra_config=True))
    assert all(nodes(one) == wanted for one in found)
