"""The verb `explain`: a rule of the book in words, with what its confidence rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, cast

from flowgrad.agents.answers import SCHEMA_VERSION, Explained
from flowgrad.agents.answers import Rule as Answer
from flowgrad.agents.plain import MOST_ITEMS, plain
from flowgrad.errors import RuleError
from flowgrad.evidence.ledger import Ledger
from flowgrad.rules import Rule, RuleBook
from flowgrad.rules.suggestion import did_you_mean


def explain(rule: str, *, rules: Sequence[str] = ()) -> Explained:
    """Answer what a rule says.

    Args:
        rule: id of a rule, or the type or symptom of a finding, which several rules may share.
        rules: YAML files or folders of rules; empty: the shipped ones.

    Raises:
        RuleError: there is no such rule, or the rules cannot be read.
    """
    book = RuleBook.load(*rules)
    named = [book[rule]] if rule in book else [one for one in book.values() if rule in types_of(one)]
    if not named:
        known = [*book, *dict.fromkeys(name for one in book.values() for name in types_of(one))]
        hint = did_you_mean(rule, known)
        if "did you mean" not in hint:
            hint = "; `flowgrad findings RUN` names the rule of each finding, and --rules FILE reads rules of your own"
        raise RuleError(f"no rule and no finding is called {rule!r}{hint}")
    told = named[:MOST_ITEMS]
    answer = {
        "answer": "explain",
        "schema_version": SCHEMA_VERSION,
        "asked": rule,
        "rules": [_told(one, book.ledger) for one in told],
        "next": [],
    }
    return cast(Explained, answer | ({"cut": {"rules": len(named)}} if len(named) > len(told) else {}))


def types_of(rule: Rule) -> tuple[str, ...]:
    """Types of findings that a rule makes: its cause, and its symptom where the cause is open."""
    return (rule.type, rule.symptom) if rule.symptom else (rule.type,)


def _told(rule: Rule, ledger: Ledger) -> Answer:
    fix, safe = rule.fix, rule.in_training
    said: dict[str, Any] = {
        "rule": rule.id,
        "subject": rule.subject,
        "type": rule.type,
        "symptom": rule.symptom,
        "severity": rule.severity,
        "condition": rule.condition.text,
        "requires": rule.requires and rule.requires.text,
        "rows": rule.rows and rule.rows.text,
        "premise": rule.premise,
        "implies": rule.implies,
        "action": rule.action,
        "expected_effect": rule.expected_effect,
        "risk": rule.risk,
        "set": fix and {path: _value(value) for path, value in fix.set.items()},
        "scale": fix and dict(fix.scale),
        "copy": fix and dict(fix.copy),
        "lists_rows": fix and list(fix.rows),
        "plain": dict(rule.plain),
        "in_training": safe and {kind: getattr(safe, kind) for kind in safe.kinds},
        "candidates": [{"cause": cause, "check": check} for cause, check in rule.candidates.items()],
        "follows": list(rule.follows),
        "explains": rule.explains,
        "reference": rule.reference,
        "rule_sha256": rule.sha256,
    }
    kept = {name: value for name, value in said.items() if value}
    known = ledger.confidence(rule.id, rule.sha256)
    if fix is not None:
        told = {name: value for name, value in asdict(known).items() if value != ""}
        kept |= {"confidence": told, "prescribed": not known.refutes}
        overrides = ledger.overrides(rule.id, rule.sha256)
        told = {path: {"earned": earned, "tried": tried} for path, (earned, tried) in overrides.items()}
        kept |= {"overrides": told} if told else {}
    return cast(Answer, plain(kept))


def _value(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
