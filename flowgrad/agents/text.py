"""Writes answers as text: one screen, from the most important line down, without characters that act on a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from flowgrad.evidence.confidence import NEAR
from flowgrad.lines import told_line

WIDTH = 110
_LABEL = 13
Answer = Mapping[str, Any]


def to_text(answer: Answer) -> str:
    """Write an answer as text."""
    return "\n".join(told_line(line).rstrip() for line in _WRITERS[answer["answer"]](answer))


def _findings(answer: Answer) -> Iterator[str]:
    counts = ", ".join(f"{number} {level}" for level, number in answer["severities"].items())
    yield f"{answer['report']}: {answer['status']}{f' ({counts})' if counts else ''}"
    for one in answer["blind"]:
        yield from _labelled("Blind", f"{one['layer']}: {one['because']}")
    if facts := answer.get("training"):
        told = ", ".join(f"{name} {_of(facts, name)}" for name, v in facts.items() if not isinstance(v, Mapping))
        yield from _labelled("Run", told)
    if rate := answer.get("learning_rate"):
        yield from _labelled("Rate", "; ".join(str(rate[n]) for n in ("verdict", "because", "change") if rate.get(n)))
    for one in answer.get("changed", ()):
        told = f"{one['kind']} at step {one['step']:,}: {one['old']} → {one['new']}, for {one['finding']}"
        yield from _labelled("Changed", told)
    for one in answer["findings"]:
        yield from _finding(one)
    if not answer["total"] and answer["severities"]:
        yield "No finding is as asked for; without --severity, --rule and --subject they are told"
    if (left := answer["total"] - len(answer["findings"])) > 0:
        yield f"... and {left} more; --limit {answer['total']} tells them"
    for one in answer["unseen"][:5]:
        yield from _labelled("Not seen", f"{one['layer']}: {one['name']}: {one['because']}", most=2)
    further = answer.get("cut", {}).get("unseen", len(answer["unseen"])) - 5
    if further > 0:
        yield from _labelled("Not seen", f"{further} more things; --json names them")
    if further_reports := answer["reports"]:
        yield from _labelled("More", f"later reports of this run: {', '.join(further_reports)}", most=4)
    if answer["unjudged"]:
        yield from _labelled("Not judged", f"{answer['unjudged']} rules, for figures that are not known")
    yield from _next(answer)


def _finding(one: Answer) -> Iterator[str]:
    follows = f", follows from {one['follows']}" if one.get("follows") else ""
    yield f"[{one['severity']}] {one['type']} at {_places(one)}{follows}  (rule {one['rule']})"
    yield from _labelled("Premise", one["premise"])
    if not one.get("candidates"):
        yield from _labelled("Implies", one["implies"])
    for candidate in one.get("candidates", ()):
        yield from _labelled("Check", f"{candidate['cause']}: {candidate['check']}")
    for change in _changes(one.get("fix", ())):
        yield from _labelled("Change", change)
    if one.get("deferred"):
        yield from _labelled("Deferred", one["deferred"])
    if not one.get("fix") and not one.get("candidates"):
        yield from _labelled("Action", one["action"])
    if one.get("fix"):
        yield from _labelled("Confidence", _confidence(one["confidence"]))
    if (rows := one.get("rows")) and rows["count"]:
        yield from _labelled("Rows", f"{rows['count']}{' in ' + rows['table'] if rows.get('table') else ''}")
    if proof := one.get("validation"):
        yield from _labelled("Proof", _proof(proof, _of(proof, "baseline"), _of(proof, "treated")))


def _places(one: Answer) -> str:
    places = one.get("places", {})
    names = [place["layer"] for place in places.get("place", ())] or [one["layer"]]
    more = places.get("count", len(names)) - min(len(names), 3)
    return ", ".join(names[:3]) + (f" and {more} more" if more > 0 else "")


def _changes(fix: Sequence[Answer]) -> Iterator[str]:
    every = [one for one in fix if one.get("path")]
    overrides = [one for one in every if one.get("ablation", {}).get("outcome") != "dropped"]
    told = [
        f"{o['path']}={o['value']}" if o.get("value") else f"{o['path']} x {_value(o.get('scale'))}" for o in overrides
    ]
    if told:
        was = ", ".join(f"{o['path']} was {o['was']}" for o in overrides if o.get("was"))
        yield " ".join(told) + (f"  ({was})" if was else "")
    if dropped := [f"{one['path']}={one.get('value', '')}" for one in every if one not in overrides]:
        yield f"without {' '.join(dropped)}: left out again, for it does not earn its place on validation data"
    for one in fix:
        if one.get("text"):
            yield f"{one['text']}" if one.get("framework") in ("any", None) else f"{one['framework']}: {one['text']}"


def _confidence(known: Answer) -> str:
    if known["basis"] == "prior":
        return "not measured: no validated run stands behind it; prove the change"
    refuted = f", {known['refuted']} refuted" if known.get("refuted") else ""
    interval = f"{_value(known['low'])} to {_value(known['high'])}"
    runs = f"{known['confirmed']} of {known['trials']} validated runs confirmed it"
    tried = [told for told in (known.get("tried_on"), NEAR.get(known.get("near", ""))) if told]
    return "; ".join([f"{_value(known['value'])} ({interval}), {runs}{refuted}", *tried])


def _proof(proof: Answer, before: str, after: str) -> str:
    interval = "" if proof["ci_low"] is None else f" [{_value(proof['ci_low'])}, {_value(proof['ci_high'])}]"
    p = "" if proof["p_adjusted"] is None else f", p {_value(proof['p_adjusted'])}"
    wins = "" if proof.get("wins") is None else f", wins {_value(proof['wins'])}"
    reason = f" ({proof['reason']})" if proof.get("reason") else ""
    detectable = proof.get("detectable") if proof["verdict"] == "inconclusive" else None
    power = "" if detectable is None else f"; a difference of {_value(detectable)} could have been found"
    return (
        f"{proof['metric']} {before} -> {after} ({_of(proof, 'difference')}{interval}), "
        f"n {proof['n']}{p}{wins}: {proof['verdict']}{reason}{power}"
    )


def _explain(answer: Answer) -> Iterator[str]:
    for rule in answer["rules"]:
        symptom = rule.get("symptom", rule["type"])
        symptom = "" if symptom == rule["type"] else f", or {symptom} where the cause is open"
        yield f"{rule['rule']} [{rule['severity']}]: {rule['type']}{symptom}, on {rule['subject']}"
        for name, label in (
            ("condition", "Fires if"), ("requires", "Claims if"), ("rows", "Rows"), ("premise", "Premise"),
            ("implies", "Implies"), ("action", "Action"), ("expected_effect", "Effect"), ("risk", "Risk"),
        ):  # fmt: skip
            if rule.get(name):
                yield from _labelled(label, rule[name], most=8)
        for path, value in rule.get("set", {}).items():
            yield from _labelled("Change", f"{path}={value}")
        for path, value in rule.get("scale", {}).items():
            yield from _labelled("Change", f"{path} x {_value(value)}")
        for path, name in rule.get("copy", {}).items():
            yield from _labelled("Change", f"{path} = the measured {name}")
        for path in rule.get("lists_rows", ()):
            yield from _labelled("Change", f"{path} = the rows that it names")
        if safe := rule.get("in_training"):
            told = ", ".join(f"{name} {value}" for name, value in safe.items())
            yield from _labelled("In a run", told)
        for framework, change in rule.get("plain", {}).items():
            yield from _labelled("In code", change if framework == "any" else f"{framework}: {change}", most=8)
        for one in rule.get("candidates", ()):
            yield from _labelled("Check", f"{one['cause']}: {one['check']}")
        if rule.get("follows"):
            yield from _labelled("Follows", ", ".join(rule["follows"]))
        for path, one in rule.get("overrides", {}).items():
            yield from _labelled("Override", f"{path} earned its place in {one['earned']} of {one['tried']} runs")
        if rule.get("confidence"):
            refuted = "" if rule.get("prescribed") else "; not prescribed by default"
            yield from _labelled("Confidence", _confidence(rule["confidence"]) + refuted)
        if rule.get("reference"):
            yield from _labelled("Rests on", rule["reference"], most=8)
    yield from _next(answer)


def _runs(answer: Answer) -> Iterator[str]:
    for one in answer["runs"]:
        found = ", ".join(f"{number} {level}" for level, number in one.get("severities", {}).items())
        parts = [one["when"], one["experiment"], one.get("status", "no report") + (f" ({found})" if found else "")]
        if one.get("verdict"):
            parts.append(f"{one['metric']} {one['verdict']}")
        yield f"{one['path']}: {', '.join(parts)}"
        if one.get("problem"):
            yield from _labelled("Problem", one["problem"])
    left = answer["total"] - len(answer["runs"])
    if left > 0:
        yield f"... and {left} more; --limit {answer['total']} tells them"
    if not answer["total"]:
        yield f"{answer['folder']}: no run folder in it"
    if answer["incomplete"]:
        yield f"{answer['folder']}: not all of it was looked through; name a folder further down"


def _history(answer: Answer) -> Iterator[str]:
    for one in answer["series"]:
        arm = "".join(f" {name} {one[name]}" for name in ("arm", "seed") if name in one and one[name] != one["subject"])
        left = f", {len(one['points'])} of {one['count']} points" if len(one["points"]) < one["count"] else ""
        yield f"{one['subject']} {one['figure']}{arm} by {one['by']} ({one['source']}{left})"
        odd = one.get("not_finite", {})
        told = [f"{at:g}: {odd.get(f'{at:g}', '') if value is None else _value(value)}" for at, value in one["points"]]
        yield from _wrapped("  ", ", ".join(told))
    if (left := answer["total"] - len(answer["series"])) > 0:
        yield f"... and {left} more series; name --arm or --seed, or raise --max-points"
    for one in answer["available"]:
        more = one.get("cut", {}).get("figures", 0)
        yield f"{one['subject']} by {one['by']} ({one['source']}{f', {more} figures' if more else ''})"
        yield from _wrapped("  ", ", ".join(one["figures"]))
    if not answer["series"] and not answer["available"]:
        yield f"{answer['run']}: it holds no series"


def _rows(answer: Answer) -> Iterator[str]:
    for group in answer["groups"]:
        rule = f"{group['type']} (rule {group['rule']})"
        yield f"{group['layer']}: {group['count']} rows of {rule}, from {group['source']}"
        for row in group["rows"]:
            odd = row.get("not_finite", {})
            figures = ", ".join(f"{name} {_of(row['figures'] | {'not_finite': odd}, name)}" for name in row["figures"])
            place = f" (row {row['row']})" if "row" in row else ""
            yield f"  {row['id']}{place}: {figures}"
        if (left := group["count"] - len(group["rows"])) > 0:
            yield f"  ... and {left} more"
    if (more := answer.get("cut", {}).get("groups", 0) - len(answer["groups"])) > 0:
        yield f"... and {more} more findings; --rule tells those of one"
    if not answer["groups"]:
        yield f"{answer['subject']}: no finding names rows there"
    for problem in answer["problems"]:
        yield from _labelled("Problem", problem)


def _compare(answer: Answer) -> Iterator[str]:
    for name in ("a", "b"):
        side = answer[name]
        arm = f", arm {side['arm']}" if side.get("arm") else ""
        yield f"{name.upper()} {side['report']}: {side['status']}, {side['findings']} findings{arm}"
    for name in ("gone", "new", "kept"):
        total = answer.get("cut", {}).get(name, len(answer[name]))
        yield f"{name}: {total or 'none'}"
        for one in answer[name]:
            was = f", was {one['was']}" if one.get("was") else ""
            yield f"  [{one['severity']}] {one['type']} at {one['layer']}{was}  (rule {one['rule']})"
    for one in answer["figures"]:
        yield f"  {one['layer']} {one['name']}: {_of(one, 'before')} -> {_of(one, 'after')}"
    for one in answer["tests"]:
        yield from _labelled("Test", _proof(one, _of(one, "before"), _of(one, "after")))
    if answer["untested"]:
        yield from _labelled("No test", answer["untested"])
    for caution in answer["cautions"]:
        yield from _labelled("Caution", caution)


def _prove(answer: Answer) -> Iterator[str]:
    checked = "computed anew from the observations" if answer["checked"] else f"not checked: {answer['unchecked']}"
    yield f"{answer['table']}: {answer['verdict']} ({checked})"
    for one in answer["proofs"]:
        told = _proof(one, _of(one, "baseline"), _of(one, "treated"))
        yield from _labelled("Control" if one["control"] else "Proof", f"{one['comparison']}: {told}")
        if further := _further(one, of_table=answer["run"] == answer["table"]):
            yield from _labelled("", further)
    for caution in answer.get("cautions", ()):
        yield from _labelled("Caution", caution)
    for number, overrides in enumerate(answer["overrides"], start=1):
        yield from _labelled("Change", f"round {number}: {' '.join(overrides) or 'nothing'}")
    if answer.get("dropped"):
        yield from _labelled("Left out", f"{' '.join(answer['dropped'])}: does not earn its place on validation data")
    if answer.get("command"):
        yield f"next: {answer['command']}"


def _further(one: Answer, *, of_table: bool) -> str:
    """Lines that a table of anybody's results adds to a proof: effect size, equivalence, and the users within seeds."""
    told = [f"effect size d_z {_of(one, 'effect_size')}"] if of_table else []
    if "p_equivalent" in one:
        told.append(f"equivalent within {_of(one, 'margin')}: p {_of(one, 'p_equivalent')}")
    if "v_ratio" in one:
        verdict = one.get("verdict_new_users", "not tested")
        told.append(f"V ratio {_of(one, 'v_ratio')}; for new users p {_of(one, 'p_new_users')}: {verdict}")
    return "; ".join(told)


def _next(answer: Answer) -> Iterator[str]:
    for command in answer.get("next", ()):
        yield f"next: {command}"


def _labelled(label: str, text: str, most: int = 4) -> list[str]:
    return _wrapped(f"  {label}".ljust(_LABEL), text, most)


def _wrapped(start: str, text: str, most: int | None = None) -> list[str]:
    return textwrap.wrap(
        " ".join(str(text).split()),
        WIDTH,
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
        max_lines=most,
        placeholder=" ...",
    )


def _of(answer: Answer, name: str) -> str:
    """A number of an answer, also where it is not finite."""
    odd: str | None = answer.get("not_finite", {}).get(name)
    return _value(answer[name]) if odd is None else odd


def _value(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and 1 <= abs(value) < 1e15 else f"{value:.4g}"
    return str(value)


_WRITERS: dict[str, Callable[[Answer], Iterator[str]]] = {
    "findings": _findings,
    "explain": _explain,
    "history": _history,
    "rows": _rows,
    "compare": _compare,
    "prove": _prove,
    "runs": _runs,
}
