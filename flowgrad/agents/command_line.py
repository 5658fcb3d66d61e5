"""The verbs of the command line: their arguments, their output as text or JSON, and their exit codes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flowgrad.errors import FlowGradError
from flowgrad.lines import told_line
from flowgrad.output import printed

SEVERITIES = ("info", "low", "medium", "high", "critical")
DONE, FOUND, BAD_INPUT, NOT_OBSERVED = 0, 1, 2, 3
"""Exit codes: done, or nothing as severe as asked; a finding as severe, or a change that is not proven; wrong use or a
file that cannot be read; nothing could have been found.
"""
_EXITS = (
    "exit code: 0 done; 1 a finding as severe as --fail-on; 2 wrong use, or a file that cannot be read; "
    "3 with --fail-on: NOT_OBSERVED, nothing could have been found"
)
_PROOF_EXITS = (
    "exit code: 0 confirmed; 1 refuted or inconclusive; 2 wrong use, nothing was proven, or a table was edited"
)


def add_verbs(commands: Any) -> None:
    """Add the verbs to the commands of a parser."""
    found = _verb(commands, "findings", "what a report says, most severe first", epilog=_EXITS)
    _add_run(found)
    _add_limit(found, 20, "findings")
    found.add_argument("--severity", choices=SEVERITIES, default="info", help="tell findings from this severity on")
    found.add_argument("--rule", default="", help="tell findings of this rule or type alone")
    found.add_argument("--subject", default="", help="tell findings at this subject alone")
    _add_fail_on(found)
    explain = _verb(commands, "explain", "a rule in words: when it fires, what it changes, what that rests on")
    explain.add_argument("rule", metavar="RULE", help="id of a rule, or type of a finding")
    explain.add_argument("--rules", action="append", default=[], metavar="FILE", help="YAML file or folder of rules")
    history = _verb(commands, "history", "the series of a figure; without SUBJECT and FIGURE, what there is")
    _add_run(history)
    history.add_argument("subject", nargs="?", default="", metavar="SUBJECT", help="watched thing, arm, or training")
    history.add_argument("figure", nargs="?", default="", metavar="FIGURE", help="figure or metric")
    history.add_argument(
        "--max-points", type=_count, default=100, metavar="N", help="tell N points at most (100); extremes are kept"
    )
    history.add_argument("--arm", default="", help="tell the series of this arm alone")
    history.add_argument("--seed", type=int, help="tell the series of this seed alone")
    rows = _verb(commands, "rows", "ids that the findings at a subject name, worst first, with their figures")
    _add_run(rows)
    rows.add_argument("subject", metavar="SUBJECT", help="name of a table or network")
    rows.add_argument("--rule", default="", help="tell rows of this rule or type alone")
    _add_limit(rows, 20, "rows")
    compare = _verb(
        commands, "compare", "what changed from run A to B, tested over the seeds that both have; of a CSV file of "
        "anybody's results, which arms are better than the baseline", epilog=f"{_EXITS}. Of a CSV file: 0 every arm is "
        "confirmed in the first metric and none is worse in any; 1 not so; 2 wrong use, or runs that are no pairs",
    )  # fmt: skip
    compare.add_argument("a", metavar="A", help="run folder, report as XML, or CSV file with a line a run")
    compare.add_argument("b", metavar="B", nargs="?", help="run folder, or report as XML; none for a CSV file")
    _add_table(compare)
    compare.add_argument("--arm", default="", help="arm whose seeds are compared (default: the one reported on)")
    _add_limit(compare, 20, "findings of a kind, and figures,")
    compare.add_argument(
        "--fail-on", choices=SEVERITIES, help="end with exit code 1 where a new finding of B is as severe"
    )
    prove = _verb(commands, "prove", "whether the change that a run tried helped, with intervals", epilog=_PROOF_EXITS)
    which = prove.add_mutually_exclusive_group(required=True)
    which.add_argument("run", nargs="?", metavar="RUN", help="run folder")
    which.add_argument(
        "--run", dest="overrides", nargs="+", metavar="OVERRIDE",
        help="run python -m pipelines.run OVERRIDE ... here first, such as experiment=movielens_mf 'trial=[...]'",
    )  # fmt: skip
    prove.add_argument("--no-check", action="store_true", help="do not compute the table anew from the observations")
    runs = _verb(commands, "runs", "run folders with what each found and proved, the newest first")
    runs.add_argument("folder", nargs="?", default="outputs", metavar="DIR", help="where they lie (default: outputs)")
    _add_limit(runs, 20, "runs")
    schema = commands.add_parser("schema", help="the JSON Schema of the answers", description="Print a JSON Schema.")
    schema.add_argument("verb", nargs="?", default="", metavar="VERB", help="verb whose answer it is of (default: all)")
    schema.set_defaults(act=_schema)
    skill = commands.add_parser("skill", help="write the skill where a coding agent looks for it")
    kinds = skill.add_subparsers(dest="what", required=True)
    install = kinds.add_parser(
        "install",
        help="write SKILL.md with its references, and a section in AGENTS.md; never over what somebody else wrote",
    )
    where = install.add_mutually_exclusive_group(required=True)
    for agent in ("claude", "codex", "cursor"):
        told = f"into the project that this folder is, for {agent.capitalize()}"
        where.add_argument(f"--{agent}", dest="agent", action="store_const", const=agent, help=told)
    where.add_argument("folder", nargs="?", metavar="DIR", help="into a folder of your own")
    install.set_defaults(act=_install)
    mcp = commands.add_parser("mcp", help="serve the verbs to an agent as tools of MCP, over standard input and output")
    mcp.add_argument("--root", default=".", metavar="DIR", help="folder that all paths are held to (default: this one)")
    mcp.add_argument(
        "--allow-run", action="store_true", help="offer tools that train: start_proof, proof, cancel_proof"
    )
    mcp.set_defaults(act=_serve)


def _verb(commands: Any, name: str, told: str, epilog: str = "") -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=told, description=told, epilog=epilog)
    parser.add_argument("--json", action="store_true", help="print JSON, whose form `flowgrad schema` prints")
    parser.set_defaults(answer=name)
    return parser


def _add_run(parser: argparse.ArgumentParser, name: str = "run") -> None:
    parser.add_argument(name, metavar=name.upper(), help="run folder, or report as XML")


def _add_table(parser: argparse.ArgumentParser) -> None:
    table = parser.add_argument_group("of a CSV file")
    table.add_argument("--baseline", metavar="ARM", help="arm that the others are compared with (default: baseline)")
    table.add_argument(
        "--better", action="append", default=[], metavar="METRIC=WAY",
        help="which way a metric is better, higher or lower; the first is the one that the verdict rests on",
    )  # fmt: skip
    table.add_argument("--arms", metavar="COLUMN", help="column of the arms (default: arm, model or method)")
    table.add_argument("--unit", metavar="COLUMN", help="column that pairs runs (default: seed, split, fold or user)")
    table.add_argument(
        "--margin", action="append", default=[], metavar="METRIC=SIZE",
        help="largest difference that does not matter: equivalence is tested too",
    )  # fmt: skip
    table.add_argument("--overlap", type=float, metavar="SHARE", help="share of the rows that a split is tested on")
    table.add_argument("--alpha", type=float, default=0.05, metavar="LEVEL", help="level of all tests (0.05)")


def _add_limit(parser: argparse.ArgumentParser, default: int, things: str) -> None:
    parser.add_argument(
        "--limit", type=_count, default=default, metavar="N", help=f"tell N {things} at most ({default})"
    )


def _add_fail_on(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fail-on", choices=SEVERITIES, help="end with exit code 1 where a finding is as severe, 3 where none could be"
    )


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 6 or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no number from 1 on")
    return int(text)


def answered(arguments: argparse.Namespace) -> int:
    """Print the answer to a verb, or do what it says, and return the exit code.

    Raises:
        FlowGradError: bad input.
    """
    if hasattr(arguments, "act"):
        return int(arguments.act(arguments))
    answer, code = _ANSWERS[arguments.answer](arguments)
    return printed(to_json(answer) if arguments.json else _text(answer)) or code


def to_json(answer: Mapping[str, Any]) -> str:
    """Write an answer as JSON text of ASCII alone: a terminal shows it, and does not obey it."""
    return json.dumps(answer, indent=2, allow_nan=False).replace("\x7f", "\\u007f")


def _text(answer: Mapping[str, Any]) -> str:
    from flowgrad.agents.text import to_text

    return to_text(answer)


def _schema(given: argparse.Namespace) -> int:
    from flowgrad.agents.schema import schema

    return printed(to_json(schema(given.verb)))


def _install(given: argparse.Namespace) -> int:
    from flowgrad.agents.installing import install

    found = install(given.agent or given.folder, Path.cwd())
    return printed("\n".join(told_line(f"{one.what}: {one.path}") for one in found))


def _serve(given: argparse.Namespace) -> int:
    try:
        from flowgrad.agents.serving import serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("mcp", "anyio"):
            raise
        raise FlowGradError("flowgrad mcp needs a package that is missing: pip install 'flowgrad[mcp]'") from error
    return serve(given.root, allow_run=given.allow_run)


def _findings(given: argparse.Namespace) -> tuple[Mapping[str, Any], int]:
    from flowgrad.agents.findings import findings

    answer = findings(given.run, limit=given.limit, least=given.severity, rule=given.rule, subject=given.subject)
    return answer, failed(answer, given.fail_on)


def failed(answer: Mapping[str, Any], fail_on: str | None) -> int:
    """Exit code of findings: 1 where one of the whole report is as severe as `fail_on`, 3 where none could have been
    found, and 0.
    """
    if fail_on is None:
        return DONE
    if any(SEVERITIES.index(level) >= SEVERITIES.index(fail_on) for level in answer["severities"]):
        return FOUND
    return NOT_OBSERVED if answer["status"] == "NOT_OBSERVED" else DONE


def _explain(given: argparse.Namespace) -> tuple[Mapping[str, Any], int]:
    from flowgrad.agents.explaining import explain

    return explain(given.rule, rules=given.rules), DONE


def _history(given: argparse.Namespace) -> tuple[Mapping[str, Any], int]:
    from flowgrad.agents.history import history

    told = history(given.run, given.subject, given.figure, max_points=given.max_points, arm=given.arm, seed=given.seed)
    return told, DONE


def _rows(given: argparse.Namespace) -> tuple[Mapping[str, Any], int]:
    from flowgrad.agents.rows import rows

    return rows(given.run, given.subject, rule=given.rule, limit=given.limit), DONE


def _compare(given: argparse.Namespace) -> tuple[Mapping[str, Any], int]:
    if given.a.endswith(".csv") and given.b is None:
        return _compare_table(given)
    if given.b is None:
        raise FlowGradError(f"{given.a}: name what it is compared with, or one CSV file with a line a run")
    from flowgrad.agents.comparing import compare

    answer = compare(given.a, given.b, limit=given.limit, arm=given.arm)
    least = len(SEVERITIES) if given.fail_on is None else SEVERITIES.index(given.fail_on)
    if any(SEVERITIES.index(one["severity"]) >= least for one in answer["new"]):
        return answer, FOUND
    return answer, NOT_OBSERVED if given.fail_on and answer["b"]["status"] == "NOT_OBSERVED" else DONE


def _compare_table(given: argparse.Namespace) -> tuple[Mapping[str, Any], int]:
    from flowgrad.agents.comparing_tables import compare_table, numbers_given, pairs_given

    answer = compare_table(
        given.a,
        baseline=given.baseline,
        better=pairs_given(given.better, "--better") or None,
        arm=given.arms,
        unit=given.unit,
        margin=numbers_given(given.margin, "--margin") or None,
        overlap=given.overlap,
        alpha=given.alpha,
    )
    return answer, DONE if answer["verdict"] == "confirmed" else FOUND


def _prove(given: argparse.Namespace) -> tuple[Mapping[str, Any], int]:
    from flowgrad.agents.proof_runs import run_proof
    from flowgrad.agents.proving import prove

    answer = run_proof(given.overrides) if given.overrides else prove(given.run, check=not given.no_check)
    return answer, DONE if answer["verdict"] == "confirmed" else FOUND


def _runs(given: argparse.Namespace) -> tuple[Mapping[str, Any], int]:
    from flowgrad.agents.listing import runs

    return runs(given.folder, limit=given.limit), DONE


_ANSWERS: dict[str, Callable[[argparse.Namespace], tuple[Mapping[str, Any], int]]] = {
    "findings": _findings,
    "explain": _explain,
    "history": _history,
    "rows": _rows,
    "compare": _compare,
    "prove": _prove,
    "runs": _runs,
}
