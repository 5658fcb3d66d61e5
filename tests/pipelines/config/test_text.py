"""Configs as text are what OmegaConf writes, and are read as it reads them, whatever stands in them."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import pipelines
from pipelines.config.plain import plain_of
from pipelines.config.text import _Loader, _SlowLoader, to_yaml

TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=120)
VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.sampled_from(["on", "1e5", "0x1f", "~", ""])
)


@pytest.mark.parametrize(
    "overrides",
    [["experiment=movielens_mf"], ["experiment=faults_field"], ["experiment=compression_digits"], ["model=xgboost"]],
    ids=lambda overrides: overrides[0],
)
def test_a_config_reads_as_omegaconf_writes_it(composed, overrides):
    """With the rules, which are most of a text and the same in every config, in the first alone."""
    config = composed(*overrides, rules="experiment=movielens_mf" in overrides)
    for sort_keys in (True, False):
        assert to_yaml(config, sort_keys=sort_keys) == OmegaConf.to_yaml(config, resolve=True, sort_keys=sort_keys)
    assert to_yaml(config, resolve=False) == OmegaConf.to_yaml(config)


class Level(Enum):
    HIGH = 1


@dataclass
class Settings:
    either: int | str = 3
    level: Level = Level.HIGH
    place: Path = Path("here")
    rate: float = MISSING


@pytest.mark.parametrize(
    "content",
    [
        {"a": 1, "b": "${a}", "c": {"d": ["${b}", "x${a}"]}, "e": "${c}", "f": None, "g": [], 3: {"h": "???"}},
        {"a": "\\${b}", "b": [{"c": [1, [2.5, True]]}], "level": Level.HIGH, "in": {"level": [Level.HIGH]}},
        {"typed": Settings, "own": {"typed": Settings, "either": "${typed.either}"}},
        [1, "${0}", {"a": "${0}"}],
        {"whole": None, "next": "${whole}", "list": "${next}"},
    ],
    ids=str,
)
@pytest.mark.parametrize("resolve", [True, False])
def test_plain_values_are_those_of_omegaconf(content, resolve):
    config = OmegaConf.create(content)
    wanted = OmegaConf.to_container(config, resolve=resolve, enum_to_str=True)
    found = plain_of(config, resolve=resolve)
    assert found == wanted
    assert repr(found) == repr(wanted)


def test_an_interpolation_that_leads_nowhere_is_told_in_the_words_of_omegaconf():
    for content in ({"a": "${b}"}, {"a": {"b": ["${c}"]}}):
        config = OmegaConf.create(content)
        with pytest.raises(OmegaConfBaseException) as wanted:
            OmegaConf.to_container(config, resolve=True)
        with pytest.raises(OmegaConfBaseException) as found:
            plain_of(config, resolve=True)
        assert str(found.value) == str(wanted.value)


@given(
    st.dictionaries(st.from_regex(r"[a-z_]{1,9}", fullmatch=True), VALUES | st.lists(VALUES, max_size=3), max_size=4)
)
def test_any_values_come_back(content):
    text = to_yaml(OmegaConf.create(content), resolve=False)
    assert OmegaConf.to_yaml(OmegaConf.create(text)) == OmegaConf.to_yaml(OmegaConf.create(content))


ROOT = Path(pipelines.__file__).parents[1]
FILES = sorted([*(ROOT / "conf").rglob("*.yaml"), *(ROOT / "flowgrad" / "conf").rglob("*.yaml")])


def test_every_config_reads_as_omegaconf_reads_it():
    for file in FILES:
        text = file.read_text("utf-8")
        assert yaml.load(text, Loader=_Loader) == yaml.load(text, Loader=_SlowLoader), file


@given(st.dictionaries(TEXTS, VALUES | st.lists(VALUES, max_size=3) | st.dictionaries(TEXTS, VALUES, max_size=3)))
def test_any_text_reads_as_omegaconf_reads_it(content):
    text = yaml.safe_dump(content, allow_unicode=True)
    assert repr(yaml.load(text, Loader=_Loader)) == repr(yaml.load(text, Loader=_SlowLoader))


@pytest.mark.parametrize(
    "text",
    ["1e5", "a: 1_0", "a: .5e+3", "a: 2001-01-01", "a: &x {b: 1}\nc: *x", "a: {b: 1}\n<<: {c: 2}", "", "# nothing",
     "a: yes\nb: 0o7\nc: 1:30", "a: |\n  two\n  lines\n", "!!python/object/apply:pathlib.Path [a, b]", "- ~\n- null"],
)  # fmt: skip
def test_odd_texts_read_as_omegaconf_reads_them(text):
    assert yaml.load(text, Loader=_Loader) == yaml.load(text, Loader=_SlowLoader)


@pytest.mark.parametrize("text", ["a: 1\na: 2", "a: [1", "a: b: c", "\tx", "a: *missing", "a: 1\n---\nb: 2", "? [1]"])
def test_what_is_no_yaml_is_told_in_the_words_of_omegaconf(tmp_path, text):
    """The line that is wrong is shown, which libyaml does not do."""
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    said = []
    for loader in (_Loader, _SlowLoader):
        with file.open(encoding="utf-8") as stream, pytest.raises(yaml.YAMLError) as caught:
            yaml.load(stream, Loader=loader)
        said.append(str(caught.value))
    assert said[0] == said[1]
