"""The import arrows of the library: what each part may know of, held by reading the imports in its source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import flowgrad

ROOT = Path(flowgrad.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

# Part -> the parts it may import. Parts further down know those further up, never the other way round.
ARROWS = {
    "errors": set(),
    "files": set(),
    "conf": set(),
    "lazy": set(),
    "lines": set(),
    "output": set(),
    "exits": set(),
    "measurements": {"lazy"},
    "bounded_yaml": set(),
    "csv_tables": {"errors", "files", "lazy"},
    "drawing": {"errors", "files"},
    "html": {
        "bounded_yaml",
        "csv_tables",
        "errors",
        "files",
        "lines",
        "lazy",
        "measurements",
        "measures",
        "report",
        "rules",
        "statistics",
    },
    "measures": {"lazy", "measurements"},
    "gate": {"errors", "lazy"},
    "statistics": {"errors", "gate", "lazy"},
    "evidence": {"csv_tables", "errors", "files", "lazy"},
    "rules": {"bounded_yaml", "errors", "evidence", "files", "lazy", "measurements", "measures"},
    "report": {"errors", "evidence", "files", "measurements", "measures", "rules"},
    "loggers": {"errors"},
    "prescription": {"errors", "report", "rules"},
    "subject": {"measurements", "report", "rules"},
    "trackers": {"drawing", "errors", "gate", "lazy", "measurements", "measures", "report", "rules", "subject"},
    "testing": {"report", "trackers"},
    "watching": {"errors", "files", "html", "loggers", "measurements", "report", "rules", "subject", "trackers"},
    "features": {"drawing", "errors", "gate", "lazy", "measurements", "measures", "rules", "statistics", "subject"},
    "ranking": {"errors", "measurements", "measures", "rules", "subject"},
    "compression": {
        "bounded_yaml",
        "drawing",
        "errors",
        "files",
        "gate",
        "lazy",
        "measurements",
        "measures",
        "rules",
        "subject",
        "trackers",
    },
    "verification": {
        "bounded_yaml",
        "csv_tables",
        "errors",
        "evidence",
        "files",
        "gate",
        "report",
        "rules",
        "statistics",
    },
    "__init__": {
        "compression",
        "errors",
        "features",
        "lazy",
        "prescription",
        "ranking",
        "report",
        "rules",
        "statistics",
        "trackers",
        "watching",
    },
    "analyzers": set(),
    "integrations": {"errors", "files", "html", "loggers", "report", "trackers", "watching"},
    "running": {"errors", "files", "html", "report", "rules", "trackers", "watching"},
    "agents": {
        "__init__",
        "bounded_yaml",
        "csv_tables",
        "errors",
        "evidence",
        "files",
        "lines",
        "output",
        "report",
        "rules",
        "statistics",
        "verification",
    },
    "commands": {"evidence", "files", "html", "lines", "output", "report", "rules", "running", "verification"},
    "__main__": {"__init__", "agents", "commands", "errors", "exits", "lines", "output"},
}
TORCH = {
    "loggers/tensorboard.py",
    "testing.py",
    "trackers/squared_gradients.py",
    *(
        f"trackers/embedding/{name}.py"
        for name in (
            "compiled",
            "followed",
            "lookups",
            "padding",
            "pairs",
            "probes",
            "ranks",
            "rates",
            "row_readings",
            "sampling",
            "starts",
            "table",
            "tallies",
            "tracker",
            "windows",
        )
    ),
    *(
        f"trackers/flow/{name}.py"
        for name in ("activations", "form", "history", "look", "losses", "network", "parameters", "readings", "tracker")
    ),
    *(f"trackers/distillation/{name}.py" for name in ("comparison", "content", "layers", "motion")),
    *(f"trackers/distillation/{name}.py" for name in ("probe", "teaching", "tracker")),
    *(f"trackers/distillation/{name}.py" for name in ("audit", "exchange", "losses", "origin")),
    *(
        f"trackers/flow/{name}.py"
        for name in ("clearing", "course", "freshness", "kept", "leftovers", "modes", "rewrites")
    ),
    *(
        f"trackers/flow/{name}.py"
        for name in (
            "attention_masks",
            "batch_rows",
            "input_columns",
            "half_precision",
            "positions",
            "outside",
            "samples",
            "scattered_zeros",
            "shared_sums",
            "sparse_rows",
            "calls",
            "ends",
            "evaluation",
            "padding",
            "softmaxes",
            "unregistered",
        )
    ),
    *(
        f"trackers/batches/{name}.py"
        for name in (
            "columns",
            "course",
            "histories",
            "id_rows",
            "id_sums",
            "ids",
            "levels",
            "passages",
            "recency",
            "repeats",
            "rows",
            "tracker",
        )
    ),
    "trackers/graph.py",
    "trackers/optimizers.py",
    "trackers/schema.py",
    "integrations/model_loss.py",
    "integrations/ranks.py",
    "integrations/transformers.py",
    "running/models.py",
    "running/observer.py",
    *(f"watching/{name}.py" for name in ("attached", "building", "discovery", "losses", "treatment", "watched_run")),
    *(f"compression/planning/{name}.py" for name in ("calibration", "gptq", "layer_inputs", "pruning_units")),
    *(f"compression/planning/{name}.py" for name in ("reading", "saliency", "second_moment")),
    *(f"compression/{name}.py" for name in ("applying", "measuring", "storage", "torchao_layers", "weights")),
}
XGBOOST = {"features/scores.py", "trackers/boosting/xgboost_callback.py"}
CATBOOST = {"trackers/boosting/catboost_callback.py", "trackers/boosting/catboost_trees.py"}
TRANSFORMERS = {"integrations/transformers.py"}
MCP = {"agents/serving.py"}
JINJA2 = {"html/rendering.py"}
MATPLOTLIB = {"features/plots.py", "drawing.py"}
HEAVY = {
    "torch", "hydra", "pytest", "matplotlib", "pipelines", "datasets", "xgboost", "lightgbm", "catboost", "sklearn",
    "interpret", "jinja2", "torchao", "lightning", "pytorch_lightning", "transformers", "accelerate", "peft",
}  # fmt: skip
NEVER = {"hydra", "pipelines", "datasets", "tests", "pytest", "lightgbm", "sklearn"}


def part(path):
    """`rules/fix.py` -> `rules`, `files.py` -> `files`."""
    relative = path.relative_to(ROOT)
    return relative.parts[0].removesuffix(".py")


def imports(path):
    """Full names of the modules that `path` imports, anywhere in it, with the line of each."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            assert node.module is not None
            yield node.module, node.lineno
            if node.module == "flowgrad":
                yield from ((f"flowgrad.{alias.name}", node.lineno) for alias in node.names)


