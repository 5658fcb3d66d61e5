"""What every tracker is: a subject that watches a training, and that lets go of it."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from flowgrad.subject import Subject


class Tracker(Subject):
    """Observes a training run and never disturbs it: no random numbers, no writes, no wrapping."""

    def detach(self) -> None:
        """Take the hooks off. What was measured stays readable."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()
