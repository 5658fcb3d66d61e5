"""Values that no setting can mean are refused, whatever they are of, before anything is trained."""

from __future__ import annotations

import re

import pytest
from omegaconf import OmegaConf

from flowgrad.errors import FlowGradError
from pipelines.config.compose import trains_alike
from pipelines.config.memory import check_parameters
from pipelines.config.schema.limits import Limit
from pipelines.config.values import check_values
from pipelines.stages.check import check_settings, check_trial, check_tuned

MF = ("experiment=movielens_mf", "dataset=synthetic", "seeds.test=[1,2,3]", "workers=1")
NETWORK = ("experiment=layers_digits", "seeds.test=[1,2,3]", "workers=1")
LARGE = 123456789012345678901234

NONSENSE = {
    "comparison.overlap": float("nan"),
    "fault.strength": float("nan"),
    "fault.share": 1.5,
    "optimizer.momentum": 5,
    "optimizer.lr": 1e308,
    "optimizer.weight_decay": float("inf"),
    "loss.logq": 2,
    "model.init_std": float("inf"),
    "model.dim": 10**9,
    "training.epochs": LARGE,
    "training.batch_size": 2**63 - 1,
    "dataset.split_seed": -1,
    "dataset.noise": float("-inf"),
    "seeds.diagnosis": LARGE,
    "seeds.auto.effect": float("inf"),
    "rounds": LARGE,
    "workers": 0,
    "tracker.tables": ["user_emb", "user_emb"],
    "evidence.files": ["a.csv", "a.csv"],
    "comparison.metrics": ["mse", "mse"],
    "seeds.test": [1, 2, LARGE],
    "trial": ["rounds"],
}


@pytest.mark.parametrize("key", NONSENSE)
def test_nonsense_is_refused_by_its_key(composed, key):
    """Each of these was accepted in silence, or ended in a traceback."""
    config = composed(*MF)
    OmegaConf.update(config, key, NONSENSE[key], force_add=False)
    with pytest.raises(FlowGradError, match=re.escape(key.partition(".")[0])):
        check_settings(config)


@pytest.mark.parametrize(
    ("limit", "value", "told"),
    [
        (Limit(1, 3), 0, "must be at least 1"),
        (Limit(1, 3), 4, "must be at most 3"),
        (Limit(above=0, below=1), 0, "must be above 0"),
        (Limit(above=0, below=1), 1, "must be below 1"),
        (Limit(above=0, least=1e-9), 0, "must be above 0"),
        (Limit(above=0, least=1e-9), 1e-12, "must be at least 1e-09"),
    ],
)
def test_a_limit_names_the_end_that_a_value_is_beyond(limit, value, told):
    assert limit.complaint(value) == told


@pytest.mark.parametrize(
    ("limit", "value"),
    [(Limit(1, 3), 1), (Limit(1, 3), 3), (Limit(above=0, below=1), 0.5), (Limit(), 1e300), (Limit(below=1), -5)],
)
def test_a_value_within_its_limit_is_no_complaint(limit, value):
    assert limit.complaint(value) == ""


PATHS = {
    "empty": ("", "empty"),
    "blank": (" ", "empty"),
    "NUL": ("a\0b", "NUL"),
    "long name": ("x" * 300, "too long"),
    "long": ("/x" * 2500, "characters|too long"),
    "user": ("~nosuchuser/a", "no user 'nosuchuser'"),
    "half a character": ("\ud800", "half a character"),
}


@pytest.mark.parametrize("kind", PATHS)
@pytest.mark.parametrize("key", ["dataset.path", "dataset.cache", "evidence.files"])
def test_paths_that_cannot_be(composed, key, kind):
    """An empty one meant the working directory; others ended in a traceback."""
    value, said = PATHS[kind]
    config = composed("experiment=movielens_mf")
    OmegaConf.update(config, key, [value] if key.endswith("files") else value)
    with pytest.raises(FlowGradError, match=said):
        check_values(config)


@pytest.mark.parametrize("value", [5, 2**63 - 1, "fc1", [1], {"layers.0": "x"}, {"layers.0": float("nan")}])
def test_rates_of_layers_are_a_mapping_to_numbers(composed, value):
    config = composed(*NETWORK)
    config.training.layer_lr = value
    with pytest.raises(FlowGradError, match=r"training\.layer_lr"):
        check_settings(config)


def test_a_batch_of_one_row_has_nothing_to_train(composed):
    config = composed(*NETWORK)
    config.training.batch_size = 1
    with pytest.raises(FlowGradError, match=r"training\.batch_size=1: must be at least 2"):
        check_settings(config)


@pytest.mark.parametrize("name", ["torch.optim.LBFGS", "os.getcwd", "torch.nn.Linear"])
def test_what_cannot_be_stepped_is_no_optimizer(composed, name):
    config = composed(*MF)
    config.optimizer._target_ = name
    with pytest.raises(FlowGradError, match=r"optimizer\._target_"):
        check_settings(config)


@pytest.mark.parametrize(
    "trial",
    ["rounds=5", "name=other", "model.dim=32", "training.patience=9", "training.threads=2", "evidence.shipped=false",
     "tracker.tables=[user_emb]", "fault.seed=3", "training.cutoff=5"],
)  # fmt: skip
def test_a_trial_that_changes_nothing_that_is_trained(composed, trial):
    """The config was proven against itself."""
    config = composed(*MF)
    config.trial = [trial]
    with pytest.raises(FlowGradError, match="changes nothing that is trained"):
        check_trial(config, MF)


@pytest.mark.parametrize("trial", ["model.dim=8", "training.treat=true", "optimizer=sgd", "training.epochs=3"])
def test_a_trial_that_changes_something(composed, trial):
    config = composed(*MF)
    config.trial = [trial]
    check_trial(config, MF)
    assert not trains_alike(config, composed(*MF, trial))


@pytest.mark.parametrize("tuned", ["nope", "", "0", "layers_digits_tuned", "movielens_implicit_tuned"])
def test_a_tuned_experiment_of_another_kind(composed, tuned):
    config = composed(*MF)
    config.tuned = tuned
    with pytest.raises(FlowGradError, match=r"^tuned="):
        check_tuned(config, MF)


def test_the_healthy_configs_pass(composed):
    for overrides in (MF, NETWORK):
        config = composed(*overrides)
        check_settings(config)
        assert check_tuned(config, overrides) is not None


def test_a_model_that_does_not_fit_is_refused_before_it_is_made():
    """The process was killed."""
    with pytest.raises(FlowGradError, match="GiB"):
        check_parameters("model.dim", lambda: 10**13)
    check_parameters("model.dim", lambda: 1000)


@pytest.mark.parametrize("key", ["training.capped_rows", "sampler.quarantine", "trial", "evidence.files", "seeds"])
def test_an_interpolation_that_stands_for_something_else_is_refused(composed, key):
    """OmegaConf takes `training.capped_rows=${name}` for a mapping; it ended in an AttributeError in the training."""
    wanted = "mapping" if key in ("training.capped_rows", "sampler.quarantine", "seeds") else "list"
    config = composed(*MF, key + "=${name}")
    with pytest.raises(
        FlowGradError, match=re.escape(f"{key}=${{name}} stands for 'movielens_mf'; it must be a {wanted}")
    ):
        check_values(config)
    check_values(composed(*MF, "comparison.metrics=${oc.select:task.metrics,[mse]}"))