def library_part(name):
    """`flowgrad.rules.fix` -> `rules`; None for a module that is not the library's."""
    top, _, rest = name.partition(".")
    if top != "flowgrad":
        return None
    inner = rest.partition(".")[0]
    return inner if inner in ARROWS else "__init__"


def test_there_is_something_to_read():
    assert len(MODULES) > 30


def test_every_part_has_its_arrows():
    assert {part(path) for path in MODULES} <= set(ARROWS)


def test_the_arrows_have_no_circle():
    known = set()
    for _ in ARROWS:
        known |= {name for name, targets in ARROWS.items() if targets <= known}
    assert known == set(ARROWS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_arrows(path):
    own = part(path)
    for name, line in imports(path):
        target = library_part(name)
        if target is not None and target != own:
            assert target in ARROWS[own], f"{path}:{line}: {own} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_outside_imports(path):
    relative = path.relative_to(ROOT).as_posix()
    for name, line in imports(path):
        top = name.partition(".")[0]
        assert top not in NEVER, f"{path}:{line}: imports {name}"
        if top == "torch":
            assert relative in TORCH, f"{path}:{line}: imports {name}"
        if top == "xgboost":
            assert relative in XGBOOST, f"{path}:{line}: imports {name}"
        if top == "catboost":
            assert relative in CATBOOST, f"{path}:{line}: imports {name}"
        if top == "transformers":
            assert relative in TRANSFORMERS, f"{path}:{line}: imports {name}"
        if top == "mcp":
            assert relative in MCP, f"{path}:{line}: imports {name}"
        if top in ("jinja2", "markupsafe"):
            assert relative in JINJA2, f"{path}:{line}: imports {name}"
        if top == "matplotlib":
            assert relative in MATPLOTLIB, f"{path}:{line}: imports {name}"


def test_measures_are_pure():
    """Arithmetic on arrays: NumPy, SciPy and the vocabulary, nothing else."""
    for path in sorted((ROOT / "measures").glob("*.py")):
        tops = {name.partition(".")[0] for name, _ in imports(path)}
        assert tops <= {"__future__", "collections", "dataclasses", "math", "numpy", "scipy", "typing", "flowgrad"}, (
            path
        )


def test_import_loads_none_of_the_heavy_packages():
    code = (
        f"HEAVY = {sorted(HEAVY)}\n"
        + """if True:
        import sys
        import flowgrad
        from flowgrad import BoostingTracker, Prescription, RuleBook, TrainingTracker, prescribe
        import flowgrad.statistics, flowgrad.__main__
        RuleBook.load()
        tracker = TrainingTracker()
        tracker.end_epoch(1.0, 1.0)
        tracker.to_agent_xml()
        BoostingTracker().to_agent_xml()
        loaded = {name.partition(".")[0] for name in sys.modules}
        print(sorted(loaded & {*HEAVY}))
    """
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_watch_is_imported_without_what_few_reports_need():
    """A check of the gate brought in two packages that take as long as the rest of a watch, before any step."""
    code = "import sys, flowgrad.watching; print([*{'scipy.spatial', 'scipy.stats'} & {*sys.modules}])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_torch_or_xgboost_the_error_names_the_way_out():
    code = """if True:
        import sys
        class Without:
            def find_spec(self, name, path=None, target=None):
                if name in ("torch", "xgboost"):
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        sys.meta_path.insert(0, Without())
        import flowgrad
        for call in (lambda: flowgrad.EmbeddingTracker, lambda: flowgrad.BoostingTracker().as_xgb_callback()):
            try:
                call()
            except ImportError as error:
                print(error)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "EmbeddingTracker needs torch: pip install 'flowgrad[torch]'",
        "as_xgb_callback needs xgboost: pip install 'flowgrad[xgboost]'",
    ]


def test_names_offered_are_there():
    for name in flowgrad.__all__:
        assert getattr(flowgrad, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'Embedding_Tracker'"):
        flowgrad.Embedding_Tracker  # noqa: B018


def test_names_that_moved_are_given_with_a_warning():
    from flowgrad import analyzers

    with pytest.warns(DeprecationWarning, match="is in flowgrad.features"):
        assert analyzers.FeatureAnalyzer is flowgrad.FeatureAnalyzer
    with pytest.warns(DeprecationWarning, match=r"is in flowgrad\.compression\.planning\.saliency"):
        assert analyzers.SaliencyAnalyzer is flowgrad.SaliencyAnalyzer
    with pytest.raises(AttributeError, match="no attribute 'Analyser'"):
        analyzers.Analyser  # noqa: B018
