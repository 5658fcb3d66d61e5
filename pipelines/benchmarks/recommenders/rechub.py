"""Trains Torch-RecHub's models of clicks on the rows that ours are trained on, by its own loop."""

from __future__ import annotations

import contextlib
import io
import tempfile
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler

from flowgrad.errors import FlowGradError
from pipelines.trainers.clicks.data import ClickPreparation, Clicks
from pipelines.trainers.clicks.models import DeepFM, Dlrm

VERSION = "0.9.0"


class _Rows(Dataset):
    """Rows as the library's loop takes them."""

    def __init__(self, rows: Clicks, preparation: ClickPreparation) -> None:
        self.columns = {name: rows.ids[:, k] for k, name in enumerate(preparation.vocabularies)}
        self.columns |= {name: rows.amounts[:, k] for k, name in enumerate(preparation.columns)}
        self.target = rows.target

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, index: list[int]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Rows of a batch at once."""
        return {name: values[index] for name, values in self.columns.items()}, self.target[index]


def check_installed() -> None:
    """Refuse to go on without the library.

    Raises:
        FlowGradError: says how it is installed.
    """
    try:
        import torch_rechub
    except ImportError as error:
        raise FlowGradError(
            f"Torch-RecHub is not installed ({error}): pip install --no-deps torch-rechub=={VERSION} tqdm, in an "
            "environment of its own"
        ) from error
    del torch_rechub


def predicted(
    config: DictConfig,
    kind: type,
    preparation: ClickPreparation,
    parts: tuple[Clicks, Clicks, Clicks],
    seed: int,
) -> np.ndarray:
    """Train the library's counterpart of one of our models, and predict the test rows.

    Its tables begin at N(0, 1e-4²), its perceptrons have batch normalisation, its linear term is on the embeddings, and
    early stopping goes by the validation AUC: all as the library has it. Sizes, optimizer, rate, batches, epochs and
    patience are ours.

    Args:
        config: of our model.
        kind: our class: `DeepFM`, or `Dlrm` for its `DCNv2`, stacked, with whole matrices.
        preparation: of the rows.
        parts: training, validation and test rows.
        seed: of torch's global random numbers.

    Returns:
        Probabilities, shape (test rows,).
    """
    from torch_rechub.basic.features import DenseFeature, SparseFeature
    from torch_rechub.models import ranking
    from torch_rechub.trainers import CTRTrainer

    settings, training = config.model, config.training
    torch.manual_seed(seed)
    sparse = [SparseFeature(name, vocab_size=rows, embed_dim=settings.dim) for name, rows in preparation.sizes.items()]
    dense = [DenseFeature(name) for name in preparation.columns]
    layers = {"dims": [settings.width] * settings.depth}
    if issubclass(kind, DeepFM):
        model = ranking.DeepFM(deep_features=sparse + dense, fm_features=sparse, mlp_params=layers)
    else:
        assert issubclass(kind, Dlrm)
        model = ranking.DCNv2(
            sparse + dense, settings.cross_layers, layers, model_structure="stacked", use_low_rank_mixture=False
        )
    order = torch.Generator().manual_seed(seed)
    loaders: list[Any] = []
    for k, part in enumerate(parts):
        rows = _Rows(part, preparation)
        sampler = RandomSampler(rows, generator=order) if k == 0 else SequentialSampler(rows)
        batches = BatchSampler(sampler, training.batch_size, drop_last=False)
        loaders.append(DataLoader(rows, sampler=batches, batch_size=None))
    quiet = io.StringIO()
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(quiet),
        contextlib.redirect_stderr(quiet),
    ):
        trainer = CTRTrainer(
            model,
            optimizer_params={"lr": config.optimizer.lr, "weight_decay": config.optimizer.weight_decay},
            n_epoch=training.epochs,
            earlystop_patience=training.patience,
            model_path=folder,
        )
        trainer.fit(*loaders[:2])
        return np.asarray(trainer.predict(model, loaders[2]), dtype=float)
