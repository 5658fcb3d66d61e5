"""Errors a user can act on: each message names the thing that is wrong and the way out."""


class FlowGradError(ValueError):
    """Bad input. The message is one line: what is wrong, where, and what would have been right."""


class RuleError(FlowGradError):
    """A rule that cannot be used: unknown name or key, a condition that does not parse, a bad fix."""


class ReportError(FlowGradError):
    """A report that does not follow `flowgrad/report/report.xsd`, or a file that is no report."""


class EvidenceError(FlowGradError):
    """A file of validated runs that cannot be used."""


class StatisticsError(FlowGradError):
    """Observations that cannot be tested: missing pairs, too few seeds, non-finite or constant values."""
