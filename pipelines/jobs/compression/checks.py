"""Checks settings of compression beyond their types, before anything is trained."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf

from flowgrad.compression.planning.saliency import STRUCTURES
from flowgrad.compression.planning.table_rows import ROW_SCORES
from flowgrad.compression.planning.weight_scores import SCORES
from flowgrad.errors import FlowGradError
from flowgrad.measures.quantization import LEVELS
from flowgrad.rules.suggestion import did_you_mean
from pipelines.stages.check import check_settings
from pipelines.stages.plan_seeds import is_auto
from pipelines.trainers.trainer import trainer_of

_CHOICES = {"structured": STRUCTURES, "score": SCORES, "row_score": ROW_SCORES}


def check_compression(config: DictConfig) -> None:
    """Refuse values that cannot be meant, and models that cannot be compressed.

    Raises:
        FlowGradError: names the key, the value and what would be right.
    """
    check_settings(config)
    trainer_of(config).check_compressible()
    if config.compression is None:
        raise FlowGradError("compression=null: what is prescribed has no place; choose compression=recipe")
    if is_auto(config):
        raise FlowGradError("seeds.test=auto: job=compression has no pilot; give a list, e.g. seeds.test=[101,102,103]")
    _check_job(config)
    _check_recipe(config.compression)


def _check_job(config: DictConfig) -> None:
    job = config.job
    for bits in job.bits:
        if bits not in LEVELS:
            raise FlowGradError(f"job.bits={list(job.bits)}: choose from {', '.join(map(str, LEVELS))}")
    if job.removed and OmegaConf.select(config, "tracker.tables") is None:
        raise FlowGradError(f"job.removed={list(job.removed)}: there are no tables of embeddings; use job.removed=[]")


def _check_recipe(node: DictConfig) -> None:
    for key, choices in _CHOICES.items():
        if node[key] is not None and node[key] not in choices:
            meant = did_you_mean(node[key], choices)
            raise FlowGradError(f"compression.{key}={node[key]!r} is unknown{meant}; use {', '.join(choices)}")
    if node.bits is not None and node.bits not in LEVELS:
        raise FlowGradError(f"compression.bits={node.bits}: choose from {', '.join(map(str, LEVELS))}")
    budgets = [key for key in ("bits", "size", "loss") if node[key] is not None]
    if len(budgets) > 1:
        raise FlowGradError(f"compression: {' and '.join(budgets)} are budgets of bits; give one")
    if node.mixed is False and budgets not in ([], ["bits"]):
        raise FlowGradError(f"compression.mixed=false takes the same bits everywhere; give bits and not {budgets[0]}")
    alone = [key for key in ("mixed", "fine_tune", "score", "structured", "row_score") if node[key] is not None]
    if alone and node.sparsity is None and node.rows is None and not budgets:
        raise FlowGradError(f"compression.{alone[0]} alone does nothing; give sparsity, rows, bits, size or loss too")
