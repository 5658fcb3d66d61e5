"""Counts lookups inside compiled graphs: an operator that hands lookups to the tracker of the table they are of.

A hook that runs Python while a model is compiled breaks its graph, and would be a reason to compile anew at every step.
An operator is one opaque node instead: it is called with the ids each time the graph runs, also under `fullgraph=True`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakSet

import torch

if TYPE_CHECKING:
    from flowgrad.trackers.embedding.tracker import EmbeddingTracker

ATTACHED: WeakSet[EmbeddingTracker] = WeakSet()
"""Trackers that are attached now."""


def _note_lookup(marker: torch.Tensor, ids: torch.Tensor, weight: torch.Tensor, place: int) -> None:
    # A graph that was compiled for one model serves the next one of its class as well, so the tracker is found by the
    # table that is looked up and not by the hook that was there when the graph was made.
    for tracker in tuple(ATTACHED):
        own = tracker.layer._parameters.get("weight")
        if tracker.place == place and own is not None and own.data_ptr() == weight.data_ptr():
            tracker.note_compiled(ids)
            return


# The marker is said to be written to, or the node would be dropped as one without effect.
_operator = torch.library.custom_op("flowgrad::note_lookup", _note_lookup, mutates_args=("marker",))
_operator.register_fake(lambda marker, ids, weight, place: None)
_operator.register_vmap(lambda info, in_dims, marker, ids, weight, place: (None, None))  # nobody can count inside

note_lookup = torch.ops.flowgrad.note_lookup
"""Operator (marker, ids, weight, place) -> None: it hands lookups to the tracker at that place of the layer with this
table.
"""
