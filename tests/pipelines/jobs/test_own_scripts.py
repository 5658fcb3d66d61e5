"""A stranger's script through the closed loop: diagnosed, treated in its own names, proven; and scripts that fail."""

from __future__ import annotations

import pandas as pd
import pytest
import yaml

from flowgrad.agents.proving import prove
from flowgrad.commands import validate
from flowgrad.evidence.confidence import posterior
from flowgrad.report import CausalModel, PlainChange, Report, read, write
from flowgrad.rules import RuleBook
from pipelines.trainers.script import process

BOOK = RuleBook.load()
SEEDS = [101, 102, 103, 104, 105]
FEW = "seeds.test=[101,102]"
"""For what proves nothing."""
TRAIN = """
import sys
class args:
    given = dict(word.split("=") for word in sys.argv[1:] if "=" in word)
    lr, seed, out = float(given["--lr"]), int(given["--seed"]), given["--out"]
    biases = "--biases" in sys.argv
open("calls.txt", "a").write(f"{args.lr} {args.biases} {args.seed}\\n")
open(f"{args.out}/report.xml", "w").write(open("sick.xml" if args.lr > 0.1 else "sound.xml").read())
state = args.seed * 7919 + round(args.lr * 1000) * 104729 + args.biases * 1299709
def chance():
    global state
    state = (state * 1103515245 + 12345) % 2**31
    return (state ^ state >> 11) * 2654435761 % 2**31 / 2**31
error = 1 + 5 * args.lr + 0.01 * chance() - 0.1 * args.biases
AT_THE_END
print("epoch 1 rmse 9.9")
print(f"epoch 2 rmse {error:.6f}")
"""
PYTHON = "python -I -S"
"""A Python that starts in a third of the time, as it looks for no packages: the script takes none."""


def finding(rule, places=("item",), **changes):
    told = BOOK[rule]
    return CausalModel(
        told.type, rule, "high", "p", "i", told.action, "e", posterior(), rule_sha256=told.sha256,
        plain=(PlainChange("torch", "the change in words"),), **changes,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def programs_start_fast(monkeypatch):
    """Let programs outlive a test that is killed: what ends them with their parent has this process forked, which takes
    longer than they run.
    """
    monkeypatch.setattr(process, "_LIBRARY", None)


@pytest.fixture
def stranger(tmp_path, monkeypatch, command):
    """Set a script up in a folder of its own, and run the loop on it."""

    def set_up(end="", settings=None, source=TRAIN, findings=None, parameters=None):
        findings = [finding("zombie_rows")] if findings is None else findings
        (tmp_path / "train.py").write_text(source.replace("AT_THE_END", end))
        write(Report("watch", "train.py", findings=tuple(findings)), tmp_path / "sick.xml")
        write(Report("watch", "train.py"), tmp_path / "sound.xml")
        training = {
            "command": f"{PYTHON} {tmp_path}/train.py --lr={{lr}} {{biases:--biases}} --seed={{seed}} --out={{folder}}",
            "metrics": {"rmse": {"better": "lower", "pattern": r"rmse (\S+)"}},
            "fixes": {"optimizer.lr": "parameters.lr"},
            "watched": False,
            "cwd": str(tmp_path),
            "runs": str(tmp_path / "runs"),
            "retries": 0,
            **(settings or {}),
        }
        content = {
            "defaults": ["/own/script"],
            "name": "mine",
            "training": training,
            "parameters": parameters or {"lr": 0.5, "biases": False},
            "seeds": {"test": SEEDS},
            "workers": 1,
        }
        folder = tmp_path / "conf" / "experiment"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "mine.yaml").write_text("# @package _global_\n" + yaml.safe_dump(content, sort_keys=False))

        def run(*overrides, folder="run"):
            return command("--config-dir", str(tmp_path / "conf"), "experiment=mine", *overrides, folder=folder)

        run.calls = lambda: (tmp_path / "calls.txt").read_text().split("\n")[:-1]
        return run

    return set_up


def verdict(folder):
    return pd.read_csv(folder / "significance.csv").iloc[0]["verdict"]


