"""Makes the training that is timed: a network, random inputs and classes, and a plain training step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from pipelines.benchmarks.overhead.networks.ranker import Ranker, ids_of
from pipelines.benchmarks.overhead.networks.watchers import NetworkWatcher

CLASSES = 10
_HEAD_WIDTH = 64
"""Width of one attention head, as in Vaswani et al. (2017)."""
_LEARNING_RATE = 1e-4
"""Learning rate, small enough that nothing diverges; the cost of a step does not depend on it."""
Batch = tuple[Tensor, Tensor]
"""Type of inputs, shape (batch, width) or (batch, tokens, width), of a ranker ids of shape (tables, batch); and
classes, shape (batch,).
"""


@dataclass(frozen=True)
class NetworkCase:
    """One network and the way it is trained."""

    id: str
    network: str
    """Name of the network, a key of `NETWORKS`."""
    depth: int
    """Number of layers."""
    width: int
    """Width of every layer but the last, and of the inputs, where these are no ids."""
    batch: int
    """Number of examples a step."""
    tokens: int | None
    """Number of tokens of an example; None: it is a single vector."""
    steps: int
    """Number of steps of each arm, where the watcher is our own."""
    teacher: int | None = None
    """Width of a frozen teacher, of the same depth, whose scores the network learns; None: it learns classes."""
    optimizer: str = "adam"
    """Name of the optimizer, a key of `OPTIMIZERS`."""
    rows: int | None = None
    """Number of rows of a ranker's table, at most; None: it has no tables."""
    processes: int = 1
    """Number of processes, one after the other, that the steps are taken in anew, where the watcher is our own. Where
    weights lie in memory moves the time of a step for the life of a process.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the inputs of a batch."""
        return (self.batch, self.width) if self.tokens is None else (self.batch, self.tokens, self.width)


def mlp(case: NetworkCase, hidden: int | None = None) -> nn.Module:
    """Make `depth` linear layers with ReLU between them.

    Args:
        case: says of what size.
        hidden: width of the layers between; that of the inputs if None.
    """
    width = hidden or case.width
    widths = [case.width, *[width] * (case.depth - 1)]
    between = [part for pair in pairwise(widths) for part in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*between, nn.Linear(widths[-1], CLASSES))


