"""A scripted agent that knows the skill and the commands, and nothing else: no module of flowgrad, no name of a fault.

It stands for what a coding agent does that follows `SKILL.md` to the letter. Its hands are those of a programmer: it
can run the training, put a line of code into the loop, and train on seeds.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copyfile
from typing import Any, Protocol

SEEDS = (101, 102, 103, 104, 105)
"""At least five seeds that were not used to look for the cause, decided before anything is trained on them."""
MOST_ROUNDS = 3
"""Times that the same change is made, where the same finding asks for it again."""
PLACES = (
    (r"^optimizer\.zero_grad\(\)$", "before the step"),
    (r"zero_grad\(\);.*backward\(\);.*optimizer\.step\(\)$", "the step"),
    (r"^(for group in optimizer\.param_groups:|optimizer\.add_param_group)", "after the optimizer is made"),
    (r"^x = ", "the inputs"),
    (r"^scheduler\.step\(\)$", "once an epoch"),
    (r"^for x, y in loader: \.\.\.$", "the loop over batches"),
    (r"without the minus", "the sign of the loss"),
)
"""Form of a change, and the place in a loop at which a programmer makes it."""


class Hands(Protocol):
    """The changes that a programmer can make to a training that is given to them."""

    def watch(self, file: str) -> None:
        """Train as it stands, watched, and write the report."""

    def edit(self, place: str, code: str, names: list[str]) -> None:
        """Change the loop at a place."""

    def undo(self) -> None:
        """Take all changes back."""

    def measure(self, folder: str, seeds: tuple[int, ...], *, changed: bool) -> None:
        """Train on each seed and write `observations.csv`."""


@dataclass
class Ending:
    """How the agent left a run."""

    how: str
    """`proven`, `asked` or `nothing`."""
    type: str = ""
    said: list[str] = field(default_factory=list)
    """The change that was proven, or the questions."""


@dataclass
class Agent:
    flowgrad: Callable[..., tuple[int, dict[str, Any]]]
    hands: Hands
    transcript: list[str] = field(default_factory=list)

    def solve(self) -> Ending:
        ending = self._solve()
        self._say(f"end: {ending.how} {ending.type}".rstrip(), *(f"  {text}" for text in ending.said))
        return ending

    def _solve(self) -> Ending:
        self.hands.watch("report.xml")
        seen = self._ask("findings", "report.xml", "--severity", "medium")
        if seen["status"] == "NOT_OBSERVED":
            return Ending("asked", "NOT_OBSERVED", [one["because"] for one in seen["blind"]])
        finding = next((one for one in seen["findings"] if not one.get("follows")), None)
        if finding is None:
            return Ending("nothing")
        self._say(f"  [{finding['severity']}] {finding['type']}")
        (rule,) = (one for one in self._ask("explain", finding["rule"])["rules"] if one["rule"] == finding["rule"])
        if finding.get("candidates"):
            checks = [f"{one['cause']}: {one['check']}" for one in finding["candidates"]]
            return Ending("asked", finding["type"], checks)
        if not rule.get("prescribed", True):
            return Ending("asked", finding["type"], [f"trials refute the change of {finding['rule']}"])
        return self._change(finding)

    def _change(self, finding: dict[str, Any]) -> Ending:
        text = next((one["text"] for one in finding.get("fix", ()) if one.get("text")), "")
        code = text.partition("  #")[0].strip()
        place = next((place for form, place in PLACES if re.search(form, code)), None)
        if place is None:
            return Ending("asked", finding["type"], [text or f"{finding['action']}: {finding['implies']}"])
        report = "report.xml"
        for number in range(2, MOST_ROUNDS + 2):
            self._say(f"edit {place}: {code}")
            self.hands.edit(place, code, self._rows(report, finding))
            before, report = report, f"report{number}.xml"
            self.hands.watch(report)
            changed = self._ask("compare", before, report)
            self._say(f"  gone: {_types(changed['gone'])}; still there: {_types(changed['kept'])}")
            if finding["rule"] not in [one["rule"] for one in changed["kept"]]:
                break
        return self._prove(finding, code, report)

    def _rows(self, report: str, finding: dict[str, Any]) -> list[str]:
        if not finding.get("rows"):
            return []
        told = self._ask("rows", report, finding["layer"], "--rule", finding["rule"], "--limit", "1000")
        return [str(row["id"]) for group in told["groups"] for row in group["rows"]]

    def _prove(self, finding: dict[str, Any], code: str, report: str) -> Ending:
        self._say(f"decide: seeds {SEEDS}, the cost on held-out rows")
        for folder, file in (("before", "report.xml"), ("after", report)):
            Path(folder).mkdir()
            copyfile(file, f"{folder}/report.xml")
            self.hands.measure(folder, SEEDS, changed=folder == "after")
        told = self._ask("compare", "before", "after")
        verdict = told["tests"][0]["verdict"] if told["tests"] else told["untested"]
        self._say(f"  {verdict}")
        if verdict == "confirmed":
            return Ending("proven", finding["type"], [code])
        self.hands.undo()
        return Ending("asked", finding["type"], [f"{code} was {verdict}: {finding['premise']}"])

    def _ask(self, *words: str) -> dict[str, Any]:
        self._say(f"$ flowgrad {' '.join(words)} --json")
        code, answer = self.flowgrad(*words, "--json")
        assert code == 0, words
        return answer

    def _say(self, *lines: str) -> None:
        self.transcript.extend(lines)


def _types(marks: list[dict[str, Any]]) -> str:
    told = dict.fromkeys(one["type"] for one in marks if one["severity"] not in ("info", "low"))
    return ", ".join(told) or "none"
