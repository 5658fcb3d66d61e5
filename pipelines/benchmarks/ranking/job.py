"""`experiment=ranking_soundness`: our ranking models against RecBole's, on the same data, split, sizes and seeds."""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch
from omegaconf import DictConfig, OmegaConf

from datasets.tables import TEST, TRAIN, VALIDATION
from flowgrad.errors import FlowGradError
from pipelines.benchmarks.faults.cases import check_chosen
from pipelines.benchmarks.ranking import recbole_run
from pipelines.config.code_fingerprint import ROOT
from pipelines.config.compose import composed
from pipelines.data.interactions import Interactions
from pipelines.output import console
from pipelines.output.tables import write_csv, write_table
from pipelines.stages import artifacts
from pipelines.stages.check import check_settings
from pipelines.stages.outcomes import Runs
from pipelines.stages.parallel import workers_for
from pipelines.trainers.trainer import trainer_of

_NAME = "split"
_PARTS = {"train": TRAIN, "valid": VALIDATION, "test": TEST}
_TOLERANCE = 2.0
"""Number of standard errors of the difference within which two means count as one."""


def run(config: DictConfig, task: Sequence[str], sources: Sequence[str], folder: Path) -> None:
    """Run the comparison into `folder`: `soundness.{csv,md,tex}`, and `observations.csv`, a line a run and metric.

    Args:
        config: the composed config; its `job` node lists the models.
        task: not used: models are composed from the job's settings.
        sources: not used.
        folder: run folder; every file is written there, whole or not at all.

    Raises:
        FlowGradError: bad config or data, before anything is trained, or a run of RecBole that failed.
    """
    check_settings(config)
    job = config.job
    check_chosen("only", job.only, job.models)
    if not (python := ROOT / job.python).is_file():
        raise FlowGradError(f"job.python={job.python}: no such file; `make test-integrations` sets up an environment")
    configs = {name: composed(list(job.models[name].ours), rules=False) for name in job.only or job.models}
    for made in configs.values():
        check_settings(made)
    artifacts.begin(folder, config, also=("soundness.*", "observations.csv"))
    lines: list[dict] = []
    with TemporaryDirectory(dir=folder) as place, console.progress() as bar:
        doing = bar.add_task("train", total=2 * len(configs) * len(job.seeds))

        def note(model: str, of: str, seed: int, metrics: Mapping[str, float]) -> None:
            lines.extend(
                {"model": model, "of": of, "seed": seed, "metric": m, "value": metrics[m]} for m in job.metrics
            )
            bar.advance(doing)

        for name, made in configs.items():
            data: Interactions = trainer_of(made).load()
            length = int(made.model.length) if "length" in made.model else 0
            write_split(data, Path(place, name, _NAME), ordered=length > 0)
            with closing(Runs(data)) as runs:
                runs.start(workers_for(config, 60.0))
                for seed, found in zip(job.seeds, runs.outcomes(made, job.seeds), strict=True):
                    note(name, "ours", seed, found.metrics)
            for seed in job.seeds:
                note(name, "recbole", seed, _of_recbole(str(python), job.models[name], Path(place, name), seed, length))
    observed = pd.DataFrame(lines)
    write_csv(observed, folder / "observations.csv")
    table = soundness(observed)
    write_table(table, folder, "soundness")
    console.print_table(table, folder)


def soundness(observed: pd.DataFrame) -> pd.DataFrame:
    """Compare the means of both, a line a model and metric: `sound` where ours is no further below RecBole's than two
    standard errors of the difference; runs of a seed are not paired, for both draw other numbers from it.

    Args:
        observed: columns model, of (`ours` or `recbole`), seed, metric, value.
    """
    table = []
    for (model, metric), part in observed.groupby(["model", "metric"], sort=False):
        ours, theirs = (part.loc[part["of"] == of, "value"].to_numpy() for of in ("ours", "recbole"))
        errors = [float(one.std(ddof=1) / len(one) ** 0.5) for one in (ours, theirs)]
        error = math.hypot(*errors)
        difference = float(ours.mean() - theirs.mean())
        table.append(
            {
                "model": model, "metric": metric, "seeds": len(ours), "ours": ours.mean(), "ours_se": errors[0],
                "recbole": theirs.mean(), "recbole_se": errors[1], "difference": difference, "difference_se": error,
                "sound": difference >= -_TOLERANCE * error,
            }
        )  # fmt: skip
    return pd.DataFrame(table)


def write_split(data: Interactions, folder: Path, *, ordered: bool) -> None:
    """Write the events as RecBole's atomic files, by the name of the split.

    Args:
        data: split by leaving one out.
        folder: made.
        ordered: for models of histories, all events in one file, whose time is their place, so that RecBole itself
            leaves the same last ones out; else a file of pairs for each part.
    """
    folder.mkdir(parents=True)
    if ordered:
        _write(data, torch.arange(len(data.items)), folder / f"{_NAME}.inter")
        return
    for part, which in _PARTS.items():
        _write(data, data.train if which == TRAIN else data.held_out(which), folder / f"{_NAME}.{part}.inter")


def _write(data: Interactions, places: torch.Tensor, file: Path) -> None:
    columns = {
        "user_id:token": data.users,
        "item_id:token": data.items,
        "timestamp:float": torch.arange(len(data.items)),
    }
    pd.DataFrame({name: column[places].numpy() for name, column in columns.items()}).to_csv(file, sep="\t", index=False)


def _of_recbole(python: str, spec: DictConfig, folder: Path, seed: int, length: int) -> dict[str, float]:
    settings = OmegaConf.to_container(spec.options, resolve=True)
    assert isinstance(settings, dict)
    settings |= {"load_col": {"inter": ["user_id", "item_id", "timestamp"]}}
    settings |= {"MAX_ITEM_LIST_LENGTH": length} if length else {"benchmark_filename": list(_PARTS)}
    given = {"model": spec.recbole, "name": _NAME, "folder": str(folder), "settings": settings, "seed": seed}
    done = subprocess.run(
        [python, recbole_run.__file__, json.dumps(given)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        raise FlowGradError(f"job.models: RecBole's {spec.recbole} failed: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])
