"""Makes the page of a run from the files in its folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowgrad.errors import ReportError
from flowgrad.html.findings import findings_of, gaps_of
from flowgrad.html.folder import Folder
from flowgrad.html.frames import table_of
from flowgrad.html.measured import measured_table
from flowgrad.html.page import Change, Page, Proof, Section, Verdict
from flowgrad.html.pictures import ablations, curves, proofs, sizes
from flowgrad.html.pictures.subjects import subject_pictures
from flowgrad.html.steps import BEFORE, diagnoses_of, name_of, rounds_of, steps_of, whole_change
from flowgrad.html.verdicts import of_findings, of_proof, untested, with_control
from flowgrad.report import Report, RunIdentity, RunReport, Validation
from flowgrad.statistics import CONTROL, round_comparison

if TYPE_CHECKING:
    import pandas as pd

    from flowgrad.html.page import Found

_OBSERVED = ("arm", "seed", "metric")
_SHOWN = ("comparison", "metric", "test", "n", "baseline", "treated", "difference", "ci_low", "ci_high", "effect_size",
          "p", "p_adjusted", "wins", "gap_closed", "verdict")  # fmt: skip
_MOST_TESTS, _MOST_METRICS = 200, 4


def run_page(path: Path) -> Page:
    """Make the page of a run that has a `report.xml`, and whatever else of its files is there.

    Raises:
        ReportError: its report cannot be read.
    """
    folder = Folder(path)
    prescription = folder.mapping("prescription.yaml")
    rounds = rounds_of(prescription)
    diagnoses = diagnoses_of(folder, len(rounds))
    if BEFORE not in diagnoses:
        raise ReportError(f"{path / 'report.xml'}: {folder.reasons.get('report.xml', 'it is no report of a run')}")
    first = diagnoses[BEFORE]
    findings = findings_of(first.reports, {rule for one in rounds for rule in one.get("rules") or ()})
    tests = folder.table("significance.csv", proofs.COLUMNS, proofs.NUMBERS)
    observed = folder.table("observations.csv", _OBSERVED, ["value"])
    lines, directions = proofs.lines_of(tests), _directions(observed)
    whole = _whole(lines, rounds, [one.validation for part in first.reports for one in part.findings])
    proof = None if whole is None else proofs.proof_of_line(whole, directions.get(str(whole["metric"])))
    told = {name_of(number, len(rounds)): one.reports for number, one in diagnoses.items()}
    sections = (
        _proven(folder, tests, observed, directions, whole),
        _worth(folder),
        _seen(folder, list(told.values())),
        _measured(told),
    )
    return Page(
        title=_name(first.run, path),
        kind="run",
        verdict=with_control(_verdict(proof, findings, first, rounds, prescription), proofs.control_of(lines)),
        steps=tuple(steps_of(rounds, diagnoses, lines, directions, whole)),
        findings=findings,
        later=tuple((name, findings_of(reports)) for name, reports in list(told.items())[1:]),
        gaps=gaps_of(first.reports),
        sections=tuple(one for one in sections if one.figures or one.tables),
        facts=tuple(facts_of(first.run)),
        missing=tuple(folder.missing),
    )


def _directions(observed: pd.DataFrame | None) -> dict[str, bool]:
    """Whether more is better, by metric, where the observations say so."""
    if observed is None or "higher_is_better" not in observed:
        return {}
    known = observed.drop_duplicates("metric")
    return {str(m): str(d) == "True" for m, d in zip(known["metric"], known["higher_is_better"], strict=True)}


def _whole(
    lines: Sequence[proofs.Line], rounds: Sequence[Any], validations: Sequence[Validation | None]
) -> proofs.Line | None:
    """The line of the whole change on the first metric; None where nothing but the control was compared."""
    named = [one for one in lines if one["comparison"] == round_comparison(1, 1)]
    told = {(one.comparison, one.test) for one in validations if one is not None}
    named = named or [one for one in lines if (one["comparison"], one["test"]) in told]
    others = [one for one in lines if one["family"] != CONTROL]
    return next(iter(named or (others if not rounds else [])), None)


def _verdict(
    proof: Proof | None,
    findings: Sequence[Found],
    first: RunReport,
    rounds: Sequence[dict[str, Any]],
    prescription: dict[str, Any],
) -> Verdict:
    command, change = prescription.get("command"), whole_change(rounds)
    run = Change(str(command), "runs the changed configuration") if command and rounds else None
    if proof is not None:
        return of_proof(proof, change, run)
    return untested(change, run) if rounds else of_findings(findings, first.reports)


def _proven(
    folder: Folder,
    tests: pd.DataFrame | None,
    observed: pd.DataFrame | None,
    directions: dict[str, bool],
    whole: proofs.Line | None,
) -> Section:
    file, figures = "curves.csv", []
    arms, losses = folder.table(sizes.FILE, ("arm",), sizes.NUMBERS), folder.table(file, curves.COLUMNS, curves.NUMBERS)
    if arms is not None:
        figures += folder.drawn(sizes.FILE, lambda: [sizes.size_picture(arms)])
    if losses is not None:
        figures += folder.drawn(file, lambda: [curves.learning_curves(losses, file)])
    if tests is not None:
        name = "significance.csv"
        figures += folder.drawn(name, lambda: list(proofs.effects(tests, directions, name))[:_MOST_METRICS])
    if observed is not None and whole is not None:
        arm = str(whole["metric"]), str(whole["baseline_arm"]), str(whole["treated_arm"])
        figures += folder.drawn("observations.csv", lambda: [proofs.seed_pairs(observed, *arm, "observations.csv")])
    tables = () if tests is None else (table_of(tests, "Every test", _SHOWN, _MOST_TESTS),)
    title = "On other seeds" if whole is None else "Did it help?"
    return Section(title, "What was measured on seeds that no diagnosis saw.", tuple(figures), tables)


def _worth(folder: Folder) -> Section:
    shares = folder.table(ablations.FILE, ablations.COLUMNS, ablations.NUMBERS)
    title = "What each override is worth"
    text = (
        "Runs without an override, on validation data and seeds of their own, against those with it. Shares need not "
        "add up: two that do the same have none each, and two that only work together have all of it each."
    )
    if shares is None:
        return Section(title, text)
    figures = folder.drawn(ablations.FILE, lambda: [ablations.share_picture(shares)])
    table = table_of(shares, "Every override that was left out", ablations.SHOWN, _MOST_TESTS)
    return Section(title, text, tuple(figures), (table,))


def _seen(folder: Folder, diagnoses: Sequence[Sequence[Report]]) -> Section:
    text = "The figures that findings rest on, of the first diagnosis and the last."
    return Section("What was seen", text, tuple(subject_pictures(folder, diagnoses)))


def _measured(told: dict[str, tuple[Report, ...]]) -> Section:
    table = measured_table(told)
    tables = () if table is None else (table,)
    return Section("Measurements", "Every figure that was measured and is known.", (), tables)


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
