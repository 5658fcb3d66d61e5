"""`python -m pipelines.reproduce claims=quick`: every claim of the README, from raw data to one table.

A reproduction that was cut off goes on where it stopped; runs whose code or command changed are done anew, and so are
those whose files are not as they were left or do not follow from their observations.
  claims=quick|full|everything   which claims (conf/claims/); quick takes a minute and a half on two cores, full a
                      quarter of an hour; everything also takes every trial of the ledger again
  folder=FOLDER       where runs and tables go; outputs/claims/quick by default
  only=[ID,...]       some claims only
  fresh=true          do every run anew
  at_once=N           runs at a time, 2 by default; those that measure time are done alone
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import get_method
from omegaconf import DictConfig

from datasets.given_paths import given_path
from flowgrad import output
from flowgrad.errors import FlowGradError
from flowgrad.evidence.ledger import Ledger, Trial
from flowgrad.report import Claim
from flowgrad.rules.suggestion import did_you_mean
from flowgrad.statistics import holm
from flowgrad.verification.collecting import trials_of
from pipelines.benchmarks.claims.readings import NAN, ClaimResult
from pipelines.benchmarks.claims.runs import FinishedRun, done, perform, several, writing
from pipelines.benchmarks.claims.settings import register, typed
from pipelines.benchmarks.claims.table import print_claims, write_claims
from pipelines.config.command_line import one_line
from pipelines.config.override_errors import unwritable
from pipelines.config.refusals import told
from pipelines.output import console
from pipelines.output.pages import write_page
from pipelines.run import CONF
from pipelines.stages.parallel import cores


def main(arguments: Sequence[str] | None = None) -> int:
    """0: every claim was computed, whatever its verdict. 1: a run failed. 2: bad input. 130: interrupted."""
    return output.settled(_main(sys.argv[1:] if arguments is None else list(arguments)))


def _main(given: list[str]) -> int:
    if complaint := unwritable(given):
        print(f"error: {complaint}", file=sys.stderr)
        return 2
    if set(given) & {"-h", "--help"}:
        return output.printed(__doc__)
    register()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(CONF, version_base="1.3"):
            config = compose("reproduce", overrides=given)
        _check(config)
        return _reproduce(config)
    except BrokenPipeError:
        return output.UNREAD
    except Exception as error:
        line = told(error, given)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where this stopped", file=sys.stderr)
        return 130


def _check(config: DictConfig) -> None:
    if not 0 < config.alpha < 1:
        raise FlowGradError(f"alpha={config.alpha} must lie between 0 and 1")
    if config.only is not None and not config.only:
        raise FlowGradError("only=[] chooses no claim")
    given_path("folder", config.folder)
    _known("only", config.only or [], config.claims.claims)
    _known("claims.evidence", config.claims.evidence, config.claims.runs)
    _known("claims.timed", config.claims.timed, config.claims.runs)
    if config.at_once < 1:
        raise FlowGradError(f"at_once={config.at_once} must be 1 or more")
    for name in config.claims.claims:
        where = f"claims.claims.{name}"
        claim = typed(where, config.claims.claims[name])
        if not claim.runs:
            raise FlowGradError(f"{where}.runs is empty; a claim rests on one run or more")
        _known(f"{where}.runs", claim.runs, config.claims.runs)
        try:
            get_method(claim.read.get("_target_") or "")
        except Exception as error:  # Hydra wraps whatever the import raised
            raise FlowGradError(f"{where}.read._target_: {one_line(error)}") from error


def _known(where: str, names: Sequence[str], known: Mapping) -> None:
    for name in names:
        if name not in known:
            raise FlowGradError(f"{where} names {name!r}{did_you_mean(name, list(map(str, known)))}")


def _reproduce(config: DictConfig) -> int:
    folder = given_path("folder", config.folder).absolute()
    chosen = {str(name): c for name, c in config.claims.claims.items() if config.only is None or name in config.only}
    evidence = list(config.claims.evidence) if config.only is None else []
    runs = list(dict.fromkeys([*(str(run) for claim in chosen.values() for run in claim.runs), *evidence]))
    with writing(folder) as lock:
        with console.progress() as bar:
            doing = bar.add_task("claims", total=len(runs))

            def finish(run: str, workers: int | None = None) -> FinishedRun:
                bar.update(doing, description=f"claims: {run}")
                overrides = list(config.claims.runs[run])
                before = None if config.fresh else done(folder, run, overrides)
                found = before or perform(folder, run, overrides, lock, workers)
                bar.advance(doing)
                return found

            timed = [run for run in runs if run in config.claims.timed]
            finished = {run: finish(run) for run in timed}
            order = [*evidence, *map(str, config.claims.runs)]  # the longest first
            others = sorted((run for run in runs if run not in finished), key=order.index)
            # Side by side on some cores each, they disturb each other less than all of them on all cores.
            each = partial(finish, workers=max(1, cores() // config.at_once)) if config.at_once > 1 else finish
            finished |= dict(zip(others, several(each, others, config.at_once), strict=True))
        claims = _adjusted([_claim(name, claim, finished) for name, claim in chosen.items()], config.alpha)
        write_claims(claims, config.claims.name, folder)
        broken = {run: f"failed: {reason}" for run in evidence if (reason := finished[run].reason)}
        trials: list[Trial] = []
        for run in evidence if not broken else ():
            try:
                trials += trials_of(finished[run].folder)
            except FlowGradError as error:
                broken[run] = f"does not verify: {one_line(error)}"
        if evidence and not broken:
            Ledger().plus(trials).write(folder / "evidence.csv")
        write_page(folder)
    print_claims(claims, folder)
    for run, reason in broken.items():
        print(f"evidence.csv is not written, since {run} {reason}")
    return int(bool(broken) or any(claim.verdict == "failed" for claim in claims))


def _claim(name: str, claim: DictConfig, finished: Mapping[str, FinishedRun]) -> Claim:
    runs = [finished[run] for run in claim.runs]
    broken = next((run.reason for run in runs if run.reason), "")
    reading = ClaimResult("failed", "none", 0, NAN)
    if not broken:
        given = {str(key): value for key, value in claim.read.items() if key != "_target_"}
        try:
            reading = get_method(claim.read._target_)([run.folder for run in runs], **given)
        except (FlowGradError, OSError, KeyError, TypeError, ValueError) as error:
            told = one_line(error)
            broken = told if isinstance(error, FlowGradError) else f"{claim.read._target_}: {told}"
    return Claim(
        id=name,
        statement=claim.statement,
        verdict=reading.verdict,
        test=reading.test,
        n=reading.n,
        effect=reading.effect,
        ci_low=reading.ci_low,
        ci_high=reading.ci_high,
        p=reading.p,
        p_adjusted=NAN,
        seconds=round(sum(run.seconds for run in runs), 1),
        command="; ".join(run.command for run in runs),
        reason=broken,
    )


def _adjusted(claims: Sequence[Claim], alpha: float) -> list[Claim]:
    """Adjust claims after Holm over all claims of the document that are tests."""
    adjusted = []
    for claim, p in zip(claims, holm([claim.p for claim in claims]), strict=True):
        verdict = "inconclusive" if claim.verdict in ("confirmed", "refuted") and p >= alpha else claim.verdict
        adjusted.append(replace(claim, p_adjusted=p, verdict=verdict))
    return adjusted
