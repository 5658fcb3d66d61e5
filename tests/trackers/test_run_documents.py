import subprocess
import sys

import pytest
import torch
from lxml import etree
from torch import nn

import flowgrad
from flowgrad import EmbeddingTracker, RunIdentity, RunReport, TrainingTracker, run_report, to_agent_xml
from flowgrad.errors import ReportError
from flowgrad.report import from_xml, to_text, to_xml, validate
from flowgrad.rules import RuleBook
from flowgrad.testing import zombie

RULES = RuleBook.load()
RUN = RunIdentity("two_towers", seed=3, training={"optimizer": "Adam", "lr": 0.01})


@pytest.fixture(scope="module")
def trackers():
    """Both towers and the losses of a run whose learning rate is too high."""
    example = zombie()
    model = example.run.model
    users, items = EmbeddingTracker(model.user_emb, rules=RULES), EmbeddingTracker(model.item_emb, rules=RULES)
    course = TrainingTracker(rules=RULES)
    example.train(200, users, items)
    course.end_epoch(1.0, 1.1, steps=200)
    return [course, users, items]


@pytest.mark.parametrize("run", [None, RUN], ids=["unnamed", "named"])
def test_one_document_holds_the_report_of_each_tracker(trackers, run):
    report = run_report(trackers, run)
    assert isinstance(report, RunReport)
    assert report.run == run
    assert report.reports == tuple(tracker.to_report() for tracker in trackers)
    assert [part.layer for part in report.reports] == ["training", "user_emb", "item_emb"]
    assert all("ZOMBIE_EMBEDDINGS" in {found.type for found in part.findings} for part in report.reports[1:])


def test_the_xml_is_valid_and_reads_back(trackers):
    text = to_agent_xml(trackers, RUN)
    assert text.startswith("<flowgrad_report ")
    validate(text)
    assert from_xml(text) == run_report(trackers, RUN)
    root = etree.fromstring(text)
    kinds = ["run", "flowgrad_training_report", "flowgrad_embedding_report", "flowgrad_embedding_report"]
    assert [element.tag for element in root] == kinds
    assert root.find("run").get("id") == "two_towers"
    assert to_xml(run_report(trackers, RUN)).decode().endswith(text)
    for tracker, element in zip(trackers, root[1:], strict=True):
        alone = etree.fromstring(tracker.to_agent_xml())
        assert etree.tostring(element, method="c14n2", strip_text=True) == etree.tostring(
            alone, method="c14n2", strip_text=True
        )


def test_plain_text_names_every_tracker(trackers):
    text = to_text(run_report(trackers, RUN))
    assert text.startswith("Run two_towers")
    assert all(tracker.name in text for tracker in trackers)


def test_trackers_may_come_from_any_iterable(trackers):
    by_name = {tracker.name: tracker for tracker in trackers}
    assert to_agent_xml(by_name.values()) == to_agent_xml(trackers) == to_agent_xml(iter(trackers))


def test_a_run_of_one_healthy_tracker():
    course = TrainingTracker("course", rules=RULES)
    course.end_epoch(1.0, 1.0)
    text = to_agent_xml([course])
    validate(text)
    assert "<status>HEALTHY</status>" in text


def test_two_trackers_of_one_name_are_refused():
    """Both would be `flowgrad_embedding_report layer="tower"`, and nobody could tell which one to mend."""
    towers = [EmbeddingTracker(nn.Embedding(3, 2), "tower", RULES) for _ in range(2)]
    with pytest.raises(ValueError, match=r"^2 embedding trackers are named 'tower'; give each a `name`"):
        run_report(towers)
    same = [towers[0], TrainingTracker("tower", rules=RULES)]
    assert len(run_report(same).reports) == 2


def test_no_tracker_is_refused():
    for none in ([], iter(())):
        with pytest.raises(ValueError, match="no tracker given"):
            to_agent_xml(none)


def test_a_run_that_cannot_be_written_is_refused(trackers):
    with pytest.raises(ReportError, match="cannot be an attribute name"):
        to_agent_xml(trackers, RunIdentity("x", environment={"1 2": "3"}))


def test_reading_disturbs_nothing(trackers):
    before = [repr(tracker.measurements().scalars) for tracker in trackers]
    state = torch.get_rng_state()
    to_agent_xml(trackers, RUN)
    assert torch.equal(torch.get_rng_state(), state)
    assert [repr(tracker.measurements().scalars) for tracker in trackers] == before


def test_the_document_of_a_run_needs_no_torch():
    code = """if True:
        import sys
        from flowgrad import RunIdentity, TrainingTracker, run_report, to_agent_xml
        to_agent_xml([TrainingTracker()], RunIdentity("x"))
        print("torch" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert {"run_report", "to_agent_xml", "RunIdentity"} <= set(flowgrad.__all__)
