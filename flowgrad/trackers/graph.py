"""Reads the graph of a loss: which weights it reaches, and which functions the loss is made of."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import torch

MOST = 20_000
"""Number of nodes of a graph that are visited; of a larger one the rest stays unseen."""
_SOFTMAX, _SIMILARITY = ("Softmax", "Logsumexp"), ("VectorNorm", "NormBackward", "CosineSimilarity", "CosineEmbedding")
_LAYERS = ("mmBackward", "Convolution", "LinearBackward", "CompiledFunction")
_NO_SIMILARITY = ("LayerNorm", "BatchNorm", "GroupNorm", "RmsNorm", "RMSNorm")


def node_of(loss: Any) -> Any:
    """Node at which the graph of a loss begins; None for a number, or a tensor without a graph."""
    return loss.grad_fn if isinstance(loss, torch.Tensor) else None


def reaches(node: Any, weights: Collection[int], without: Any = None) -> bool:
    """Whether a graph leads to one of these weights by another way than through one of its nodes.

    Args:
        node: where the graph begins.
        weights: identities of parameters.
        without: node that is not passed.
    """
    return any(id(getattr(found, "variable", None)) in weights for found in nodes(node, without))


def leaves(node: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors that a graph leads to and that gradients are summed up in, each once.

    >>> weight = torch.ones(2, requires_grad=True)
    >>> [leaf is weight for leaf in leaves(node_of((weight * 2).sum()))]
    [True]
    """
    for found in nodes(node):
        leaf = getattr(found, "variable", None)
        if isinstance(leaf, torch.Tensor):
            yield leaf


def nodes(node: Any, without: Any = None) -> Iterator[Any]:
    """Yield the nodes of a graph from one on, each once, but for one and those that only it leads to."""
    waiting, seen = [node], {without}
    while waiting and len(seen) < MOST:
        current = waiting.pop()
        if current is None or current in seen:
            continue
        seen.add(current)
        yield current
        waiting.extend(following for following, _ in current.next_functions)


def made_of(node: Any) -> tuple[bool, bool]:
    """Whether a loss is made of a softmax, and whether it is a similarity: by the nodes before those that use a weight.

    >>> logits = torch.nn.Linear(2, 3)(torch.ones(1, 2))
    >>> made_of(node_of(logits.log_softmax(dim=1).mean()))
    (True, False)
    """
    seen: set[Any] = set()
    waiting, softmax, similar = [node], False, False
    while waiting and len(seen) < MOST:
        current = waiting.pop()
        if current is None or current in seen:
            continue
        seen.add(current)
        following = [nearer for nearer, _ in current.next_functions]
        name = current.name()
        if any(part in name for part in _LAYERS) or any(hasattr(nearer, "variable") for nearer in following):
            continue
        softmax |= any(part in name for part in _SOFTMAX)
        similar |= any(part in name for part in _SIMILARITY) and not any(part in name for part in _NO_SIMILARITY)
        waiting.extend(following)
    return softmax, similar
