"""`python -m pipelines.reproduce claims=quick`: every claim of the README, from raw data to one table.

A reproduction that was cut off goes on where it stopped; runs whose code or command changed are done anew.
  claims=quick|full   which claims (conf/claims/); quick takes minutes, full under an hour
  folder=FOLDER       where runs and tables go; outputs/claims/quick by default
  only=[ID,...]       some claims only
  fresh=true          do every run anew
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import get_method
from omegaconf import DictConfig
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flowgrad.errors import FlowGradError
from flowgrad.report import Claim, ClaimsReport, write
from flowgrad.rules.suggestion import did_you_mean
from flowgrad.statistics import holm
from pipelines import console
from pipelines.claims.readings import NAN, Reading
from pipelines.claims.runs import Done, done, locked, perform
from pipelines.command_line import one_line
from pipelines.run import BAD_INPUT, CONF
from pipelines.settings import register
from pipelines.tables import rounded, write_table

COLUMNS = ["claim", "statement", "test", "n", "effect", "ci_low", "ci_high", "p", "p_adjusted", "verdict", "seconds",
           "command"]  # fmt: skip
_SHOWN = ["claim", "test", "n", "effect", "ci_low", "ci_high", "p_adjusted", "verdict", "seconds"]


def main(arguments: Sequence[str] | None = None) -> int:
    """0: every claim was computed, whatever its verdict. 1: a run failed. 2: bad input. 130: interrupted."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if set(given) & {"-h", "--help"}:
        print(__doc__)
        return 0
    register()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(CONF, version_base="1.3"):
            config = compose("reproduce", overrides=given)
            _check(config)
        return _reproduce(config)
    except BAD_INPUT as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where this stopped", file=sys.stderr)
        return 130


def _check(config: DictConfig) -> None:
    _known("only", config.only or [], config.claims.claims)
    for name, claim in config.claims.claims.items():
        _known(f"claims.{name}.runs", claim.runs, config.claims.runs)
        try:
            get_method(claim.read._target_)
        except Exception as error:  # Hydra wraps whatever the import raised
            raise FlowGradError(f"claims.{name}.read: {one_line(error)}") from error
    if config.only is not None and not config.only:
        raise FlowGradError("only=[] chooses no claim")


def _known(where: str, names: Sequence[str], known: Mapping) -> None:
    for name in names:
        if name not in known:
            raise FlowGradError(f"{where} names {name!r}{did_you_mean(name, list(map(str, known)))}")


def _reproduce(config: DictConfig) -> int:
    folder = Path(config.folder).absolute()
    chosen = {str(name): c for name, c in config.claims.claims.items() if config.only is None or name in config.only}
    runs = list(dict.fromkeys(str(run) for claim in chosen.values() for run in claim.runs))
    with locked(folder) as lock, console.progress() as bar:
        doing = bar.add_task("claims", total=len(runs))
        finished: dict[str, Done] = {}
        for run in runs:
            bar.update(doing, description=f"claims: {run}")
            overrides = list(config.claims.runs[run])
            before = None if config.fresh else done(folder, run, overrides)
            finished[run] = before or perform(folder, run, overrides, lock)
            bar.advance(doing)
    claims = _adjusted([_claim(name, claim, finished) for name, claim in chosen.items()], config.alpha)
    _write(claims, config.claims.name, folder)
    _print(claims, folder)
    return int(any(claim.verdict == "failed" for claim in claims))


def _claim(name: str, claim: DictConfig, finished: Mapping[str, Done]) -> Claim:
    runs = [finished[run] for run in claim.runs]
    broken = next((run.reason for run in runs if run.reason), "")
    reading = Reading("failed", "none", 0, NAN)
    if not broken:
        given = {str(key): value for key, value in claim.read.items() if key != "_target_"}
        try:
            reading = get_method(claim.read._target_)([run.folder for run in runs], **given)
        except (FlowGradError, KeyError) as error:
            broken = one_line(error)
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
    """With Holm's adjustment over all claims of the document that are tests."""
    from dataclasses import replace

    adjusted = []
    for claim, p in zip(claims, holm([claim.p for claim in claims]), strict=True):
        verdict = "inconclusive" if claim.verdict in ("confirmed", "refuted") and p >= alpha else claim.verdict
        adjusted.append(replace(claim, p_adjusted=p, verdict=verdict))
    return adjusted


def _write(claims: Sequence[Claim], name: str, folder: Path) -> None:
    table = _table(claims)
    write_table(table, folder, "claims", COLUMNS)
    confirmed = table[table["verdict"] == "confirmed"]
    write_table(confirmed, folder, "claims_confirmed", ["statement", *COLUMNS[2:-1]])
    packages = {package: version(package) for package in ("torch", "numpy", "scipy", "statsmodels")}
    environment = {"python": platform.python_version(), **packages}
    write(ClaimsReport(name, tuple(claims), environment), folder / "claims.xml")


def _table(claims: Sequence[Claim]) -> pd.DataFrame:
    names = {"claim": "id"}
    lines = [{column: getattr(claim, names.get(column, column)) for column in [*COLUMNS, "reason"]} for claim in claims]
    return pd.DataFrame(lines, columns=[*COLUMNS, "reason"])


def _print(claims: Sequence[Claim], folder: Path) -> None:
    shown = Table(box=box.SIMPLE_HEAD)
    for name in _SHOWN:
        shown.add_column(name, overflow="fold")
    for _, line in rounded(_table(claims)[_SHOWN]).iterrows():
        shown.add_row(*(escape(line[name]) for name in _SHOWN))
    terminal = Console()
    if not terminal.is_terminal:
        terminal.width = 160
    terminal.print(shown)
    for claim in claims:
        if claim.reason:
            terminal.print(f"{claim.id}: {claim.reason}", markup=False, highlight=False, soft_wrap=True)
    terminal.print(f"files: {folder}", markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
