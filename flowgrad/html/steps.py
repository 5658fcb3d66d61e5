"""Tells the rounds of a run: what each found, what it changed, and what that did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flowgrad.html.findings import findings_of
from flowgrad.html.folder import Folder
from flowgrad.html.page import Change, Step
from flowgrad.html.pictures.proofs import Line, proof_of_line
from flowgrad.report import Report, RunReport, override_text
from flowgrad.statistics import PRUNED, round_comparison

BEFORE = 1
"""Number of the first diagnosis; that of the last one is one more than there were rounds."""


def rounds_of(prescription: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rounds that `prescription.yaml` holds."""
    found = prescription.get("rounds")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def file_of(number: int, rounds: int) -> str:
    """Name of the report of a diagnosis."""
    if number == BEFORE:
        return "report.xml"
    return "report_treated.xml" if number == rounds + 1 else f"report_round{number}.xml"


def dropped_of(rounds: Sequence[Mapping[str, Any]]) -> list[str]:
    """The overrides that were left out again, of all rounds."""
    return [str(one) for acting in rounds for one in _texts(acting, "dropped")]


def name_of(number: int, rounds: int) -> str:
    """Name of a diagnosis in words."""
    if number == BEFORE:
        return "before"
    return "after all changes" if number == rounds + 1 else f"before round {number}"


def diagnoses_of(folder: Folder, rounds: int) -> dict[int, RunReport]:
    """The report of each diagnosis that is there and can be read, by its number."""
    read = {number: folder.report(file_of(number, rounds)) for number in range(BEFORE, rounds + 2)}
    whole = {n: RunReport((one,), one.run) if isinstance(one, Report) else one for n, one in read.items()}
    return {number: one for number, one in whole.items() if isinstance(one, RunReport)}


def steps_of(
    rounds: Sequence[Mapping[str, Any]],
    diagnoses: Mapping[int, RunReport],
    lines: Sequence[Line],
    directions: Mapping[str, bool],
    whole: Line | None,
) -> Iterator[Step]:
    """Tell the rounds in their order, and what was found after the last.

    Args:
        rounds: of the prescription.
        diagnoses: report of each diagnosis, by its number.
        lines: tests that verdicts rest on, as of `significance.csv`.
        directions: whether more is better, by metric.
        whole: test of the whole change; None where there is none.
    """
    dropped = dropped_of(rounds)
    for number in range(BEFORE, len(rounds) + 2):
        if dropped and number == len(rounds) + 1:
            yield _left_out(dropped, lines, directions)
        acting = rounds[number - 1] if number <= len(rounds) else {}
        report, change, proof = diagnoses.get(number), _change(acting), None
        if report is None and not acting:
            continue
        found = () if report is None else findings_of(report.reports, acting.get("rules") or ())
        if not rounds and not found:
            continue
        chosen = [one for one in found if one.acted] or list(found)
        if not rounds and found and found[0].changes and not found[0].deferred:
            change = found[0].changes[0]
        if acting:
            comparison = round_comparison(number, len(rounds), pruned=bool(dropped))
            line = next((one for one in lines if one["comparison"] == comparison), whole if len(rounds) == 1 else None)
            proof = None if line is None else proof_of_line(line, directions.get(str(line["metric"])))
        unread = f"not known: {file_of(number, len(rounds))} cannot be read"
        yield Step(
            f"Round {number}" if acting else "After" if rounds else "Diagnosis",
            tuple(f"{one.type} on {one.places}" for one in chosen) if report is not None else (unread,),
            chosen[0].sightings[0].premise if chosen else "",
            len(found) - len(chosen),
            change,
            "" if proof is None else proof.verdict,
            proof,
        )


def _left_out(dropped: Sequence[str], lines: Sequence[Line], directions: Mapping[str, bool]) -> Step:
    """Tell what was left out again before the proof, and what that did on the seeds of the proof."""
    line = next((one for one in lines if one["comparison"] == PRUNED), None)
    proof = None if line is None else proof_of_line(line, directions.get(str(line["metric"])))
    return Step(
        "Left out",
        ("what does not earn its place on validation data",),
        "Each override was left out on seeds of its own; without these no more than the margin of the gain is lost.",
        0,
        Change(" ".join(dropped), "prescribed, and not part of the change that is proven"),
        "",  # that something was lost within the margin is no verdict on the change
        proof,
    )


def _texts(acting: Mapping[str, Any], key: str) -> list[Any]:
    found = acting.get(key)
    return found if isinstance(found, list) else []


def whole_change(rounds: Sequence[Mapping[str, Any]]) -> Change | None:
    """The changes of all rounds in one piece; of a setting that several change, the last one."""
    last = {str(one).partition("=")[0]: str(one) for acting in rounds for one in acting.get("overrides") or ()}
    return Change(" ".join(last.values()), "the whole change") if last else None


def _change(acting: Mapping[str, Any]) -> Change | None:
    overrides, dropped, was = _texts(acting, "overrides"), _texts(acting, "dropped"), acting.get("was")
    if not overrides and not dropped:
        return None
    former = was.items() if isinstance(was, dict) else ()
    notes = [f"{path} was {override_text(value)}" for path, value in former]
    notes += [f"{' '.join(map(str, dropped))} was left out again"] if dropped else []
    return Change(" ".join(map(str, overrides or dropped)), ", ".join(notes))
