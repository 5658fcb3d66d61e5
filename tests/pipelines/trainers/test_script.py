"""What surrounds a script: its command line, its process, its metrics, and whether its files are the same."""

from __future__ import annotations

import json
import math
import os
import sys
import time

import pytest

from flowgrad.errors import FlowGradError
from pipelines.trainers.script.assigning import assigned
from pipelines.trainers.script.command_line import filled
from pipelines.trainers.script.fingerprint import fingerprint
from pipelines.trainers.script.process import run
from pipelines.trainers.script.reading import MLFLOW, OUTPUT, MetricPlace, NoMetricError
from pipelines.trainers.script.trainer import _scripts


@pytest.mark.parametrize(
    ("word", "values", "made"),
    [
        ("--lr={lr}", {"lr": 0.05}, ["--lr=0.05"]),
        ("{b}", {"b": True}, ["true"]),
        ("{b:--biases}", {"b": False}, []),
        ("{b:--biases|--no-biases}", {"b": False}, ["--no-biases"]),
        ("{b:|--no-biases}", {"b": True}, []),
        ("a b{x}", {"x": "c d"}, ["a bc d"]),
        ('{"lr": 1}', {}, ['{"lr": 1}']),
        ("{x}", {"x": "{lr}"}, ["{lr}"]),
    ],
)
def test_values_come_into_their_places_and_no_shell_reads_them(word, values, made):
    assert filled([word], values) == made


def place(**told):
    return MetricPlace.of("rmse", {"better": "lower", **told})


@pytest.mark.parametrize(
    ("file", "content", "told", "value"),
    [
        (OUTPUT, "rmse 3\nrmse 2.5\n", {"pattern": r"^rmse (\S+)"}, 2.5),
        (OUTPUT, "rmse nan", {"pattern": r"rmse (\S+)"}, math.nan),
        (OUTPUT, "rmse -inf", {"pattern": r"rmse (\S+)"}, -math.inf),
        ("m.json", json.dumps({"rmse": 2.5}), {"file": "m.json"}, 2.5),
        ("m.json", '{"rmse": NaN}', {"file": "m.json"}, math.nan),
        ("m.json", '{"rmse": null}', {"file": "m.json"}, math.nan),
        ("m.json", json.dumps({"test": {"rmse": "2.5"}}), {"file": "m.json", "key": "test.rmse"}, 2.5),
        ("m.json", json.dumps({"test.rmse": 2.5}), {"file": "m.json", "key": "test.rmse"}, 2.5),
        ("m.csv", "epoch,rmse\n1,9\n2,2.5\n", {"file": "m.csv"}, 2.5),
        ("m.csv", "epoch,rmse,val\n1,2.5,\n2,,3\n", {"file": "m.csv"}, 2.5),
    ],
)
def test_the_last_value_is_read(tmp_path, file, content, told, value):
    (tmp_path / file).write_text(content)
    assert place(**told).read(tmp_path) == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize(
    ("file", "content", "told", "said"),
    [
        (OUTPUT, "done", {"pattern": r"rmse (\S+)"}, "printed nothing that"),
        (OUTPUT, "rmse oops", {"pattern": r"rmse (\S+)"}, "which is no number"),
        (OUTPUT, "", {"file": "m.json"}, "wrote no m.json"),
        ("m.json", "{", {"file": "m.json"}, "is no JSON"),
        ("m.json", "{}", {"file": "m.json"}, "holds no rmse"),
        ("m.json", '{"rmse": true}', {"file": "m.json"}, "which is no number"),
        ("m.json", '{"rmse": [1, 2]}', {"file": "m.json"}, "which is no number"),
        ("m.csv", "epoch\n1\n", {"file": "m.csv"}, "no value in a column rmse"),
        (OUTPUT, "", {"mlflow": True}, "logged nothing to MLflow"),
    ],
)
def test_a_value_that_is_not_there_is_said_so(tmp_path, file, content, told, said):
    if "mlflow" in told:
        pytest.importorskip("mlflow")
    (tmp_path / file).write_text(content)
    with pytest.raises(NoMetricError, match=said):
        place(**told).read(tmp_path)


def test_the_last_scalar_of_tensorboard_is_read(tmp_path):
    writer = pytest.importorskip("torch.utils.tensorboard").SummaryWriter(str(tmp_path / "logs"))
    for step, value in ((1, 9.0), (2, 2.5)):
        writer.add_scalar("test/rmse", value, step)
    writer.close()
    assert place(file="logs", key="test/rmse").read(tmp_path) == 2.5
    with pytest.raises(NoMetricError, match="no scalar rmse"):
        place(file="logs").read(tmp_path)


