"""Makes the page of a run from the files in its folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowgrad.html.figures import Figure
from flowgrad.html.findings import findings_of, gaps_of
from flowgrad.html.folder import Folder
from flowgrad.html.frames import table_of
from flowgrad.html.measured import measured_table
from flowgrad.html.page import Change, Page, Proof, Section, Step, Verdict
from flowgrad.html.pictures import curves, proofs, sizes
from flowgrad.html.pictures.subjects import subject_pictures
from flowgrad.html.verdicts import of_findings, of_proof, untested, with_control
from flowgrad.report import Report, RunIdentity, RunReport, Validation, override_text
from flowgrad.statistics import CONTROL, round_comparison

if TYPE_CHECKING:
    import pandas as pd

    from flowgrad.html.page import Found

_OBSERVED = ("arm", "seed", "metric")
_SHOWN = ("comparison", "metric", "test", "n", "baseline", "treated", "difference", "ci_low", "ci_high", "effect_size",
          "p", "p_adjusted", "wins", "gap_closed", "verdict")  # fmt: skip
_MOST_TESTS = 200


def run_page(path: Path) -> Page:
    """Make the page of a run that has a `report.xml`, and whatever else of its files is there.

    Raises:
        FlowGradError: it has no report that can be read.
    """
    folder = Folder(path)
    diagnoses = dict(_diagnoses(folder))
    prescription = folder.mapping("prescription.yaml")
    tests = folder.table("significance.csv", proofs.COLUMNS, proofs.NUMBERS)
    observed = folder.table("observations.csv", _OBSERVED, ["value"])
    rounds = _rounds(prescription)
    directions = _directions(observed)
    lines = _lines(tests)
    acted = {rule for one in rounds for rule in one.get("rules") or ()}
    reports = list(diagnoses.values())
    findings = findings_of(reports[0].reports, acted) if reports else ()
    whole = _whole(lines, rounds, _validations(reports))
    steps = tuple(_steps(rounds, reports, lines, directions, whole))
    proof = None if whole is None else proofs.proof_of_line(whole, directions.get(str(whole["metric"])))
    identity = next((one.run for one in reports if one.run is not None), None)
    after = tuple((name, findings_of(one.reports)) for name, one in list(diagnoses.items())[1:])
    sections = tuple(_sections(folder, diagnoses, tests, observed, directions, whole))
    return Page(
        title=_name(identity, path),
        kind="run",
        verdict=with_control(_verdict(proof, findings, reports, rounds, prescription), _control(lines)),
        steps=steps,
        findings=findings,
        later=after,
        gaps=gaps_of(reports[0].reports) if reports else (),
        sections=sections,
        facts=tuple(facts_of(identity)),
        missing=tuple(folder.missing),
    )


def _diagnoses(folder: Folder) -> Iterator[tuple[str, RunReport]]:
    """The reports of the folder in the order of their rounds, each with its name."""
    later = sorted(folder.names("report_round*.xml"), key=lambda name: (len(name), name))
    for name in ("report.xml", *later, "report_treated.xml"):
        found = folder.report(name)
        if isinstance(found, Report):
            found = RunReport((found,), found.run)
        if isinstance(found, RunReport):
            yield _told(name), found


def _told(name: str) -> str:
    stem = name.removesuffix(".xml").removeprefix("report").removeprefix("_")
    return {"": "before", "treated": "after all changes"}.get(stem, f"before round {stem.removeprefix('round')}")


def _rounds(prescription: dict[str, Any]) -> list[dict[str, Any]]:
    found = prescription.get("rounds")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _directions(observed: pd.DataFrame | None) -> dict[str, bool]:
    """Whether more is better, by metric, where the observations say so."""
    if observed is None or "higher_is_better" not in observed:
        return {}
    known = observed.drop_duplicates("metric")
    return {str(m): bool(d) for m, d in zip(known["metric"], known["higher_is_better"], strict=True)}


def _lines(tests: pd.DataFrame | None) -> list[dict[str, Any]]:
    return [] if tests is None else [
        {str(key): value for key, value in one.items()}
        for one in tests[tests["test"].isin(proofs.TESTED)].to_dict("records")
    ]  # fmt: skip


def _whole(
    lines: Sequence[dict[str, Any]], rounds: Sequence[Any], validations: Sequence[Validation]
) -> dict[str, Any] | None:
    """The line of the whole change on the first metric; None where nothing but the control was compared."""
    named = [one for one in lines if one["comparison"] == round_comparison(1, 1)]
    told = {(one.comparison, one.test) for one in validations}
    named = named or [one for one in lines if (one["comparison"], one["test"]) in told]
    others = [one for one in lines if one["family"] != CONTROL]
    return next(iter(named or (others if not rounds else [])), None)


def _validations(reports: Sequence[RunReport]) -> list[Validation]:
    """Proofs that the first diagnosis carries."""
    found = [one for part in reports[0].reports for one in part.findings] if reports else []
    return [one.validation for one in found if one.validation is not None]


def _control(lines: Sequence[dict[str, Any]]) -> Proof | None:
    """The control that found a difference between two arms of the same configuration, which it should not."""
    found = [one for one in lines if one["family"] == CONTROL and one["verdict"] in ("confirmed", "refuted")]
    return proofs.proof_of_line(found[0]) if found else None


def _steps(
    rounds: Sequence[dict[str, Any]],
    reports: Sequence[RunReport],
    lines: Sequence[dict[str, Any]],
    directions: dict[str, bool],
    whole: dict[str, Any] | None,
) -> Iterator[Step]:
    for place, report in enumerate(reports):
        acting = rounds[place] if place < len(rounds) else {}
        rules = list(acting.get("rules") or ())
        found = findings_of(report.reports, rules)
        chosen = [one for one in found if one.acted] or list(found)
        change, proof = _change(acting), None
        if not rounds and found and found[0].changes and not found[0].deferred:
            change = found[0].changes[0]
        if acting:
            comparison = round_comparison(place + 1, len(rounds))
            line = next((one for one in lines if one["comparison"] == comparison), whole if len(rounds) == 1 else None)
            proof = None if line is None else proofs.proof_of_line(line, directions.get(str(line["metric"])))
        yield Step(
            f"Round {place + 1}" if acting else "After" if rounds else "Diagnosis",
            tuple(f"{one.type} on {one.places}" for one in chosen),
            chosen[0].sightings[0].premise if chosen else "",
            len(found) - len(chosen),
            change,
            "" if proof is None else proof.verdict,
            proof,
        )


def _change(acting: dict[str, Any]) -> Change | None:
    overrides = acting.get("overrides")
    if not isinstance(overrides, list) or not overrides:
        return None
    was = acting.get("was")
    note = (
        ", ".join(f"{path} was {override_text(value)}" for path, value in was.items()) if isinstance(was, dict) else ""
    )
    return Change(" ".join(map(str, overrides)), note)


def _verdict(
    proof: Proof | None,
    findings: Sequence[Found],
    reports: Sequence[RunReport],
    rounds: Sequence[dict[str, Any]],
    prescription: dict[str, Any],
) -> Verdict:
    command = prescription.get("command")
    last: dict[str, str] = {}
    for one in rounds:
        for override in one.get("overrides") or ():
            last[str(override).partition("=")[0]] = str(override)
    change = Change(" ".join(last.values()), "the whole change") if last else None
    run = Change(str(command), "runs the changed configuration") if command and rounds else None
    if proof is not None:
        return of_proof(proof, change, run)
    if rounds:
        return untested(change, run)
    return of_findings(findings, [part for one in reports[:1] for part in one.reports])


def _sections(
    folder: Folder,
    diagnoses: dict[str, RunReport],
    tests: pd.DataFrame | None,
    observed: pd.DataFrame | None,
    directions: dict[str, bool],
    whole: dict[str, Any] | None,
) -> Iterator[Section]:
    figures: list[Figure] = []
    by_epoch = folder.table("curves.csv", curves.COLUMNS, ["validation_loss"])
    drawn = None if by_epoch is None else curves.learning_curves(by_epoch, "curves.csv")
    figures += [] if drawn is None else [drawn]
    if tests is not None:
        figures += list(proofs.effects(tests, directions, "significance.csv"))[:4]
    if observed is not None and whole is not None:
        pairs = proofs.seed_pairs(
            observed, str(whole["metric"]), str(whole["baseline_arm"]), str(whole["treated_arm"]), "observations.csv"
        )
        figures += [] if pairs is None else [pairs]
    sizes_table = folder.table(sizes.FILE, ("arm",), sizes.NUMBERS)
    by_size = None if sizes_table is None else sizes.size_picture(sizes_table)
    figures = [*([] if by_size is None else [by_size]), *figures]
    if figures:
        text = "What was measured on seeds that no diagnosis saw."
        tables = () if tests is None else (table_of(tests, "Every test", _SHOWN, _MOST_TESTS),)
        yield Section("Did it help?", text, tuple(figures), tables)
    pictures = subject_pictures(folder, [one.reports for one in diagnoses.values()])
    if pictures:
        yield Section(
            "What was seen", "The figures that findings rest on, of the first diagnosis and the last.", tuple(pictures)
        )
    table = measured_table({name: one.reports for name, one in diagnoses.items()})
    if table is not None:
        yield Section("Measurements", "Every figure that was measured and is known.", (), (table,))


def _name(identity: RunIdentity | None, path: Path) -> str:
    if identity is None or not identity.id:
        return path.resolve().name
    name, dash, digest = identity.id.rpartition("-")
    return name if dash and identity.config_sha256.startswith(digest) else identity.id


def facts_of(identity: RunIdentity | None) -> Iterator[tuple[str, str]]:
    """Tell which training it was: label and value of each thing that is known."""
    if identity is None:
        return
    yield "run", identity.id
    if identity.seed is not None:
        yield "seed of the diagnosis", str(identity.seed)
    for label, value in identity.training.items():
        yield label.replace("_", " "), f"{value:.6g}" if isinstance(value, float) else str(value)
    if identity.config_sha256:
        yield "SHA-256 of the configuration", identity.config_sha256
    if identity.data_sha256:
        yield "SHA-256 of the data", identity.data_sha256
    if identity.environment:
        yield "made with", ", ".join(f"{name} {version}" for name, version in identity.environment.items())
