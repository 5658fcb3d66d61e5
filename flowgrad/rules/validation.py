"""The one validator of rules: entries as written in, `Rule`s out, or an error that names the place."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import partial
from typing import Any, TypeVar

from flowgrad.errors import RuleError
from flowgrad.measurements import Measure
from flowgrad.rules.bounds import MOST_RULES, check_bounds
from flowgrad.rules.condition import Condition
from flowgrad.rules.entries import Entry
from flowgrad.rules.expression import UnknownNameError
from flowgrad.rules.fix import read_fix
from flowgrad.rules.following import circle
from flowgrad.rules.in_training import read_in_training
from flowgrad.rules.premise import check_premise
from flowgrad.rules.rule import SEVERITIES, Rule
from flowgrad.rules.suggestion import did_you_mean

Vocabulary = Mapping[str, Sequence[Measure]]
"""Type of a vocabulary: everything a rule on a subject may name, by subject kind."""

_KEYS = {field.name: field for field in fields(Rule) if field.name not in ("id", "source")}
_REQUIRED = [name for name, field in _KEYS.items() if field.default is MISSING and field.default_factory is MISSING]
FRAMEWORKS = ("torch", "xgboost", "lightgbm", "catboost", "any")
"""Names of libraries in whose words a fix may be given; `any` is for all others."""
_TEXTS = {"plain": "frameworks", "candidates": "causes", "premises": "conditions"}
"""Keys that map something to text."""
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_UPPER_SNAKE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")
_T = TypeVar("_T")


@dataclass(frozen=True)
class _Scope:
    """Names that the rules of one subject may use."""

    subject: str
    scalars: tuple[str, ...]
    per_row: tuple[str, ...]
    shares: Mapping[str, Any]
    """Id of the rule that defines each share, by the share's name."""

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of numbers that stand for the subject as a whole: usable in conditions, premises and `fix.copy`."""
        return (*self.scalars, *self.shares)

    @property
    def row_names(self) -> tuple[str, ...]:
        """Names usable in `rows`."""
        return (*self.per_row, *self.scalars)

    def why_unknown(self, name: str) -> str:
        """Hint on a name that is not known where it was used."""
        if name in self.per_row:
            return f" ({name!r} is measured per row: it can stand in 'rows' only)"
        if name in self.shares:
            return f" ({name!r} is a share: it cannot stand in 'rows')"
        return f" ({name!r} is no measure of {self.subject!r}, and a share of that name is defined by no rule)"


def validate(entries: Iterable[Entry], vocabulary: Vocabulary) -> dict[str, Rule]:
    """Validate entries into rules by id, in the order of `entries`.

    Raises:
        RuleError: for the first fault, as `PLACE: rule 'id': KEY: what is wrong, and what would have been right`.
    """
    entries = list(entries)
    if len(entries) > MOST_RULES:
        raise RuleError(f"there are {len(entries)} rules; a book holds at most {MOST_RULES}")
    contents = [(entry, _checked_content(entry, vocabulary)) for entry in entries]
    scopes = {subject: _scope(subject, measures, contents) for subject, measures in vocabulary.items()}
    rules = {entry.id: _rule(entry, content, scopes[content["subject"]]) for entry, content in contents}
    _check_circle(rules.values(), {entry.id: entry for entry, _ in contents})
    return rules


def _check_circle(rules: Iterable[Rule], entries: Mapping[Any, Entry]) -> None:
    """Refuse a circle of findings that follow from each other: none of them would stand."""
    follows: dict[str, dict[str, None]] = {}
    owners: dict[str, Any] = {}
    for rule in rules:
        for name in {rule.type, rule.symptom} - {""} if rule.follows else ():
            follows.setdefault(name, {}).update(dict.fromkeys(kind for kind in rule.follows if kind != name))
            owners.setdefault(name, rule.id)
    if found := circle(follows):
        told = " from ".join([*found, found[0]])
        raise entries[owners[found[0]]].error(f"follows: {told}: findings cannot follow in a circle", "follows")


def _checked_content(entry: Entry, vocabulary: Vocabulary) -> dict[str, Any]:
    """The entry's keys, each of the right type, those left out or null dropped; names are not looked up yet."""
    if not isinstance(entry.id, str) or not _IDENTIFIER.fullmatch(entry.id):
        raise entry.error("the id must be an identifier such as zombie_rows")
    for key, value in entry.content.items() if isinstance(entry.content, Mapping) else [("", entry.content)]:
        try:
            check_bounds({key: value})
        except RuleError as error:
            known = isinstance(key, str) and key in _KEYS
            raise entry.error(f"{key}: {error}" if known else str(error), key if known else None) from None
    if not isinstance(entry.content, Mapping):
        raise entry.error(f"must be a mapping of keys to values, got {_shown(entry.content)}")
    for key in entry.content:
        if key not in _KEYS:
            raise entry.error(f"unknown key {key!r}{did_you_mean(str(key), _KEYS)}", key)
    content = {key: value for key, value in entry.content.items() if value is not None or key in _REQUIRED}
    missing = [key for key in _REQUIRED if key not in content]
    if missing:
        raise entry.error(f"lacks the required {'key' if len(missing) == 1 else 'keys'} {', '.join(missing)}")
    for key, value in content.items():
        _check_value(entry, key, value, vocabulary)
    return content


