"""Checks the `job.boosters` node beyond its types."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from flowgrad.errors import FlowGradError
from pipelines.benchmarks.overhead.boosters.measurement import BoosterCase


def checked_cases(job: DictConfig) -> list[BoosterCase]:
    """Check the cases to run, and return them, fewest rounds first.

    Raises:
        FlowGradError: names the key, the value and what would be right.
    """
    settings = job.boosters
    cases = OmegaConf.to_container(settings.cases, resolve=True)
    assert isinstance(cases, dict)
    for unknown in sorted(set(job.only or ()) - set(cases)):
        raise FlowGradError(f"job.only names {unknown!r}; job.boosters.cases has {', '.join(map(str, cases))}")
    chosen = [
        _case(str(id), given, settings.block) for id, given in cases.items() if job.only is None or id in job.only
    ]
    if not chosen:
        raise FlowGradError("job.boosters.cases and job.only leave no case; name at least one")
    return sorted(chosen, key=lambda case: case.rounds)


def _case(id: str, given: Any, block: int) -> BoosterCase:
    where, keys = f"job.boosters.cases.{id}", {"rounds", "trainings"}
    if not isinstance(given, dict) or set(given) != keys:
        raise FlowGradError(f"{where}={given}: must give rounds and trainings, and nothing else")
    for key in sorted(keys):
        if type(given[key]) is not int or given[key] < 1:
            raise FlowGradError(f"{where}.{key}={given[key]}: must be a whole number of at least 1")
    if given["rounds"] % (2 * block):
        raise FlowGradError(f"{where}.rounds={given['rounds']}: must be a multiple of two blocks, {2 * block} rounds")
    return BoosterCase(id, **given)