def test_from_a_report_to_a_confirmed_change_in_the_scripts_own_names(stranger):
    code, folder, err = stranger()()
    assert (code, verdict(folder)) == (0, "confirmed"), err
    changes = yaml.safe_load((folder / "prescription.yaml").read_text())["rounds"]
    assert changes == [{"overrides": ["parameters.lr=0.05"], "rules": ["zombie_rows"], "was": {"parameters.lr": 0.5}}]
    told = prove(str(folder))
    assert told["verdict"] == "confirmed"
    assert told["checked"]
    assert validate([str(path) for path in folder.glob("report*.xml")], []) == 0
    observed = pd.read_csv(folder / "observations.csv")
    assert not observed["higher_is_better"].any()
    assert 0 not in set(observed["seed"])


def test_a_file_that_all_runs_write_is_said_so(stranger):
    """Runs of two arms saved their best weights under one name, and one was tested with those of the other."""
    code, _, err = stranger("open('best.pt', 'w').write('weights')")(FEW)
    assert code == 0
    assert "the script writes best.pt, calls.txt where all of its runs write it" in err


def test_a_second_call_makes_no_run_again_and_a_changed_script_all(stranger, tmp_path):
    run = stranger()
    _, first, _ = run(FEW)
    made = run.calls()
    _, again, _ = run(FEW, folder="again")
    assert run.calls() == made
    assert (first / "observations.csv").read_bytes() == (again / "observations.csv").read_bytes()
    (tmp_path / "model.py").write_text("WIDTH = 8  # beside the script, which may import it\n")
    run(FEW, folder="changed")
    assert len(run.calls()) == 2 * len(made)


def test_only_missing_runs_are_made_again(stranger, tmp_path):
    run = stranger("if args.seed == 102 and args.lr > 0.1 and not __import__('os').path.exists('mended'): sys.exit(3)")
    code, folder, err = run()
    assert code == 0
    assert "seed 102: it ended with exit code 3" in err
    before = run.calls()
    (tmp_path / "mended").touch()
    code, folder, err = run(folder="again")
    assert run.calls()[len(before) :] == ["0.5 False 102"]
    assert len(pd.read_csv(folder / "observations.csv")) == 3 * len(SEEDS)


FAILING = {
    "crash": ("raise RuntimeError('CUDA out of memory')", "RuntimeError: CUDA out of memory"),
    "hang": ("import time; time.sleep(60)", "it ran longer than training.timeout=0.8 seconds"),
    "no metric": ("print('done'); sys.exit(0)", "it printed nothing that"),
}


@pytest.mark.parametrize("kind", FAILING)
def test_a_seed_of_the_baseline_without_a_result_is_left_out_with_its_reason(stranger, kind, tmp_path):
    """A second call makes that run again and no other."""
    what, said = FAILING[kind]
    run = stranger(f"if args.seed == 103 and args.lr > 0.1:\n    {what}", {"timeout": 0.8})
    code, folder, err = run()
    assert code == 0
    assert said in err
    assert "seed 103" in err
    observed = pd.read_csv(folder / "observations.csv")
    assert set(observed.loc[observed["arm"] != "aa", "seed"]) == set(SEEDS) - {103}
    assert verdict(folder) == "confirmed"
    before = run.calls()
    run(folder="again")
    assert run.calls()[len(before) :] == ["0.5 False 103"]


def test_a_baseline_that_prints_nan_is_a_result_and_told_with_its_seed(stranger):
    """A run that diverged has ended: a change that keeps it from that wins the seed, and a second call makes no run."""
    run = stranger("if args.seed == 103 and args.lr > 0.1:\n    error = float('nan')")
    code, folder, err = run()
    line = pd.read_csv(folder / "significance.csv").iloc[0]
    assert (code, line["test"], line["wins"]) == (0, "sign", len(SEEDS))
    assert "rmse: the baseline arm's value nan at pair 2 is not finite (seed 103); the sign test stands in" in err
    before = run.calls()
    run(folder="again")
    assert run.calls() == before


