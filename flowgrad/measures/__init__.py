"""Pure functions on arrays, one module a topic, each with the `MEASURES` it declares to the rules."""

from flowgrad.measurements import Measure
from flowgrad.measures import (
    batches,
    clicks,
    distillation,
    embedding,
    features,
    flow,
    quantization,
    ranking,
    saliency,
    training,
    trees,
)
from flowgrad.measures.row_figures import BELONGING_MEASURES

VOCABULARY: dict[str, tuple[Measure, ...]] = {
    "embedding": embedding.MEASURES,
    "training": training.MEASURES,
    "boosting": trees.MEASURES + BELONGING_MEASURES,
    "feature": features.MEASURES,
    "flow": flow.MEASURES,
    "distillation": distillation.MEASURES,
    "batches": batches.MEASURES,
    "clicks": clicks.MEASURES,
    "ranking": ranking.MEASURES,
    "saliency": saliency.MEASURES,
    "quantization": quantization.MEASURES,
}
"""Subject kind -> everything a rule on that subject may name. Classes of other kinds add theirs
(`flowgrad.rules.kinds.declare`).
"""