def _check_value(entry: Entry, key: str, value: Any, vocabulary: Vocabulary) -> None:
    error = partial(entry.error, key=key)
    if key == "fix":
        if not isinstance(value, Mapping):
            raise error(f"fix: must be a mapping of set, scale, copy or rows, got {_shown(value)}")
    elif key == "in_training":
        _named(entry, key, None, partial(read_in_training, value))
    elif key in _TEXTS:
        _check_texts(entry, key, value)
    elif key == "follows":
        _check_follows(entry, value)
    elif key == "explains":
        if not isinstance(value, bool):
            raise error(f"explains: must be true or false, got {_shown(value)}")
    elif not isinstance(value, str):
        raise error(f"{key}: must be text, got {_shown(value)}; put it in quotes")
    elif key in _REQUIRED and not value.strip():
        raise error(f"{key}: must not be empty")
    elif key == "subject" and value not in vocabulary:
        raise error(
            f"subject: nothing measures {value!r}; known: {', '.join(vocabulary)}; import a tracker of your own first, "
            "or name it in own_trackers"
        )
    elif key == "severity" and value not in SEVERITIES:
        raise error(f"severity: must be one of {', '.join(SEVERITIES)}, got {value!r}")
    elif key in ("type", "action", "symptom") and not _UPPER_SNAKE.fullmatch(value):
        raise error(f"{key}: must be upper snake case such as DECREASE_LEARNING_RATE, got {value!r}")


def _check_texts(entry: Entry, key: str, value: Any) -> None:
    """Check that `plain` maps frameworks to text, `candidates` causes to checks, `premises` conditions to premises."""
    error = partial(entry.error, key=key)
    if not isinstance(value, Mapping) or not value:
        raise error(f"{key}: must be a mapping of {_TEXTS[key]} to text, got {_shown(value)}")
    for name, text in value.items():
        if key == "plain" and name not in FRAMEWORKS:
            raise error(f"plain: unknown framework {name!r}{did_you_mean(str(name), FRAMEWORKS)}")
        if key == "candidates" and not (isinstance(name, str) and _UPPER_SNAKE.fullmatch(name)):
            raise error(f"candidates: a cause must be upper snake case such as GRADIENTS_NOT_CLEARED, got {name!r}")
        if key == "premises" and not isinstance(name, str):
            raise error(f"premises: a condition must be text, got {_shown(name)}; put it in quotes")
        if not isinstance(text, str) or not text.strip():
            raise error(f"{key}: {name}: must be text, got {_shown(text)}")


def _check_follows(entry: Entry, value: Any) -> None:
    right = "must be a list of types of findings such as [GRADIENTS_NOT_CLEARED]"
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise entry.error(f"follows: {right}, got {_shown(value)}", "follows")
    for kind in value:
        if not (isinstance(kind, str) and _UPPER_SNAKE.fullmatch(kind)):
            raise entry.error(f"follows: {right}, got {kind!r} in it", "follows")


def _check_open(entry: Entry, content: Mapping[str, Any]) -> None:
    """Check keys that only make sense where the cause is open."""
    if "requires" in content and not {"symptom", "candidates"} <= content.keys():
        raise entry.error("requires: where it does not hold, symptom and candidates are told; give both", "requires")
    if "candidates" in content and "requires" not in content and "fix" in content:
        raise entry.error("candidates: a rule with a fix claims its cause; say by `requires` when", "candidates")
    if "symptom" in content and "requires" not in content:
        raise entry.error("symptom: it is told where `requires` does not hold, which is missing", "symptom")


