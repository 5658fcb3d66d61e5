"""Checks the `job` node beyond its types."""

from __future__ import annotations

import re
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from flowgrad.errors import FlowGradError
from pipelines.benchmarks.overhead.cases import OPTIMIZERS, TableCase


def checked_cases(job: DictConfig) -> list[TableCase]:
    """Check the cases to run, and return them, in the order of the config.

    Raises:
        FlowGradError: names the key, the value and what would be right.
    """
    for batch in job.limits.ratio:
        if not re.fullmatch(r"b[1-9]\d*", batch):
            raise FlowGradError(f"job.limits.ratio.{batch}: must be named by a batch size, as b1024 is")
    check_device(job.device)
    cases = OmegaConf.to_container(job.cases, resolve=True)
    assert isinstance(cases, dict)
    for unknown in sorted(set(job.only or ()) - set(cases)):
        raise FlowGradError(f"job.only names {unknown!r}; job.cases has {', '.join(map(str, cases))}")
    every = [_case(str(id), given, job.steps) for id, given in cases.items()]
    chosen = [case for case in every if job.only is None or case.id in job.only]
    if not chosen:
        raise FlowGradError("job.cases and job.only leave no case; name at least one")
    return chosen


def _case(id: str, given: Any, steps: int) -> TableCase:
    where, keys = f"job.cases.{id}", {"rows", "dim", "batch", "optimizer"}
    if not isinstance(given, dict) or not keys <= set(given) <= keys | {"steps"}:
        raise FlowGradError(f"{where}={given}: must give rows, dim, optimizer and batch, may give steps, nothing else")
    given = {"steps": steps, **given}
    for key in ("rows", "dim", "batch", "steps"):
        if type(given[key]) is not int or given[key] < 1:
            raise FlowGradError(f"{where}.{key}={given[key]}: must be a whole number of at least 1")
    if str(given["optimizer"]) not in OPTIMIZERS:
        raise FlowGradError(f"{where}.optimizer={given['optimizer']}: must be one of {', '.join(OPTIMIZERS)}")
    return TableCase(id, **given)


def check_device(device: str) -> None:
    """Refuse a device that is not there, by FlowGradError."""
    if device not in ("cpu", "cuda"):
        raise FlowGradError(f"job.device={device}: must be cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise FlowGradError("job.device=cuda: torch finds no CUDA device here; use cpu")
