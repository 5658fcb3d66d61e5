"""Says whether the damaged layer is the one named first, and for the right cause."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from flowgrad.rules import RuleBook
from pipelines.benchmarks.faults.cases import FaultCase
from pipelines.benchmarks.faults.observation import DiagnosedRun
from pipelines.benchmarks.faults.scores import share_interval
from pipelines.trainers.distillation.students import layer_names


def layer_table(cases: Sequence[FaultCase], found: Sequence[DiagnosedRun], book: RuleBook) -> pd.DataFrame:
    """Make one line a method, kind of student and damage, and pooled ones.

    Of damaged students, `top1` is the share whose damaged layer is the first row of the first finding that names
    layers, the most severe first; `cause` that of those where this finding is a rule of the damage, too. `chance` is
    the figure of a layer drawn at random. Of students without damage, `top1` stays empty, and `healthy` is the share
    with no finding but for information. Intervals are of `top1`, or of `healthy`.
    """
    judged = pd.DataFrame([line for case, seen in zip(cases, found, strict=True) for line in _judged(case, seen, book)])
    table = []
    for (method, student), part in judged.groupby(["method", "student"], sort=False) if len(judged) else ():
        damaged = part[part["damage"] != "none"]
        for damage, own in part.groupby("damage", sort=False):
            table.append({"method": method, "student": student, "damage": damage, **_shares(own)})
        if len(damaged):
            table.append({"method": method, "student": student, "damage": "all", **_shares(damaged)})
        for layer, own in damaged.groupby("layer", sort=False):
            table.append({"method": method, "student": student, "damage": f"all, at {layer}", **_shares(own)})
    return pd.DataFrame(table)


def _judged(case: FaultCase, seen: DiagnosedRun, book: RuleBook) -> Iterator[dict]:
    """Yield one line a method; none for faults of the whole run."""
    if case.kind == "run":
        return
    layers = layer_names(case.config)
    about = {
        "student": "perceptron" if case.config.model.dim is None else "recommender",
        "damage": case.fault if case.kind == "row" else "none",
        "layer": case.place,
        "chance": 1 / len(layers),
    }
    rule, named = next(((rule, rows[0]) for (rule, _), rows in seen.named.items() if rows), ("", None))
    right = case.kind == "row" and named == case.place
    silent = all(book[rule].severity == "info" for rule, _ in seen.named)
    yield {"method": "flowgrad", **about, "top1": right, "cause": right and rule in case.rules, "healthy": silent}
    for told in seen.peer.values():
        for method, layer in (("peer", told.named), ("peer, largest gap", told.largest_gap)):
            right = case.kind == "row" and layer == case.place
            yield {"method": method, **about, "top1": right, "cause": None, "healthy": not told.alerts}


def _shares(part: pd.DataFrame) -> dict:
    damaged = bool((part["damage"] != "none").all())
    asked = part["top1" if damaged else "healthy"]
    low, high = share_interval(int(asked.sum()), len(asked))
    found = {"runs": len(part), "low": low, "high": high}
    if not damaged:
        return found | {"healthy": float(asked.mean())}
    told = part["cause"].dropna().astype(float)
    return found | {"top1": float(asked.mean()), "cause": float(told.mean()), "chance": float(part["chance"].mean())}