def _scope(subject: str, measures: Sequence[Measure], contents: Iterable[tuple[Entry, Mapping[str, Any]]]) -> _Scope:
    measured = {measure.name for measure in measures}
    shares: dict[str, Any] = {}
    for entry, content in contents:
        if content["subject"] == subject and "share" in content:
            _check_share(entry, content, measured, shares)
            shares[content["share"]] = entry.id
    scalars = tuple(measure.name for measure in measures if not measure.per_row)
    per_row = tuple(measure.name for measure in measures if measure.per_row)
    return _Scope(subject, scalars, per_row, shares)


def _check_share(entry: Entry, content: Mapping[str, Any], measured: set[str], shares: Mapping[str, Any]) -> None:
    share, error = content["share"], partial(entry.error, key="share")
    if not _IDENTIFIER.fullmatch(share) or keyword.iskeyword(share):
        raise error(f"share: must be an identifier such as zombie_share, got {share!r}")
    if "rows" not in content:
        raise error(f"share: {share!r} is the share of rows that satisfy 'rows', which is missing")
    if share in measured:
        raise error(f"share: {share!r} is already a measure of {content['subject']!r}")
    if share in shares:
        raise error(f"share: {share!r} is already defined by rule {shares[share]!r}")


def _check_rows_are_named(entry: Entry, content: Mapping[str, Any], scope: _Scope) -> None:
    """Check keys that only make sense with `share` or `rows`."""
    weight = content.get("share_weight")
    if weight is not None:
        if "share" not in content:
            raise entry.error("share_weight: there is no share to weigh", "share_weight")
        if weight not in scope.per_row:
            hint = did_you_mean(weight, scope.per_row)
            raise entry.error(f"share_weight: {weight!r} is not measured per row{hint}", "share_weight")
    if "exclude" in content.get("in_training", {}) and "rows" not in content:
        raise entry.error("in_training: exclude: names the rows that satisfy 'rows', which is missing", "in_training")
    if "rows" in content.get("fix", {}) and "rows" not in content:
        raise entry.error("fix: rows: lists the rows that satisfy 'rows', which is missing", "fix")


def _rule(entry: Entry, content: Mapping[str, Any], scope: _Scope) -> Rule:
    _check_rows_are_named(entry, content, scope)
    _check_open(entry, content)
    condition = _named(entry, "condition", scope, lambda: Condition.parse(content["condition"], scope.figures))
    _named(entry, "premise", scope, lambda: check_premise(content["premise"], scope.figures))
    for text in content.get("plain", {}).values():
        _named(entry, "plain", scope, partial(check_premise, text, scope.figures))
    premises = _named(entry, "premises", scope, lambda: _premises(content.get("premises", {}), scope))
    requires = None
    if "requires" in content:
        requires = _named(entry, "requires", scope, lambda: Condition.parse(content["requires"], scope.figures))
    rows = None
    if "rows" in content:
        rows = _named(entry, "rows", scope, lambda: Condition.parse(content["rows"], scope.row_names))
    fix = None
    if "fix" in content:
        fix = _named(entry, "fix", scope, lambda: read_fix(content["fix"], scope.figures))
    made = (
        "condition",
        "rows",
        "fix",
        "requires",
        "plain",
        "candidates",
        "premises",
        "follows",
        "explains",
        "in_training",
    )
    prose = {key: value.strip() for key, value in content.items() if key not in made}
    return Rule(
        id=entry.id,
        condition=condition,
        rows=rows,
        fix=fix,
        premises=premises,
        requires=requires,
        plain=_stripped(content.get("plain", {})),
        candidates=_stripped(content.get("candidates", {})),
        follows=tuple(content.get("follows", ())),
        explains=content.get("explains", False),
        in_training=read_in_training(content["in_training"]) if "in_training" in content else None,
        source=entry.source,
        **prose,
    )


def _premises(texts: Mapping[str, str], scope: _Scope) -> tuple[tuple[Condition, str], ...]:
    for text in texts.values():
        check_premise(text, scope.figures)
    return tuple((Condition.parse(condition, scope.figures), text.strip()) for condition, text in texts.items())


def _stripped(texts: Mapping[str, str]) -> dict[str, str]:
    return {name: text.strip() for name, text in texts.items()}


def _named(entry: Entry, key: str, scope: _Scope | None, make: Callable[[], _T]) -> _T:
    """Return the result of `make`; its errors get the place put in front."""
    try:
        return make()
    except UnknownNameError as error:
        raise entry.error(f"{key}: {error}{'' if scope is None else scope.why_unknown(error.name)}", key) from None
    except RuleError as error:
        raise entry.error(f"{key}: {error}", key) from None


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 40 else text[:37] + '...'}"
