"""Sends what a run left in its folder to the experiment trackers that the config names."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from flowgrad.errors import FlowGradError
from flowgrad.loggers import Guarded, Logger, MLflowLogger, TensorBoardLogger, WandbLogger
from flowgrad.report import CausalModel, RunReport, read
from pipelines.config.targets import imported

MOST_SERIES = 19
"""Number of series that a run is shown by, at most; all figures are in the tables that are sent too."""
_NEEDED = {TensorBoardLogger: "tensorboard", MLflowLogger: "mlflow", WandbLogger: "wandb"}
"""Package of each logger, which is the name of its extra too."""
_SENT = ("report.xml", "report_treated.xml", "significance.csv", "shares.csv", "observations.csv", "prescription.yaml")
"""Files that are sent, where the job wrote them."""
_TOLD = ("medium", "high", "critical")
"""Severities of findings that are sent as alerts."""
_PROOF = ("metric", "test", "n", "baseline", "treated", "difference", "ci_low", "ci_high", "p_adjusted", "verdict")
_OBSERVED = ("arm", "seed", "metric", "value")
_LEFT_OUT = ("rules", "hydra", "logger")


def check_loggers(config: DictConfig) -> None:
    """Refuse a logger that cannot be made.

    Raises:
        FlowGradError: names the key, and the extra that is not installed or what would be right.
    """
    for name, settings in config.logger.items():
        kind = _kind(str(name), settings)
        package = _NEEDED.get(kind)
        if package is not None and find_spec(package) is None:
            raise FlowGradError(
                f"logger={name} needs a package that is not installed: pip install 'flowgrad[{package}]'"
            )


def send(config: DictConfig, folder: Path) -> None:
    """Send the run: its settings, each arm's metric by seed, the proof, its findings, reports and tables.

    A logger that fails is named in a warning, and ends nothing.
    """
    for name, settings in config.logger.items():
        logger = Guarded(str(name), partial(_made, str(name), settings, config, folder))
        _tell(logger, config, folder)
        logger.close()


def _tell(logger: Logger, config: DictConfig, folder: Path) -> None:
    significance = _table(folder / "significance.csv", _PROOF)
    logger.settings({**_flat(config), **_proof(significance), "run_folder": str(folder.resolve())})
    for step, values in _series(_table(folder / "observations.csv", _OBSERVED), significance):
        logger.scalars(values, step)
    for title, finding in _findings(folder / "report.xml"):
        logger.alert(title, f"{finding.premise} {finding.implies}", finding.severity)
    for file in _SENT:
        if (folder / file).is_file():
            logger.artifact(folder / file)


def _kind(name: str, settings: Any) -> type[Logger]:
    if not isinstance(settings, DictConfig) or not isinstance(settings.get("_target_"), str):
        raise FlowGradError(f"logger.{name} has no _target_; choose logger=tensorboard, mlflow or wandb")
    kind = imported(f"logger.{name}._target_", settings["_target_"])
    if not (isinstance(kind, type) and issubclass(kind, Logger)):
        raise FlowGradError(f"logger.{name}._target_={settings['_target_']} is no flowgrad.loggers.Logger")
    return kind


def _made(name: str, settings: DictConfig, config: DictConfig, folder: Path) -> Logger:
    """Make a logger that writes into the run's folder, where the config names no other place."""
    kind, plain = _kind(name, settings), OmegaConf.to_container(settings, resolve=True)
    assert isinstance(plain, dict)
    given: dict[str, Any] = {str(key): value for key, value in plain.items() if key != "_target_"}
    run = f"{config.name}-{folder.name}"
    if kind is TensorBoardLogger:
        given["folder"] = place = folder / str(given.get("folder") or "tensorboard")
        if folder.resolve() in place.resolve().parents:
            for events in place.glob("events.out.tfevents.*"):  # of an earlier run, which would be shown as this one's
                events.unlink()
    elif kind is MLflowLogger:
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        if given.get("tracking_uri") is None:
            given["tracking_uri"] = f"sqlite:///{folder.resolve() / 'mlflow.db'}"
            given["artifacts"] = (folder.resolve() / "mlflow").as_uri()
        given.setdefault("run_name", run)
    elif kind is WandbLogger:
        given = {"dir": str(folder), "name": run, "settings": {"silent": True}} | given
        for kept in ("CACHE", "CONFIG", "DATA"):  # it would write to the home folder
            os.environ.setdefault(f"WANDB_{kept}_DIR", str(folder / "wandb" / kept.lower()))
    return kind(**given)


def _flat(node: DictConfig, prefix: str = "") -> dict[str, Any]:
    """Settings by dotted path, without rules."""
    flat: dict[str, Any] = {}
    for key in map(str, node):
        if not prefix and key in _LEFT_OUT:
            continue
        value = node[key]
        if isinstance(value, DictConfig):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, bool | int | float) else str(value)[:500]
    return flat


def _table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a table; one without lines where the job wrote none, or one of other columns."""
    table = pd.read_csv(path) if path.is_file() else pd.DataFrame()
    return table if set(columns) <= set(table.columns) else pd.DataFrame()


def _proof(significance: pd.DataFrame) -> dict[str, Any]:
    """Verdict and figures of the first comparison, which is that of the whole change on the first metric."""
    if not len(significance):
        return {}
    line = significance.iloc[0]
    return {f"proof.{name}": line[name].item() if hasattr(line[name], "item") else line[name] for name in _PROOF}


def _series(observations: pd.DataFrame, significance: pd.DataFrame) -> Iterator[tuple[int, dict[str, float]]]:
    """Each arm's metrics by seed, as `METRIC/ARM`: of the first metric, then of the others while there is room."""
    if not len(observations):
        return
    first = list(dict.fromkeys([*significance.get("metric", []), *observations["metric"]]))
    pairs = [(m, arm) for m in first for arm in observations.loc[observations["metric"] == m, "arm"].unique()]
    kept = set(pairs[:MOST_SERIES])
    for seed in sorted(set(map(int, observations["seed"]))):
        lines = observations[observations["seed"] == seed]
        named = zip(lines["metric"], lines["arm"], map(float, lines["value"]), strict=True)
        values = {f"{metric}/{arm}": value for metric, arm, value in named if (metric, arm) in kept}
        if values:
            yield seed, values


def _findings(report: Path) -> Iterator[tuple[str, CausalModel]]:
    """Each finding of the report once, titled by its type and places."""
    if not report.is_file():
        return
    found: dict[tuple[str, str], tuple[list[str], CausalModel]] = {}
    document = read(report)
    for part in document.reports if isinstance(document, RunReport) else ():
        for finding in part.findings:
            if finding.severity in _TOLD:
                found.setdefault((finding.type, finding.rule), ([], finding))[0].append(part.layer)
    for (kind, _), (places, finding) in found.items():
        yield f"{kind} on {', '.join(places)}", finding
