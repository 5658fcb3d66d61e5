"""`watch.to_html(path)`: a page of the training so far, which disturbs nothing."""

from __future__ import annotations

import json
import warnings

import pytest
import torch
from lxml import html
from torch import nn

import flowgrad
from flowgrad.__main__ import main
from tests.watching_loops import made, train


def page_of(watch, tmp_path):
    watch.to_html(tmp_path / "page.html", twin=tmp_path / "page.json")
    return html.parse(str(tmp_path / "page.html")).getroot(), json.loads((tmp_path / "page.json").read_text())


def titles(root):
    return [one.text_content() for one in root.xpath("//figcaption")]


def test_it_shows_findings_losses_layers_and_rows(watched, tmp_path):
    root, twin = page_of(watched, tmp_path)
    for what in ("training loss", "gradient flow", "update against weight", "how often rows are looked up"):
        assert any(what in title for title in titles(root)), what
    assert root.xpath("string(//h1)") == twin["verdict"]["headline"]
    assert "What was watched" in root.text_content()


def test_it_changes_nothing(watched, tmp_path):
    before, state = watched.to_json(), torch.get_rng_state()
    watched.to_html(tmp_path / "one.html")
    watched.to_html(tmp_path / "other.html")
    assert watched.to_json() == before
    assert torch.equal(torch.get_rng_state(), state)
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "other.html").read_bytes()


def test_a_training_of_which_nothing_was_seen_has_no_verdict(tmp_path):
    model = made()
    with flowgrad.watch(model, torch.optim.SGD(model.parameters(), 0.1)) as watch:
        root, twin = page_of(watch, tmp_path)
    assert twin["verdict"]["state"] == "not_observed"
    assert twin["verdict"]["detail"]
    assert not titles(root)


def test_a_watch_that_stopped_says_so(tmp_path):
    model = made()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = flowgrad.watch(model, optimizer)
    train(model, [optimizer], watch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        watch.log(loss=torch.zeros(3))
        watch.log(loss="no number")
    root, _ = page_of(watch, tmp_path)
    assert root.xpath("string(//h1)")
    watch.detach()


@pytest.mark.parametrize(
    "names", ["<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", "a\x00b\ud800"]
)
def test_names_of_models_and_layers_are_text(tmp_path, names):
    model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten())
    model.add_module(names.replace(".", "_"), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with flowgrad.watch(model, optimizer, name=names) as watch:
        for _ in range(30):
            model(torch.randint(0, 9, (5, 2))).square().mean().backward()
            optimizer.step()
        root, _ = page_of(watch, tmp_path)
        notebook = html.fromstring(f"<div>{watch._repr_html_()}</div>")
    assert len(root.xpath("//script")) == 1
    assert not notebook.xpath(".//script")
    assert not root.xpath("//img") + notebook.xpath(".//img")


SCRIPT = """
import torch
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), 0.01)
for _ in range(60):
    optimizer.zero_grad()
    model(torch.randn(8, 4)).square().mean().backward()
    optimizer.step()
"""


@pytest.mark.parametrize("script", [SCRIPT, "print('nothing is trained')"])
def test_the_command_writes_a_page(tmp_path, capfd, script):
    (tmp_path / "train.py").write_text(script)
    assert main(["run", "--report", str(tmp_path / "page.html"), str(tmp_path / "train.py")]) == 0
    root = html.parse(str(tmp_path / "page.html")).getroot()
    assert any("training loss" in title for title in titles(root)) == (script is SCRIPT)


@pytest.mark.parametrize("broken", [False, True])
def test_losses_that_are_not_finite_are_counted_where_they_are_not_drawn(broken, tmp_path):
    """The picture of a run that ended in NaN showed its first losses alone, and said nothing of the others."""
    model = made()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = flowgrad.watch(model, optimizer)
    train(model, [optimizer], watch)
    if broken:
        with torch.no_grad():
            for one in model.parameters():
                one.fill_(float("nan"))
        train(model, [optimizer], watch)
    root, _ = page_of(watch, tmp_path)
    (text,) = [one.text_content() for one in root.xpath("//figure") if "training loss" in one.text_content()]
    assert ("were NaN or infinite, and are not drawn" in text) is broken
