"""Lists the cases to run: settings, and the faults injected into them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from flowgrad.errors import FlowGradError
from flowgrad.prescription import change_text, changed
from flowgrad.rules.fix import read_fix
from flowgrad.rules.suggestion import did_you_mean
from pipelines.benchmarks.faults.ground import FaultFamily
from pipelines.config.command_line import one_line
from pipelines.config.compose import composed, shared_overrides, with_overrides
from pipelines.config.copies import copied
from pipelines.stages.check import check_settings


@dataclass(frozen=True)
class FaultCase:
    """One training run that is diagnosed."""

    kind: str
    """Kind of case: `row` (a column is a row of its tracker), `run` or `control`."""
    fault: str
    """Name of the fault; of a control, that of the control."""
    means: str
    """Kind of fault, for those that come in strengths: `lr_too_high` of `lr_x10`."""
    setting: str
    """Healthy configuration that the fault is injected into."""
    table: str
    """Table (subject of a tracker) whose rows have the fault; empty for other kinds."""
    seed: int
    """Seed of the diagnosed run, and of the choice of rows."""
    config: DictConfig
    overrides: tuple[str, ...]
    """Overrides that the config was composed from."""
    healthy: tuple[str, ...]
    """Overrides of the same run without the fault."""
    rules: tuple[str, ...]
    """Rules any of which is right to fire, and one of which ought to."""
    also: tuple[str, ...] = ()
    """Rules that are right to fire too."""
    place: str = ""
    """Place where the fault is injected, for those that choose no rows themselves (`FaultFamily.places`)."""


def cases(config: DictConfig, task: Sequence[str], ground: FaultFamily) -> list[FaultCase]:
    """List every case that the job names, settings first, then seeds.

    Raises:
        FlowGradError: a setting or a fault that gives no config that can run.
    """
    _composed.cache_clear()  # another run may have another search path
    job = config.job
    check_chosen("only", job.only, job.settings)
    check_chosen("tables", job.tables, ground.TABLES)
    check_chosen("only_faults", job.only_faults, [*job.row_faults, *job.run_faults])
    check_chosen("only_controls", job.only_controls, job.controls)
    named = list(job.settings) if job.only is None else list(job.only)
    return [case for name in named for case in _of_setting(config, task, name, ground)]


def check_chosen(key: str, chosen: Sequence[str] | None, known: Iterable[str]) -> None:
    """Refuse names that are not known.

    Args:
        key: below `job`, for errors.
        chosen: names given; None: none.
        known: all names.

    Raises:
        FlowGradError: the message names the key and the name.
    """
    for name in chosen or ():
        if name not in list(known):
            raise FlowGradError(f"job.{key} names {name!r}{did_you_mean(name, known)}")


def _chosen(known: DictConfig, only: Sequence[str] | None) -> Iterator[tuple[str, Any]]:
    return ((str(name), spec) for name, spec in known.items() if only is None or name in only)


def _of_setting(config: DictConfig, task: Sequence[str], name: str, ground: FaultFamily) -> Iterator[FaultCase]:
    job = config.job
    healthy = (*job.settings[name], *shared_overrides(task))
    where = f"job.settings.{name}"
    base = _composed(where, healthy)
    known = tuple(job.true_of.get(name, ()))
    for seed in job.seeds:
        for control, changes in _chosen(job.controls, job.only_controls):
            plain = tuple(with_overrides(healthy, list(changes)))
            overrides = (*plain, f"seeds.diagnosis={seed}")
            made = _seeded(_composed(f"job.controls.{control} in {where}", plain), seed)
            yield FaultCase("control", control, control, name, "", seed, made, overrides, overrides, (), known)
        for fault, spec in _chosen(job.row_faults, job.only_faults):
            if spec.settings is not None and name not in spec.settings:
                continue
            choice = spec.choice or fault
            for table in job.tables:
                if not ground.can_hold(base, choice, table):
                    continue
                rules, also = tuple(spec.rules), (*spec.also, *known)
                laid = (*healthy, *ground.row_overrides(choice, table), *spec.overrides)
                for place, further in ground.places(base, choice).items():
                    plain = (*laid, *further)
                    overrides = (*plain, f"fault.seed={seed}", f"seeds.diagnosis={seed}")
                    made = _seeded(_composed(f"job.row_faults.{fault} in {where}", plain), seed)
                    yield FaultCase(
                        "row", fault, fault, name, table, seed, made, overrides, healthy, rules, also, place
                    )
        for fault, spec in _chosen(job.run_faults, job.only_faults):
            if spec.settings is not None and name not in spec.settings:
                continue
            plain = _faulted(f"job.run_faults.{fault}", spec.fault, base, healthy)
            overrides = (*plain, f"seeds.diagnosis={seed}")
            made = _seeded(_composed(f"job.run_faults.{fault} in {where}", plain), seed)
            rules, also = tuple(spec.rules), (*spec.also, *known)
            yield FaultCase("run", fault, spec.means, name, "", seed, made, overrides, healthy, rules, also)


def _faulted(where: str, fault: DictConfig, base: DictConfig, healthy: Sequence[str]) -> tuple[str, ...]:
    """Overrides of a fault of the run, which is written as a fix is: paths to set and to scale."""
    plain = OmegaConf.to_container(fault, resolve=True)
    assert isinstance(plain, dict)
    try:
        change = changed(read_fix(plain, ()), base)
    except FlowGradError as error:
        raise FlowGradError(f"{where}: {error}") from error
    return tuple(with_overrides(healthy, [f"{path}={change_text(value)}" for path, value in change.items()]))


def _seeded(config: DictConfig, seed: int) -> DictConfig:
    """Set the seeds in the config, as the overrides would: to compose anew takes a fifth of a second."""
    made = copied(config)
    made.seeds.diagnosis = seed
    if made.fault is not None and made.fault.kind != "none":
        made.fault.seed = seed
    try:
        check_settings(made)
    except FlowGradError as error:
        raise FlowGradError(f"job.seeds: {one_line(error)}") from error
    return made


@cache
def _composed(where: str, overrides: tuple[str, ...]) -> DictConfig:
    try:
        config = composed(overrides, rules=False)
        check_settings(config)
    except (FlowGradError, HydraException, OmegaConfBaseException) as error:
        raise FlowGradError(f"{where}: {one_line(error)}") from error
    return config
