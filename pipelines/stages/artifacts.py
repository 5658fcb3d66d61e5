"""Writes the files that a run leaves in its folder."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from hydra.core.hydra_config import HydraConfig

from flowgrad.drawing import new_figure, picture
from flowgrad.files import write_atomically
from flowgrad.html.extracts import tables_of
from flowgrad.report import Validation, write
from pipelines.config.compose import key_of, search_path
from pipelines.config.text import to_yaml
from pipelines.output.tables import write_csv, write_table
from pipelines.stages.compare import Observed, round_comparison, validation
from pipelines.stages.diagnose import Diagnosis, named_rows, run_report
from pipelines.stages.treatment import Treatment, report_stem

_SHOWN = [
    "comparison", "metric", "test", "n", "baseline", "treated", "difference", "ci_low", "ci_high",
    "effect_size", "p", "p_adjusted", "wins", "gap_closed", "verdict",
]  # fmt: skip
_SHARES = [
    "overrides", "outcome", "metric", "n", "with_it", "without", "loss", "ci_low", "ci_high", "share", "share_low",
    "share_high", "lost", "left_out_of", "because",
]  # fmt: skip
_OF_A_RUN = (
    "report*.xml", "report.html", "report.json", "rows_*.csv", "config*.yaml", "prescription.yaml", "observations.csv",
    "treated.csv", "significance.*", "learning_curves.png", "curves.csv", "points_*.csv", "layers_*.csv",
    "teacher_*.csv", "booster_*.png", "booster_*.csv", "overhead.*", "calibration.*", "treatment.*", "by_user.npz",
    "seeds.csv", "trials.*", "shares.*", "left_out.csv",
)  # fmt: skip
"""Patterns of the files that a run may leave in its folder."""


def write_reports(folder: Path, treatment: Treatment, validations: Mapping[int, Validation]) -> None:
    """Write every arm's report with its row tables; `validations` holds the test of each round's prescription."""
    pruned, left_out = treatment.pruned, folder / "left_out.csv"
    ablations = {} if pruned is None or not pruned.parts else pruned.ablations(_sha256(left_out))
    for arm, diagnosis in treatment.arms().items():
        stem = report_stem(arm)
        tables = {}
        for subject, rows in named_rows(diagnosis).items():
            tables[subject] = f"{stem.replace('report', f'rows_{subject}', 1)}.csv"
            write_csv(rows, folder / tables[subject])
        proof = validations.get(diagnosis.round)
        proven = dict.fromkeys(diagnosis.prescription.rules, proof) if proof else {}
        write(run_report(diagnosis, arm, tables, proven, ablations), folder / f"{stem}.xml")


def write_prescription(folder: Path, treatment: Treatment) -> None:
    """Write what is kept of every round's overrides, what was dropped, the rules behind them, and the command that runs
    the treated config.
    """
    rounds = []
    for diagnosis in treatment.diagnoses[:-1]:
        prescription = diagnosis.prescription
        kept = treatment.kept(prescription.overrides)
        dropped = [override for override in prescription.overrides if override not in kept]
        was = {path: value for path, value in prescription.was.items() if path in map(key_of, kept)}
        told = {"overrides": kept, "rules": list(prescription.rules), "was": was}
        rounds.append(told | {"dropped": dropped} if dropped else told)
    final = treatment.final
    content = {"experiment": final.config.name, "rounds": rounds, "command": command(final.overrides)}
    write_atomically(
        folder / "prescription.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000).encode()
    )


def command(overrides: Sequence[str]) -> str:
    """Write the shell command that runs these overrides, with the folders of configs that this run was given."""
    sources = HydraConfig.get().runtime.config_sources if HydraConfig.initialized() else []
    folders = [source.path for source in sources if source.provider == "command-line"]
    words = [word for folder in folders for word in ("--config-dir", folder)]
    words += [*search_path(), *overrides]
    return " ".join(["python -m pipelines.run", *map(shlex.quote, words)])


def begin(folder: Path, config: Any = None, *, also: Sequence[str] = ()) -> None:
    """Make a run's folder ready. What an earlier run left in it is removed: files of two runs side by side would
    contradict each other.

    Args:
        folder: run folder.
        config: written as `config.yaml`, resolved, where it is given.
        also: patterns of files of this job's own, removed too.
    """
    for pattern in (*also, *_OF_A_RUN):
        for path in folder.glob(pattern):
            path.unlink()
    if config is not None:
        write_atomically(folder / "config.yaml", to_yaml(config).encode())


def write_config(folder: Path, treatment: Treatment) -> None:
    """Write the baseline's config, resolved, and the treated one's where there is one."""
    for suffix, diagnosis in _ends(treatment):
        write_atomically(folder / f"config{suffix}.yaml", to_yaml(diagnosis.config).encode())


def write_plots(folder: Path, treatment: Treatment) -> None:
    """Write the trainer's pictures of the baseline's run, and of the treated one's where there is one."""
    for suffix, diagnosis in _ends(treatment):
        for stem, content in diagnosis.experiment.trainer.plots(diagnosis.trained).items():
            write_atomically(folder / f"{stem}{suffix}.png", content)


