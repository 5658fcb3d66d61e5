"""Lists the cases to run: tables with interactions, tables without, and the origin of their columns."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pandas import DataFrame

from datasets.null_tables import NULLS, make_null, permute
from datasets.planted import SHAPES, Planted, plant, real_features, synthetic_features
from flowgrad.errors import FlowGradError
from flowgrad.rules.suggestion import did_you_mean
from pipelines.config.command_line import one_line
from pipelines.config.compose import composed
from pipelines.config.schema.jobs import ColumnsSettings, NullSettings, PlantedSettings
from pipelines.config.values import check_value
from pipelines.data.tables import TableData, load_table


@dataclass(frozen=True)
class RealTables:
    """The real tables by their names in the config; sent to each process once."""

    by_name: Mapping[str, TableData]

    @property
    def source(self) -> str:
        """Origins of these copies."""
        return "; ".join(f"{name}: {data.source}" for name, data in self.by_name.items())

    @property
    def sha256(self) -> str:
        """SHA-256 of the contents."""
        return hashlib.sha256("".join(data.sha256 for data in self.by_name.values()).encode()).hexdigest()


@dataclass(frozen=True)
class Columns:
    """Origin of the columns of a case."""

    table: str | None
    """Name of a real table; None: they are made up."""
    rows: int
    columns: int
    correlation: float

    def draw(self, tables: RealTables, seed: int) -> DataFrame:
        """Draw the columns of this seed."""
        if self.table is None:
            return synthetic_features(self.rows, self.columns, seed, self.correlation)
        return real_features(tables.by_name[self.table].table.features, self.rows, self.columns, seed)


@dataclass(frozen=True)
class PlantedCase:
    """A kind of table that has interactions."""

    name: str
    columns: Columns
    shapes: tuple[str, ...]
    strength: float
    main: float

    @property
    def kind(self) -> str:
        """Kind of the columns: `synthetic`, or `planted` in real columns."""
        return "synthetic" if self.columns.table is None else "planted"

    def make(self, tables: RealTables, seed: int) -> Planted:
        """Make the table of this seed."""
        try:
            features = self.columns.draw(tables, seed)
            return plant(features, self.shapes, self.strength, self.main, seed)
        except FlowGradError as error:
            raise FlowGradError(f"job.planted.{self.name}, seed {seed}: {error}") from error


@dataclass(frozen=True)
class NullCase:
    """A kind of table that has none."""

    name: str
    columns: Columns
    target: str | None
    """Target, a key of `NULLS`; None: the real table's, permuted."""

    def make(self, tables: RealTables, seed: int) -> Planted:
        """Make the table of this seed."""
        try:
            features = self.columns.draw(tables, seed)
            if self.target is not None:
                return make_null(features, self.target, seed)
        except FlowGradError as error:
            raise FlowGradError(f"job.nulls.{self.name}, seed {seed}: {error}") from error
        assert self.columns.table is not None
        data = tables.by_name[self.columns.table]
        return permute(features, data.table.targets[data.target][features.index], seed)


def planted_cases(job: DictConfig) -> list[PlantedCase]:
    """List the cases with interactions that the job names.

    Raises:
        FlowGradError: names the key, the value and what would be right.
    """
    found = []
    for name, where, given in _typed(job, "planted", PlantedSettings):
        if not given.shapes:
            raise FlowGradError(f"{where}.shapes is empty; give one or more of {', '.join(SHAPES)}")
        for shape in given.shapes:
            if shape not in SHAPES:
                raise FlowGradError(f"{where}.shapes names {shape!r}{did_you_mean(shape, SHAPES)}")
        columns = _columns(where, given, job.tables)
        pairs = columns.columns * (columns.columns - 1) // 2
        if len(given.shapes) > pairs:
            raise FlowGradError(f"{where}: {columns.columns} columns have {pairs} pairs, too few for its shapes")
        found.append(PlantedCase(name, columns, tuple(given.shapes), given.strength, given.main))
    return [case for case in found if job.only is None or case.name in job.only]


def null_cases(job: DictConfig) -> list[NullCase]:
    """List the cases without interactions that the job names; errors are as of `planted_cases`."""
    found = []
    for name, where, given in _typed(job, "nulls", NullSettings):
        if given.target is None and given.table is None:
            raise FlowGradError(f"{where}: give a target ({', '.join(NULLS)}), or a table whose own is permuted")
        if given.target is not None and given.target not in NULLS:
            raise FlowGradError(f"{where}.target={given.target!r}{did_you_mean(given.target, NULLS)}")
        found.append(NullCase(name, _columns(where, given, job.tables), given.target))
    return [case for case in found if job.only is None or case.name in job.only]


def _typed(job: DictConfig, node: str, kind: type[ColumnsSettings]) -> Iterator[tuple[str, str, Any]]:
    """Yield name, place and settings. A typed dict of settings would take no new entry from the command line."""
    for name, given in job[node].items():
        where = f"job.{node}.{name}"
        try:
            typed = OmegaConf.merge(OmegaConf.structured(kind), given)
        except (OmegaConfBaseException, ValueError, TypeError) as error:
            raise FlowGradError(f"{where}={given}: {one_line(error)}") from error
        check_value(where, typed)
        if missing := OmegaConf.missing_keys(typed):
            raise FlowGradError(f"{where}.{min(missing)} is missing; give it")
        yield str(name), where, typed


def check_only(job: DictConfig) -> None:
    """Refuse a name in `job.only` that no case has.

    Raises:
        FlowGradError: names it.
    """
    known = [str(name) for name in (*job.planted, *job.nulls)]
    for name in job.only or ():
        if name not in known:
            raise FlowGradError(f"job.only names {name!r}{did_you_mean(name, known)}")
    if both := set(job.planted) & set(job.nulls):
        raise FlowGradError(f"{min(both)!r} is in job.planted and in job.nulls; rename one")


def _columns(where: str, given: DictConfig, tables: DictConfig) -> Columns:
    if given.table is not None and given.table not in tables:
        raise FlowGradError(f"{where}.table={given.table!r}{did_you_mean(given.table, list(map(str, tables)))}")
    if given.table is not None and given.correlation:
        raise FlowGradError(f"{where}.correlation={given.correlation}: a real table has its own; leave it out")
    return Columns(given.table, given.rows, given.columns, given.correlation)


def load_tables(job: DictConfig, cases: Sequence[PlantedCase | NullCase]) -> RealTables:
    """Load the real tables that the cases take their columns from.

    Raises:
        FlowGradError: overrides that give no table, or any error of the loader.
    """
    found = {}
    for name in dict.fromkeys(case.columns.table for case in cases if case.columns.table is not None):
        try:
            config = composed(list(job.tables[name]), rules=False)
            if config.task is None:
                raise FlowGradError("they choose no task; add one, e.g. task=rating")
            found[name] = load_table(config)
        except (FlowGradError, HydraException, OmegaConfBaseException) as error:
            raise FlowGradError(f"job.tables.{name}: {one_line(error)}") from error
    return RealTables(found)
