"""MLflow, by its client."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowgrad.loggers.base import Logger, Setting, missing

_BATCH = 1000
"""Number of metrics that MLflow takes in one call."""
_LONGEST = 5000
"""Number of characters of a tag that MLflow keeps."""


class MLflowLogger(Logger):
    """Writes to an MLflow run, in batches. Findings are tags, `finding.TITLE`, which can be searched for."""

    def __init__(
        self,
        tracking_uri: str | None = None,
        *,
        experiment: str = "flowgrad",
        run_name: str | None = None,
        artifacts: str | None = None,
        run_id: str | None = None,
    ) -> None:
        """Write to the run of that id, which stays open, or begin one.

        Args:
            tracking_uri: as MLflow takes it, such as `sqlite:///mlflow.db`; None: MLflow's own default.
            experiment: MLflow experiment of a new run.
            run_name: name of a new run.
            artifacts: where a new experiment keeps files, as a URI; None: MLflow's own default, `./mlruns` for a
                database in a file.
            run_id: id of a run of the user's own.

        Raises:
            LoggerMissingError: mlflow is not installed.
        """
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise missing("mlflow") from error
        self._client = MlflowClient(tracking_uri)
        self._own = run_id is None
        self._run = run_id or self._begun(experiment, run_name, artifacts)
        self._waiting: list[tuple[str, float, int, int]] = []

    def settings(self, values: Mapping[str, Setting]) -> None:
        """Write the settings as parameters."""
        from mlflow.entities import Param

        params = [Param(_named(name), str(value)) for name, value in values.items()]
        for start in range(0, len(params), 100):  # as many as one call takes
            self._client.log_batch(self._run, params=params[start : start + 100])

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Keep one point of each series until a batch is full."""
        now = int(time.time() * 1000)
        self._waiting += [(_named(name), float(value), now, step) for name, value in values.items()]
        if len(self._waiting) >= _BATCH:
            self._send()

    def alert(self, title: str, text: str, severity: str) -> None:
        """Write the finding as a tag."""
        self._client.set_tag(self._run, f"finding.{_named(title)}", f"{severity}: {text}"[:_LONGEST])

    def artifact(self, path: Path) -> None:
        """Keep a file with the run."""
        self._client.log_artifact(self._run, str(path))

    def flush(self) -> None:
        """Send the points that wait."""
        self._send()

    def close(self) -> None:
        """Send what waits; end a run that was begun here."""
        self._send()
        if self._own:
            self._client.set_terminated(self._run)

    def _begun(self, experiment: str, name: str | None, artifacts: str | None) -> str:
        known: Any = self._client.get_experiment_by_name(experiment)
        where = self._client.create_experiment(experiment, artifacts) if known is None else known.experiment_id
        return str(self._client.create_run(where, run_name=name).info.run_id)

    def _send(self) -> None:
        from mlflow.entities import Metric

        points, self._waiting = self._waiting, []
        for start in range(0, len(points), _BATCH):
            self._client.log_batch(self._run, metrics=[Metric(*point) for point in points[start : start + _BATCH]])


def _named(name: str) -> str:
    """A name that MLflow takes: it allows letters, digits and a few signs."""
    return re.sub(r"[^\w\-. :/]", "-", name, flags=re.ASCII)