@pytest.mark.parametrize("kind", ["crash", "nan"])
def test_a_treated_run_without_a_result_is_worse_than_any_number(stranger, kind):
    """A pair was to be dropped, and a change that crashes on every hard seed would be confirmed by the easy ones."""
    what, _ = FAILING.get(kind, ("error = float('nan')", ""))
    end = f"if args.seed in (103, 104) and args.lr < 0.1:\n    {what}"
    code, folder, _ = stranger(end, {"timeout": 0.8})()
    line = pd.read_csv(folder / "significance.csv").iloc[0]
    assert (code, line["test"], line["wins"], line["verdict"]) == (0, "sign", 3, "inconclusive")
    assert prove(str(folder))["verdict"] == "inconclusive"


def test_a_script_that_ignores_its_seed_is_refused(stranger):
    code, folder, err = stranger("error = 1 + 5 * args.lr")()
    assert code == 2
    assert "it ignores its seed" in err
    assert not (folder / "significance.csv").exists()


def test_too_few_seeds_with_a_result_prove_nothing(stranger):
    code, folder, err = stranger("if args.seed > 102 and args.lr > 0.1: sys.exit(1)")()
    assert code == 2, err
    assert "0 seed(s) are left" in err
    assert not (folder / "significance.csv").exists()


def test_a_retry_may_help(stranger, tmp_path):
    end = "flag = f'{args.seed}.flag'\nif not __import__('os').path.exists(flag): open(flag, 'w'); sys.exit(1)"
    code, folder, err = stranger(end, {"retries": 1})()
    assert code == 0
    assert "no result" not in err
    assert "tried again: it ended with exit code 1" in err
    assert verdict(folder) == "confirmed"


def test_a_run_to_diagnose_without_a_report_ends_with_its_reason(stranger):
    code, _, err = stranger(settings={"report": "other.xml"})()
    assert code == 2
    assert "it wrote no other.xml" in err
    assert "output.txt" in err


OPEN = finding("zombie_rows", deferred="one change of the learning rate is told, with DIVERGENCE")


@pytest.mark.parametrize(
    ("found", "advice"),
    [
        ([finding("row_effects")], "training.fixes has no name for model.biases"),
        ([finding("gradients_not_cleared")], "no config has a name for this change"),
        ([OPEN], ""),
        ([finding("zombie_rows", follows="NOT_SHUFFLED")], ""),
    ],
)
def test_a_change_without_a_name_is_told_and_not_tried(stranger, capsys, found, advice):
    run = stranger(findings=found)
    code, folder, _ = run(FEW)
    assert code == 0
    assert {call.split()[0] for call in run.calls()} == {"0.5"}
    assert yaml.safe_load((folder / "prescription.yaml").read_text())["rounds"] == []
    assert not advice or advice in (folder / "report.xml").read_text()


def test_findings_of_other_rules_are_advice(stranger):
    other = finding("zombie_rows")
    code, folder, _ = stranger(findings=[CausalModel(**{**vars(other), "rule_sha256": "0" * 16})])(FEW)
    assert code == 0
    assert "made by other rules" in (folder / "report.xml").read_text()


def test_a_change_of_ones_own_is_proven(stranger):
    code, folder, _ = stranger(findings=[])('trial=["parameters.biases=true"]')
    assert (code, verdict(folder)) == (0, "confirmed")


