"""An honest trial: an agent that knows the skill and the commands alone is given sick runs, and sound ones.

It ends each with the right change applied and proven, or with the right question; what is right stands in the config of
`faults_field`, which was there before. Runs of `SICK` were looked at while the agent was written; those of `FRESH` were
drawn and tried once after that, and stand here as they ended. Three runs are tried with every test; `make test-agents`
tries all (FLOWGRAD_WHOLE_TRIAL=1). FLOWGRAD_GOLDEN=1 writes the transcripts.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import re
from pathlib import Path

import pytest
import yaml

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from flowgrad.__main__ import main
from pipelines.benchmarks.field.data import load
from pipelines.benchmarks.field.run import Task, watched
from pipelines.benchmarks.field.scoring import harm
from tests.agents.trial.agent import Agent
from tests.agents.trial.workshop import WATCHED, Workshop

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).with_name("golden") / "trial"
SICK = {
    "cnn gradients_not_cleared": "proven",
    "recurrent cleared_before_step": "proven",
    "cnn rate_x100": "proven",
    "recurrent rate_over_300": "proven",
    "cnn scheduler_every_batch": "proven",
    "cnn decay_on_everything": "proven",
    "recurrent inputs_vanish": "proven",
    "cnn same_batch": "proven",
    "cnn wrong_sign": "proven",
    "cnn left_in_eval": "asked",
    "recurrent rows_with_nan": "asked",
    "recurrent double_softmax": "asked",
    "recurrent labels_off_by_one": "asked",
}
"""Host and fault of each sick run, and how it ends."""
FRESH = {
    "transformer gradients_not_cleared": "proven",
    "recurrent sorted_and_not_shuffled": "asked",
    "cnn validated_in_train_mode": "asked",
    "cnn inputs_not_normalised": "asked",  # its change, by pixel instead of by channel, was refuted and taken back
    "recurrent tiny_training_set": "asked",
    "cnn weights_too_large": "asked",
    "cnn momentum_near_one": "proven",
    "recurrent clipped_before_unscaling": "asked",
    "cnn detached_late": "asked",
    "recurrent a_third_of_the_labels_wrong": "asked",
    "cnn labels_shuffled": "asked",
    "cnn rate_of_one_layer_tiny": "nothing",
    "cnn head_left_out": "proven",
}
HARMLESS = {"cnn rate_of_one_layer_tiny"}
"""Runs that it left as they were, where what was found stands below `medium`: right where the fault costs next to
nothing, which is measured.
"""
SOUND = ("cnn ", "recurrent ")
FEW = ("cnn same_batch", "cnn left_in_eval", "recurrent ")
"""Runs that every test tries."""
BENCHMARK = yaml.safe_load((ROOT / "conf" / "job" / "field_benchmark.yaml").read_text(encoding="utf-8"))
TRUTH, LEAST_COST = BENCHMARK["faults"], BENCHMARK["least_cost"]
WHOLE = bool(os.environ.get("FLOWGRAD_WHOLE_TRIAL") or os.environ.get("FLOWGRAD_GOLDEN"))


def flowgrad(*words):
    """Run a command, as a shell does."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = main(list(words))
    return code, json.loads(printed.getvalue())


@pytest.fixture(scope="module")
def data():
    return load(movielens=False)


@pytest.mark.parametrize("name", [*SICK, *SOUND, *FRESH])
def test_the_agent_ends_each_run_rightly(name, data, tmp_path, monkeypatch):
    if name not in FEW and not WHOLE:
        pytest.skip("make test-agents tries all runs")
    monkeypatch.chdir(tmp_path)
    host, _, fault = name.partition(" ")
    agent = Agent(flowgrad, Workshop(data, host, fault))
    ending = agent.solve()
    golden = GOLDEN / f"{host}_{fault or 'sound'}.txt"
    transcript = "\n".join(agent.transcript) + "\n"
    if os.environ.get("FLOWGRAD_GOLDEN"):
        golden.write_text(transcript, encoding="utf-8")
    if not fault:
        assert ending.how == "nothing", transcript
    else:
        assert ending.how == (SICK | FRESH)[name], transcript
        assert is_right(fault, ending) == (name not in HARMLESS), transcript
    assert transcript == golden.read_text(encoding="utf-8")


def is_right(fault, ending):
    """Whether a cause that was acted on is the fault's, or a question is about it."""
    truth = TRUTH[fault]
    if ending.type in truth["causes"]:
        return True
    return ending.how == "asked" and any(
        re.search(word, " ".join(ending.said), re.IGNORECASE) for word in truth["words"]
    )


@pytest.mark.parametrize("name", sorted(HARMLESS))
def test_what_it_left_alone_costs_next_to_nothing(name, data):
    """The limit is that of `faults_field`, below which a fault need not be found there either."""
    if not WHOLE:
        pytest.skip("make test-agents tries it")
    host, _, fault = name.partition(" ")
    faulted, sound = (
        watched(Task(host, WATCHED, kind, fault), data) for kind, fault in (("fault", fault), ("sound", ""))
    )
    assert harm(faulted, sound).most < LEAST_COST


def test_at_least_twelve_sick_runs_are_tried_and_some_end_with_a_question():
    assert len(SICK) >= 12
    assert set(SICK.values()) == {"proven", "asked"}
    assert len(list(GOLDEN.glob("*.txt"))) == len(SICK) + len(SOUND) + len(FRESH)


def test_the_page_tells_how_they_ended():
    page = " ".join((ROOT / "docs" / "agents.md").read_text(encoding="utf-8").split())
    whole = SICK | FRESH
    proven = sum(ending == "proven" for ending in whole.values())
    assert f"{len(whole)} sick runs" in page
    assert f"{proven} with the right change, confirmed on five fresh seeds" in page
    assert f"{len(whole) - proven - len(HARMLESS)} with the right question" in page
    assert f"left {len(HARMLESS)} as it was" in page


def test_a_wrong_ending_fails():
    """The judge is no rubber stamp: another cause, or a question about something else, is wrong."""
    from tests.agents.trial.agent import Ending

    assert not is_right("same_batch", Ending("proven", "LEARNING_RATE_TOO_HIGH"))
    assert not is_right("rows_with_nan", Ending("asked", "OVERFITTING", ["Is the rate too high?"]))


def test_the_agent_knows_the_commands_alone():
    tree = ast.parse((Path(__file__).with_name("trial") / "agent.py").read_text(encoding="utf-8"))
    found = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    found += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert {name.partition(".")[0] for name in found} == {
        "__future__", "re", "collections", "dataclasses", "pathlib", "shutil", "typing",
    }  # fmt: skip
    text = ast.unparse(tree)
    assert not [fault for fault in TRUTH if fault in text]
