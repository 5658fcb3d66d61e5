import re

import pytest
from lxml import etree

from flowgrad.errors import ReportError
from flowgrad.report import from_xml, to_xml, validate
from flowgrad.report.schema import SCHEMA

FINDING = """\
<flowgrad_embedding_report layer="item_emb" schema_version="1.0">
  <run id="r" round="1">
    <training optimizer="Adam" lr="0.05"/>
    <environment torch="2.13.0"/>
  </run>
  <measurements>
    <metric name="zombie_share" value="0.83" unit="share"/>
  </measurements>
  <causal_model type="ZOMBIE_EMBEDDINGS" rule="zombie_rows" severity="high">
    <premise>p</premise>
    <implies>i</implies>
    <action>LOOK</action>
    <expected_effect>e</expected_effect>
    <risk>r</risk>
    <confidence basis="measured" trials="40" confirmed="38" low="0.84" high="0.99">0.94</confidence>
    <evidence>
      <metric name="zombie_share" value="0.83" threshold="0.25"/>
    </evidence>
    <rows count="1390" shown="1" table="t.csv">
      <row id="242" exposures="117" coherence="-0.31"/>
    </rows>
    <fix>
      <override path="optimizer.lr" value="0.005" was="0.05" scale="0.1"/>
    </fix>
    <validation verdict="confirmed" test="t" unit="seed" n="10" metric="mse" baseline="1" treated="1" difference="1" ci_low="1" ci_high="1" effect_size="1" p="0.1" p_adjusted="0.1" family="f" comparison="c" observations_sha256="s"/>
  </causal_model>
</flowgrad_embedding_report>
"""  # noqa: E501  (a line break would move the line numbers)

BROKEN = [
    # what is replaced, by what, line of the error, part of the message
    ("    <premise>p</premise>\n", "", 10, "Expected is ( premise )"),
    ("<action>LOOK</action>", "", 13, "Expected is ( action )"),
    ("    <premise>p</premise>\n    <implies>i</implies>", "<implies>i</implies>\n<premise>p</premise>", 10, "premise"),
    ('verdict="confirmed"', 'verdict="proven"', 25, "proven"),
    (' p="0.1"', "", 25, "'p' is required"),
    ('n="10"', 'n="ten"', 25, "ten"),
    (">0.94<", ">1.2<", 15, "1.2"),
    (">0.94<", ">-0.1<", 15, "-0.1"),
    (">0.94<", ">NaN<", 15, "NaN"),
    (">0.94<", "><", 15, "not a valid value"),
    ('high="0.99"', 'high="1.01"', 15, "1.01"),
    ('basis="measured"', 'basis="guessed"', 15, "guessed"),
    (' trials="40"', "", 15, "trials"),
    ('trials="40"', 'trials="-1"', 15, "-1"),
    ("  <causal_model", "  <status>HEALTHY</status>\n  <causal_model", 9, "make it FINDINGS"),
    ("  <causal_model", "  <status>NOT_OBSERVED</status>\n  <causal_model", 9, "make it FINDINGS"),
    ("    <fix>", "<candidates><candidate cause='A'><check/></candidate></candidates><fix>", 9, "its cause is open"),
    ("</causal_model>\n", "</causal_model>\n<status>HEALTHY</status>\n", 27, "status"),
    ("<risk>r</risk>", "<risky>r</risky>", 14, "risky"),
    ("<risk>r</risk>", "<risk><b/></risk>", 14, "risk"),
    ("<risk>r</risk>", "<risk>r</risk> stray", 9, "causal_model"),
    ('layer="item_emb"', "", 1, "layer"),
    ('layer="item_emb"', 'layer="item_emb" colour="red"', 1, "colour"),
    ('severity="high"', 'severity="high" colour="red"', 9, "colour"),
    ('severity="high"', 'severity="HIGH"', 9, "HIGH"),
    (' severity="high"', "", 9, "severity"),
    ("ZOMBIE_EMBEDDINGS", "zombie_embeddings", 9, "zombie_embeddings"),
    ("ZOMBIE_EMBEDDINGS", "ZOMBIE__", 9, "ZOMBIE__"),
    ('schema_version="1.0"', 'schema_version="2.0"', 1, "2.0"),
    (' schema_version="1.0"', "", 1, "schema_version"),
    (' id="r"', "", 2, "id"),
    ('round="1"', 'round="-1"', 2, "-1"),
    ('lr="0.05"', 'lr="high"', 3, "high"),
    ("<environment", '<environment xmlns:a="u" a:b="c"', 4, "b"),
    ('value="0.83" unit', 'value="inf" unit', 7, "inf"),
    ('value="0.83" unit', 'value="0,83" unit', 7, "0,83"),
    ('threshold="0.25"', 'threshold="a quarter"', 17, "a quarter"),
    ('      <metric name="zombie_share" value="0.83" threshold="0.25"/>\n', "", 16, "metric"),
    ('coherence="-0.31"', 'coherence="none"', 20, "'coherence': 'none'"),
    ('coherence="-0.31"', 'coherence="nan"', 20, "xs:double"),
    (' id="242"', "", 20, "id"),
    ('shown="1"', 'shown="2"', 19, "shown=2, but it holds 1"),
    ('count="1390"', 'count="0"', 19, "count=0 is less"),
    ('path="optimizer.lr"', "", 23, "path"),
    ('scale="0.1"', 'scale="tenth"', 23, "tenth"),
]


def test_the_example_holds():
    validate(FINDING.encode())


