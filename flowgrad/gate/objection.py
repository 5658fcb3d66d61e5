"""Holds the objection of the gate to evidence that did not pass as it is."""

from __future__ import annotations

from dataclasses import dataclass

from flowgrad.errors import StatisticsError

REFUSED, DOWNGRADED, NOTED = "refused", "downgraded", "noted"
"""Levels of an objection: nothing is tested; it is tested, and no verdict is `confirmed`; it is reported, and matters
too little to change a verdict.
"""


@dataclass(frozen=True)
class Objection:
    """One fault of the evidence."""

    check: str
    """Name of the check, e.g. `copied rows`."""
    level: str
    """Level of the objection: `refused`, `downgraded` or `noted`."""
    reason: str
    """The fault, with its count, in one line and without a full stop."""
    way_out: str
    """The change that makes the evidence pass, in one line."""
    count: int
    """Number of rows, pairs or batches that are wrong."""
    of: int
    """Number of rows, pairs or batches that were checked."""
    effective: float = float("nan")
    """Number of independent units that the evidence amounts to; NaN where that is not the question."""
    examples: tuple[int, ...] = ()
    """Places of a few of them, from 0."""

    @property
    def blocks(self) -> bool:
        """Whether no verdict may be `confirmed`."""
        return self.level != NOTED

    def __str__(self) -> str:
        shown = f" (e.g. {', '.join(map(str, self.examples))})" if self.examples else ""
        return f"{self.reason}{shown}; {self.way_out}"


class GateError(StatisticsError):
    """The gate refuses the evidence. The message is the objection in one line."""

    def __init__(self, objection: Objection) -> None:
        super().__init__(str(objection))
        self.objection = objection

    def __reduce__(self) -> tuple[type[GateError], tuple[Objection]]:
        return type(self), (self.objection,)


def refuse(objection: Objection | None) -> Objection | None:
    """Return the objection where it is no refusal.

    Raises:
        GateError: the objection's level is `refused`.
    """
    if objection is not None and objection.level == REFUSED:
        raise GateError(objection)
    return objection
