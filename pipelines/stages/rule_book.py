"""Makes the rule book of a composed config, checked before anything is trained."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from flowgrad.evidence.ledger import SHIPPED, Ledger
from flowgrad.prescription import has_path
from flowgrad.rules import RuleBook
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
    plain = OmegaConf.to_container(config.rules, resolve=True)
    assert isinstance(plain, dict)
    rules = {str(rule_id): rule for rule_id, rule in plain.items()}
    subjects = subjects_of(config)  # imports trackers of the user's own, which rules may be about
    book = RuleBook.from_mapping(rules, sources=_origins(rules, task, folders), ledger=_ledger(config))
    paths = list(_paths(config))
    lacking = {path for path in _fixed_paths(book, subjects) if lacks(config, path)}
    book = _without_fixes(book, lacking, subjects)
    book.check_fix_paths(lambda path: has_path(config, path), paths, subjects)
    return book


def _fixed_paths(book: RuleBook, subjects: Sequence[str]) -> set[str]:
    """Settings that rules on these subjects change."""
    return {path for rule in book.values() if rule.fix and rule.subject in subjects for path in rule.fix.paths}


def lacks(config: DictConfig, path: str) -> bool:
    """Whether the config has no such setting and may do without it: the kind of training has none, or its node is null,
    as the optimizer of what is solved for.
    """
    trainer, node = trainer_of(config), path.partition(".")[0]
    without = path in trainer.LACKS or (node in trainer.OPTIONAL and config[node] is None)
    return without and not has_path(config, path)


def _without_fixes(book: RuleBook, lacking: set[str], subjects: Sequence[str]) -> RuleBook:
    """The book, in which rules that change settings that the training lacks have words alone."""
    changed = {
        rule_id: replace(rule, fix=None)
        for rule_id, rule in book.items()
        if rule.fix is not None and rule.subject in subjects and not lacking.isdisjoint(rule.fix.paths)
    }
    return RuleBook({**book.rules, **changed}, book.ledger) if changed else book


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
