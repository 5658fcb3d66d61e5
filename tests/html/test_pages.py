"""A report as a page: what it says, in what order, and that nothing in a report can act in a browser."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import fields, is_dataclass, replace
from itertools import pairwise

import pytest
from lxml import html

from flowgrad.errors import FlowGradError
from flowgrad.evidence.confidence import Confidence
from flowgrad.html import rendering, report_page, to_fragment, to_html, to_json
from flowgrad.report import (
    CausalModel,
    CoverageReport,
    Metric,
    OpenCause,
    Override,
    PlainChange,
    Report,
    RowList,
    RowRecord,
    RunIdentity,
    RunReport,
    Seen,
    Unjudged,
    Unseen,
    Validation,
)
from flowgrad.rules.rule import SEVERITIES, Evidence

ATTACKS = {
    "script": "</title></style></script><script>window.hit=1</script>",
    "attribute": '" onmouseover="window.hit=1" x=\'',
    "image": "<img src=x onerror=window.hit=1>",
    "svg": "]]></desc></svg><svg onload=window.hit=1>",
    "template": "{{ 7*7 }}{% raw %}{# x #}",
    "link": "javascript:window.hit=1",
    "control": "\x00\x1b[2J\u202e\ud800",
}
PROOF = Validation(
    "confirmed", "paired_t", "seed", 10, "mse", 1.9, 1.1, -0.8, -0.9, -0.7, -3.0, 1e-9, 2e-9, "rounds", "t_vs_b"
)
FINDING = CausalModel(
    type="ZOMBIE_EMBEDDINGS",
    rule="zombie_rows",
    severity="high",
    premise="83% of rows circle.",
    implies="The rate is too high.",
    action="DECREASE_LEARNING_RATE",
    expected_effect="Rows settle.",
    confidence=Confidence(0.9, "measured", 40, 38, 0.8, 0.99),
    risk="Slower.",
    evidence=(Evidence("zombie_share", 0.83, 0.5), Evidence("median_velocity", math.nan)),
    rows=RowList(1390, (RowRecord("row 7", {"jitter": 0.2}),), "rows_item_emb.csv"),
    fix=(Override("optimizer.lr", "0.005", "0.05"),),
    plain=(PlainChange("torch", "lr *= 0.1"),),
    validation=PROOF,
)
OPEN = replace(
    FINDING,
    type="LOSS_RISES",
    rule="loss_rises",
    severity="medium",
    fix=(),
    plain=(),
    validation=None,
    rows=None,
    candidates=(OpenCause("BAD_INPUT", "Print the batch."),),
)
COVERAGE = CoverageReport(
    (Seen("steps", 480.0),),
    (Unseen("validation_loss", "never told"),),
    (Unjudged("overfitting", "unknown"),),
    "val_best",
)
RUN = RunIdentity("mf-3f2a", "baseline", 1, 0, "3f2a99", "06", {"lr": 0.05}, {"torch": "2.13"})
REPORT = Report("embedding", "item_emb", RUN, (Metric("zombie_share", 0.83, "share"),), (OPEN, FINDING), COVERAGE)
HEALTHY = Report("embedding", "user_emb", RUN, (Metric("zombie_share", 0.0),), (), COVERAGE)
BLIND = replace(HEALTHY, coverage=replace(COVERAGE, blind="no step was seen"))


def attacked(value, text):
    """The same with every text replaced, keys of mappings too, but for words that the schema allows alone."""
    if is_dataclass(value):
        kept = {"kind", "verdict", "severity", "basis"}
        return replace(
            value, **{f.name: attacked(getattr(value, f.name), text) for f in fields(value) if f.name not in kept}
        )
    if isinstance(value, tuple):
        return tuple(attacked(one, text) for one in value)
    if isinstance(value, dict):
        return {f"{text}{key}": attacked(item, text) for key, item in value.items()}
    return text if isinstance(value, str) else value


def parsed(page):
    return html.document_fromstring(to_html(page).decode())


def words(element):
    return " ".join(element.text_content().split())


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("severity", ["high", ATTACKS["attribute"]])
def test_no_text_of_a_report_acts_in_a_browser(attack, severity):
    report = attacked(
        replace(REPORT, findings=tuple(replace(f, severity=severity) for f in REPORT.findings)), ATTACKS[attack]
    )
    page = report_page(report)
    for root in (parsed(page), html.document_fromstring(f"<div>{to_fragment(page)}</div>")):
        assert len(root.xpath("//script")) <= 1
        assert not root.xpath("//img | //iframe | //object | //embed | //base | //form | //foreignObject")
        assert not [name for one in root.iter() for name in one.attrib if name.startswith("on")]
        assert all(link.startswith(("#", "data:,")) for link in root.xpath("//@href"))
    assert b"49" not in to_html(page) or attack != "template"
    policy = parsed(page).xpath("//meta[@http-equiv='Content-Security-Policy']/@content")[0]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    json.loads(to_json(page))


def test_the_page_needs_nothing_else():
    root = parsed(report_page(REPORT))
    assert not root.xpath("//*[@src]")
    assert root.xpath("//link/@href") == ["data:,"]
    assert "url(" not in root.xpath("string(//style)")
    assert "@import" not in root.xpath("string(//style)")


def test_the_most_severe_finding_comes_first_with_its_figures_change_and_proof():
    root = parsed(report_page(REPORT))
    found = root.xpath("//details[contains(@class, 'finding')]")
    assert [one.xpath("string(.//h3)") for one in found] == ["ZOMBIE_EMBEDDINGS", "LOSS_RISES"]
    said = words(found[0])
    for text in (
        "83% of rows circle.",
        "The rate is too high.",
        "optimizer.lr=0.005",
        "optimizer.lr was 0.05",
        "lr *= 0.1",
        "confirmed",
        "−0.9 to −0.7",
        "1,390 rows",
        "rows_item_emb.csv",
        "38 of 40 confirmed",
    ):
        assert text.lower() in said.lower()
    cells = [[words(cell) for cell in row] for row in found[0].xpath(".//tbody/tr")]
    assert cells[0][:3] == ["zombie_share", "0.83", "0.5"]
    assert cells[1][:3] == ["median_velocity", "not known", ""]
    assert "BAD_INPUT" in words(found[1])


def test_a_link_leads_to_tables_beside_the_page_alone():
    def hrefs(table):
        rows = replace(FINDING.rows, table=table)
        report = replace(REPORT, findings=(replace(FINDING, rows=rows),))
        return [h for h in parsed(report_page(report)).xpath("//main//a/@href") if not h.startswith("#")]

    assert hrefs("rows_item_emb.csv") == ["rows_item_emb.csv"]
    for table in ("javascript:alert(1)//.csv", "../../secret.csv", "/etc/x.csv", "http://a/b.csv", "a.html", ""):
        assert hrefs(table) == []


VERDICTS = {
    "confirmed": (REPORT, "The change helped: mse 1.9 → 1.1"),
    "refuted": (
        replace(REPORT, findings=(replace(FINDING, validation=replace(PROOF, verdict="refuted")),)),
        "did harm",
    ),
    "inconclusive": (
        replace(REPORT, findings=(replace(FINDING, validation=replace(PROOF, verdict="inconclusive")),)),
        "Not proven",
    ),
    "findings": (replace(REPORT, findings=(OPEN,)), "LOSS_RISES on item_emb"),
    "healthy": (HEALTHY, "Nothing was found wrong"),
    "not_observed": (BLIND, "No verdict"),
}


@pytest.mark.parametrize("state", VERDICTS)
def test_the_verdict_comes_first(state):
    report, head = VERDICTS[state]
    page = report_page(report)
    assert page.verdict.state == state
    root = parsed(page)
    assert head in root.xpath("string(//h1)")
    assert head in root.xpath("string(//title)")
    first = root.xpath("//main/section")[0]
    assert first.xpath(".//h1")


def test_a_healthy_report_says_how_much_could_not_be_judged():
    assert "1 rule could not be judged" in report_page(HEALTHY).verdict.detail
    some = report_page(RunReport((HEALTHY, BLIND), RUN)).verdict
    assert some.state == "healthy"
    assert "1 of 2 watched things could not be judged" in some.detail


def test_a_change_that_was_not_tested_says_why():
    untested = replace(PROOF, verdict="inconclusive", reason="all runs are one run", p=math.nan, p_adjusted=math.nan)
    page = report_page(replace(REPORT, findings=(replace(FINDING, validation=untested),)))
    assert page.verdict.headline == "The change could not be tested"
    assert page.verdict.detail == "all runs are one run"


def test_what_could_not_be_seen_is_said():
    said = words(parsed(report_page(RunReport((REPORT, BLIND), RUN))).xpath("//section[h2[@id='gaps']]")[0])
    for text in ("validation loss", "never told", "overfitting", "val_best", "no step was seen", "not observed"):
        assert text in said.lower()


def test_a_report_without_coverage_says_that_nothing_is_known_of_it():
    page = report_page(replace(HEALTHY, coverage=None))
    assert page.gaps[0].blind == "nothing is known of what was seen"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_figures_that_are_no_numbers_are_written_as_such(value):
    page = report_page(replace(REPORT, measurements=(Metric("loss_last", value),)))
    cell = parsed(page).xpath("//td[.='loss_last']/following-sibling::td")[-1].text_content()
    assert cell == {"nan": "", "inf": "∞", "-inf": "−∞"}[str(value)]
    told = json.loads(to_json(page))["sections"][0]["tables"][0]["rows"][0][-1]
    assert told == {"nan": None, "inf": "INF", "-inf": "-INF"}[str(value)]


def test_the_twin_has_what_the_page_has():
    page = report_page(RunReport((REPORT, HEALTHY), RUN))
    root = words(parsed(page)).replace("−", "-")

    def texts(value):
        if isinstance(value, dict):
            for key, item in value.items():
                yield from (
                    ()
                    if key in ("kind", "state", "verdict", "status", "unit", "action", "test", "family")
                    else texts(item)
                )
        elif isinstance(value, list):
            for item in value:
                yield from texts(item)
        elif isinstance(value, str):
            yield value

    for text in texts(json.loads(to_json(page))):
        assert " ".join(text.replace("_", " ").split()).lower().replace("−", "-") in root.replace("_", " ").lower(), (
            text
        )


def test_the_same_report_gives_the_same_bytes():
    assert to_html(report_page(REPORT)) == to_html(report_page(replace(REPORT)))
    assert to_json(report_page(REPORT)) == to_json(report_page(replace(REPORT)))


def test_every_table_has_a_caption_and_scopes_and_every_level_of_headings_its_parent():
    root = parsed(report_page(RunReport((REPORT, HEALTHY), RUN)))
    for table in root.xpath("//table"):
        assert words(table.xpath("./caption")[0])
        assert {head.get("scope") for head in table.xpath("./thead//th")} == {"col"}
    levels = [int(one.tag[1]) for one in root.xpath("//h1|//h2|//h3|//h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = root.xpath("//@id")
    assert len(ids) == len(set(ids))
    assert root.xpath("//main[@id='main']")
    assert root.xpath("//body/*[1][self::a][@href='#main']")


@pytest.mark.parametrize("kind", ["findings", "places", "texts", "figures"])
def test_a_huge_report_makes_a_page_of_a_megabyte_at_most_that_says_what_it_left_out(kind):
    many = 5_000
    huge = {
        "findings": [Report("embedding", f"t{n}", findings=(replace(FINDING, type=f"T{n}"),)) for n in range(many)],
        "places": [Report("embedding", f"t{n}", findings=(FINDING,)) for n in range(many)],
        "texts": [replace(REPORT, findings=(replace(FINDING, premise="x" * 5_000_000),))],
        "figures": [replace(REPORT, measurements=tuple(Metric(f"m{n}", 1.0) for n in range(50_000)))],
    }[kind]
    page = to_html(report_page(RunReport(tuple(huge))))
    assert len(page) <= rendering.MOST_BYTES
    said = words(html.document_fromstring(page.decode()))
    assert any(text in said for text in ("left out", "more stand in the XML", "characters more", "more places"))


def test_severities_are_in_order_whatever_the_order_of_findings():
    levels = [*SEVERITIES, "unheard of"]
    findings = tuple(replace(OPEN, type=level.upper(), severity=level) for level in levels)
    page = report_page(replace(REPORT, findings=findings))
    assert [one.severity for one in page.findings] == ["critical", "high", "medium", "low", "info", "unheard of"]


def test_without_jinja_the_error_names_the_extra(monkeypatch):
    rendering._environment.cache_clear()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(FlowGradError, match=r"pip install 'flowgrad\[html\]'"):
        to_html(report_page(REPORT))
    monkeypatch.undo()
    rendering._environment.cache_clear()


@pytest.mark.parametrize("mark", "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
def test_names_do_not_turn_the_direction_of_a_page(mark):
    """A column whose name held U+202E was shown from right to left, and hid what it is called."""
    page = report_page(replace(REPORT, layer=f"user{mark}<b>", findings=(replace(FINDING, premise=f"a{mark}b"),)))
    for text in (to_html(page).decode(), to_fragment(page)):
        assert mark not in text
        assert f"a\\u{ord(mark):04x}b" in text


def test_names_in_the_meaning_of_a_figure_are_code_and_act_in_no_browser():
    """Backticks of the vocabulary were shown as they stand."""
    from flowgrad.html.rendering import _names

    assert _names("Fall to `loss_last` <b>") == "Fall to <code>loss_last</code> &lt;b&gt;"


def test_a_finding_that_names_no_row_tells_of_none():
    """A rule whose rows none matched was told as "0 rows; all in rows_model.csv"."""
    none = replace(REPORT, findings=(replace(FINDING, rows=RowList(0, (), "rows_model.csv")),))
    assert "0 rows" not in words(parsed(report_page(none)))


@pytest.mark.parametrize(("reason", "told"), [("", "mse diverged → 0.5"), ("no pairs", "mse not known → 0.5")])
def test_an_arm_that_was_tested_and_has_no_mean_diverged_wherever_it_is_told(reason, told):
    """The headline said that the metric had diverged, and the rounds below it that it was not known."""
    from flowgrad.html.page import Proof
    from flowgrad.html.verdicts import values_of

    known = {one.name: None for one in fields(Proof)}
    assert values_of(Proof(**known | {"metric": "mse", "after": 0.5, "reason": reason})) == told