@pytest.mark.parametrize(("old", "new", "line", "message"), BROKEN)
def test_rejected_at_its_line(old, new, line, message):
    """Rows, fixes and validations come after line 18: line 19 holds `<rows>`, 25 `<validation>`."""
    assert FINDING.count(old) >= 1
    broken = FINDING.replace(old, new, 1)
    with pytest.raises(ReportError, match=re.escape(message)) as caught:
        validate(broken.encode())
    assert str(caught.value).startswith(f"line {line}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("figure", ["NaN", "INF", "-INF", "1e-300", "-0", " 7 ", "+1.5E+3", ".5"])
@pytest.mark.parametrize(
    "place", ['value="0.83"', 'threshold="0.25"', 'coherence="-0.31"', 'baseline="1"', 'p="0.1"', 'lr="0.05"']
)
def test_figures_accepted(figure, place):
    name = place.split("=")[0]
    data = FINDING.replace(place, f'{name}="{figure}"').encode()
    validate(data)
    assert from_xml(to_xml(from_xml(data))) == from_xml(data)


@pytest.mark.parametrize(
    "kind",
    ["embedding", "training", "flow", "batches", "boosting", "feature", "distillation", "saliency", "quantization"],
)
def test_every_kind(kind):
    data = f'<flowgrad_{kind}_report layer="l" schema_version="1.0"><status>HEALTHY</status></flowgrad_{kind}_report>'
    assert from_xml(data.encode()).kind == kind
    assert len(from_xml(f"<flowgrad_report>{data}{data}</flowgrad_report>".encode()).reports) == 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "line 1: not XML"),
        (" \n ", "not XML"),
        ("no xml", "line 1: not XML"),
        ("<flowgrad_report>\n<a>\n</flowgrad_report>", "line 3: not XML: Opening and ending tag mismatch"),
        ("<flowgrad_report/>", "line 1: Element 'flowgrad_report': Missing child"),
        ("<report layer='l' schema_version='1.0'><status>HEALTHY</status></report>", "abstract"),
        ("<status>HEALTHY</status>", "status"),
        ("<run id='r'/>", "run"),
        ("<flowgrad_flow_report layer='l' schema_version='1.0'/>", "Expected is one of"),
        ("<flowgrad_flow_report layer='l' schema_version='1.0'><status>FINE</status></flowgrad_flow_report>", "FINE"),
        ("<f:flowgrad_report xmlns:f='u'/>", "flowgrad_report"),
        ("<flowgrad_report>\0</flowgrad_report>", "not XML"),
    ],
)
def test_no_report(data, message):
    with pytest.raises(ReportError, match=re.escape(message)):
        from_xml(data.encode())


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
BODY = "<flowgrad_flow_report layer='{}' schema_version='1.0'><status>HEALTHY</status></flowgrad_flow_report>"


@pytest.mark.parametrize(
    ("doctype", "layer"),
    [
        ("<!DOCTYPE flowgrad_flow_report>", "l"),
        ("<!DOCTYPE flowgrad_flow_report []>", "l"),
        (f'<!DOCTYPE f [<!ENTITY l0 "lol">{LAUGHS}]>', "&l11;"),
        (f'<!DOCTYPE f [<!ENTITY l0 "lol">{LAUGHS}]>', "l"),
        ('<!DOCTYPE f [<!ENTITY e SYSTEM "file:///etc/passwd">]>', "l"),
        ('<!DOCTYPE f [<!ENTITY e SYSTEM "file:///etc/passwd">]>', "&e;"),
        ('<!DOCTYPE f SYSTEM "http://localhost:9/f.dtd">', "l"),
        ('<!DOCTYPE f [<!ENTITY % p SYSTEM "http://localhost:9/p"> %p;]>', "l"),
        ('<!DOCTYPE f [<!ATTLIST flowgrad_flow_report layer CDATA "set">]>', "l"),
    ],
)
def test_doctype_refused(doctype, layer):
    with pytest.raises(ReportError, match="line "):
        from_xml(f"<?xml version='1.0'?>\n{doctype}{BODY.format(layer)}".encode())


def test_text_is_taken_too(full):
    """A tracker's `to_agent_xml()` is a `str`; with or without a declaration, and with a DOCTYPE refused."""
    text = to_xml(full).decode()
    assert from_xml(text) == from_xml(text.split("?>", 1)[1].lstrip()) == full
    with pytest.raises(ReportError, match="DOCTYPE"):
        from_xml(f"<!DOCTYPE f>{BODY.format('l')}")
    with pytest.raises(ReportError, match=r"not XML: Start tag expected, '<' not found$"):
        from_xml("\ud800")


def test_doctype_line():
    with pytest.raises(ReportError, match="line 3: a report has no DOCTYPE"):
        validate(f"<?xml version='1.0'?>\n\n<!DOCTYPE f>\n{BODY.format('l')}".encode())
    with pytest.raises(ReportError, match="a report has no DOCTYPE"):
        validate(f"<!DOCTYPE f>\n{BODY.format('l')}".encode("utf-16"))


def test_entity_in_text_is_not_read(tmp_path):
    """With `resolve_entities` the premise would hold the file."""
    secret = tmp_path / "secret"
    secret.write_text("secret words")
    data = FINDING.replace(">p<", ">&e;<")
    with pytest.raises(ReportError) as caught:
        from_xml(f'<!DOCTYPE f [<!ENTITY e SYSTEM "{secret.as_uri()}">]>{data}'.encode())
    assert "secret words" not in str(caught.value)


def test_long_values_make_short_messages():
    with pytest.raises(ReportError) as caught:
        validate(FINDING.replace("confirmed", "x" * 10_000, 1).encode())
    assert len(str(caught.value)) < 400


def test_schema_is_xsd_1_0_without_namespace():
    root = etree.parse(str(SCHEMA)).getroot()
    assert root.get("targetNamespace") is None
    etree.XMLSchema(root)
