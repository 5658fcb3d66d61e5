"""Holds what came of a run's rounds and of leaving overrides out: the configs that the proof compares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flowgrad.statistics import STACKED
from pipelines.stages.diagnose import Diagnosis
from pipelines.stages.pruned import Pruned


@dataclass(frozen=True)
class Treatment:
    """The rounds of a run, and what is left of their overrides."""

    diagnoses: tuple[Diagnosis, ...]
    """One diagnosis more than there are rounds: the last is of the config with everything that was prescribed."""
    pruned: Pruned | None = None
    """Outcome of leaving overrides out; None where that was no question."""
    minimal: Diagnosis | None = None
    """Diagnosis of the config with what is kept; None where nothing was dropped."""

    @property
    def rounds(self) -> int:
        """Number of rounds."""
        return len(self.diagnoses) - 1

    @property
    def first(self) -> Diagnosis:
        """Diagnosis of the baseline."""
        return self.diagnoses[0]

    @property
    def final(self) -> Diagnosis:
        """Diagnosis of the config that is proven."""
        return self.minimal or self.diagnoses[-1]

    @property
    def dropped(self) -> tuple[str, ...]:
        """Overrides that were prescribed and are not proven."""
        return self.pruned.dropped if self.minimal is not None and self.pruned is not None else ()

    def arms(self) -> dict[str, Diagnosis]:
        """Diagnosis of each arm: `baseline`, `round1`, ... and `treated`, which is what is kept. Where something was
        dropped, `stacked` is everything that was prescribed.
        """
        names = ["baseline", *(f"round{number}" for number in range(1, self.rounds)), "treated"][: len(self.diagnoses)]
        if self.minimal is None:
            return dict(zip(names, self.diagnoses, strict=True))
        return dict(zip([*names[:-1], STACKED], self.diagnoses, strict=True)) | {"treated": self.minimal}

    def kept(self, overrides: Sequence[str]) -> list[str]:
        """Select the overrides that are not dropped."""
        return [override for override in overrides if override not in self.dropped]


def report_stem(arm: str) -> str:
    """File name of the report of an arm: `report` of the baseline, `report_round2` of the arm that round 2 changes,
    `report_treated`.
    """
    if arm == "baseline":
        return "report"
    return f"report_round{int(arm.removeprefix('round')) + 1}" if arm.startswith("round") else f"report_{arm}"
