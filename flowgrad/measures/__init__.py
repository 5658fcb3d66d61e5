"""Pure functions on arrays, one module a subject, each with the `MEASURES` it declares to the rules."""

from flowgrad.measurements import Measure
from flowgrad.measures import distillation, embedding, features, flow, ids, quantization, saliency, training, trees

VOCABULARY: dict[str, tuple[Measure, ...]] = {
    "embedding": embedding.MEASURES,
    "training": training.MEASURES,
    "boosting": trees.MEASURES,
    "feature": features.MEASURES,
    "flow": flow.MEASURES,
    "distillation": distillation.MEASURES,
    "saliency": saliency.MEASURES,
    "quantization": quantization.MEASURES,
    "batches": ids.ID_MEASURES,
}
"""Subject kind -> everything a rule on that subject may name."""
