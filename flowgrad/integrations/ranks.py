"""Puts the ranks of a distributed training together at its end, where all of them come there."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any
from zlib import crc32

import torch
from torch import distributed

from flowgrad.trackers.embedding.ranks import agree, world_size
from flowgrad.trackers.watching import told
from flowgrad.watching import Watch

WAIT = 30.0
"""Seconds that a rank waits for the others."""
_meetings = itertools.count()
_GO, _STAY = b"go", b"stay"


def put_together(watch: Watch) -> None:
    """Sum the counts of a watch over all ranks, where each of them gets here in time and watches the same tables; else
    figures stay those of this rank, and the report says why. Nothing happens where there is one rank.
    """
    if world_size() == 1:
        return
    try:
        if not _all_come():
            because = f"some did not come to the end within {WAIT:.0f} seconds, or have no FlowGradCallback"
        elif not _alike(watch):
            because = "a rank stopped watching, or watches other tables"
        else:
            watch.all_reduce()
            return
    except Exception as error:
        because = told(error)
    watch.unseen["ranks_apart"] = f"the ranks were not put together: {because}"


def _all_come() -> bool:
    """Whether all ranks have come here; the answer is the same on each. A collective call would wait for a rank that
    never comes until the whole training is ended.
    """
    store = distributed.PrefixStore(f"flowgrad/{next(_meetings)}", distributed.distributed_c10d._get_default_store())
    if store.add("come", 1) == distributed.get_world_size():
        return _decided(store, _GO)
    try:
        store.wait(["decision"], timedelta(seconds=WAIT))
    except Exception:  # of a type of its own for each kind of store: it timed out, or the rank that held it is gone
        return _decided(store, _STAY)
    return bool(store.get("decision") == _GO)


def _decided(store: Any, wish: bytes) -> bool:
    """Decide, unless another rank has."""
    return bool(store.compare_set("decision", "", wish.decode()) == _GO)


def _alike(watch: Watch) -> bool:
    """Whether all ranks watch, and watch the same tables."""
    tables = sorted((name, tracker.stopped == "") for name, tracker in watch.tables.items())
    held = [one for optimizer in watch.optimizers for group in optimizer.param_groups for one in group["params"]]
    device = held[0].device if held else torch.device("cpu")
    return agree([watch.stopped == "", crc32(repr(tables).encode())], device) and not watch.stopped
