"""Hostile values for the settings of a run: one line and exit code 2, or a run."""

from __future__ import annotations

import csv
import os
import threading
from collections.abc import Callable, Iterator
from functools import cache, wraps
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import xgboost
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from lxml import etree
from omegaconf import OmegaConf
from torch.optim.optimizer import register_optimizer_step_post_hook

from pipelines import run as application
from pipelines.benchmarks.robustness.attack import Attack, Fault, Place, Refused
from pipelines.benchmarks.robustness.kinds.reports import printed
from pipelines.config.schema import register
from pipelines.stages import parallel
from pipelines.trainers import stacking

_RATINGS = (
    "dataset=synthetic", "dataset.n_users=60", "dataset.n_items=40", "dataset.n_ratings=1200", "seeds.test=[1,2,3]",
    "workers=1", "training.epochs=1", "tuned=null",
)  # fmt: skip
_TABLE = ("seeds.test=[1,2,3]", "workers=1", "tuned=null")
STARTS: dict[str, tuple[str, ...]] = {
    "embedding": ("experiment=movielens_mf", *_RATINGS, 'trial=["model.dim=8"]'),
    "implicit": ("experiment=movielens_implicit", *_RATINGS, 'trial=["model.dim=8"]'),
    "boosting": (
        "experiment=movielens_boosting", "dataset=digits", "task=odd", *_TABLE, "model.rounds=3",
        'trial=["model.max_depth=2"]',
    ),
    "network": ("experiment=layers_digits", *_TABLE, "training.epochs=1", 'trial=["model.width=4"]'),
    "student": (
        "experiment=distillation_digits", *_TABLE, "training.epochs=1", "teacher.epochs=1",
        'trial=["optimizer.lr=0.1"]',
    ),
    "compression": ("experiment=compression_embedding", *_RATINGS[:-1]),
    "calibration": ("experiment=calibration", "job.tests=3", "job.pairs=3", *_RATINGS[:4], "workers=1"),
    "field benchmark": ("experiment=faults_field", "workers=1"),
    "fault benchmark": ("experiment=faults_layers", "workers=1"),
    "overhead": ("experiment=layers_overhead", "workers=1"),
    "own ratings": ("experiment=movielens_mf", "dataset=ratings_csv", "dataset.path=RATINGS", *_RATINGS[4:]),
}  # fmt: skip
"""Runs that train for a second or two, and benchmarks, which are ended once they train."""
_NUMBERS = (
    "nan",
    "inf",
    "-inf",
    "-1",
    "0",
    "1",
    "2",
    "3",
    "0.5",
    "1.0",
    "1e308",
    "-1e308",
    "1e-320",
    "1e39",
    "1" + "0" * 22,
    "-" + "9" * 23,
    "9223372036854775807",
    "4294967296",
    "100000",
    "1000000000",
    "true",
    "null",
    "1_000",
    "1e3",
)
_LISTS = (
    "[]",
    "[[[]]]",
    "[null]",
    "[1,1]",
    "[1]",
    "[1,2]",
    "[a,a]",
    "[1,2," + "9" * 25 + "]",
    "[nan]",
    "[-1]",
    "['']",
    "[a=b]",
    "[rounds=5]",
    "['model.dim=8','model.dim=8']",
    "[0,1,2]",
    "null",
    "[/dev/zero]",
    "['~nosuchuser/a']",
    "[1.5,2,3]",
    "[true,false,null]",
    "['${oc.env:HOME}']",
    "[mse,mse]",
    "[loss]",
)
_TEXTS = (
    "''",
    "' '",
    "x" * 300,
    "'" + "y" * 5000 + "'",
    "/dev/zero",
    "/dev/null",
    "/dev/full",
    "/proc/self/mem",
    "/proc/kmsg",
    "/",
    ".",
    "..",
    "../../etc/passwd",
    "'~nosuchuser/a'",
    "'file:///etc'",
    "'a\nb'",
    "'\t'",
    "'\x1b[31mred'",
    "'ünï©ode'",
    "٣",
    "'a\x00b'",
    "\udcff",
    "\ud800",
    "'null'",
    "auto",
    "none",
    "random",
    "${oc.env:HOME}",
    "null",
    "5",
    "nan",
)
_ODD = (
    "{}", "{a: {b: [1]}}", "${oc.env:NOT_THERE_AT_ALL}", "${nothing.there}", "${dataset}", "${oc.decode:'['}", "???",
    "range(1,9)", "choice(1,2)", "1,2", "glob(*)", "0x10", "int(3)", "str(1)", "'[1'", "[1", "{", "'", "\\", "=", "a=b",
    "'a,b'", "$", "${", "${.}", "${..}", "${hydra:runtime.cwd}", "${job_folder:a}", "sort(3,1)", "shuffle(1,2)",
)  # fmt: skip
_TARGETS = (
    "os.abort", "os._exit", "sys.exit", "builtins.print", "builtins.exec", "subprocess.Popen", "nosuch.module.Thing",
    "torch.nn.Linear", "torch.optim.SGD", "torch.optim.LBFGS", "pipelines.run.main", "time.sleep", "", "a", ".", "..a",
    "pipelines.jobs.closed_loop.run", "datasets.synthetic", "xgboost.train", "numpy.random.seed", "os.fork",
)  # fmt: skip
_GROUPS = ("dataset", "task", "teacher", "model", "optimizer", "sampler", "loss", "training", "fault", "compression",
           "tracker", "comparison", "job", "launch", "hparams_search")  # fmt: skip


