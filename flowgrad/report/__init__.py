"""Reports: their types, their XML and their plain text."""

from flowgrad.report.build import build_report, causal_model, fix_without_config, with_ablations, with_validations
from flowgrad.report.claims import Claim, ClaimsReport
from flowgrad.report.mapping import to_mapping
from flowgrad.report.overrides import override_text
from flowgrad.report.report import (
    FINDINGS,
    HEALTHY,
    NOT_OBSERVED,
    WATCH,
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
from flowgrad.report.schema import validate
from flowgrad.report.short_text import to_short_text
from flowgrad.report.structure import AnyReport
from flowgrad.report.text import to_text
from flowgrad.report.written import ENDINGS, to_bytes, to_json
from flowgrad.report.xml import from_xml, read, to_xml, write

__all__ = [
    "ENDINGS",
    "FINDINGS",
    "HEALTHY",
    "NOT_OBSERVED",
    "WATCH",
    "AnyReport",
    "CausalModel",
    "Claim",
    "ClaimsReport",
    "CoverageReport",
    "Evaluation",
    "Group",
    "Metric",
    "OpenCause",
    "Override",
    "OverrideAblation",
    "Place",
    "PlaceList",
    "PlainChange",
    "RateVerdict",
    "Report",
    "RowList",
    "RowRecord",
    "RunIdentity",
    "RunReport",
    "Seen",
    "Treated",
    "Unjudged",
    "Unseen",
    "Validation",
    "build_report",
    "causal_model",
    "fix_without_config",
    "from_xml",
    "override_text",
    "read",
    "to_bytes",
    "to_json",
    "to_mapping",
    "to_short_text",
    "to_text",
    "to_xml",
    "validate",
    "with_ablations",
    "with_validations",
    "write",
]