def test_the_metric_of_the_one_run_of_mlflow_is_read(tmp_path):
    tracking = pytest.importorskip("mlflow.tracking")
    client = tracking.MlflowClient(f"sqlite:///{tmp_path / MLFLOW}")
    own = client.create_run(client.create_experiment("mine"))
    client.log_metric(own.info.run_id, "rmse", 2.5)
    assert place(mlflow=True).read(tmp_path) == 2.5


def test_a_program_that_hangs_is_ended_with_all_that_it_started(tmp_path):
    code = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', PROGRAM]); time.sleep(60)".replace(
        "PROGRAM", repr("import os, time; open('child', 'w').write(str(os.getpid())); time.sleep(60)")
    )
    said = run([sys.executable, "-c", code], tmp_path, {}, tmp_path / "out", 2.0)
    assert said.startswith("it ran longer than training.timeout=2 seconds")
    child = int((tmp_path / "child").read_text())
    for _ in range(50):
        if not _lives(child):
            return
        time.sleep(0.1)
    raise AssertionError("a process that the script started outlives it")


def _lives(number):
    try:
        with open(f"/proc/{number}/stat") as stream:
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        try:
            os.kill(number, 0)
        except OSError:
            return False
        return not os.path.isdir("/proc/self")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("print(1)", ""),
        ("raise SystemExit('no data')", "it ended with exit code 1: no data"),
        ("import os; os.kill(os.getpid(), 9)", "it ended with signal 9: it printed nothing"),
    ],
)
def test_how_a_program_ended_is_told_in_one_line(tmp_path, code, said):
    assert run([sys.executable, "-c", code], tmp_path, {}, tmp_path / "out", 60) == said


def test_any_python_file_beside_a_script_and_any_named_file_is_part_of_what_it_rests_on(tmp_path):
    script, data = tmp_path / "src" / "train.py", tmp_path / "ratings.csv"
    script.parent.mkdir()
    script.write_text("1")
    data.write_text("1")
    seen = [fingerprint([script], [data])]
    for path in (script.parent / "model.py", script.parent / "nets" / "mlp.py", data, script):
        path.parent.mkdir(exist_ok=True)
        path.write_text("changed")
        seen.append(fingerprint([script], [data]))
    assert len(set(seen)) == 5
    (script.parent / "log.txt").write_text("what a run writes")
    (script.parent / "__pycache__").mkdir()
    (script.parent / "__pycache__" / "a.py").write_text("")
    assert fingerprint([script], [data]) == seen[-1]
    with pytest.raises(FlowGradError, match=r"there is no .*gone\.csv"):
        fingerprint([script], [tmp_path / "gone.csv"])


def test_scripts_are_found_where_the_program_finds_them(tmp_path):
    """A script of another folder was no part of what a run rests on, and its old results were used again."""
    (tmp_path / "pack" / "sub").mkdir(parents=True)
    for name in ("train.py", "pack/__main__.py", "pack/sub/fit.py"):
        (tmp_path / name).touch()
    for words, found in {
        "python train.py --seed 1": ["train.py"],
        "python -m pack": ["pack/__main__.py"],
        "python -m pack.sub.fit": ["pack/sub/fit.py"],
        "python -m elsewhere": [],
    }.items():
        assert _scripts(words.split(), str(tmp_path)) == [tmp_path / name for name in found]


def test_names_assigned_at_the_top_get_their_values():
    source = 'lr = 0.1; name = "é"  # rate\nSEED: int = 0\nif True:\n    lr = 0.1\n'
    after = assigned(source, {"seed": 7, "lr": 0.01, "name": "a'b"}, "t.py")
    assert after == 'lr = 0.01; name = "a\'b"  # rate\nSEED: int = 7\nif True:\n    lr = 0.1\n'


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = 1", "0 times"),
        ("lr = 0.1\nLR = 0.2", "2 times"),
        ("lr = 0.1\nlr = 0.2", "2 times"),
        ("lr = f()", "0 times"),
        ("lr = (", "line 1"),
    ],
)
def test_a_name_that_is_not_assigned_so_is_refused(source, said):
    with pytest.raises(FlowGradError, match=said):
        assigned(source, {"lr": 1.0}, "t.py")
