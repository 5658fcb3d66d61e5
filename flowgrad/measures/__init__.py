"""Pure functions on arrays, one module a topic, each with the `MEASURES` it declares to the rules."""

import re
from collections.abc import Sequence

from flowgrad.errors import FlowGradError
from flowgrad.measurements import Measure
from flowgrad.measures import batches, distillation, embedding, features, flow, quantization, saliency, training, trees
from flowgrad.measures.row_figures import BELONGING_MEASURES

VOCABULARY: dict[str, tuple[Measure, ...]] = {
    "embedding": embedding.MEASURES,
    "training": training.MEASURES,
    "boosting": trees.MEASURES + BELONGING_MEASURES,
    "feature": features.MEASURES,
    "flow": flow.MEASURES,
    "distillation": distillation.MEASURES,
    "batches": batches.MEASURES,
    "saliency": saliency.MEASURES,
    "quantization": quantization.MEASURES,
}
"""Subject kind -> everything a rule on that subject may name. Classes of other kinds add theirs (`declare`)."""
_OWNERS: dict[str, str] = {}
"""Kind -> the class that declared it, of kinds that are not the library's own."""
_KIND = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def declare(kind: str, measures: Sequence[Measure], owner: str) -> None:
    """Make a kind of subject known to rules and reports; `flowgrad.subject.Subject` does so for every subclass.

    Args:
        kind: the `subject` of its rules.
        measures: everything that a rule on it may name.
        owner: the class that measures it, with its module; it may declare the kind anew.

    Raises:
        FlowGradError: the kind is no lower-case identifier, another class has it, or a measure stands in it twice.
    """
    if not isinstance(kind, str) or not _KIND.fullmatch(kind):
        raise FlowGradError(f"{owner}: KIND={kind!r} must be lower snake case such as layer_norms")
    names = [measure.name for measure in measures]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise FlowGradError(f"{owner}: MEASURES hold {twice!r} twice; each name stands for one figure")
    known = _OWNERS.get(kind, "flowgrad" if kind in VOCABULARY else owner)
    if known != owner and tuple(measures) != VOCABULARY[kind]:
        raise FlowGradError(f"{owner}: KIND={kind!r} is that of {known}, which measures something else; choose another")
    if known == owner:
        _OWNERS[kind], VOCABULARY[kind] = owner, tuple(measures)


def is_own(kind: str) -> bool:
    """Whether a class outside the library declared the kind."""
    return kind in _OWNERS
