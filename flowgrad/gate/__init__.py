"""The gate: checks of the evidence of every proof and every plan before anything is tested.

Functions of arrays and data frames find copies, constants and runs that are one run, and report them as an `Objection`:
how many, which, and the way out. Evidence that the gate refuses or downgrades is never called confirmed.
"""

from flowgrad.gate.batches import Batch, batches_objection, targets_objection
from flowgrad.gate.between import rows_between
from flowgrad.gate.copies import Copies, Seen, copies, seen
from flowgrad.gate.objection import DOWNGRADED, NOTED, REFUSED, GateError, Objection, refuse
from flowgrad.gate.pairs import pairs_objection
from flowgrad.gate.rows import columns_of
from flowgrad.gate.runs import arms_objection, arms_objections, seeds_objection
from flowgrad.gate.serial import serial_objection
from flowgrad.gate.tables import SEEN_ROWS, distinct_rows, near_copies_seen, parts_objection, table_objection
from flowgrad.gate.values import one_value_objection

__all__ = [
    "DOWNGRADED",
    "NOTED",
    "REFUSED",
    "SEEN_ROWS",
    "Batch",
    "Copies",
    "GateError",
    "Objection",
    "Seen",
    "arms_objection",
    "arms_objections",
    "batches_objection",
    "columns_of",
    "copies",
    "distinct_rows",
    "near_copies_seen",
    "one_value_objection",
    "pairs_objection",
    "parts_objection",
    "refuse",
    "rows_between",
    "seeds_objection",
    "seen",
    "serial_objection",
    "table_objection",
    "targets_objection",
]
