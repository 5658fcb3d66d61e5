"""Makes the rule book of a composed config, checked before anything is trained."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from flowgrad.evidence.ledger import SHIPPED, Ledger, case_of
from flowgrad.prescription import has_path
from flowgrad.rules import RuleBook
from flowgrad.verification.run_config import pair_of
from pipelines.config.merged_rules import rules_of
from pipelines.config.plain import plain_of
from pipelines.trainers.own_trackers import subjects_of
from pipelines.trainers.trainer import trainer_of

_TOP_KEY = re.compile(r"""["']?([A-Za-z_]\w*)["']?\s*:""")
_OVERRIDE = re.compile(r"^\+{0,2}rules\.([A-Za-z_]\w*)[.=]")


def rule_book(config: DictConfig, task: Sequence[str], folders: Sequence[str]) -> RuleBook:
    """Make the rules of `config.rules` a book, every one of them valid and every fix on a path that the config has.

    Args:
        config: the composed config.
        task: its overrides; a rule changed there says so in errors.
        folders: Hydra's config sources (`file://...`, `library://...`), first the one that wins.

    Raises:
        FlowGradError: as `own_trackers`.
        RuleError: names file, rule and position of the first thing that is wrong.
        EvidenceError: a file of `config.evidence.files` holds no trials.
    """
    rules = {str(rule_id): rule for rule_id, rule in plain_of(rules_of(config), resolve=True).items()}
    subjects = subjects_of(config)  # imports trackers of the user's own, which rules may be about
    book = RuleBook.from_mapping(rules, sources=_origins(rules, task, folders), ledger=_ledger(config))
    book = fitting(replace(book, case=case_of(*pair_of(config))), config)
    paths = list(_paths(config))
    book.check_fix_paths(lambda path: has_path(config, path), paths, subjects)
    return book


def fitting(book: RuleBook, config: DictConfig) -> RuleBook:
    """The book for the training of the config: changes of settings that it does not have stand in words alone."""
    trainer = trainer_of(config)
    lacks = (*trainer.LACKS, *(node for node in trainer.OPTIONAL if config[node] is None))
    return book.without_fixes(
        lambda path: any(path == one or path.startswith(f"{one}.") for one in lacks) and not has_path(config, path)
    )


def _ledger(config: DictConfig) -> Ledger:
    files = [*([SHIPPED] if config.evidence.shipped else []), *config.evidence.files]
    return Ledger.load(*files) if files else Ledger()


def _origins(rules: dict[str, Any], task: Sequence[str], folders: Sequence[str]) -> dict[str, str]:
    """Origin of each rule, by id: `FILE:LINE`, or the override that wrote it."""
    origins: dict[str, str] = {}
    for file in _rule_files(folders):
        for rule_id, line in _lines(file):
            origins.setdefault(rule_id, f"{_shown(file)}:{line}")
    for override in task:
        if match := _OVERRIDE.match(override):
            origins[match[1]] = f"command line ({override.partition('=')[0]})"
    return {rule_id: origin for rule_id, origin in origins.items() if rule_id in rules}


def _rule_files(folders: Sequence[str]) -> Iterator[Path]:
    for folder in folders:
        kind, _, place = folder.partition("://")
        if kind == "file":
            root = Path(place)
        elif kind in ("pkg", "library") and place.startswith("flowgrad"):
            root = Path(str(files(place)))
        else:
            continue
        yield from sorted((root / "rules").glob("*.yaml"))


def _lines(file: Path) -> Iterator[tuple[str, int]]:
    """Yield top-level keys of a YAML file with their lines; none of a file that is no text (Hydra has said so), or that
    is written in braces.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return  # not part of this run, or Hydra would have said so
    for number, line in enumerate(text.splitlines(), start=1):
        if match := _TOP_KEY.match(line):
            yield match[1], number


def _shown(file: Path) -> str:
    try:
        return str(file.relative_to(Path.cwd()))
    except ValueError:
        return str(file)


def _paths(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in map(str, node):
        if prefix == "" and key in ("rules", "hydra"):
            continue
        path = f"{prefix}{key}"
        value = node._get_node(key)
        if isinstance(value, DictConfig) and not value._is_none() and not value._is_missing():
            yield from _paths(value, f"{path}.")
        else:
            yield path
