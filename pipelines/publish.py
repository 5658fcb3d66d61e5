"""`python -m pipelines.publish [RUN ...]`: do the runs of conf/results.yaml (all, or those named), and put their tables
into docs/results/ and README.md, each beside the command that wrote it.

A run that was finished before, by the same code and command, is not done again. Runs that measure on a GPU, or need
Torch-RecHub, are left out where there is none, unless they are named.
"""

from __future__ import annotations

if __name__ == "__main__":  # the imports take a second
    from flowgrad import exits, output

    output.keep_open()
    exits.leave_quietly()

import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from omegaconf import OmegaConf

from flowgrad import exits, output
from flowgrad.errors import FlowGradError
from flowgrad.files import write_atomically
from flowgrad.rules.suggestion import did_you_mean
from pipelines.benchmarks import readme
from pipelines.benchmarks.claims.runs import command, done, perform, writing
from pipelines.config.code_fingerprint import ROOT
from pipelines.config.refusals import told
from pipelines.output import console
from pipelines.run import CONF

RESULTS = Path("docs/results")
RUNS = Path("outputs/results")
_GPU, _RECHUB = "job.device=cuda", "experiment=click_peers"
"""Overrides of runs that need what not every machine has."""


def main(arguments: Sequence[str] | None = None) -> int:
    """0: every table was written. 1: a run failed, or left no such table. 2: an unknown run."""
    return output.settled(_main(sys.argv[1:] if arguments is None else list(arguments)))


def _main(given: list[str]) -> int:
    if set(given) & {"-h", "--help"}:
        return output.printed(__doc__)
    config = OmegaConf.load(Path(CONF) / "results.yaml")
    for name in given:
        if name not in config.runs:
            print(f"error: no run is called {name!r}{did_you_mean(name, list(config.runs))}", file=sys.stderr)
            return 2
    try:
        publish(config.runs, config.tables, given or _possible(config.runs), ROOT)
    except BrokenPipeError:
        return output.UNREAD
    except Exception as error:
        line = told(error)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        return 1
    return 0


def _possible(runs: Mapping[str, Sequence[str]]) -> list[str]:
    lacking = {_GPU: not torch.cuda.is_available(), _RECHUB: find_spec("torch_rechub") is None}
    return [run for run, overrides in runs.items() if not any(lacking.get(one) for one in overrides)]


def publish(runs: Mapping[str, Sequence[str]], tables: Mapping[str, str], chosen: Sequence[str], root: Path) -> None:
    """Do the chosen runs into `outputs/results` of `root`, and copy their tables into its `docs/results`.

    Args:
        runs: id -> overrides.
        tables: name in `docs/results` -> `RUN/FILE`, without the ending.
        chosen: ids.
        root: of the repository.

    Raises:
        FlowGradError: somebody else writes there, or a run left no such table.
    """
    folder = root / RUNS
    with writing(folder) as lock, console.progress() as bar:
        doing = bar.add_task("results", total=len(chosen))
        for run in chosen:
            bar.update(doing, description=f"results: {run}")
            overrides = list(runs[run])
            finished = done(folder, run, overrides) or perform(folder, run, overrides, lock)
            if finished.reason:
                raise FlowGradError(f"{run}: {finished.reason}")
            for name, file in tables.items():
                if file.partition("/")[0] == run:
                    copy_table(folder / file, root / RESULTS / name, command(overrides))
            bar.advance(doing)
    readme.rewrite(root)


def copy_table(source: Path, target: Path, written_by: str) -> None:
    """The CSV as it is, and where there are any, the Markdown under the command and the picture.

    Raises:
        FlowGradError: there is no such CSV.
    """
    csv, text, drawn = (source.with_name(f"{source.name}{ending}") for ending in (".csv", ".md", ".svg"))
    if not csv.is_file():
        raise FlowGradError(f"{csv} is missing; the run was to write it")
    write_atomically(target.with_name(f"{target.name}.csv"), csv.read_bytes())
    if text.is_file():
        heading = f"`{written_by}`\n\n".encode()
        write_atomically(target.with_name(f"{target.name}.md"), heading + text.read_bytes())
    if drawn.is_file():
        write_atomically(target.with_name(f"{target.name}.svg"), drawn.read_bytes())


if __name__ == "__main__":
    sys.exit(exits.answered(main))
