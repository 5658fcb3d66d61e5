"""Checks the `job` node beyond its types."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from flowgrad.errors import FlowGradError
from pipelines.benchmarks.overhead.checks import check_device
from pipelines.benchmarks.overhead.networks.cases import NETWORKS, OPTIMIZERS, NetworkCase
from pipelines.benchmarks.overhead.networks.watchers import OTHERS, OWN

_REQUIRED = {"network", "depth", "width", "batch"}
_OPTIONAL = {"tokens", "steps", "teacher", "optimizer", "rows", "processes"}


def checked_cases(job: DictConfig) -> list[NetworkCase]:
    """Check the cases to run, and return them, in the order of the config.

    Raises:
        FlowGradError: names the key, the value and what would be right.
    """
    for unknown in sorted({*job.watchers, *job.limits, *job.memory_limits} - {*OWN, *OTHERS}):
        raise FlowGradError(
            f"job.watchers, limits or memory_limits names {unknown!r}; use {', '.join([*OWN, *OTHERS])}"
        )
    check_device(job.device)
    cases = OmegaConf.to_container(job.cases, resolve=True)
    assert isinstance(cases, dict)
    for unknown in sorted(set(job.only or ()) - set(cases)):
        raise FlowGradError(f"job.only names {unknown!r}; job.cases has {', '.join(map(str, cases))}")
    every = [_case(str(id), given, job.steps) for id, given in cases.items()]
    chosen = [case for case in every if job.only is None or case.id in job.only]
    if not chosen or not job.watchers:
        raise FlowGradError("job.cases, job.only and job.watchers leave nothing to measure; name at least one of each")
    return chosen


def _case(id: str, given: Any, steps: int) -> NetworkCase:
    where = f"job.cases.{id}"
    if not isinstance(given, dict) or not _REQUIRED <= set(given) <= _REQUIRED | _OPTIONAL:
        raise FlowGradError(
            f"{where}={given}: must give network, depth, width and batch, "
            "may give tokens, steps, teacher, optimizer, rows and processes, and nothing else"
        )
    asked = [key for key, value in given.items() if value is not None]
    given = {"steps": steps, "tokens": None, **given}
    if str(given["network"]) not in NETWORKS:
        raise FlowGradError(f"{where}.network={given['network']}: must be one of {', '.join(NETWORKS)}")
    if str(given.get("optimizer", "adam")) not in OPTIMIZERS:
        raise FlowGradError(f"{where}.optimizer={given['optimizer']}: must be one of {', '.join(OPTIMIZERS)}")
    sequences = given["network"] == "transformer"
    if sequences != (given["tokens"] is not None):
        raise FlowGradError(f"{where}.tokens={given['tokens']}: a transformer needs them, and nothing else has any")
    ranker = given["network"] == "ranker"
    if ranker != (given.get("rows") is not None):
        raise FlowGradError(f"{where}.rows={given.get('rows')}: a ranker needs them, and nothing else has any")
    if given.get("optimizer") == "sparse_adam" and not ranker:
        raise FlowGradError(f"{where}.optimizer=sparse_adam: only a ranker has sparse gradients; use adam")
    for key in ("depth", "width", "batch", "steps", *({"tokens", "teacher", "rows", "processes"} & set(asked))):
        if type(given[key]) is not int or given[key] < 1:
            raise FlowGradError(f"{where}.{key}={given[key]}: must be a whole number of at least 1")
    return NetworkCase(id, **given)
