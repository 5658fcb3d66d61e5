"""Describes where each field of a report stands in its XML; reading and writing share this description.

A field that no shape mentions is an attribute of its own name. The spelling of values is in `codec`; the form of a
document from elsewhere is in `report.xsd`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from flowgrad.evidence.confidence import Confidence
from flowgrad.report.claims import Claim, ClaimsReport
from flowgrad.report.report import (
    CausalModel,
    CoverageReport,
    Evaluation,
    Group,
    Metric,
    OpenCause,
    Override,
    OverrideAblation,
    Place,
    PlaceList,
    PlainChange,
    RateVerdict,
    Report,
    RowList,
    RowRecord,
    RunIdentity,
    RunReport,
    Seen,
    Treated,
    Unjudged,
    Unseen,
    Validation,
)
from flowgrad.rules.rule import Evidence

SCHEMA_VERSION = "1.0"

AnyReport = Report | RunReport | ClaimsReport
"""Types of report that a document may hold."""


@dataclass(frozen=True)
class Text:
    """A child element of the field's name that holds its text; left out where the field has its default."""

    field: str


@dataclass(frozen=True)
class Attributes:
    """A mapping as attributes: of a child element named `tag`, or of the element itself where `tag` is empty."""

    field: str
    tag: str = ""


@dataclass(frozen=True)
class One:
    """A child element for a nested object; left out where the field is None."""

    field: str
    shape: Shape


@dataclass(frozen=True)
class Many:
    """A child element for each item; inside one element named `wrapper`, if given, that is left out without items."""

    field: str
    shape: Shape
    wrapper: str = ""
    count: str = ""
    """Name of the attribute that repeats the number of items."""


@dataclass(frozen=True)
class Shape:
    """Form of one dataclass in XML."""

    cls: type
    tag: str
    """Element name; empty where the object itself decides (`Report.kind`)."""
    children: tuple[Text | Attributes | One | Many, ...] = ()
    """Children, in document order."""
    content: str = ""
    """Name of the field that is the element's own text."""
    elsewhere: tuple[str, ...] = ()
    """Fields that the reader and the writer of the root take care of."""

    @property
    def attributes(self) -> tuple[str, ...]:
        """Fields that are attributes, in the order written."""
        taken = {self.content, *self.elsewhere, *(child.field for child in self.children)}
        return tuple(field.name for field in fields(self.cls) if field.name not in taken)


RUN = Shape(RunIdentity, "run", (Attributes("training", "training"), Attributes("environment", "environment")))

CAUSAL_MODEL = Shape(
    CausalModel,
    "causal_model",
    (
        Text("premise"),
        One("places", Shape(PlaceList, "places", (Many("shown", Shape(Place, "place")),))),
        Text("implies"),
        Text("action"),
        Text("expected_effect"),
        Text("risk"),
        One("confidence", Shape(Confidence, "confidence", content="value")),
        Many("evidence", Shape(Evidence, "metric"), wrapper="evidence"),
        One(
            "rows",
            Shape(RowList, "rows", (Many("shown", Shape(RowRecord, "row", (Attributes("values"),)), count="shown"),)),
        ),
        Many("candidates", Shape(OpenCause, "candidate", (Text("check"),)), wrapper="candidates"),
        Many(
            "fix",
            Shape(Override, "override", (One("ablation", Shape(OverrideAblation, "ablation")),)),
            wrapper="fix",
        ),
        Many("plain", Shape(PlainChange, "plain", content="text"), wrapper="fix"),
        One("judged", Shape(Evaluation, "judged")),
        One("validation", Shape(Validation, "validation")),
    ),
)

COVERAGE = Shape(
    CoverageReport,
    "coverage",
    (
        Many("seen", Shape(Seen, "seen")),
        Many("unseen", Shape(Unseen, "unseen")),
        Many("unjudged", Shape(Unjudged, "unjudged")),
    ),
)

REPORT = Shape(
    Report,
    "",
    (
        One("run", RUN),
        Many("watched", Shape(Group, "group"), wrapper="watched"),
        One("learning_rate", Shape(RateVerdict, "learning_rate")),
        Many("treated", Shape(Treated, "change"), wrapper="treated"),
        One("coverage", COVERAGE),
        Many("measurements", Shape(Metric, "metric"), wrapper="measurements"),
        Many("findings", CAUSAL_MODEL),
    ),
    elsewhere=("kind",),
)

CLAIMS = Shape(
    ClaimsReport,
    "flowgrad_claims",
    (
        Attributes("environment", "environment"),
        Many("claims", Shape(Claim, "claim", (Text("statement"), Text("command"), Text("reason")))),
    ),
)

RUN_REPORT = Shape(RunReport, "flowgrad_report", (One("run", RUN),), elsewhere=("reports",))
