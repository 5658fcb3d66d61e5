"""Healthy habits of models: frozen bodies, adapters, pretrained tables, shared weights, scales."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.checkpoint import checkpoint

from pipelines.benchmarks.field.data import Rows, length, take
from pipelines.benchmarks.field.registry import habit
from pipelines.benchmarks.field.training import Training, plain_step


def pretrain(run: Training, epochs: int = 4) -> None:
    """Train the model beforehand, as somebody else did, by Adam."""
    trained = [p for p in run.model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=2e-3, weight_decay=_decay(run))
    before, run.optimizer = getattr(run, "optimizer", None), optimizer
    generator = torch.Generator().manual_seed(run.seed + 77)
    run.model.train()
    for _ in range(epochs):
        for index in torch.randperm(length(run.train), generator=generator).split(run.batch):
            plain_step(run, take(run.train, index))
    if before is not None:
        run.optimizer = before


def only_trainable(run: Training, rate: float = 2e-3) -> None:
    """Make an optimizer that holds only parameters that ask for gradients."""
    run.optimizer_of = lambda run: torch.optim.Adam(
        [p for p in run.model.parameters() if p.requires_grad], lr=rate, weight_decay=_decay(run)
    )


def _decay(run: Training) -> float:
    """Penalty that keeps the host from overfitting."""
    return 3e-4 if run.host == "factorisation" else 1e-5


@habit(["perceptron", "cnn", "transformer"])
def frozen_body(run: Training) -> None:
    """A pretrained body is frozen by `requires_grad_(False)`, and a new head is trained."""
    pretrain(run)
    for name, parameter in run.model.named_parameters():
        if not name.startswith(run.head):
            parameter.requires_grad_(False)
    run.module(run.head).reset_parameters()  # type: ignore[operator]
    only_trainable(run)


@habit(["perceptron", "cnn"])
def body_without_gradients(run: Training) -> None:
    """The pretrained body runs under `no_grad`; its parameters still ask for gradients, the optimizer has the head."""
    pretrain(run)
    head = run.module(run.head)
    head.reset_parameters()  # type: ignore[operator]
    head.register_forward_pre_hook(lambda module, args: tuple(arg.detach() for arg in args))
    for name, parameter in run.model.named_parameters():
        if not name.startswith(run.head):
            parameter.requires_grad_(False)
    run.optimizer_of = lambda run: torch.optim.Adam(run.module(run.head).parameters(), lr=2e-3)


class Adapter(nn.Module):
    """A frozen linear layer with a product of two narrow ones added to it (Hu et al. 2022)."""

    def __init__(self, layer: nn.Linear, rank: int = 4):
        super().__init__()
        self.layer = layer
        self.down = nn.Linear(layer.in_features, rank, bias=False)
        self.up = nn.Linear(rank, layer.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of the layer and of its adapter."""
        return self.layer(x) + self.up(self.down(x))


@habit(["perceptron", "recurrent", "deepfm"])
def adapters(run: Training) -> None:
    """Low-rank adapters are added to frozen linear layers; the head is trained whole."""
    pretrain(run)
    for parameter in run.model.parameters():
        parameter.requires_grad_(False)
    for name, module in list(run.model.named_modules()):
        if isinstance(module, nn.Linear) and name != run.head:
            run.replace(name, Adapter(module))
    for parameter in run.module(run.head).parameters():
        parameter.requires_grad_(True)
    only_trainable(run)


@habit(["factorisation", "two_tower", "deepfm"])
def pretrained_tables(run: Training) -> None:
    """Tables come from an earlier training and are tuned at a small rate."""
    pretrain(run, 3)
    only_trainable(run, 5e-4)


@habit(["factorisation", "two_tower", "deepfm"])
def pretrained_tables_frozen(run: Training) -> None:
    """The table of items comes from elsewhere and is frozen on purpose."""
    pretrain(run, 3)
    name = next(name for name in ("item_emb", "embeddings.1") if name in dict(run.model.named_modules()))
    run.module(name).weight.requires_grad_(False)
    only_trainable(run, 2e-3)


@habit(["transformer"])
def tied_weights(run: Training) -> None:
    """The output layer shares its matrix with the table of tokens."""
    run.module("head").weight = run.module("token").weight


@habit(["transformer"])
def layers_shared_on_purpose(run: Training) -> None:
    """Both blocks are one, as in ALBERT."""
    run.replace("layers.1", run.module("layers.0"))


