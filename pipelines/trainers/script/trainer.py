"""A program of the user's own as a kind of training: it is run, and what it leaves is read."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from omegaconf import DictConfig, OmegaConf

import flowgrad
from flowgrad.errors import FlowGradError
from flowgrad.files import read_text_bounded
from flowgrad.report import Report, RunReport, read
from pipelines.config.schema.training import ScriptSettings
from pipelines.trainers.evaluation import Evaluation
from pipelines.trainers.script import calling
from pipelines.trainers.script.assigning import assigned
from pipelines.trainers.script.command_line import (
    ASSIGNED,
    FOLDER,
    SEED,
    check_places,
    filled,
    is_python,
    python_of,
    words_of,
)
from pipelines.trainers.script.fingerprint import fingerprint
from pipelines.trainers.script.reading import MetricPlace
from pipelines.trainers.script.runs import Plan, ScriptRun, made
from pipelines.trainers.trainer import Trained, Trainer

_WATCH = "import sys; sys.path[0] = {root!r}; from flowgrad.__main__ import console; sys.exit(console())"
"""Program that is `flowgrad run` wherever it is started."""
_MOST_SOURCE = 4 << 20
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScriptFiles:
    """The files that a script rests on, in place of data: what the script reads is its own affair."""

    source: str
    sha256: str


class Script(Trainer):
    """A command that trains and leaves its metrics; watched by `flowgrad run`, or by `flowgrad.watch` in the script."""

    SUBJECTS = ()
    TREATABLE = ("parameters",)
    PACKAGES = ()
    STEP = "run"
    NODES: ClassVar = {
        **dict.fromkeys(("dataset", "task", "teacher", "model", "optimizer", "sampler", "loss", "fault", "tracker")),
        "training": (ScriptSettings, "training=script"),
    }

    def __init__(self, config: DictConfig) -> None:
        """Bind the config."""
        super().__init__(config)
        self.settings = config.training

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters of the script by name."""
        held = OmegaConf.to_container(self.config.parameters, resolve=True)
        assert isinstance(held, dict)
        return {str(name): value for name, value in held.items()}

    def check(self) -> None:
        """Refuse values that cannot be meant; see `Trainer.check`."""
        settings, parameters = self.settings, self.parameters
        if not self.places():
            raise FlowGradError("training.metrics is empty; name a metric, as in {rmse: {better: lower, file: m.json}}")
        if self.settings.validation is not None:
            self._check_validation(self.settings.validation)
        if taken := sorted({SEED, FOLDER, ASSIGNED} & set(parameters)):
            raise FlowGradError(f"parameters.{taken[0]}: the name has a meaning of its own; give it another")
        if settings.callable is not None and settings.command:
            raise FlowGradError("training.command and training.callable are both given; leave one out")
        if settings.callable is None:
            words = words_of(settings.command)
            check_places(words, parameters, assigned=settings.assigns is not None)
            if settings.watched and not is_python(words[0]):
                raise FlowGradError(
                    f"training.command begins with {words[0]}: only a Python can be watched by flowgrad run; let the "
                    "script write the report itself (flowgrad.watch) and set training.watched=false"
                )
        elif ".py:" not in settings.callable:
            raise FlowGradError(f"training.callable={settings.callable}: give FILE.py:FUNCTION")
        for path, name in settings.fixes.items():
            key = str(name).removeprefix("parameters.")
            if not str(name).startswith("parameters.") or key not in parameters:
                known = ", ".join(f"parameters.{one}" for one in parameters) or "none"
                raise FlowGradError(
                    f"training.fixes: {path} is called {name}, which is no parameter; there are {known}"
                )

    def _check_validation(self, name: str) -> None:
        """Refuse a metric that is none, or one of the proof: what is chosen by a metric is not proven by it."""
        if name not in self.metrics():
            raise FlowGradError(f"training.validation={name}: training.metrics has {', '.join(self.metrics())}")
        if name in self.config.comparison.metrics:
            raise FlowGradError(
                f"training.validation={name} is a metric of the proof, which may not be chosen by; name one of "
                "validation rows, or others in comparison.metrics"
            )

    def load(self) -> ScriptFiles:
        """Tell the files that the script rests on apart from other versions of them."""
        scripts = _scripts(self._words(), self.settings.cwd)
        if self.settings.assigns is not None:
            scripts.append(self._source())
        if not scripts and not self.settings.files:
            raise FlowGradError(
                f"training.command={self.settings.command!r} names no file that is there; run it in the folder that "
                "its paths start from, or name what it rests on in training.files"
            )
        return ScriptFiles(" ".join(self._words()), fingerprint(scripts, map(Path, self.settings.files)))

    def check_data(self, data: ScriptFiles) -> None:
        """Take any; see `Trainer.check_data`."""

    def train(self, data: ScriptFiles, seed: int, *, watched: bool = False, observers: Any = None) -> Trained:
        """Run the script; a watched run has to leave a report.

        Raises:
            FlowGradError: a watched run gave no result.
        """
        plan = self._plan(data, seed, watched)
        needed = self.settings.report if watched else ""
        before = _files_in(self.settings.cwd) if watched else {}
        run = made(plan, Path(self.settings.runs), () if watched else self.places(), needed)
        if not watched:
            return Trained(run, (), (), 1)
        if shared := sorted(name for name, when in _files_in(self.settings.cwd).items() if before.get(name) != when):
            _logger.warning(
                "the script writes %s where all of its runs write it, so that one may read what another wrote; give it "
                "{folder}, or set training.cwd='{folder}'", ", ".join(shared[:3]),
            )  # fmt: skip
        if run.failure:
            raise FlowGradError(
                f"the run to diagnose (seed {seed}) gave no report: {run.failure}; what it printed is in "
                f"{run.folder / 'output.txt'}"
            )
        return Trained(run, (), (), 1, reports=_reports(run.folder / needed), seconds=run.seconds)

    def metrics(self) -> tuple[str, ...]:
        """Names in `training.metrics`."""
        return tuple(place.name for place in self.places())

    def higher_is_better(self, metric: str) -> bool:
        """Direction that the config gives the metric."""
        return {place.name: place.higher_is_better for place in self.places()}[metric]

    def validating(self, data: ScriptFiles) -> ScriptFiles | None:
        """Keep the data where the script computes a metric of validation rows; see `Trainer.validating`."""
        return data if self.settings.validation is not None else None

    def validation_metric(self) -> str:
        """Name of that metric."""
        return str(self.settings.validation)

    def evaluate(self, trained: Trained, data: ScriptFiles, seed: int) -> Evaluation:
        """Give the metrics that the run left."""
        run: ScriptRun = trained.model
        if run.failure:
            told = f"seed {seed}: {run.failure} ({run.folder / 'output.txt'})"
            return Evaluation(dict.fromkeys(self.metrics(), math.nan), (), told)
        return Evaluation(dict(run.metrics), ())

    def facts(self, trained: Trained) -> dict[str, str | float | int]:
        """Facts of the training that the script's report tells, and the parameters."""
        found: dict[str, str | float | int] = {}
        for report in trained.reports:
            if report.run is not None:
                found |= report.run.training
        given = {name: value for name, value in self.parameters.items() if name not in found}
        return found | {name: one if isinstance(one, str | float | int) else str(one) for name, one in given.items()}

    def places(self) -> tuple[MetricPlace, ...]:
        """The metrics and where they are read.

        Raises:
            FlowGradError: one says no direction or no place.
        """
        held = OmegaConf.to_container(self.settings.metrics, resolve=True)
        assert isinstance(held, dict)
        if self.settings.callable is not None:
            held = {name: _returned(one) for name, one in held.items()}
        return tuple(MetricPlace.of(str(name), one) for name, one in held.items())

    def _words(self) -> list[str]:
        if self.settings.callable is None:
            return words_of(self.settings.command)
        file = self.settings.callable.rpartition(":")[0]
        return [sys.executable, calling.__file__, file]

    def _source(self) -> Path:
        path = Path(self.settings.assigns)
        if not path.is_file():
            raise FlowGradError(f"training.assigns={path}: there is no such file")
        return path

    def _plan(self, data: ScriptFiles, seed: int, watched: bool) -> Plan:
        settings, copies = self.settings, {}
        values = {SEED: seed, FOLDER: "{folder}", **self.parameters}
        environment = {name: str(settings.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        if settings.callable is not None:
            given = json.dumps(self.parameters, sort_keys=True)
            target = (
                str(Path(settings.callable.rpartition(":")[0]).absolute()) + ":" + settings.callable.rpartition(":")[2]
            )
            words = [sys.executable, calling.__file__, target, given, str(seed), "{folder}"]
        else:
            if settings.assigns is not None:
                source = self._source()
                text = assigned(
                    read_text_bounded(source, _MOST_SOURCE), {SEED: seed, **self.parameters}, settings.assigns
                )
                copies[source.name] = text
                values[ASSIGNED] = f"{{folder}}/{source.name}"
                environment["PYTHONPATH"] = str(source.absolute().parent)
            words = python_of(_absolute(filled(words_of(settings.command), values), settings.cwd))
        if watched and settings.watched:
            root = str(Path(flowgrad.__file__).parents[1])
            run = ["run", "--report", f"{{folder}}/{settings.report}"]
            words = [words[0], "-c", _WATCH.format(root=root), *run, *words[1:]]
        return Plan(tuple(words), settings.cwd, environment, data.sha256, copies, settings.timeout, settings.retries)


def _files_in(cwd: str) -> dict[str, int]:
    """Files of the folder that runs share, with the time of the last change in ns; none where each has its own."""
    if "{folder}" in cwd or not Path(cwd).is_dir():
        return {}
    return {one.name: one.stat().st_mtime_ns for one in os.scandir(cwd) if one.is_file(follow_symlinks=False)}


def _returned(told: Any) -> Any:
    """A metric that a function returns stands in the file that `calling` writes."""
    return {"file": calling.METRICS, **told} if isinstance(told, Mapping) else told


def _scripts(words: list[str], cwd: str) -> list[Path]:
    """Python files among the words, and that of a module after `-m`, as the program finds them in its folder."""
    base = Path() if "{folder}" in cwd else Path(cwd)
    named = [word for word in words if word.endswith(".py")]
    for option, module in pairwise(words):
        if option == "-m":
            place = module.replace(".", "/")
            named += [f"{place}.py", f"{place}/__main__.py"]
    return [base / name for name in named if (base / name).is_file()]


def _absolute(words: list[str], cwd: str) -> list[str]:
    """The words with whole paths of the files that are there, where each run has a folder of its own."""
    if "{folder}" not in cwd:
        return words
    return [str(Path(word).absolute()) if Path(word).is_file() else word for word in words]


def _reports(path: Path) -> tuple[Report, ...]:
    """The reports in the file that a script left.

    Raises:
        FlowGradError: it is no report.
    """
    found = read(path)
    if isinstance(found, RunReport):
        return found.reports
    if isinstance(found, Report):
        return (found,)
    raise FlowGradError(f"{path}: it is a list of claims, and no report of a training run")
