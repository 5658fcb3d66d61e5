"""Says whether attention leaves out padding, or leaves out everything else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

_RUN = 2
"""Number of places at an end that are all padding from which on a sequence is padded: one 0 may be a token."""
_PASSES = 64
"""Number of passes that are read since tracking began: to compare ids and masks waits for the device."""
_COUNTS = ("padded", "inverted", "open", "told")


class AttentionMasks:
    """Counts of padded sequences that attention layers read, by what their mask leaves out.

    Padding is the `padding_idx` of the table that sequences are looked up in, or else 0 where it stands nowhere in the
    midst of them; it has to fill up an end of some sequences of a batch, and not of all alike.
    """

    def __init__(self) -> None:
        """Start with no pass."""
        self._passes = 0
        """Number of passes begun."""
        self._filled: list[Tensor] = []
        """Places of padding at the ends of the sequences of each lookup of this pass, shape (sequences, places)."""
        self.padded = 0
        """Number of padded sequences that an attention layer read."""
        self.inverted = 0
        """Sequences among them whose mask leaves out all that is no padding, and nothing else."""
        self.open = 0
        """Sequences among them of which no mask was given, neither for keys nor for the whole batch."""
        self.told = 0
        """Number of passes of models that were given tokens and an attention mask that keeps a single token alone."""

    def begin(self) -> None:
        """Note that a pass begins."""
        self._passes += 1
        self._filled.clear()

    def note_ids(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """Note the ids that a table looks up."""
        given = args[0] if args and self._passes <= _PASSES else None
        if isinstance(module, nn.Embedding) and isinstance(given, Tensor) and given.dim() == 2:
            padding = given == (module.padding_idx or 0)
            filled = _filled(padding)
            named = module.padding_idx is not None
            if given.shape[1] > _RUN and (named or not (padding & ~filled).any()):
                self._filled.append(filled)

    def note_mask(self, module: nn.MultiheadAttention, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Note what an attention layer is given: the keys, and masks of them."""
        keys = args[1] if len(args) > 1 else kwargs.get("key")
        if not isinstance(keys, Tensor) or keys.dim() != 3 or not self._filled:
            return
        batched = module.batch_first
        shape = keys.shape[:2] if batched else keys.shape[1::-1]
        filled = next((one for one in self._filled if one.shape == shape), None)
        if filled is None:
            return
        runs = filled.sum(1)
        rows = (runs >= _RUN) & (runs < filled.shape[1])
        if not rows.any() or (runs == runs[0]).all():
            return  # what ends every sequence alike may be a mark, not padding
        mask = args[3] if len(args) > 3 else kwargs.get("key_padding_mask")
        self.padded += int(rows.sum())
        if mask is None:
            whole = args[5] if len(args) > 5 else kwargs.get("attn_mask")
            if whole is None or whole.dim() == 2:  # one of three axes may leave out padding as well
                self.open += int(rows.sum())
            return
        left_out = mask if mask.dtype.is_floating_point is False else mask.isneginf()
        if left_out.shape == filled.shape:
            self.inverted += int((rows & (left_out.bool() == ~filled).all(1)).sum())

    def end(self, kwargs: Mapping[str, Any]) -> None:
        """Note the named inputs of a pass of the whole model."""
        tokens: Any = kwargs.get("input_ids") if self._passes <= _PASSES else None
        kept: Any = kwargs.get("attention_mask")
        if not all(isinstance(one, Tensor) and one.dim() == 2 for one in (tokens, kept)) or tokens.shape != kept.shape:
            return
        attended, rest = tokens[kept > 0], tokens[kept <= 0]
        alone = len(attended) > 1 and len(rest) > 1 and bool((attended == attended[0]).all())
        self.told += alone and bool((rest != rest[0]).any()) and not bool((rest == attended[0]).any())

    def scalars(self) -> dict[str, float]:
        """Figures of `flowgrad.measures.flow_passes.MASKS`."""
        return {
            "padding_attended": self.open / self.padded if self.padded else math.nan,
            "mask_inverted": self.inverted / self.padded if self.padded else math.nan,
            "attended_sequences": float(self.padded),
            "padding_attended_alone": float(self.told),
        }

    def state_dict(self) -> dict[str, int]:
        """State for a checkpoint."""
        return {name: getattr(self, name) for name in _COUNTS}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from a state that `state_dict` gave."""
        for name in _COUNTS:
            setattr(self, name, state[name])


def _filled(padding: Tensor) -> Tensor:
    """Places at either end up to which, or from which on, a row holds nothing but padding, shape of `padding`."""
    before = padding.cumprod(1)
    behind = padding.flip(1).cumprod(1).flip(1)
    return (before + behind) > 0
