"""Reads the resolved config in a run's folder, where there is one, for checks of its proof."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from flowgrad.bounded_yaml import load_yaml
from flowgrad.errors import EvidenceError, RuleError
from flowgrad.evidence.ledger import Ledger, case_of
from flowgrad.files import read_text_bounded
from flowgrad.rules import RuleBook
from flowgrad.rules.kinds import lenient_vocabulary
from flowgrad.verification.config_text import config_text

NAMES = ("config.yaml", ".hydra/config.yaml")
"""Names of files that hold it; the second is what Hydra writes, for jobs that write none of their own."""
APART = (
    "job", "seeds", "dataset", "workers", "trial", "evidence", "hydra", "compression", "logger", "own_trackers",
    "pruning",
)  # fmt: skip
"""Nodes that are not part of `config_sha256`: they do not decide a training run's outcome, or are checked
separately.
"""
MOST_BYTES = 4 << 20
"""Number of bytes that a config may have; with all rules it takes a quarter of a million."""


@dataclass(frozen=True)
class RunConfig:
    """The config of a run, as plain values."""

    path: Path
    values: Mapping[str, Any] = field(repr=False)

    @classmethod
    def beside(cls, folder: Path) -> RunConfig | None:
        """Read the config in a run's folder; None where there is none.

        Raises:
            EvidenceError: it cannot be read, or is no config.
        """
        path = next((folder / name for name in NAMES if (folder / name).exists()), None)
        if path is None:
            return None
        try:
            values = load_yaml(read_text_bounded(path, MOST_BYTES), MOST_BYTES)
        except (OSError, ValueError, yaml.YAMLError) as error:
            told = (isinstance(error, OSError) and error.strerror) or str(error)
            raise EvidenceError(f"{path}: cannot be read: {' '.join(told.split())[:300]}") from error
        if not isinstance(values, Mapping):
            raise EvidenceError(f"{path}: it is no config, but a {type(values).__name__}")
        return cls(path, values)

    @property
    def name(self) -> str:
        """The experiment's name; empty where the config says none."""
        return str(self.values.get("name") or "")

    @property
    def of_this_library(self) -> bool:
        """Whether it is one of this library's own runs, and no other program's that Hydra configures too."""
        return bool(self.name) and self.of("comparison", "alpha") is not None

    def of(self, node: str, key: str) -> Any:
        """Value of a node's key; None where it is not set."""
        part = self.values.get(node)
        return part.get(key) if isinstance(part, Mapping) else None

    @property
    def case(self) -> str:
        """Model and data of the run, as `Trial.tried_on` is written; empty where the config does not name both."""
        return case_of(*pair_of(self.values))

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that are tested; empty where the config names none, or does so by reference to another node."""
        found = self.of("comparison", "metrics")
        return tuple(map(str, found)) if isinstance(found, list) else ()

    def rule_book(self) -> RuleBook | None:
        """The rules of the run; None where it names none.

        Raises:
            RuleError: they are no rules of this version.
        """
        rules = self.values.get("rules")
        if not isinstance(rules, Mapping) or not rules:
            return None
        named = {str(name): rule for name, rule in rules.items()}
        try:
            return RuleBook.from_mapping(named, lenient_vocabulary(named), ledger=Ledger())
        except RuleError as error:
            raise RuleError(f"{self.path}: {error}") from error

    def has_sha256(self, told: str) -> bool:
        """Whether this config has that hash (`RunIdentity.config_sha256`)."""
        if _sha256(self.values) == told:
            return True
        try:  # its own way of reading numbers is not quite YAML's
            whole = OmegaConf.to_container(OmegaConf.load(self.path))
        except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError, OmegaConfBaseException):
            return False
        return isinstance(whole, dict) and _sha256({str(name): part for name, part in whole.items()}) == told


def pair_of(config: Mapping[str, Any]) -> tuple[str, str]:
    """Names of a config's model and data, of a CSV file with the file's; empty where it does not name them.

    >>> pair_of({"model": {"_target_": "models.DeepFM"}, "dataset": {"_target_": "datasets.load_flights"}})
    ('DeepFM', 'flights')
    """
    model, dataset = (node if isinstance(node := config.get(name), Mapping) else {} for name in ("model", "dataset"))
    data = str(dataset.get("name") or str(dataset.get("_target_") or "").rpartition(".")[2].removeprefix("load_"))
    if data.endswith("_csv"):
        data = f"{data} {Path(str(dataset.get('path') or '')).name}".strip()
    return str(model.get("_target_") or "").rpartition(".")[2].removeprefix("build_"), data


def _sha256(values: Mapping[str, Any]) -> str:
    kept = {key: value for key, value in values.items() if key not in APART}
    try:
        text = config_text(kept, sort_keys=True)
    except (TypeError, ValueError, RecursionError, yaml.YAMLError):
        return ""
    return hashlib.sha256(text.encode()).hexdigest()
