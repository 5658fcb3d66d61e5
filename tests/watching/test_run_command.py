"""`python -m flowgrad run`: a script of others, unchanged, watched from outside."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

from flowgrad.__main__ import main
from flowgrad.report import from_xml, validate
from tests.forked import run_two
from tests.watching_loops import alike

ROOT = Path(__file__).parents[2]
PLAIN = """
    import sys, torch
    from torch import nn
    torch.manual_seed(0)
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.users = nn.Embedding(40, 4)
            self.top = nn.Linear(4, 1)
        def forward(self, ids):
            return self.top(self.users(ids)).squeeze(1)
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for step in range(STEPS):
        ids = torch.randint(40, (32,))
        loss = nn.functional.mse_loss(model(ids), (ids % 2).float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    END
"""


def script(folder, text=PLAIN, *, steps=24, end=""):
    path = folder / "train.py"
    path.write_text(textwrap.dedent(text).replace("STEPS", str(steps)).replace("END", textwrap.dedent(end)))
    return str(path)


def told(capsys):
    """The JSON that was printed last, and what the script itself printed before."""
    out = capsys.readouterr().out
    start = out.index('{\n  "flowgrad_watch_report"')
    return json.loads(out[start:])["flowgrad_watch_report"], out[:start]


def seen(report):
    return {one["name"]: one["value"] for one in report["coverage"]["seen"]}


def test_every_step_lookup_and_loss_of_a_script_is_seen(tmp_path, capsys):
    path = script(tmp_path, end="print(sys.argv[1:], __name__, __file__ == sys.argv[0])")
    assert main(["run", "--json", path, "--lr", "3", "--json"]) == 0
    report, printed = told(capsys)
    assert printed == "['--lr', '3', '--json'] __main__ True\n"
    counts = seen(report)
    assert counts["steps"] == counts["losses"] == 24
    assert counts["lookups"] == 24 * 32
    assert report["layer"] == path
    assert report["status"] in ("HEALTHY", "FINDINGS")
    assert "not seen from outside" in str(report["coverage"]["unseen"])


def test_weights_are_those_of_a_script_that_is_not_watched(tmp_path, capsys):
    path = script(tmp_path, end="torch.save(model, sys.argv[1])\nprint(torch.rand(1).item())")
    assert main(["run", path, str(tmp_path / "one.pt")]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    text = Path(path).read_text()
    before = list(sys.argv)
    sys.argv = [path, str(tmp_path / "other.pt")]
    code = compile(text, path, "exec")
    module = type(sys)("__main__")
    known = sys.modules["__main__"]
    try:
        sys.modules["__main__"] = module
        exec(code, vars(module))
        models = [torch.load(tmp_path / f"{name}.pt", weights_only=False) for name in ("one", "other")]
    finally:
        sys.argv, sys.modules["__main__"] = before, known
    assert alike(*models)
    assert capsys.readouterr().out.splitlines()[0] == first


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        ("sys.exit(3)", 3, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit('no more')", 1, "no more"),
        ("raise ValueError('lost')", 1, "ValueError: lost"),
        ("raise KeyboardInterrupt", 130, "interrupted"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 143, ""),
    ],
)
def test_the_report_comes_however_the_script_ends(tmp_path, capsys, end, code, said):
    path = script(tmp_path, end=end)
    assert main(["run", path]) == code
    captured = capsys.readouterr()
    assert "steps 24" in captured.out
    assert said in captured.err
    assert "running/" not in captured.err


def test_reports_are_written_by_their_ending(tmp_path, capsys):
    path = script(tmp_path)
    for ending, start in ((".xml", "<?xml"), (".json", "{"), (".html", "<!doctype html>"), (".txt", path)):
        file = tmp_path / f"report{ending}"
        assert main(["run", "--report", str(file), path]) == 0
        assert file.read_text().startswith(start)
    validate((tmp_path / "report.xml").read_bytes())
    assert from_xml((tmp_path / "report.xml").read_bytes()).kind == "watch"
    capsys.readouterr()


def test_findings_may_end_it_with_one(tmp_path, capsys):
    path = script(tmp_path, PLAIN.replace("0.01", "50.0"), steps=80)
    assert main(["run", path]) == 0
    assert main(["run", "--fail-on", "high", path]) == 1
    assert "LEARNING_RATE_TOO_HIGH" in capsys.readouterr().out
    path = script(tmp_path, PLAIN.replace("0.01", "50.0"), steps=80, end="sys.exit(7)")
    assert main(["run", "--fail-on", "high", path]) == 7
    path = script(tmp_path, steps=80)
    assert main(["run", "--fail-on", "high", path]) == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("print('hello')", "trained nothing with torch"),
        (
            "import torch\nw = torch.ones(3, requires_grad=True)\nw.sum().backward()",
            "1 backward passes were seen and no step",
        ),
        (
            "import torch\nw = torch.ones(3, requires_grad=True)\no = torch.optim.SGD([w], 0.1)\n"
            "w.sum().backward()\no.step()",
            "tensors that are not watched: SGD (1 steps), and of no module that was called",
        ),
    ],
)
def test_a_script_that_trains_nothing_says_so(tmp_path, capsys, text, reason):
    path = script(tmp_path, text)
    file = tmp_path / "report.xml"
    assert main(["run", "--report", str(file), "--fail-on", "low", path]) == 0
    out = capsys.readouterr().out
    assert "NOT_OBSERVED" in out
    assert reason in " ".join(out.split())
    assert from_xml(file.read_bytes()).status == "NOT_OBSERVED"


def test_bad_usage_names_the_way_out(tmp_path, capsys):
    assert main(["run"]) == 2
    assert main(["run", str(tmp_path / "none.py")]) == 2
    assert main(["run", "--report", str(tmp_path / "no" / "r.xml"), script(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "no script was given" in err
    assert "there is no such script" in err
    assert "there is no folder" in err


def test_a_module_is_run_by_its_name(tmp_path, capsys, monkeypatch):
    package = tmp_path / "mine"
    package.mkdir()
    (package / "__init__.py").write_text("")
    script(package)
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--json", "-m", "mine.train", "x"]) == 0
    assert seen(told(capsys)[0])["steps"] == 24


TOWERS = """
    import torch
    from torch import nn
    torch.manual_seed(0)
    class Tower(nn.Module):
        def __init__(self):
            super().__init__()
            self.rows = nn.Embedding(40, 4)
        def forward(self, ids):
            return self.rows(ids)
    users, items, teacher = Tower(), Tower(), nn.Linear(4, 4)
    optimizer = torch.optim.Adam([*users.parameters(), *items.parameters()], 0.01)
    for step in range(24):
        ids = torch.randint(40, (32,))
        loss = ((users(ids) - teacher(items(ids))) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""


def test_of_several_models_those_that_are_trained_are_watched(tmp_path, capsys):
    assert main(["run", "--json", script(tmp_path, TOWERS)]) == 0
    report, _ = told(capsys)
    groups = {one["kind"]: one["layers"] for one in report["watched"]}
    assert groups["embedding"] == "Tower.rows, Tower_2.rows"
    assert seen(report)["steps"] == 24
    assert "teacher" not in json.dumps(report)


@pytest.mark.parametrize("pause", ["", "if step % 3 == 0: "])
def test_models_with_an_optimizer_each_are_one_training(tmp_path, capsys, pause):
    """Only the model of the optimizer that stepped first was watched."""
    text = TOWERS.replace(
        "torch.optim.Adam([*users.parameters(), *items.parameters()], 0.01)",
        "torch.optim.Adam(users.parameters(), 0.01)\n    other = torch.optim.SGD(items.parameters(), 0.01)",
    ).replace("optimizer.step()", f"optimizer.step()\n        {pause}other.step(); other.zero_grad()")
    assert main(["run", "--json", script(tmp_path, text)]) == 0
    report, _ = told(capsys)
    groups = {one["kind"]: one["layers"] for one in report["watched"]}
    assert groups["embedding"] == "Tower.rows, Tower_2.rows"
    assert seen(report)["steps"] == 24
    assert report["run"]["training"]["optimizer"] == "Adam, SGD"
    unseen = {one["name"] for one in report["coverage"]["unseen"]}
    assert "other_models" not in unseen


PARTS = """
    import torch
    from torch import nn
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Embedding(40, 4), nn.ReLU())
    model = nn.Sequential(encoder, nn.Linear(4, 1))
    encoder(torch.arange(4))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for step in range(24):
        optimizer.zero_grad()
        loss = model(torch.randint(40, (32,))).square().mean()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    print(loss.item())
"""


def test_a_part_that_is_called_first_is_no_model_of_its_own_and_losses_are_not_scaled(tmp_path, capsys):
    assert main(["run", "--json", script(tmp_path, PARTS)]) == 0
    report, printed = told(capsys)
    assert seen(report)["tables"] == 1
    assert [one["layers"] for one in report["watched"] if one["kind"] == "embedding"] == ["0.0"]
    assert seen(report)["losses"] == 24
    assert float(printed) < 10


SECOND = """
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    for step in range(10):
        optimizer.zero_grad()
        model(ids).sum().mul(1e6).backward()
        optimizer.step()
    """


def several(capsys):
    """Reports of several trainings, as JSON."""
    out = capsys.readouterr().out
    reports = json.loads(out[out.index('{\n  "flowgrad_report"') :])["flowgrad_report"]["reports"]
    return [one["flowgrad_watch_report"] for one in reports]


def test_a_model_that_is_trained_next_has_a_report_of_its_own(tmp_path, capsys):
    """Its losses were taken for those of the first, later it was not watched at all."""
    assert main(["run", "--json", script(tmp_path, end=SECOND)]) == 0
    first, second = several(capsys)
    assert seen(first)["losses"] == seen(first)["steps"] == 24
    assert seen(second)["losses"] == seen(second)["steps"] == 10
    assert seen(second)["lookups"] == 10 * 32
    assert first["layer"].endswith("train.py (1: Net)")
    assert second["layer"].endswith("train.py (2: Net)")


def test_optimizers_that_are_all_made_first(tmp_path, capsys):
    text = """
    import torch
    from torch import nn
    torch.manual_seed(0)
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.rows, self.top = nn.Embedding(40, 4), nn.Linear(4, 1)
        def forward(self, ids):
            return self.top(self.rows(ids)).squeeze(1)
    nets = [Net() for _ in range(3)]
    BEFORE
    optimizers = [torch.optim.Adam(net.parameters(), 0.01) for net in nets]
    for net, optimizer in zip(nets, optimizers):
        for step in range(20):
            ids = torch.randint(40, (32,))
            optimizer.zero_grad()
            (net(ids) - (ids % 2)).square().mean().backward()
            optimizer.step()
    """
    for before, more in (("", 0), ("[net(torch.arange(4)) for net in nets]", 4)):
        assert main(["run", "--json", script(tmp_path, text.replace("BEFORE", before))]) == 0
        reports = several(capsys)
        assert [seen(one)["steps"] for one in reports] == [20, 20, 20]
        assert [seen(one)["losses"] for one in reports] == [20, 20, 20]
        assert [seen(one)["lookups"] for one in reports] == [20 * 32 + more] * 3


def test_a_whole_that_is_trained_after_its_part(tmp_path, capsys):
    """The head of a model whose encoder was trained before was not watched."""
    text = """
    import torch
    from torch import nn
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Embedding(40, 4), nn.Linear(4, 4))
    model = nn.Sequential(encoder, nn.ReLU(), nn.Linear(4, 1))
    for net in (encoder, model):
        optimizer = torch.optim.Adam(net.parameters(), 0.01)
        for step in range(20):
            ids = torch.randint(40, (32,))
            optimizer.zero_grad()
            (net(ids) - (ids % 2)[:, None]).square().mean().backward()
            optimizer.step()
    """
    assert main(["run", "--json", script(tmp_path, text)]) == 0
    first, second = several(capsys)
    assert [seen(one)["steps"] for one in (first, second)] == [20, 20]
    assert "3 tensors" in str(first["watched"])
    assert "5 tensors" in str(second["watched"])
    assert seen(second)["lookups"] == 20 * 32


@pytest.mark.parametrize("cleared", [False, True])
def test_a_teacher_that_was_trained_before_is_no_forgotten_layer(tmp_path, capsys, cleared):
    """The gradients of the teacher's own training still lay there, and it was said to take some that nobody uses."""
    text = f"""
    import torch
    from torch import nn
    torch.manual_seed(0)
    make = lambda: nn.Sequential(nn.Embedding(40, 4), nn.Linear(4, 1))
    class Student(nn.Module):
        def __init__(self, teacher):
            super().__init__()
            self.teacher, self.own = teacher, make()
        def forward(self, ids):
            with torch.no_grad():
                known = self.teacher(ids)
            return self.own(ids) - known
    teacher = make()
    student = Student(teacher)
    for net, learns in ((teacher, teacher), (student, student.own)):
        optimizer = torch.optim.Adam(learns.parameters(), 0.01)
        for step in range(40):
            ids = torch.randint(40, (32,))
            optimizer.zero_grad()
            (net(ids) - (net is teacher) * (ids % 2)[:, None]).square().mean().backward()
            optimizer.step()
        {"optimizer.zero_grad()" if cleared else ""}
    """
    assert main(["run", "--json", script(tmp_path, text)]) == 0
    for report in several(capsys):
        assert not [one for one in report.get("causal_model", []) if one["severity"] != "low"]


@pytest.mark.parametrize("period", [1, 5, 30])
def test_models_that_are_trained_in_turns_are_one_training(tmp_path, capsys, period):
    """The second is called only after the first has trained for a while."""
    text = f"""
    import torch
    from torch import nn
    torch.manual_seed(0)
    nets = [nn.Sequential(nn.Embedding(40, 4), nn.Linear(4, 1)) for _ in range(2)]
    optimizers = [torch.optim.Adam(net.parameters(), 0.01) for net in nets]
    for turn in range({max(4, 60 // period)}):
        net, optimizer = nets[turn % 2], optimizers[turn % 2]
        for step in range({period}):
            ids = torch.randint(40, (32,))
            optimizer.zero_grad()
            (net(ids) - (ids % 2)[:, None]).square().mean().backward()
            optimizer.step()
    """
    assert main(["run", "--json", script(tmp_path, text)]) == 0
    if period < 30:
        report, _ = told(capsys)
        assert "2 embedding" in report_line(report)
        return
    reports = several(capsys)
    assert [seen(one)["steps"] for one in reports] == [30, 30, 60]
    assert "Sequential, Sequential" in reports[-1]["layer"]
    assert "in_turns" in {one["name"] for one in reports[1]["coverage"]["unseen"]}


def test_many_models_that_are_trained_side_by_side_are_one_training(tmp_path, capsys):
    text = """
    import torch
    from torch import nn
    torch.manual_seed(0)
    nets = [nn.Sequential(nn.Embedding(40, 4), nn.Linear(4, 1)) for _ in range(5)]
    optimizers = [torch.optim.Adam(net.parameters(), 0.01) for net in nets]
    for step in range(40):
        for net, optimizer in zip(nets, optimizers):
            ids = torch.randint(40, (32,))
            optimizer.zero_grad()
            (net(ids) - (ids % 2)[:, None]).square().mean().backward()
            optimizer.step()
    """
    assert main(["run", "--json", script(tmp_path, text)]) == 0
    report, _ = told(capsys)
    assert "5 embedding" in report_line(report)
    assert seen(report)["steps"] >= 38
    unseen = {one["name"]: one["because"] for one in report["coverage"]["unseen"]}
    assert unseen["first_steps"] == "8 steps at the beginning, before all models had taken one, are left out"
    assert "step in turns" in unseen["loss"]


def test_a_critic_an_actor_and_a_temperature(tmp_path, capsys):
    """The actor is called with gradients only after the critic has stepped, and the temperature is in no module."""
    text = """
    import torch
    from torch import nn
    torch.manual_seed(0)
    actor, critic = nn.Linear(4, 2), nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))
    temperature = torch.zeros(1, requires_grad=True)
    held = (critic.parameters(), actor.parameters(), [temperature])
    optimizers = [torch.optim.Adam(one, 0.001) for one in held]
    for step in range(40):
        states, rewards = torch.randn(32, 4), torch.randn(32, 1)
        with torch.no_grad():
            actions = actor(states)
        value = critic(torch.cat([states, actions], 1))
        losses = [lambda: (value - rewards).square().mean(),
                  lambda: -critic(torch.cat([states, actor(states)], 1)).mean(),
                  lambda: (temperature.exp() * rewards).mean()]
        for loss, optimizer in zip(losses, optimizers):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()
    from torch.nn.modules import module
    print(len(module._global_forward_pre_hooks))
    """
    assert main(["run", "--json", script(tmp_path, text)]) == 0
    report, printed = told(capsys)
    assert printed == "0\n"  # modules are not looked for at every call of one
    assert "6 tensors" in str(report["watched"])
    assert seen(report)["steps"] >= 38
    unseen = {one["name"]: one["because"] for one in report["coverage"]["unseen"]}
    assert unseen["other_models"] == "optimizers stepped tensors that are not watched: Adam (40 steps)"
    assert not [one for one in report.get("causal_model", []) if one["severity"] in ("high", "critical")]


def report_line(report):
    return " ".join(f"{one['count']} {one['kind']}" for one in report["watched"])


def test_models_of_trainings_that_are_over_are_not_kept(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("flowgrad.running.trainings.LARGE", 0)
    end = """
    import weakref
    models = [weakref.ref(model)]
    for fold in range(3):
        model = Net()
        models.append(weakref.ref(model))
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        for step in range(40):
            optimizer.zero_grad()
            loss = model(ids).sum()
            loss.backward()
            optimizer.step()
    print([one() is None for one in models])
    """
    assert main(["run", script(tmp_path, end=end)]) == 0
    assert capsys.readouterr().out.startswith("[True, True, True, False]\n")


def test_an_optimizer_that_replaces_another_goes_on_with_its_losses(tmp_path, capsys):
    end = """
    for part in (model.top, model):
        optimizer = torch.optim.SGD(part.parameters(), 0.001)
        for step in range(24):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(ids), (ids % 2).float()).backward()
            optimizer.step()
    """
    assert main(["run", "--json", script(tmp_path, end=end)]) == 0
    report, _ = told(capsys)
    assert seen(report)["losses"] == seen(report)["steps"] == 72
    assert "loss" not in {one["name"] for one in report["coverage"]["unseen"]}


PARTS_IN_TURNS = """
    import torch
    from torch import nn
    torch.manual_seed(0)
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = nn.Linear(4, 4), nn.Linear(4, 1)
    both = Both()
    optimizers = [torch.optim.Adam(part.parameters(), 0.01) for part in (both.one, both.other)]
    for step in range(24):
        x = torch.randn(8, 4)
        for sign, optimizer in zip((-1, 1), optimizers):
            both.zero_grad()
            LOSS
            optimizer.step()
"""


@pytest.mark.parametrize("own", [False, True])
def test_losses_of_optimizers_that_have_one_each_are_not_mixed(tmp_path, capsys, own):
    """Those of a generator and a discriminator were one series, which was called diverging."""
    loss = "(sign * both.other(both.one(x))).exp().mean().backward()"
    text = PARTS_IN_TURNS.replace("LOSS", loss if own else f"sign > 0 or {loss}".replace("zero_grad", "eval"))
    text = text if own else text.replace("both.zero_grad()", "sign > 0 or both.zero_grad()")
    assert main(["run", "--json", script(tmp_path, text)]) == 0
    report, _ = told(capsys)
    assert seen(report)["steps"] == 24
    assert seen(report)["losses"] == (1 if own else 24)
    assert ("step in turns" in json.dumps(report["coverage"]["unseen"])) == own


def test_a_copied_optimizer_is_found_from_its_second_step_on(tmp_path, capsys):
    end = """
    import copy
    model, optimizer = copy.deepcopy((model, optimizer))
    for step in range(30):
        optimizer.zero_grad()
        model(ids).sum().backward()
        optimizer.step()
    """
    assert main(["run", "--json", script(tmp_path, end=end)]) == 0
    first, second = several(capsys)
    assert seen(second)["steps"] == 29
    assert "SGD" not in str(first)
    assert "Adam (1 steps)" in {one["name"]: one["because"] for one in second["coverage"]["unseen"]}["other_models"]


def hooks():
    """Hooks on all modules and on all optimizers of the process."""
    from torch.nn.modules import module
    from torch.optim import optimizer

    return (
        module._global_forward_pre_hooks,
        optimizer._global_optimizer_pre_hooks,
        optimizer._global_optimizer_post_hooks,
    )


def test_nothing_is_left_behind(tmp_path, capsys):
    scaler = torch.amp.GradScaler
    own = torch.autograd.backward, scaler.scale, scaler.step, torch.optim.Optimizer.__init__
    before = list(sys.argv), list(sys.path), list(sys.meta_path), sys.modules["__main__"]
    hooked = [list(one) for one in hooks()]
    assert main(["run", script(tmp_path)]) == 0
    capsys.readouterr()
    assert (list(sys.argv), list(sys.path), list(sys.meta_path), sys.modules["__main__"]) == before
    assert (torch.autograd.backward, scaler.scale, scaler.step, torch.optim.Optimizer.__init__) == own
    assert [list(one) for one in hooks()] == hooked


@pytest.mark.parametrize("fullgraph", [False, True])
def test_a_compiled_model_is_watched(tmp_path, capsys, fullgraph):
    torch._dynamo.reset()
    made = f"net = model; model = torch.compile(net, backend='eager', fullgraph={fullgraph})"
    text = PLAIN.replace("optimizer = ", f"{made}\n    optimizer = ")
    assert main(["run", "--json", script(tmp_path, text)]) == 0
    report, _ = told(capsys)
    assert seen(report)["steps"] == 24
    assert seen(report)["lookups"] == 24 * 32
    torch._dynamo.reset()


def test_a_model_that_is_judged_before_training(tmp_path, capsys):
    """A first pass without gradients, and weights that are loaded after a first pass with them."""
    first = "with torch.no_grad(): model(torch.arange(4))"
    second = "model(torch.arange(4)); model.load_state_dict(Net().state_dict())"
    text = PLAIN.replace("optimizer = ", f"{first}\n    {second}\n    optimizer = ")
    assert main(["run", "--json", script(tmp_path, text)]) == 0
    report, _ = told(capsys)
    assert seen(report)["steps"] == 24
    assert seen(report)["lookups"] == 24 * 32


def test_many_trainings_are_watched_up_to_a_number(tmp_path, capsys, monkeypatch):
    for part in ("trainings", "observer"):
        monkeypatch.setattr(f"flowgrad.running.{part}.MOST", 2)
    assert main(["run", "--json", script(tmp_path, end=SECOND + SECOND)]) == 0
    first, second = several(capsys)
    assert [seen(one)["steps"] for one in (first, second)] == [24, 10]
    told_of = {one["name"]: one["because"] for one in second["coverage"]["unseen"]}["other_models"]
    assert told_of == "optimizers stepped tensors that are not watched: SGD (10 steps); 2 trainings are watched at most"


RANKS = """
    import sys, torch
    from torch import distributed, nn
    place, rank = "file://" + sys.argv[2], int(sys.argv[1])
    distributed.init_process_group("gloo", init_method=place, rank=rank, world_size=2)
    net = nn.parallel.DistributedDataParallel(nn.Sequential(nn.Embedding(40, 4), nn.Linear(4, 1)))
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for step in range(24):
        optimizer.zero_grad()
        net(torch.randint(40, (32,))).square().mean().backward()
        optimizer.step()
    distributed.destroy_process_group()
"""


def rank_of_script(rank, path, folder):
    """Run the script as `flowgrad run` does, with what it prints in a file."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = main(["run", "--json", path, str(rank), str(folder / "meeting")])
    (folder / f"{rank}.json").write_text(printed.getvalue())
    assert code == 0


def test_that_figures_are_of_one_rank_is_said_when_the_ranks_are_gone(tmp_path):
    """Lookups of one of two processes passed for all, for the script had ended the group before the report was made."""
    run_two(rank_of_script, script(tmp_path, RANKS), tmp_path)
    report = json.loads((tmp_path / "0.json").read_text())["flowgrad_watch_report"]
    assert seen(report)["steps"] == 24
    assert {one["name"]: one["because"] for one in report["coverage"]["unseen"]}["ranks"] == (
        "figures are of this rank, one of 2"
    )


def started(*args, cwd, **settings):
    return subprocess.Popen(
        [sys.executable, "-m", "flowgrad", "run", *args],
        cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings,
    )  # fmt: skip


def test_from_a_shell_and_interrupted(tmp_path):
    """Torch is imported by the script; the interrupt comes as from a terminal."""
    path = script(tmp_path, end="print('ready', flush=True)\nimport time\ntime.sleep(60)")
    text = Path(path).read_text()
    Path(path).write_text("import sys\nassert 'torch' not in sys.modules\n" + text)
    running = started(path, cwd=tmp_path)
    assert running.stdout.readline() == "ready\n"
    running.send_signal(signal.SIGINT)
    began = time.monotonic()
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "steps 24" in out
    assert err == "interrupted\n"
    assert time.monotonic() - began < 50


@pytest.mark.parametrize(("end", "told_end"), [("raise ValueError('lost')", True), ("sys.exit(3)", True), ("", False)])
def test_a_script_that_broke_off_is_told(end, told_end, tmp_path, capsys):
    """The report of a script that crashed after a few sound steps said HEALTHY, and nothing of the crash."""
    code = main(["run", "--json", script(tmp_path, end=end)])
    report, _ = told(capsys)
    unseen = {one["name"]: one["because"] for one in report["coverage"]["unseen"]}
    assert ("end" in unseen) is told_end
    assert not told_end or f"exit code {code}" in unseen["end"]
