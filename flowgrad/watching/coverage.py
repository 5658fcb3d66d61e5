"""Says once, in the words of `watch`, what its trackers saw and what they could not see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from flowgrad.report import CoverageReport, Seen, Unjudged, Unseen
from flowgrad.watching.naming import listed, without_numbers
from flowgrad.watching.reading import Reading

_FEW_LOSSES = 0.5
"""Share of the steps below which logged losses are few."""


class Words(NamedTuple):
    """Advice on how things would be seen that were not."""

    loss: str
    few_losses: str
    epochs: str
    val_loss: str
    batches: str
    facts: str


OWN = Words(
    "never logged; call watch.log(loss=loss) at every step",
    "logged {losses} times in {steps} steps; call watch.log(loss=loss) at every step, or figures that set losses "
    "beside steps are rough",
    "never told; call watch.end_epoch() after each epoch and its validation",
    "never logged; call watch.log(val_loss=...) before watch.end_epoch()",
    "never logged; with watch.log(loss=loss, inputs=x, targets=y, outputs=outputs) rows, ids, targets and the loss "
    "itself are checked",
    "nobody told {facts} of the tables; "
    "watch.tables[NAME].observe(...), observe_residuals(...) and observe_labels(...) do",
)
"""Words for a loop that holds the watch."""
OUTSIDE = Words(
    loss="backward() ran on no single number",
    few_losses="backward() ran {losses} times on a single number in {steps} steps; figures that set losses beside "
    "steps are rough",
    epochs="",
    val_loss="",
    batches="",
    facts="epochs, validation, batches and what tables cannot show are not seen from outside; in the script, watch = "
    "flowgrad.watch(model, optimizer), watch.log(...) and watch.end_epoch() tell them",
)
"""Words for a script that is run unchanged; what is not said by itself is empty."""
_OTHERS = "{count} tensors move that no optimizer given holds; give all of them: watch(model, [one, other])"
_OWN_WORDS = frozenset(
    {
        "losses",
        "validation_loss",
        "epochs",
        "metric",
        "step_losses",
        "steps",
        "order",
        "skipped_steps",
        "inputs",
        "validation",
    }
)
"""Names of what trackers miss that `watch` says in its own words, or sees to by itself."""
_TOLD_FACTS = {
    "in_batch_negatives": "in-batch negatives",
    "sampling_correction": "sampling corrections",
    "row_effect_f": "residuals",
    "labels": "labels",
}
"""Facts of tables that only the user knows, in words."""


class Counts(NamedTuple):
    """Counts of what a watched training did and told."""

    steps: int
    skipped: int
    losses: int
    validations: int
    epochs: int
    batches: int


def coverage(
    readings: Sequence[Reading], counts: Counts, extra: Mapping[str, str], blind: str, tables: int, words: Words
) -> CoverageReport:
    """Make the coverage of the whole.

    Args:
        readings: of all trackers.
        counts: of steps and of what was logged.
        extra: further things that were not seen, with the reason, by name.
        blind: reason why no verdict can rest on the whole; empty where one can.
        tables: number of tables of the model, watched or not.
        words: advice to the loop.
    """
    unseen = {**extra, **_of_logs(counts, words), **_of_trackers(readings, words), **extra}
    judged = _unjudged(readings)
    return CoverageReport(
        seen=tuple(Seen(name, float(value)) for name, value in _seen(readings, counts, tables).items()),
        unseen=tuple(Unseen(name, because) for name, because in unseen.items()),
        unjudged=tuple(Unjudged(" ".join(rules), because) for because, rules in judged.items()),
        blind=blind,
    )


def blindness(readings: Sequence[Reading], counts: Counts, nothing: str) -> str:
    """Return the reason why no verdict can rest on the whole; empty where one can.

    Args:
        readings: of all trackers.
        counts: of steps.
        nothing: reason where no step was taken.
    """
    if not counts.steps:
        return nothing
    network = next((one for one in readings if one.kind == "flow"), None)
    tables = [one for one in readings if one.kind == "embedding"]
    if network is not None and network.blind:
        return network.blind
    trained = [one for one in tables if one.measured.scalars.get("trainable") != 0.0]
    if trained and all(one.blind for one in trained):
        return f"of {len(trained)} tables none could be seen; {trained[0].name}: {trained[0].blind}"
    if network is None and not tables:
        return "neither the network nor a table of it could be watched"
    return ""


def _seen(readings: Sequence[Reading], counts: Counts, tables: int) -> dict[str, float]:
    own = [one for one in readings if one.kind == "embedding"]
    network = next((one for one in readings if one.kind == "flow"), None)
    seen: dict[str, float] = {"steps": counts.steps}
    if counts.skipped:
        seen["skipped_steps"] = counts.skipped
    if network is not None:
        seen["looks"] = network.measured.coverage.seen.get("looks", 0.0)
    if tables:
        seen["tables"] = tables
        seen["tables_observed"] = sum(not one.blind for one in own)
        seen["lookups"] = sum(one.measured.coverage.seen.get("lookups", 0.0) for one in own)
    seen |= {"losses": counts.losses, "val_losses": counts.validations, "epochs": counts.epochs}
    if counts.batches:
        seen["batches"] = counts.batches
    return seen


def _of_logs(counts: Counts, words: Words) -> dict[str, str]:
    found = {}
    if not counts.losses:
        found["loss"] = words.loss
    elif counts.losses < _FEW_LOSSES * counts.steps:
        found["loss"] = words.few_losses.format(losses=counts.losses, steps=counts.steps)
    if not counts.epochs and words.epochs:
        logged = f"val_loss was logged {counts.validations} times, and epochs " if counts.validations else ""
        found["epochs"] = logged + words.epochs
    if not counts.validations and words.val_loss:
        found["val_loss"] = words.val_loss
    if not counts.batches and words.batches:
        found["batches"] = words.batches
    return found


def _of_trackers(readings: Iterable[Reading], words: Words) -> dict[str, str]:
    """List what trackers could not see, each thing once, with the names of the tables that it is about."""
    groups: dict[tuple[str, str], list[tuple[Reading, str]]] = {}
    facts: Counter[str] = Counter()
    tables = 0
    for reading in readings:
        told = dict(reading.measured.coverage.unseen)
        tables += reading.kind == "embedding"
        if reading.blind and reading.kind == "embedding":
            told = {"tables": reading.blind}
        for name, because in told.items():
            if name in _TOLD_FACTS:
                facts[name] += 1
            elif reading.kind not in ("training",) and name not in _OWN_WORDS and not _empty(reading):
                groups.setdefault((name, without_numbers(because)), []).append((reading, because))
    found: dict[str, str] = {}
    for (name, _), members in groups.items():
        reading, because = members[0]
        if name == "other_optimizers":
            because = _OTHERS.format(count=because.split(" ", 1)[0])
        where = f"{listed([one.name for one, _ in members])}: " if reading.kind == "embedding" else ""
        _put(found, name, where + because)
    untold = [what for name, what in _TOLD_FACTS.items() if facts[name] == tables > 0]
    if untold or not words.epochs:
        *first, last = untold or [""]
        found["facts"] = words.facts.format(facts=f"{', '.join(first)} or {last}" if first else last)
    return found


def _empty(reading: Reading) -> bool:
    """Whether nobody tells the tracker anything: it is not a part of the report then."""
    return reading.kind == "batches" and not reading.measured.step


def _put(found: dict[str, str], name: str, because: str) -> None:
    number, key = 2, name
    while key in found:
        key = f"{name}_{number}"
        number += 1
    found[key] = because


def _unjudged(readings: Iterable[Reading]) -> dict[str, list[str]]:
    """Rules that could not be judged anywhere that they apply, by the figures that they miss."""
    missing: dict[str, list[str]] = {}
    read: Counter[str] = Counter()
    kinds: dict[str, str] = {}
    for reading in readings:
        if reading.blind or _empty(reading):
            continue
        read[reading.kind] += 1
        for rule, because in reading.unjudged.items():
            missing.setdefault(rule, []).append(because)
            kinds[rule] = reading.kind
    groups: dict[str, list[str]] = {}
    for rule, reasons in missing.items():
        if len(reasons) == read[kinds[rule]]:
            groups.setdefault(reasons[0], []).append(rule)
    return groups
