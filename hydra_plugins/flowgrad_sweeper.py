"""Hydra's grid of jobs, of which only those are launched that can run and have not run before.

It stands here because Hydra takes plugins from this namespace package only.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins import basic_sweeper
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from flowgrad.errors import FlowGradError
from flowgrad.files import write_atomically
from pipelines.config.command_line import one_line
from pipelines.config.folder_names import folder_name
from pipelines.config.refusals import told
from pipelines.config.text import to_yaml
from pipelines.sweeps.job_record import JOBS, is_done, refuse

_logger = logging.getLogger(__name__)


class _SavesWhole(OmegaConf):
    """OmegaConf for Hydra's sweeper: the config of a sweep is written whole, in a tenth of the time."""

    @staticmethod
    def save(config: DictConfig, f: Path, resolve: bool = False) -> None:
        """Take the place of `OmegaConf.save`."""
        write_atomically(f, to_yaml(config, resolve=resolve).encode())


basic_sweeper.OmegaConf = _SavesWhole


class GridSweeper(BasicSweeper):
    """As Hydra's own, save that a job whose config cannot be composed does not end the sweep, and that a job that is
    done is not done again.
    """

    def sweep(self, arguments: list[str]) -> Any:
        """Run the jobs of the grid."""
        self._folders: list[str] = []
        try:
            return super().sweep(arguments)
        except (HydraException, OmegaConfBaseException, FlowGradError):
            raise
        except Exception as error:
            if not self._folders:
                raise
            # A worker was killed, or its machine went: the table tells which jobs came to no end.
            line = told(error)
            if line is None:
                _logger.exception("the launcher failed")
            else:
                print(f"error: {line}", file=sys.stderr)
            return []

    def get_job_batch(self) -> Sequence[Sequence[str]]:
        """Those of the next batch that are to be launched.

        Raises:
            HydraException, OmegaConfBaseException: not one of the batch can be composed.
            FlowGradError: two jobs would write into one folder.
        """
        top = Path(self.config.hydra.sweep.dir)  # type: ignore[union-attr]
        batch, launched, faults = super().get_job_batch(), [], []
        for overrides in batch:
            folder, composed, fault = self._composed(list(overrides))
            name = os.path.relpath(folder, top)
            if name in self._folders:
                raise FlowGradError(
                    f"two jobs of this sweep, {' '.join(overrides)[:200]!r} one of them, would write into one folder, "
                    f"{name!r}: leave out what is given twice, and hydra.sweep.subdir as it is"
                )
            self._folders.append(name)
            if fault is not None:
                faults.append((folder, list(overrides), fault))
            elif not is_done(folder, composed):
                launched.append(overrides)
        if faults and len(faults) == len(batch):
            raise faults[0][2]
        for folder, given, fault in faults:
            refuse(folder, given, one_line(fault))
        write_atomically(top / JOBS, json.dumps(self._folders, indent=1).encode())
        self._start_no_idle_workers(len(launched))
        return launched

    def _start_no_idle_workers(self, jobs: int) -> None:
        """Workers of joblib end with the sweep from their first job on; one that never gets a job would stay when the
        sweep is killed.
        """
        given = getattr(self.launcher, "joblib", None)
        if given is not None:
            from pipelines.stages.parallel import cores  # which imports torch

            wanted = int(given.get("n_jobs", -1))
            most = wanted if wanted > 0 else max(1, cores() + 1 + wanted)
            given["n_jobs"] = max(1, min(most, jobs))

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """They were composed already."""

    def _composed(self, overrides: list[str]) -> tuple[Path, Any, Exception | None]:
        """Folder and config of a job, or what is wrong with it."""
        assert self.hydra_context is not None
        assert self.config is not None
        top = Path(self.config.hydra.sweep.dir)
        try:
            config = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
            with open_dict(config):
                config.hydra.job.num = 0
            return top / config.hydra.sweep.subdir, config, None
        except (HydraException, OmegaConfBaseException) as error:
            left_out = self.config.hydra.job.config.override_dirname.exclude_keys
            kept = sorted(override for override in overrides if override.partition("=")[0] not in left_out)
            return top / folder_name(",".join(kept)), None, error