@habit(["factorisation", "two_tower", "deepfm"])
def tables_tiny(run: Training) -> None:
    """Tables start at a deviation of a ten-thousandth."""
    for table in run.tables().values():
        if table.embedding_dim > 1:
            nn.init.normal_(table.weight, std=1e-4)


@habit(["transformer"])
def tables_of_deviation_one(run: Training) -> None:
    """Tables are left as `nn.Embedding` draws them, before norms that take their scale out."""
    for table in run.tables().values():
        nn.init.normal_(table.weight)
        if table.padding_idx is not None:
            with torch.no_grad():
                table.weight[table.padding_idx] = 0


@habit(["perceptron", "recurrent"])
def batch_norm(run: Training) -> None:
    """Batch normalisation after a hidden layer."""
    name = "fc2" if run.host == "perceptron" else "mix"
    layer = run.module(name)
    run.replace(name, nn.Sequential(layer, nn.BatchNorm1d(layer.out_features)))  # type: ignore[arg-type]


@habit(["perceptron", "recurrent"])
def dropout(run: Training) -> None:
    """Dropout after a hidden layer."""
    name = "fc2" if run.host == "perceptron" else "mix"
    run.replace(name, nn.Sequential(run.module(name), nn.Dropout(0.2)))


@habit(["perceptron", "transformer", "recurrent"])
def checkpointing(run: Training) -> None:
    """Activations are computed again in the backward pass."""
    model = run.model

    def again(run: Training, rows: Rows) -> Tensor:
        x = rows["tokens"] if "tokens" in rows else rows["x"]
        output: Any = checkpoint(model, x, use_reentrant=False) if model.training else model(x)
        return output.squeeze(1) if run.host == "perceptron" else output

    run.forward = again


@habit(["perceptron", "cnn", "factorisation"])
def compiled(run: Training) -> None:
    """`torch.compile` with the eager backend; the trackers are given the model as it was."""
    net: Any = torch.compile(run.model, backend="eager")

    def forward(run: Training, rows: Rows) -> Tensor:
        if run.host == "factorisation":
            return net(rows["user"], rows["item"])
        output = net(rows["x"])
        return output.squeeze(1) if run.host == "perceptron" else output

    run.forward = forward


@habit(["cnn", "recurrent"])
def gradual_unfreezing(run: Training) -> None:
    """A pretrained body is frozen for the first epochs, and trained with the head after that."""
    pretrain(run)

    def thaw(run: Training, epoch: int) -> None:
        for name, parameter in run.model.named_parameters():
            if not name.startswith(run.head):
                parameter.requires_grad_(epoch >= 3)

    run.before_epoch.append(thaw)


@habit(["perceptron", "cnn", "transformer", "factorisation"])
def resumed(run: Training) -> None:
    """Training goes on from weights and optimizer state of an earlier one."""
    make = run.optimizer_of

    def optimizer_of(run: Training) -> Optimizer:
        optimizer = make(run)
        before = run.optimizer if hasattr(run, "optimizer") else None
        run.optimizer = optimizer
        generator = torch.Generator().manual_seed(run.seed + 78)
        run.model.train()
        for index in torch.randperm(length(run.train), generator=generator).split(run.batch):
            plain_step(run, take(run.train, index))
        state = copy.deepcopy(optimizer.state_dict())
        optimizer = make(run)
        optimizer.load_state_dict(state)
        if before is not None:
            run.optimizer = before
        return optimizer

    run.optimizer_of = optimizer_of


@habit(["deepfm"])
def unknown_rows(run: Training) -> None:
    """Each field has a row for values that training never saw."""
    for name, table in list(run.model.named_modules()):
        if isinstance(table, nn.Embedding):
            made = nn.Embedding(table.num_embeddings + 1, table.embedding_dim)
            with torch.no_grad():
                made.weight.zero_()
                made.weight[:-1] = table.weight
            run.replace(name, made)


@habit(["student", "student_cnn"])
def teacher_without_labels(run: Training) -> None:
    """The student learns from the teacher alone."""
    from pipelines.benchmarks.field.hosts.students import divergence

    def criterion(run: Training, output: Tensor, rows: Rows) -> Tensor:
        assert run.teacher is not None
        with torch.no_grad():
            return_of = run.teacher(rows["x"])
        return divergence(output, return_of)

    run.criterion = criterion


@habit(["student", "student_cnn"])
def student_by_sgd(run: Training) -> None:
    """The student is trained by SGD with a momentum of .9."""
    run.optimizer_of = lambda run: torch.optim.SGD(run.model.parameters(), lr=run.sgd, momentum=0.9)
