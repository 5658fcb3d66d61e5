"""A program of its own: calls a `train(parameters, seed) -> metrics` of a file, and writes what it returns.

It is run by its path, and imports nothing of this repository.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

METRICS = "metrics.json"


def main(target: str, given: str, seed: str, folder: str) -> None:
    """Call the function `FILE.py:NAME` with the parameters, which are JSON, and write its metrics into the folder."""
    file, _, name = target.rpartition(":")
    sys.path[0] = str(Path(file).resolve().parent)
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{file}: it is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        raise SystemExit(f"{file}: there is no function {name}")
    found = function(json.loads(given), int(seed))
    if not isinstance(found, dict):
        raise SystemExit(f"{target} returned {type(found).__name__}, and is to return metrics by name")
    Path(folder, METRICS).write_text(json.dumps({key: float(value) for key, value in found.items()}), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
