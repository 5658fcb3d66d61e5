"""The `fault` node of a booster's config: a known fault of columns, injected into its table."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from omegaconf import DictConfig

from datasets import table_faults
from flowgrad.errors import FlowGradError
from pipelines.data.tables import TableData

KINDS = (
    "leak", "leak_proxy", "target_encoding", "smoothed_encoding", "ids_in_order", "batch_codes", "dominant_column",
    "copied_columns", "constant_columns", "noise_columns",
)  # fmt: skip
_COUNTS = ("copied_columns", "noise_columns")
_MOST = 1000
_PRIOR = 1.0
"""Number of rows of the overall mean in `smoothed_encoding`."""


@dataclass(frozen=True)
class Injected:
    """A table with the fault in it."""

    data: TableData
    columns: tuple[str, ...]
    """Names of the columns that have it: the truth that a diagnosis is scored against."""


def check_fault(config: DictConfig) -> None:
    """Refuse an unknown fault.

    Raises:
        FlowGradError: names the key and what would be right.
    """
    fault = config.fault
    if fault.kind not in KINDS:
        raise FlowGradError(f"fault.kind={fault.kind!r} is unknown; use one of {', '.join(KINDS)}")
    if fault.kind in _COUNTS and not (1 <= fault.strength <= _MOST and fault.strength == round(fault.strength)):
        raise FlowGradError(
            f"fault.strength={fault.strength}: {fault.kind} takes it for a number of columns, 1 to {_MOST}"
        )
    if fault.kind in ("target_encoding", "smoothed_encoding", "batch_codes") and fault.strength < 1:
        raise FlowGradError(f"fault.strength={fault.strength}: {fault.kind} takes it for rows a group, 1 or more")
    if fault.kind == "dominant_column" and not fault.strength > 0:
        raise FlowGradError(f"fault.strength={fault.strength}: must be above 0 times the best column")


def inject(config: DictConfig, data: TableData) -> Injected:
    """Inject the fault that the config names into these data. It depends on `fault.seed` and on no other seed."""
    fault = config.fault
    if fault is None:
        return Injected(data, ())
    table, name, rng = data.table, data.target, np.random.default_rng(fault.seed)
    strength, noise = fault.strength, fault.noise
    faulted = {
        "leak": lambda: table_faults.leak(table, name, rng, noise),
        "leak_proxy": lambda: table_faults.leak_proxy(table, name, rng, noise),
        "target_encoding": lambda: table_faults.target_encoding(table, name, rng, strength),
        "smoothed_encoding": lambda: table_faults.target_encoding(table, name, rng, strength, _PRIOR),
        "ids_in_order": lambda: table_faults.ids_in_order(table, name, rng, noise),
        "batch_codes": lambda: table_faults.batch_codes(table, name, rng, strength, noise),
        "dominant_column": lambda: table_faults.dominant_column(table, name, rng, strength),
        "copied_columns": lambda: table_faults.copied_columns(table, rng, round(strength), noise),
        "constant_columns": lambda: table_faults.constant_columns(table),
        "noise_columns": lambda: table_faults.noise_columns(table, rng, round(strength)),
    }[fault.kind]()
    return Injected(replace(data, table=faulted.table), faulted.columns)