class Transformer(nn.Module):
    """A transformer of `depth` encoder layers with heads of width 64 and four times the width between, and a linear
    layer on the mean token. It has no dropout, which would make the bare step slower.
    """

    def __init__(self, case: NetworkCase) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            case.width, max(1, case.width // _HEAD_WIDTH), 4 * case.width, dropout=0.0, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, case.depth, enable_nested_tensor=False)
        self.head = nn.Linear(case.width, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits, shape (batch, classes)."""
        scores: Tensor = self.head(self.encoder(inputs).mean(dim=1))
        return scores


def ranker(case: NetworkCase) -> nn.Module:
    """Make tables, and `depth` linear layers on their rows."""
    assert case.rows is not None
    return Ranker(case.rows, case.depth, case.width, CLASSES, sparse=case.optimizer == "sparse_adam")


NETWORKS: Mapping[str, Callable[[NetworkCase], nn.Module]] = {
    "mlp": mlp,
    "transformer": Transformer,
    "ranker": ranker,
}


def _adam(model: nn.Module) -> list[torch.optim.Optimizer]:
    # As pipelines.trainers.optimizers does.
    return [torch.optim.Adam(model.parameters(), lr=_LEARNING_RATE, fused=True)]


def _sgd(model: nn.Module) -> list[torch.optim.Optimizer]:
    return [torch.optim.SGD(model.parameters(), lr=_LEARNING_RATE, momentum=0.9, fused=True)]


def _sparse_adam(model: nn.Module) -> list[torch.optim.Optimizer]:
    tables = [layer.weight for layer in model.modules() if isinstance(layer, nn.Embedding)]
    rest = [weight for weight in model.parameters() if all(weight is not table for table in tables)]
    return [
        torch.optim.SparseAdam(tables, lr=_LEARNING_RATE),
        torch.optim.Adam(rest, lr=_LEARNING_RATE, fused=True),
    ]


OPTIMIZERS: Mapping[str, Callable[[nn.Module], list[torch.optim.Optimizer]]] = {
    "adam": _adam,
    "sgd": _sgd,
    "sparse_adam": _sparse_adam,
}
"""Functions that make the optimizers of a network. `sparse_adam` is `SparseAdam` on tables, and Adam on all else."""


class Batches:
    """Source of normal inputs, or skewed ids, and random classes."""

    def __init__(self, case: NetworkCase, seed: int, device: torch.device) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._case, self._device = case, device

    def draw(self, count: int) -> list[Batch]:
        """Draw the next `count` batches, on the device."""
        return [self._one() for _ in range(count)]

    def _one(self) -> Batch:
        case = self._case
        if case.rows is None:
            inputs = torch.randn(case.shape, generator=self._generator)
        else:
            inputs = ids_of(case.rows, case.batch, self._generator)
        classes = torch.randint(CLASSES, (case.batch,), generator=self._generator)
        return inputs.to(self._device), classes.to(self._device)


class NetworkArm:
    """A network in training: with cross-entropy, or with the divergence from its teacher's scores."""

    def __init__(self, case: NetworkCase, seed: int, device: torch.device) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = NETWORKS[case.network](case).to(device)
            self.teacher = None if case.teacher is None else mlp(case, case.teacher).to(device)
        self._make = OPTIMIZERS[case.optimizer]
        self.optimizers = self._make(self.model)
        self.watcher: NetworkWatcher | None = None

    def twin(self) -> NetworkArm:
        """Make an arm that trains the same weights in the same memory, with the same optimizer state; hooks on one are
        not on the other. Only for an arm that has taken a step: before that there is no state to share.
        """
        twin = copy.copy(self)
        twin.model = copy.deepcopy(self.model)
        twin.optimizers = self._make(twin.model)
        state = {weight: kept for optimizer in self.optimizers for weight, kept in optimizer.state.items()}
        twins = dict(zip(twin.model.parameters(), self.model.parameters(), strict=True))
        for own, shared in twins.items():
            own.data, own.grad = shared.data, None
        for optimizer in twin.optimizers:
            for own in (one for group in optimizer.param_groups for one in group["params"]):
                optimizer.state[own] = state[twins[own]]
        return twin

    def train(self, batches: list[Batch]) -> None:
        """Take one step a batch."""
        for inputs, classes in batches:
            for optimizer in self.optimizers:
                optimizer.zero_grad()
            loss = self._loss(inputs, classes)
            loss.backward()
            for optimizer in self.optimizers:
                optimizer.step()
            if self.watcher is not None:
                self.watcher.step(loss.detach())

    def _loss(self, inputs: Tensor, classes: Tensor) -> Tensor:
        scores = self.model(inputs)
        if self.teacher is None:
            return nn.functional.cross_entropy(scores, classes)
        with torch.no_grad():
            theirs = self.teacher(inputs)
        return nn.functional.kl_div(
            scores.log_softmax(-1), theirs.log_softmax(-1), reduction="batchmean", log_target=True
        )

    def weights(self) -> list[Tensor]:
        """Parameters of the model."""
        return list(self.model.parameters())

    def tensors(self) -> list[Tensor]:
        """Tensors that the model, its teacher and its optimizer hold, whether watched or not."""
        weights = self.weights()
        others = [*self.model.buffers(), *(() if self.teacher is None else self.teacher.parameters())]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        kept = [entry for optimizer in self.optimizers for entry in optimizer.state.values()]
        state = [value for entry in kept for value in entry.values() if torch.is_tensor(value)]
        return [*weights, *gradients, *others, *state]