def draw(rng: np.random.Generator, base: Path) -> Attack:
    """One or two hostile overrides for one of several experiments."""
    name = list(STARTS)[int(rng.integers(len(STARTS)))]
    start = [one.replace("RATINGS", str(_ratings(base))) for one in STARTS[name]]
    more = [_override(rng, start) for _ in range(1 if rng.random() < 0.7 else 2)]
    return Attack(f"{name}: {' '.join(_told(one) for one in more)}", _running([*start, *more]))


def _told(override: str) -> str:
    text = override.encode("ascii", "backslashreplace").decode()
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= 120 else f"{text[:100]}... ({len(override)} characters)"


def _override(rng: np.random.Generator, start: list[str]) -> str:
    every = _settings(tuple(start))
    way = int(rng.integers(12))
    if way == 0:
        group = _GROUPS[int(rng.integers(len(_GROUPS)))]
        choices = [*_choices(group), "null", "nosuch", "", "../x", "[a,b]"]
        return f"{group}={choices[int(rng.integers(len(choices)))]}"
    if way == 1:
        targets = [key for key in every if key.endswith("_target_")]
        return f"{targets[int(rng.integers(len(targets)))]}={_TARGETS[int(rng.integers(len(_TARGETS)))]}"
    rules = [key for key in every if key.startswith("rules.")]
    keys = rules if rng.random() < 0.15 else [key for key in every if not key.startswith("rules.")]
    key = keys[int(rng.integers(len(keys)))]
    if way == 2:
        return f"~{key}"
    if way == 3:
        sign, end = ("+", "++")[int(rng.integers(2))], ("", ".more", "_")[int(rng.integers(3))]
        return f"{sign}{key}{end}={_value(rng, every[key])}"
    return f"{key}={_value(rng, every[key])}"


def _value(rng: np.random.Generator, was: Any) -> str:
    """Draw a value, mostly one of the right type: others are refused before anything is done with them."""
    near: list[str] = []
    kinds: tuple[str, ...] = (*_NUMBERS, *_LISTS, *_TEXTS)
    if isinstance(was, bool):
        kinds = ("true", "false", "null", "1", "''")
    elif isinstance(was, int | float):
        kinds, near = _NUMBERS, [f"{-was}", f"{was * 2}", f"{was}.5", f"'{was}'", f"[{was}]", f"{was * 1e-9}"]
    elif isinstance(was, str):
        kinds = _TEXTS
        near = [f"'{was[:-1]}'", f"'{was}x'", f"['{was}']", f"'{was}','{was}'"]
        near = near if was.isprintable() and "'" not in was else []
    elif isinstance(was, list):
        kinds = _LISTS
        near = [f"{[*was, *was]}", f"{was[:1]}", f"{was[:2]}", f"{[-one for one in was if isinstance(one, int)]}"]
    draw = rng.random()
    pool = near if near and draw < 0.2 else kinds if draw < 0.8 else _ODD
    return pool[int(rng.integers(len(pool)))]


