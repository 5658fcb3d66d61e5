"""Configs as text are what OmegaConf writes, whatever stands in them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from pipelines.config.text import to_yaml

TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=120)
VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.sampled_from(["on", "1e5", "0x1f", "~", ""])
)


@pytest.mark.parametrize(
    "overrides",
    [["experiment=movielens_mf"], ["experiment=faults_field"], ["experiment=compression_digits"], ["model=xgboost"]],
    ids=lambda overrides: overrides[0],
)
@pytest.mark.parametrize("sort_keys", [True, False])
def test_a_config_reads_as_omegaconf_writes_it(composed, overrides, sort_keys):
    config = composed(*overrides)
    assert to_yaml(config, sort_keys=sort_keys) == OmegaConf.to_yaml(config, resolve=True, sort_keys=sort_keys)
    assert to_yaml(config, resolve=False) == OmegaConf.to_yaml(config)


@given(
    st.dictionaries(st.from_regex(r"[a-z_]{1,9}", fullmatch=True), VALUES | st.lists(VALUES, max_size=3), max_size=4)
)
def test_any_values_come_back(content):
    text = to_yaml(OmegaConf.create(content), resolve=False)
    assert OmegaConf.to_yaml(OmegaConf.create(text)) == OmegaConf.to_yaml(OmegaConf.create(content))