def write_extracts(folder: Path, treatment: Treatment) -> None:
    """Write what the pictures of `report.html` are drawn from: of the baseline's run, and of the treated one's."""
    for suffix, diagnosis in _ends(treatment):
        tables = tables_of([measured for measured, _ in diagnosis.findings], diagnosis.trained.trackers)
        tables |= diagnosis.experiment.trainer.tables(diagnosis.trained)
        for stem, table in tables.items():
            write_csv(table, folder / f"{stem}{suffix}.csv")


def _ends(treatment: Treatment) -> Iterator[tuple[str, Diagnosis]]:
    """Yield the baseline's diagnosis and, where there is one, the treated config's, with what file names end in."""
    yield "", treatment.first
    if treatment.rounds:
        yield "_treated", treatment.final


def write_shares(folder: Path, treatment: Treatment) -> None:
    """Write what each override is worth, with the runs behind it; nothing where none was left out."""
    pruned = treatment.pruned
    if pruned is not None and pruned.parts:
        assert pruned.observations is not None
        write_csv(pruned.observations, folder / "left_out.csv")
        write_table(pruned.table(), folder, "shares", _SHARES)


def write_proof(folder: Path, observed: Observed, table: pd.DataFrame, treatment: Treatment) -> dict[int, Validation]:
    """Write observations, significance and curves; return the validation of each round's prescription."""
    write_csv(observed.observations, folder / "observations.csv")
    if len(observed.treated):
        write_csv(observed.treated, folder / "treated.csv")
    write_table(table, folder, "significance", _SHOWN)
    if any(map(len, (run for runs in observed.curves.values() for run in runs))):
        step = treatment.first.experiment.trainer.STEP
        write_csv(curve_table(observed, step), folder / "curves.csv")
        write_atomically(folder / "learning_curves.png", learning_curves(observed.curves, step))
    sha256 = _sha256(folder / "observations.csv")
    rounds, pruned = treatment.rounds, treatment.minimal is not None
    settings = treatment.first.config.comparison
    named = {n: round_comparison(n, rounds, pruned=pruned) for n in range(1, rounds + 1)}
    return {
        n: validation(table, comparison, settings.metrics[0], sha256, overlap=settings.overlap)
        for n, comparison in named.items()
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def curve_table(observed: Observed, step: str) -> pd.DataFrame:
    """Make the table of validation losses: a line an arm, seed and epoch or round."""
    lines = []
    for arm, runs in observed.curves.items():
        seeds = observed.observations.loc[observed.observations["arm"] == arm, "seed"].unique()
        for seed, losses in zip(seeds, runs, strict=True):
            lines += [(arm, int(seed), place, loss) for place, loss in enumerate(losses, start=1)]
    return pd.DataFrame(lines, columns=["arm", "seed", step, "validation_loss"])


def learning_curves(curves: Mapping[str, Sequence[Sequence[float]]], step: str = "epoch") -> bytes:
    """Draw validation loss by epoch or round, one line an arm: mean over seeds, band from lowest to highest. It is a
    PNG.
    """
    figure = new_figure(7, 4)
    axes = figure.subplots()
    for arm, runs in curves.items():
        if arm == "aa":
            continue  # the baseline again
        longest = max(map(len, runs))
        # A run that stopped early counts as long as it lasted.
        losses = np.array([[*run, *[np.nan] * (longest - len(run))] for run in runs])
        losses = np.ma.masked_invalid(losses)
        epochs = np.arange(1, longest + 1)
        (line,) = axes.plot(epochs, losses.mean(axis=0), label=f"{arm} ({len(runs)} seeds)", marker=".")
        axes.fill_between(epochs, losses.min(axis=0), losses.max(axis=0), color=line.get_color(), alpha=0.2)
    axes.set(xlabel=step, ylabel="validation loss")
    if _spread(curves) > 10:
        axes.set_yscale("log")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    return picture(figure)


def _spread(curves: Mapping[str, Sequence[Sequence[float]]]) -> float:
    """Ratio of the highest to the lowest finite loss."""
    values = np.array([loss for runs in curves.values() for run in runs for loss in run])
    values = values[np.isfinite(values) & (values > 0)]
    return float(values.max() / values.min()) if len(values) else 1.0