WRONG = {
    "no command": ({"command": ""}, "training.command is empty"),
    "no seed": ({"command": "python train.py {lr} {biases}"}, "training.command has no {seed}"),
    "idle": ({"command": "python train.py {lr} {seed}"}, "parameters.biases: training.command has no {biases}"),
    "unknown": ({"command": "python t.py {lr} {biases} {seed} {epochs}"}, "{epochs} is unknown"),
    "quote": ({"command": "python 't.py {seed}"}, "close each quote"),
    "no direction": ({"metrics": {"rmse": {"pattern": "(.*)"}}}, "higher or lower"),
    "two places": ({"metrics": {"rmse": {"better": "lower", "pattern": "(.)", "file": "m.json"}}}, "name one place"),
    "no group": ({"metrics": {"rmse": {"better": "lower", "pattern": "rmse"}}}, "brackets around the number"),
    "no parameter": ({"fixes": {"optimizer.lr": "parameters.rate"}}, "which is no parameter"),
    "no rule": ({"fixes": {"optimizer.rate": "parameters.lr"}}, "no rule changes 'optimizer.rate'"),
    "not watchable": (
        {"watched": True, "command": "torchrun t.py {lr} {biases} {seed}"},
        "only a Python can be watched",
    ),
    "no program": ({"command": "/no/such/python t.py {lr} {biases} {seed}", "files": ["README.md"]}, "cannot be run"),
    "no file": ({"command": "python gone.py {lr} {biases} {seed}"}, "names no file that is there"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_cannot_be_meant_is_refused_in_one_line(stranger, kind):
    settings, said = WRONG[kind]
    code, _, err = stranger(settings=settings)()
    assert code == 2
    assert said in err
    assert err.strip().count("\n") == 0


def test_a_function_is_a_script_too(stranger, tmp_path):
    source = """
import random
def train(parameters, seed):
    random.seed(f"{seed} {parameters}")
    return {"rmse": 1 + 5 * parameters["lr"] + 0.01 * random.random()}
"""
    (tmp_path / "mine.py").write_text(source)
    settings = {
        "command": "",
        "callable": f"{tmp_path}/mine.py:train",
        "metrics": {"rmse": {"better": "lower"}},
        "watched": True,
        "fixes": {},
    }
    run = stranger(source="", settings=settings, parameters={"lr": 0.5})
    code, folder, err = run('trial=["parameters.lr=0.1"]')
    assert (code, verdict(folder)) == (0, "confirmed"), err


def test_a_notebook_exported_as_a_script_gets_its_values_at_its_top(stranger, tmp_path):
    source = """
# In[1]:
import random
SEED = 0
lr: float = 0.5   # rate
# In[2]:
random.seed(f"{SEED} {lr}")
print("rmse", 1 + 5 * lr + 0.01 * random.random())
"""
    (tmp_path / "notebook.py").write_text(source)
    settings = {
        "command": "python {assigned}",
        "assigns": str(tmp_path / "notebook.py"),
        "watched": True,
        "fixes": {},
        "cwd": "{folder}",
    }
    run = stranger(source="", settings=settings, parameters={"lr": 0.5})
    code, folder, err = run('trial=["parameters.lr=0.1"]')
    assert (code, verdict(folder)) == (0, "confirmed"), err


BOTH = {
    "settings": {
        "fixes": {"optimizer.lr": "parameters.lr", "model.biases": "parameters.biases"},
        "validation": "valid",
        "metrics": {
            "rmse": {"better": "lower", "pattern": r"rmse (\S+)"},
            "valid": {"better": "lower", "pattern": r"valid (\S+)"},
        },
    },
    "findings": [finding("zombie_rows"), finding("row_effects")],
}


def test_a_parameter_that_does_nothing_on_validation_rows_is_left_out(stranger):
    end = 'print(f"valid {5 * args.lr + 0.01 * chance():.6f}")'
    run = stranger(end, **BOTH)
    code, folder, err = run("comparison.metrics=[rmse]")
    assert (code, verdict(folder)) == (0, "confirmed"), err
    (acting,) = yaml.safe_load((folder / "prescription.yaml").read_text())["rounds"]
    assert acting["overrides"] == ["parameters.lr=0.05"]
    assert acting["dropped"] == ["parameters.biases=true"]
    assert set(pd.read_csv(folder / "left_out.csv")["metric"]) == {"valid"}
    assert set(pd.read_csv(folder / "significance.csv")["metric"]) == {"rmse"}
    assert validate([str(path) for path in folder.glob("report*.xml")], []) == 0
    fix = {
        one.path: one.ablation.outcome for found in read(folder / "report.xml").reports[0].findings for one in found.fix
    }
    assert fix == {"parameters.lr": "kept", "parameters.biases": "dropped"}


def test_a_metric_of_the_proof_is_not_chosen_by(stranger):
    code, _, err = stranger(**BOTH)()
    assert code == 2
    assert "training.validation=valid is a metric of the proof" in err
