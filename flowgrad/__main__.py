"""`python -m flowgrad run train.py ...`: run a script unchanged, and print what was wrong with what it trained.
`python -m flowgrad validate FILE ...`: do these reports follow the schema, and their verdicts from the observations
in the same folder? `python -m flowgrad html FILE`: write a report as a page that people open. `python -m flowgrad
evidence`: show the trials behind the confidence in each rule's fix, and add to them. `python -m flowgrad findings RUN`
and its like: answers that agents act on (`flowgrad.agents`).
"""

from __future__ import annotations

if __name__ == "__main__":  # the imports of a command take a second
    from flowgrad import exits, output

    output.keep_open()
    exits.leave_quietly()

import argparse
import sys
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import flowgrad
from flowgrad import exits, output
from flowgrad.agents import command_line
from flowgrad.errors import FlowGradError
from flowgrad.lines import told_line


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status. That of `validate` is 0 where all files hold, 1 where one does not, 2
    where one cannot be read; that of `evidence` is 0 when done, 2 for bad input; that of `run` is the script's, or 1
    for findings; those of the other verbs are in `flowgrad.agents.command_line`. Bad usage raises SystemExit(2).
    """
    arguments = _parser().parse_args(argv)
    try:
        if hasattr(arguments, "answer") or hasattr(arguments, "act"):
            return command_line.answered(arguments)
        from flowgrad import commands  # whose imports take a second

        if arguments.command == "run":
            return commands.run(arguments.script, arguments.module, arguments.report, arguments.json, arguments.fail_on)
        if arguments.command == "validate":
            return commands.validate(arguments.files, arguments.rules)
        if arguments.command == "html":
            return commands.html(arguments.file, arguments.out, arguments.json)
        if arguments.what == "add":
            return commands.add(arguments.folders, arguments.into, arguments.rules)
        return commands.show(arguments.files)
    except FlowGradError as error:
        print(f"error: {told_line(str(error))}", file=sys.stderr)
        return command_line.BAD_INPUT


@cache
def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m flowgrad", description="FlowGrad's tools for reports.")
    parser.add_argument("--version", action="version", version=f"flowgrad {_version()}")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser(
        "run",
        help="run a training script unchanged, and print the report of what it trained at its end",
        usage="%(prog)s [--report FILE] [--json] [--fail-on SEVERITY] [-m] SCRIPT ...",
    )
    run.add_argument("-m", dest="module", action="store_true", help="SCRIPT is the name of a module")
    run.add_argument("--report", metavar="FILE", help="write the report, as XML or as .json, .html or .txt say")
    run.add_argument("--json", action="store_true", help="print JSON instead of text")
    run.add_argument(
        "--fail-on",
        choices=command_line.SEVERITIES,
        help="end with exit code 1 where a finding is as severe and the script ends well",
    )
    run.add_argument("script", nargs=argparse.REMAINDER, metavar="SCRIPT ...", help="the script and its arguments")
    validate = commands.add_parser(
        "validate", help="check report files against the schema, and their verdicts against the observations"
    )
    validate.add_argument("files", nargs="+", metavar="FILE", help="report as XML")
    _add_rules(validate)
    html = commands.add_parser("html", help="write a report as one file of HTML, with what lies beside it")
    html.add_argument("file", metavar="FILE", help="report as XML, best in its run's folder; or the folder")
    html.add_argument("--out", metavar="FILE", help="file to write; else the report's name with the ending .html")
    html.add_argument("--json", metavar="FILE", help="write the same content as JSON too")
    evidence = commands.add_parser("evidence", help="validated runs behind the confidence in each rule's fix")
    kinds = evidence.add_subparsers(dest="what", required=True)
    show = kinds.add_parser("show", help="trials and confidence of every shipped rule with a fix")
    show.add_argument("files", nargs="*", metavar="FILE", help="further trials, beside the shipped ones")
    add = kinds.add_parser("add", help="collect the trials of finished runs in a file of your own")
    add.add_argument("folders", nargs="+", metavar="FOLDER", help="run folder")
    add.add_argument("--into", required=True, metavar="FILE", help="CSV file; made where it is missing")
    _add_rules(add)
    command_line.add_verbs(commands)
    return parser


def _add_rules(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rules",
        action="append",
        default=[],
        metavar="FILE",
        help="YAML file or folder of the rules that the run was judged by; else its config.yaml, or the shipped ones",
    )


def _version() -> str:
    try:
        return str(getattr(flowgrad, "__version__", "")) or version("flowgrad")
    except PackageNotFoundError:
        return "(not installed)"


def console() -> int:
    """Run the command `flowgrad` and return its exit status, also where nobody reads what is printed."""
    output.keep_open()
    exits.leave_quietly()
    return _printed()


def _printed() -> int:
    try:
        status = main()
    except BrokenPipeError:  # `| head` has read enough
        status = 2
    except OSError as error:
        status = output.unwritten(error)
    return output.settled(status)


if __name__ == "__main__":
    sys.exit(_printed())  # a file is written whole or not at all: an interrupt may end it anywhere
