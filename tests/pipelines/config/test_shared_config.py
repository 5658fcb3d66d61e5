"""Rules that configs share are those that each would have of its own, whatever is done with one of them."""

from __future__ import annotations

import copy
import pickle

import pytest
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError

from pipelines.config.merged_rules import put_rules, rules_of
from pipelines.config.plain import plain_of
from pipelines.config.shared_config import SharedConfig, Source

RULES = {"dead": {"condition": "x > 1", "fix": {"set": {"a": 2}}}, "slow": {"condition": "x < 1"}}


def made(rules, source=None):
    """A config that shares rules, and one that has them of its own."""
    shared, own = (OmegaConf.create({"a": 1, "rules": {}, "b": [1, 2]}) for _ in range(2))
    own.rules = rules
    assert put_rules(shared, source or Source(OmegaConf.create(rules)))
    for config in (shared, own):
        OmegaConf.set_struct(config, True)
    return shared, own


def is_shared(config):
    return type(rules_of(config)) is SharedConfig


@pytest.mark.parametrize("resolve", [True, False])
@pytest.mark.parametrize("rules", [RULES, RULES | {"mine": {"condition": "x > ${a}"}}], ids=["plain", "interpolated"])
def test_values_are_read_as_omegaconf_reads_them(rules, resolve):
    shared, own = made(rules)
    for _ in range(2):
        found = plain_of(shared, resolve=resolve)
        assert found == OmegaConf.to_container(own, resolve=resolve)
        assert list(found) == ["a", "rules", "b"]
        found["rules"].clear()  # it is nobody else's
    assert plain_of(rules_of(shared), resolve=resolve) == OmegaConf.to_container(own.rules, resolve=resolve)


def test_a_change_of_one_is_none_of_another():
    source = Source(OmegaConf.create(RULES))
    (one, _), (other, own) = made(RULES, source), made(RULES, source)
    again = copy.deepcopy(one)
    one.rules.dead.condition = "x > 2"
    OmegaConf.update(again, "rules.slow.condition", "x < 3")
    assert not is_shared(one)
    assert not is_shared(again)
    assert (one.rules.slow.condition, again.rules.slow.condition) == ("x < 1", "x < 3")
    assert is_shared(other)
    assert other == own
    assert source.config == RULES


@pytest.mark.parametrize(
    "copied", [lambda config: copy.deepcopy(config), lambda config: pickle.loads(pickle.dumps(config))]
)
def test_copies_are_what_copies_of_ones_own_are(copied):
    shared, own = made(RULES)
    found, wanted = copied(shared), copied(own)
    assert found == wanted
    for config in (found, wanted):
        assert type(config.rules) is DictConfig
        assert config.rules._get_parent() is config
        assert config.rules.dead._get_parent() is config.rules
        assert config.rules.dead._get_full_key("condition") == "rules.dead.condition"
        with pytest.raises(ConfigAttributeError):
            config.rules.dead.nothing = 1
        with open_dict(config):
            config.rules.dead.nothing = 1


def test_it_is_shared_until_something_looks_into_it():
    shared, _ = made(RULES)
    assert not OmegaConf.is_missing(shared, "rules")
    plain_of(shared, resolve=True)
    assert is_shared(copy.deepcopy(shared))
    with open_dict(shared):
        shared.c = 1
    assert is_shared(shared)
    assert len(shared.rules) == len(RULES)
    assert not is_shared(shared)


@pytest.mark.parametrize("rules", [{"mine": {}}, None, "${a}", []])
def test_rules_are_put_where_there_are_none(rules):
    config = OmegaConf.create({"a": 1, "rules": rules})
    assert not put_rules(config, Source(OmegaConf.create(RULES)))
    assert OmegaConf.to_container(config) == {"a": 1, "rules": rules}
