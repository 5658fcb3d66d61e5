"""Files of rules: no code of theirs runs, none takes for ever, and nothing secret gets into findings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from flowgrad.evidence.ledger import Ledger
from flowgrad.measurements import Measurements
from flowgrad.measures import VOCABULARY
from flowgrad.rules import RuleBook
from flowgrad.rules.rulebook import SHIPPED
from pipelines.benchmarks.robustness.attack import Attack, Fault, Place
from pipelines.benchmarks.robustness.damage import bytes_damaged, lines_damaged, value_damaged
from pipelines.benchmarks.robustness.kinds.recipes import bombs

_SECRET = "a-secret-of-the-environment"
_VARIABLE = "FLOWGRAD_ROBUSTNESS"
_EXPRESSIONS = (
    "__import__('os').abort()", "(lambda: 1)()", "9**9**9**9", "x" * 20_000, "(" * 3000 + "1" + ")" * 3000,
    "steps.__class__.__mro__", "steps > " + "9" * 5000, "not " * 3000 + "1", "1 if 1 else 2", "steps[0]", "'a' * 10**9",
    "steps > 1 and " * 2000 + "steps > 1", "1 << 10**6", "steps / 0 > 1", "nan > 1", "\0", "steps > ١", "",
    "steps " + "+ steps " * 5000, "0 < steps < steps < 1e999", "~steps", "f'{steps}'", "{steps:>99999999}",
    "{steps!r:{steps}}", "{0.__class__}", "{steps.real}", "%(steps)s", "{" * 5000, "{steps:٩٩٩٩٩٩٩٩٩}", "steps ** 0.5",
)  # fmt: skip
"""Hostile texts for conditions and premises."""
_FIXES: tuple[dict[str, Any], ...] = (
    {"set": {"training._target_": "os.abort"}}, {"set": {"model._target_": "subprocess.Popen"}},
    {"set": {"optimizer._target_": "builtins.exec"}}, {"set": {"a.b": "${oc.env:" + _VARIABLE + "}"}},
    {"scale": {"optimizer.lr": float("inf")}}, {"scale": {"optimizer.lr": "${oc.env:HOME}"}}, {"set": {}},
    {"set": None}, {"set": {"x" * 9999: 1}}, {"set": {"hydra.run.dir": "/"}},
    {"set": {"optimizer.lr": list(range(1000))}}, {"plain": 1},
)  # fmt: skip
"""Hostile fixes."""


def draw(rng: np.random.Generator, base: Path) -> Attack:
    """A shipped file of rules with bytes, lines, values, expressions or fixes changed; or a bomb."""
    files = sorted(SHIPPED.glob("*.yaml"))
    file = files[int(rng.integers(len(files)))]
    text = file.read_text(encoding="utf-8")
    way = int(rng.integers(8))
    if way == 0:
        data, tried = bytes_damaged(text.encode(), rng)
        return _attack(f"{file.name}: {tried}", data)
    if way == 1:
        made, tried = lines_damaged(text, rng)
        return _attack(f"{file.name}: {tried}", made.encode())
    if way == 2:
        place = int(rng.integers(len(bombs())))
        return _attack(f"{file.name}: bomb {place}", (text + bombs()[place]).encode(), must=True)
    content = yaml.safe_load(text)
    names = list(content)
    name = names[int(rng.integers(len(names)))]
    rule = content[name]
    if way in (3, 4):
        put = _EXPRESSIONS[int(rng.integers(len(_EXPRESSIONS)))]
        key = ("condition", "premise", "rows", "implies", "share_weight")[int(rng.integers(5))]
        content[name] = {**rule, key: put}
        return _attack(f"{file.name}: {name}.{key}={put[:40]!r}", _dumped(content))
    if way == 5:
        fix = _FIXES[int(rng.integers(len(_FIXES)))]
        content[name] = {**rule, "fix": {**(rule.get("fix") or {}), **fix}}
        return _attack(f"{file.name}: {name}.fix={str(fix)[:60]}", _dumped(content))
    if way == 6:
        content[name] = {**rule, "implies": "${oc.env:" + _VARIABLE + "}", "premise": "${oc.env:" + _VARIABLE + "}"}
        return _attack(f"{file.name}: {name} names a variable of the environment", _dumped(content))
    made_rule, tried = value_damaged(rule, rng)
    content[name] = made_rule
    return _attack(f"{file.name}: {name}: {tried}", _dumped(content))


def _dumped(content: Any) -> bytes:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode("utf-8", "surrogatepass")


def _attack(tried: str, data: bytes, *, must: bool = False) -> Attack:
    def perform(place: Place) -> None:
        os.environ[_VARIABLE] = _SECRET
        file = place.given / "rules.yaml"
        file.write_bytes(data)
        book = RuleBook.load(file, ledger=Ledger())
        if must:
            raise Fault("accepted", "a text without end was read")
        for subject in {rule.subject for rule in book.values()}:
            _evaluate(book, subject)

    return Attack(f"rules: {tried}", perform)


def _evaluate(book: RuleBook, subject: str) -> None:
    """Conditions and premises on figures of every size."""
    names = [measure.name for measure in VOCABULARY[subject] if not measure.per_row]
    columns = [measure.name for measure in VOCABULARY[subject] if measure.per_row]
    for value in (0.0, 1.0, -1.0, 1e300, float("nan"), float("inf")):
        rows = pd.DataFrame({column: [value, 0.0, 1.0] for column in columns})
        measured = Measurements(subject, "thing", dict.fromkeys(names, value), {"rows": rows} if columns else {})
        if _SECRET in str(book.evaluate(measured)):
            raise Fault("accepted", "a variable of the environment is in the findings")
