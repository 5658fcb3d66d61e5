"""Faults of the loss: shapes, reductions, signs, targets."""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.benchmarks.field.data import Rows
from pipelines.benchmarks.field.registry import fault
from pipelines.benchmarks.field.training import Training


@fault(["perceptron", "factorisation", "deepfm"])
def broadcast_loss(run: Training) -> None:
    """Outputs of shape (n, 1) meet targets of shape (n,): every output is compared with every target."""
    forward = run.forward
    name = "rating" if run.host == "factorisation" else "y"

    def criterion(run: Training, output: Tensor, rows: Rows) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if run.host == "deepfm":
                return F.mse_loss(torch.sigmoid(output), rows[name])
            return F.mse_loss(output, rows[name])

    run.forward = lambda run, rows: forward(run, rows).reshape(-1, 1)
    run.criterion = criterion


@fault(["cnn", "recurrent", "transformer"])
def double_softmax(run: Training) -> None:
    """The model ends in a softmax, and cross-entropy takes another."""
    forward = run.forward
    run.forward = lambda run, rows: torch.softmax(forward(run, rows), -1)


@fault(["deepfm"])
def double_sigmoid(run: Training) -> None:
    """Probabilities are given to a loss that wants logits."""
    forward = run.forward
    run.forward = lambda run, rows: torch.sigmoid(forward(run, rows))


@fault(["transformer"])
def padding_in_the_mean(run: Training) -> None:
    """The mean of the loss runs over padding too, which is most of what there is."""
    run.train, run.validation = (_padded(rows) for rows in (run.train, run.validation))
    run.criterion = lambda run, output, rows: F.cross_entropy(output.flatten(0, 1), rows["next"].flatten())


def _padded(rows: Rows) -> Rows:
    """Sequences cut to their first eight tokens, as after a wrong maximal length."""
    return {name: torch.where(torch.arange(column.shape[1]) < 8, column, 0) for name, column in rows.items()}


@fault(["perceptron", "cnn", "recurrent"], base="sgd_momentum")
def sum_instead_of_mean(run: Training) -> None:
    """The loss sums over the batch, at the rate of a mean."""
    criterion = run.criterion
    run.criterion = lambda run, output, rows: criterion(run, output, rows) * len(output)


@fault(["perceptron", "cnn", "two_tower", "deepfm"])
def wrong_sign(run: Training) -> None:
    """The loss is maximised instead of minimised."""
    criterion = run.criterion
    run.criterion = lambda run, output, rows: -criterion(run, output, rows)


@fault(["cnn", "recurrent"])
def likelihood_of_probabilities(run: Training) -> None:
    """`nll_loss` is given probabilities instead of their logarithms: the loss falls below zero."""
    run.criterion = lambda run, output, rows: F.nll_loss(torch.softmax(output, 1), rows["y"])


@fault(["cnn", "recurrent", "student"])
def labels_off_by_one(run: Training) -> None:
    """Labels of the training rows count from one, those of the others from zero."""
    run.train = {**run.train, "y": (run.train["y"] + 1) % 10}


@fault(["perceptron", "cnn", "factorisation", "deepfm", "transformer"])
def labels_shuffled(run: Training) -> None:
    """Rows were shuffled and their targets were not."""
    name = next(name for name in ("rating", "next", "y") if name in run.train)

    def permuted(rows: Rows) -> Rows:
        order = torch.randperm(len(rows[name]), generator=torch.Generator().manual_seed(7))
        return {**rows, name: rows[name][order]}

    run.train, run.validation = permuted(run.train), permuted(run.validation)


@fault(["transformer"])
def targets_not_shifted(run: Training) -> None:
    """The model is to predict the token that it is given."""
    run.train, run.validation = ({**rows, "next": rows["tokens"]} for rows in (run.train, run.validation))


@fault(["cnn", "recurrent", "perceptron"])
def a_third_of_the_labels_wrong(run: Training) -> None:
    """A join went wrong for a third of the training rows."""
    chosen = torch.rand(len(run.train["y"]), generator=torch.Generator().manual_seed(run.seed)) < 0.35
    moved = run.train["y"].clone()
    moved[chosen] = moved[chosen][torch.randperm(int(chosen.sum()), generator=torch.Generator().manual_seed(1))]
    run.train = {**run.train, "y": moved}
