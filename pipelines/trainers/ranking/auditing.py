"""Gives the library's analyzer what a trained ranking model shows on validation events."""

from __future__ import annotations

import torch
from omegaconf import DictConfig
from torch import Tensor

from datasets.tables import VALIDATION
from flowgrad.ranking import RankingAnalyzer
from pipelines.data.interactions import PADDING, Interactions
from pipelines.trainers.ranking.losses import RankingLoss, false_negative_share
from pipelines.trainers.ranking.models.ranker import Ranker
from pipelines.trainers.ranking.serving import serve

NAME = "ranking"
"""Name under which findings list what is recommended."""
_MOST_QUERIES = 2048
"""Number of validation events that are looked at, at most; evenly spaced over the users."""


def audit(
    model: Ranker, loss: type[RankingLoss] | None, settings: DictConfig | None, data: Interactions, loop: DictConfig
) -> RankingAnalyzer:
    """Analyze the answers to validation events.

    Args:
        model: trained; left in evaluation mode.
        loss: that it was trained by; None where it was solved for.
        settings: of the loss.
        data: of which training and validation events are read.
        loop: `RankingLoopSettings`.
    """
    places = data.held_out(VALIDATION)
    places = places[:: -(-len(places) // _MOST_QUERIES)]
    served = serve(model, data, places, loop)
    analyzer = RankingAnalyzer(
        served.queries.numpy(),
        served.catalogue.numpy(),
        data.exposures.numpy(),
        served.targets.numpy(),
        seen=served.scores.isneginf().numpy(),
        cutoff=loop.cutoff,
        name=NAME,
    )
    if loss is not None and settings is not None:
        analyzer.observe_loss(
            temperature=settings.temperature,
            in_batch_negatives=float(loss.IN_BATCH),
            sampling_correction=settings.logq,
            false_negative_share=false_negative_share(loss, data),
            false_negatives_masked=float(settings.mask_positives),
            hard_negatives=float(settings.hard),
        )
    if model.length > 1:
        analyzer.observe_padding(**_padding(model, data.users[places], data.histories(places, model.length)))
    return analyzer


def _padding(model: Ranker, users: Tensor, histories: Tensor) -> dict[str, float]:
    """How the vectors of queries depend on what their histories are filled up with."""
    filled = (histories == PADDING).sum(dim=1)
    short = torch.nonzero((filled > 0) & (filled < histories.shape[1]))[:, 0]
    shifts = []
    for row in short.tolist():
        one = slice(row, row + 1)
        whole = model.asked(users[one], histories[one])
        bare = model.asked(users[one], histories[one, int(filled[row]) :])
        shifts.append(float((whole - bare).norm() / bare.norm().clamp(min=1e-12)))
    found = {"padded_share": len(short) / len(histories)}
    if shifts:
        found["padding_shift"] = sum(shifts) / len(shifts)
    table = getattr(model, "item_emb", None)
    if table is not None and len(table.weight) > 1:
        lengths = table.weight.detach().norm(dim=1)
        found["padding_norm"] = float(lengths[PADDING] / lengths[1:].median().clamp(min=1e-12))
    return found
