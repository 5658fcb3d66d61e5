"""Says whether attention is told where in its sequence a token stands."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from flowgrad.trackers.graph import node_of, nodes

_PASSES = 8
"""Number of passes with a pair of equal tokens that are read."""
_PAIRS = 64
"""Number of pairs of a pass that are compared."""
_COUNTS = ("passes", "pairs", "alike", "walked", "apart")
_WALKED = 4
"""Number of passes whose graph is walked from what attention is given."""
_TOKEN_BY_TOKEN = (
    "Addmm",
    "Mm",
    "Bmm",
    "Linear",
    "NativeLayerNorm",
    "FusedRmsNorm",
    "NativeDropout",
    "Embedding",
    "Relu",
    "Gelu",
    "Silu",
    "Tanh",
    "T",
    "Transpose",
    "Permute",
    "View",
    "UnsafeView",
    "ReshapeAlias",
    "Clone",
    "Unsqueeze",
    "Squeeze",
    "ToCopy",
)
"""Operations that do to each token the same, by the names of their nodes."""


class Positions:
    """Compares what the first attention layer of a pass is given for one token at two places of a sequence.

    Where both are the same vector, nothing has told the places apart: attention itself knows no order. A causal mask
    gives it one.
    """

    def __init__(self) -> None:
        """Start with no pass."""
        self._tokens: list[Tensor] = []
        """Ids of the sequences that were looked up in this pass, and sequences of vectors that the model was given."""
        self._read = False
        """Whether an attention layer of this pass was read."""
        self.passes = 0
        """Number of passes with such pairs."""
        self.pairs = 0
        """Number of pairs compared."""
        self.alike = 0
        """Pairs among them with one vector, but for entries that are 0 in either, as dropout leaves them."""
        self.walked = 0
        """Number of passes whose graph was walked back from what the first attention layer is given."""
        self.apart = 0
        """Passes among them in which all on the way does the same to each token."""

    def begin(self, args: tuple[Any, ...]) -> None:
        """Note that a pass begins, and what the model is given."""
        self._tokens.clear()
        self._read = False
        if self.passes < _PASSES:
            self._tokens += [one for one in args if isinstance(one, Tensor) and one.dim() == 3 and one.shape[1] > 1]

    def note_ids(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """Note the ids that a table looks up."""
        given = args[0] if args and self.passes < _PASSES else None
        if isinstance(module, nn.Embedding) and isinstance(given, Tensor) and given.dim() == 2 and given.shape[1] > 1:
            self._tokens.append(given)

    def note_query(self, module: nn.MultiheadAttention, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Note what an attention layer is given."""
        query = args[0] if args else kwargs.get("query")
        keys = args[1] if len(args) > 1 else kwargs.get("key")
        if self._read or not self._tokens or query is not keys or not isinstance(query, Tensor) or query.dim() != 3:
            return
        self._read = True
        if kwargs.get("is_causal") or (args[5] if len(args) > 5 else kwargs.get("attn_mask")) is not None:
            return
        rows = query if module.batch_first else query.transpose(0, 1)
        if self.walked < _WALKED and node_of(query) is not None:
            self.walked += 1
            self.apart += all(_token_by_token(node) for node in nodes(node_of(query)))
        tokens = next((one.detach() for one in self._tokens if one.shape[:2] == rows.shape[:2]), None)
        if tokens is None:
            return
        ordered, order = _keys(tokens).sort(1)
        where = (ordered[:, 1:] == ordered[:, :-1]).nonzero()[:_PAIRS]
        if not len(where):
            return
        row, place = where.T
        one, other = rows[row, order[row, place]].detach(), rows[row, order[row, place + 1]].detach()
        both = (one != 0) & (other != 0)
        if tokens.dim() == 3:  # two vectors may have one key by chance
            equal = (tokens[row, order[row, place]] == tokens[row, order[row, place + 1]]).all(1)
            both &= equal[:, None]
        same = ((one == other) | ~both).all(1) & both.any(1)
        self.passes += 1
        self.pairs += int(both.any(1).sum())
        self.alike += int(same.sum())

    def scalars(self) -> dict[str, float]:
        """Figures of `flowgrad.measures.flow_passes.POSITIONS`."""
        return {
            "position_pairs": float(self.pairs),
            "positions_alike": self.alike / self.pairs if self.pairs else math.nan,
            "position_passes": float(self.walked),
            "positions_apart": self.apart / self.walked if self.walked else math.nan,
        }

    def state_dict(self) -> dict[str, int]:
        """State for a checkpoint."""
        return {name: getattr(self, name) for name in _COUNTS}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from a state that `state_dict` gave."""
        for name in _COUNTS:
            setattr(self, name, state[name])


def _token_by_token(node: Any) -> bool:
    name = node.name()
    return name.endswith("AccumulateGrad") or name.split("Backward")[0] in _TOKEN_BY_TOKEN


def _keys(tokens: Tensor) -> Tensor:
    """A number for each token, equal where tokens are, shape (sequences, places)."""
    if tokens.dim() == 2:
        return tokens
    weights = torch.arange(1, tokens.shape[2] + 1, dtype=torch.float64, device=tokens.device).sqrt()
    return tokens.double() @ weights
