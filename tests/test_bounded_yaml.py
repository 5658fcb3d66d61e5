"""Texts that PyYAML reads wrongly or not at all: every one is a YAML error."""

from __future__ import annotations

import pytest
import yaml

from flowgrad.bounded_yaml import load_yaml


@pytest.mark.parametrize(
    "text", ["!!timestamp soon", "!!timestamp 99999-99-99", "!!bool maybe", "!!int ''", "!!float ''", "!!int x",
             "!!binary é", "!!omap {a: 1}", "!!pairs 3", "!!set [a]", "!!map 3", "!!seq x", "? [a]\n: 1", "2001-02-30",
             "!!null x: 1"],
)  # fmt: skip
def test_a_tag_whose_text_does_not_fit(text):
    """`!!timestamp` before other text ended in an AttributeError, in a recipe or a file of rules."""
    for given in (text, f"a: {text}" if "\n" not in text else text):
        try:
            load_yaml(given, 1000)
        except yaml.YAMLError:
            continue
        assert text.startswith(("!!null", "!!set", "!!pairs", "!!omap"))


def test_tags_that_fit():
    assert load_yaml("{a: !!int '3', b: !!bool 'yes', c: !!float '1'}", 1000) == {"a": 3, "b": True, "c": 1.0}