@cache
def _settings(start: tuple[str, ...]) -> dict[str, Any]:
    """Key -> value, of every setting of a composed config and of every node."""
    register()
    os.environ.setdefault("FLOWGRAD_RUN_ID", "drawn")
    GlobalHydra.instance().clear()
    with initialize_config_dir(application.CONF, version_base="1.3"):
        config = compose("config", overrides=list(start))
    return dict(_flat(OmegaConf.to_container(config, resolve=False), ""))


def _flat(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{prefix}{key}", value
            yield from _flat(value, f"{prefix}{key}.")


def _choices(group: str) -> list[str]:
    every = sorted(path.stem for path in (Path(application.CONF) / group).glob("*.yaml"))
    return [name for name in every if not name.startswith("movielens")]  # they would be fetched


def _ratings(base: Path) -> Path:
    """A file of ratings that a run can read."""
    file = base / "ratings.csv"
    if not file.exists():
        rng = np.random.default_rng(0)
        pairs = rng.permutation(60 * 40)[:1200]
        with file.open("w", newline="") as out:
            lines = csv.writer(out)
            lines.writerow(["user", "item", "rating", "timestamp"])
            lines.writerows([pair // 40, pair % 40, int(rng.integers(1, 6)), 10**9 + int(pair)] for pair in pairs)
    return file


def _running(arguments: list[str]) -> Any:
    def perform(place: Place) -> None:
        run_command([*arguments, f"hydra.run.dir={place.run}"], place)

    return perform


def run_command(arguments: list[str], place: Place) -> None:
    """`python -m pipelines.run` in this process; raises what came of it."""
    tell_of_training(place)
    GlobalHydra.instance().clear()
    code = application.main(arguments)
    text = printed(place)
    if "Traceback" in text:
        raise Fault("traceback", text[text.index("Traceback") :][-600:])
    errors = [
        line for line in place.err.read_text(errors="backslashreplace").splitlines() if line.startswith("error: ")
    ]
    if code == 2 and len(errors) == 1:
        raise Refused(errors[0])
    if code:
        raise Fault("traceback", f"exit code {code}, {len(errors)} lines that begin with error: {text[-400:]}")
    if broken := half_written(place.run):
        raise Fault("loss", f"half-written: {', '.join(broken)}")


def tell_of_training(place: Place) -> None:
    """From now on `place.training` is touched with every step of an optimizer, and while a booster or a process that
    was started for it trains.
    """
    register_optimizer_step_post_hook(lambda *step: place.training.touch())
    stacks: Any = stacking
    stacks.bare_step = lambda optimizer: optimizer.step  # with its hooks
    libraries: tuple[Any, ...] = (xgboost, lightgbm)
    for library in libraries:
        library.train = _touching(library.train, place)
    processes: Any = parallel
    processes._Worker.answer = _touching(parallel._Worker.answer, place)


def _touching(train: Callable[..., Any], place: Place) -> Callable[..., Any]:
    @wraps(train)
    def training(*args: Any, **kwargs: Any) -> Any:
        ended = threading.Event()

        def touch() -> None:
            while not ended.wait(0.1):
                place.training.touch()

        threading.Thread(target=touch, daemon=True).start()
        try:
            return train(*args, **kwargs)
        finally:
            ended.set()

    return training


def half_written(folder: Path) -> list[str]:
    """Files under their final names that cannot be read."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith("."))
    return [str(path.relative_to(folder)) for path in files if not _reads(path)]


def _reads(path: Path) -> bool:
    try:
        if path.suffix == ".xml":
            etree.parse(path)
        elif path.suffix in (".yaml", ".json"):
            return yaml.safe_load(path.read_text(encoding="utf-8")) is not None
        elif path.suffix == ".csv":
            text = path.read_text(encoding="utf-8")
            lines = list(csv.reader(text.splitlines()))
            return text.endswith("\n") and len({len(line) for line in lines}) == 1
        elif path.suffix == ".png":
            data = path.read_bytes()
            return data.startswith(b"\x89PNG") and data.endswith(b"IEND\xaeB`\x82")
    except (etree.XMLSyntaxError, yaml.YAMLError, csv.Error, UnicodeDecodeError):
        return False
    return True
