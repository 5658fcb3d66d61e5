"""The MCP server as clients use it: in memory, and over standard input and output (`make test-agents`)."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("mcp.server", reason="it has an environment of its own: make test-agents")

from jsonschema import Draft202012Validator
from mcp import Client
from mcp.client.stdio import StdioServerParameters

from flowgrad.__main__ import main
from flowgrad.agents.serving import make_server
from tests.agents.conftest import table

ROOT = Path(__file__).parents[2]
READING = {"runs", "findings", "explain", "history", "rows", "compare", "prove"}
CALLS = {
    "runs": {},
    "findings": {"run": "outputs/mf/one"},
    "explain": {"rule": "zombie_rows"},
    "history": {"run": "outputs/mf/one", "subject": "item_emb", "figure": "zombie_share"},
    "rows": {"run": "outputs/mf/one", "subject": "item_emb"},
    "compare": {"a": "outputs/mf/one/report.xml", "b": "outputs/mf/one/report_treated.xml"},
    "prove": {"run": "outputs/mf/one"},
}
WORDS = {
    "history": ["outputs/mf/one", "item_emb", "zombie_share"],
    "rows": ["outputs/mf/one", "item_emb"],
    "runs": [],
    "explain": ["zombie_rows"],
}


@pytest.fixture
def root(run, monkeypatch):
    monkeypatch.chdir(run.parents[2])
    return run.parents[2]


def with_client(server, use):
    async def session():
        async with Client(server, raise_exceptions=True) as client:
            return await use(client)

    return asyncio.run(session())


def text_of(result):
    return "".join(part.text for part in result.content)


def test_ten_tools_at_most_and_read_only_unless_allowed(root):
    async def names(client):
        return {tool.name: tool for tool in (await client.list_tools()).tools}

    tools = with_client(make_server(root), names)
    assert set(tools) == READING
    assert all(tool.annotations.read_only_hint and tool.output_schema and tool.description for tool in tools.values())
    more = with_client(make_server(root, allow_run=True), names)
    assert set(more) - READING == {"start_proof", "proof", "cancel_proof"}
    assert len(more) <= 10
    assert not more["start_proof"].annotations.read_only_hint
    described = tools["findings"].output_schema["$defs"]["Confidence"]["properties"]["basis"]["description"]
    assert "nothing was measured" in described


@pytest.mark.parametrize("tool", CALLS)
def test_a_tool_says_what_the_command_says(tool, root, capsys):
    async def call(client):
        schemas = {one.name: one.output_schema for one in (await client.list_tools()).tools}
        return await client.call_tool(tool, CALLS[tool]), schemas[tool]

    result, schema = with_client(make_server(root), call)
    assert not result.is_error, text_of(result)
    Draft202012Validator(schema).validate(result.structured_content)
    main([tool, *WORDS.get(tool, list(CALLS[tool].values())), "--json"])
    assert json.loads(capsys.readouterr().out) == result.structured_content
    assert json.loads(text_of(result)) == result.structured_content


def test_results_of_anybody_are_proven_as_the_command_does(root, capsys):
    runs = [
        (arm, seed, seed / 7 + shift + seed % 3 / 90)
        for arm, shift in (("old", 0.1), ("new", 0.0))
        for seed in range(8)
    ]
    table(root / "results.csv", ["arm", "seed", "rmse"], runs)
    given = {"run": "results.csv", "baseline": "old", "better": {"rmse": "lower"}}
    result = with_client(make_server(root), lambda client: client.call_tool("prove", given))
    assert not result.is_error, text_of(result)
    main(["compare", "results.csv", "--baseline", "old", "--better", "rmse=lower", "--json"])
    assert json.loads(capsys.readouterr().out) == result.structured_content


@pytest.mark.parametrize(
    ("tool", "given", "named"),
    [
        ("prove", {"run": "nothing.csv"}, "nothing.csv"),
        ("findings", {"run": "missing"}, "there is no such file or folder"),
        ("findings", {"run": "outputs/mf/one", "severity": "bad"}, "severity"),
        ("explain", {"rule": "zombie_row"}, "did you mean"),
        ("history", {"run": "outputs/mf/one", "max_points": 1}, "must lie between"),
        ("rows", {"run": "outputs/mf/one", "subject": "other"}, "no report on 'other'"),
        ("prove", {"run": "outputs"}, "nothing was proven"),
    ],
)
def test_bad_input_is_told_to_the_model_and_not_a_crash(tool, given, named, root):
    result = with_client(make_server(root), lambda client: client.call_tool(tool, given))
    assert result.is_error
    assert named in text_of(result)


@pytest.fixture
def outside(root, tmp_path_factory):
    """A run that the server must not read, and ways to it."""
    place = tmp_path_factory.mktemp("outside")
    (place / "report.xml").write_bytes((root / "outputs/mf/one/report.xml").read_bytes())
    table(place / "observations.csv", ["arm", "seed", "metric", "value"], [("secret", 1, "m", 1.0)])
    (root / "link").symlink_to(place)
    mixed = root / "mixed"
    mixed.mkdir()
    (mixed / "report.xml").symlink_to(place / "report.xml")
    tables = root / "tables"
    tables.mkdir()
    (tables / "report.xml").write_bytes((place / "report.xml").read_bytes())
    (tables / "observations.csv").symlink_to(place / "observations.csv")
    hydra = root / "hydra"
    (hydra / ".hydra").mkdir(parents=True)
    (hydra / "report.xml").write_bytes((place / "report.xml").read_bytes())
    (hydra / ".hydra" / "config.yaml").symlink_to(place / "report.xml")
    return place


@pytest.mark.parametrize(
    "way", ["absolute", "dots", "link", "mixed", "tables", "hydra", "null", "through", "link file"]
)
def test_paths_do_not_lead_out_of_the_root(way, root, outside):
    given = {
        "absolute": str(outside), "dots": os.path.relpath(outside, root), "null": "outputs\0", "link": "link",
        "through": "outputs/../../" + root.name + "/../" + outside.name, "link file": "link/report.xml",
    }.get(way, way)  # fmt: skip

    async def call(client):
        calls = [
            ("findings", {"run": given}), ("history", {"run": given}), ("rows", {"run": given, "subject": "item_emb"}),
            ("compare", {"a": "outputs/mf/one", "b": given}), ("compare", {"a": given, "b": "outputs/mf/one"}),
            ("prove", {"run": given}),
        ]  # fmt: skip
        found = [await client.call_tool(tool, arguments) for tool, arguments in calls]
        with pytest.raises(Exception, match=r".*") as refused:
            await client.read_resource(f"flowgrad://runs/{given}/report.xml")
        return found, refused.value

    found, refused = with_client(make_server(root), call)
    for result in found:
        assert result.is_error
        assert "leads out of the folder" in text_of(result) or "no path of a file" in text_of(result)
        assert "secret" not in text_of(result)
    assert "zombie" not in str(refused)


def test_a_list_of_runs_does_not_follow_links(root, outside):
    result = with_client(make_server(root), lambda client: client.call_tool("runs", {"folder": "."}))
    assert sorted(Path(one["path"]).name for one in result.structured_content["runs"]) == ["hydra", "one", "tables"]
    for folder in ("link", "..", str(outside)):
        assert with_client(make_server(root), lambda c, f=folder: c.call_tool("runs", {"folder": f})).is_error


def test_an_absolute_path_inside_the_root_is_taken(root):
    given = {"run": str(root / "outputs/mf/one")}
    result = with_client(make_server(root), lambda client: client.call_tool("findings", given))
    assert result.structured_content["run"] == "outputs/mf/one"


def test_resources_and_prompts(root):
    async def read(client):
        uris = [
            "flowgrad://runs/outputs/mf/one/report.xml",
            "flowgrad://schema",
            "flowgrad://rules",
            "flowgrad://skill",
        ]
        held = [(await client.read_resource(uri)).contents[0] for uri in uris]
        prompts = {one.name for one in (await client.list_prompts()).prompts}
        told = await client.get_prompt("diagnose_and_fix", {"run": "outputs/mf/one"})
        proof = await client.get_prompt("prove_change", {"change": "lr 0.1", "metric": "mse"})
        return held, prompts, told, proof

    (report, schema, rules, skill), prompts, told, proof = with_client(make_server(root), read)
    assert report.text.encode() == (root / "outputs/mf/one/report.xml").read_bytes()
    assert report.mime_type == "application/xml"
    assert json.loads(schema.text)["oneOf"]
    assert {
        "rule": "zombie_rows",
        "type": "ZOMBIE_EMBEDDINGS",
        "severity": "high",
        "subject": "embedding",
    } in json.loads(rules.text)
    assert skill.text.startswith("---\nname: flowgrad\n")
    assert prompts == {"diagnose_and_fix", "prove_change"}
    assert "candidates" in told.messages[0].content.text
    assert "start_proof" not in proof.messages[0].content.text


def test_a_long_report_is_not_handed_on_whole(root):
    path = root / "outputs/mf/one/report.xml"
    path.write_bytes(path.read_bytes() + b" " * (1 << 20))

    async def read(client):
        with pytest.raises(Exception, match="findings"):
            await client.read_resource("flowgrad://runs/outputs/mf/one/report.xml")

    with_client(make_server(root), read)


STUB = """
import shutil, sys, time
from pathlib import Path
folder = Path(dict(word.partition("=")[::2] for word in sys.argv[1:])["hydra.run.dir"])
folder.mkdir(parents=True)
(folder / "run.log").write_text("2026-01-01 INFO diagnosing\\n")
time.sleep(1.5)
print("round 1", flush=True)
if "trial=[never=1]" in sys.argv:
    import os, threading
    lifeline = int(os.environ["FLOWGRAD_LIFELINE"])
    threading.Thread(target=lambda: (os.read(lifeline, 1), os._exit(1)), daemon=True).start()
    Path("pid").write_text(str(os.getpid()))
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        sys.exit(130)
if "trial=[fail=1]" in sys.argv:
    print("error: no such\\x1b[31m key", file=sys.stderr)
    sys.exit(2)
time.sleep(2)
shutil.copytree("outputs/mf/one", folder, dirs_exist_ok=True)
"""


@pytest.fixture
def checkout(root):
    """A checkout whose pipelines take no time."""
    (root / "pipelines").mkdir()
    (root / "pipelines" / "__init__.py").write_text("")
    (root / "pipelines" / "run.py").write_text(STUB)
    return root


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1][:3]


def gone(pid):
    until = time.monotonic() + 20
    while is_alive(pid) and time.monotonic() < until:
        time.sleep(0.05)
    return not is_alive(pid)


def pid_of(root):
    until = time.monotonic() + 30
    while not (root / "pid").exists() and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.05)
    return int((root / "pid").read_text())


def test_a_proof_runs_in_the_background_with_progress_and_a_verdict(checkout):
    seen = []

    async def progress(done, total, message):
        seen.append((done, message))

    async def use(client):
        begun = time.monotonic()
        started = await client.call_tool("start_proof", {"overrides": ["experiment=mf", "trial=[a=1]"]})
        assert not started.is_error, text_of(started)
        assert time.monotonic() - begun < 2
        second = await client.call_tool("start_proof", {"overrides": ["experiment=mf"]})
        assert "still runs" in text_of(second)
        meanwhile = await client.call_tool("findings", {"run": "outputs/mf/one"})
        assert not meanwhile.is_error
        name = started.structured_content["proof"]
        return await client.call_tool("proof", {"proof": name, "wait_seconds": 60}, progress_callback=progress)

    done = with_client(make_server(checkout, allow_run=True), use).structured_content
    assert (done["state"], done["proven"]["verdict"]) == ("finished", "confirmed")
    assert done["said"] == ["round 1"]
    steps = [step for step, _ in seen]
    assert len(steps) >= 2
    assert steps == sorted(set(steps)), "progress rises"
    assert {"2026-01-01 INFO diagnosing", "round 1"} <= {message for _, message in seen}


def test_a_proof_that_is_cancelled_is_gone(checkout):
    async def use(client):
        started = await client.call_tool("start_proof", {"overrides": ["experiment=mf", "trial=[never=1]"]})
        name = started.structured_content["proof"]
        pid = await asyncio.to_thread(pid_of, checkout)
        running = await client.call_tool("proof", {"proof": name, "wait_seconds": 0})
        assert running.structured_content["state"] == "running"
        cancelled = await client.call_tool("cancel_proof", {"proof": name})
        again = await client.call_tool("cancel_proof", {"proof": name})
        assert again.structured_content["state"] == "cancelled"
        return cancelled.structured_content, pid

    state, pid = with_client(make_server(checkout, allow_run=True), use)
    assert state["state"] == "cancelled"
    assert gone(pid)


def test_a_proof_that_fails_says_its_words(checkout):
    async def use(client):
        started = await client.call_tool("start_proof", {"overrides": ["experiment=mf", "trial=[fail=1]"]})
        return await client.call_tool("proof", {"proof": started.structured_content["proof"], "wait_seconds": 60})

    done = with_client(make_server(checkout, allow_run=True), use).structured_content
    assert done["state"] == "failed"
    assert "exit code 2" in done["problem"]
    assert done["said"][-1] == "error: no such\\x1b[31m key"


def test_a_proof_ends_with_the_server(checkout):
    async def use(client):
        await client.call_tool("start_proof", {"overrides": ["experiment=mf", "trial=[never=1]"]})
        return await asyncio.to_thread(pid_of, checkout)

    assert gone(with_client(make_server(checkout, allow_run=True), use))


@pytest.mark.parametrize(
    "overrides",
    [["experiment=mf", "--config-dir"], ["experiment=mf", "-m"], ["experiment=mf", "word"], [], ["trial=[a=1]"],
     ["experiment=mf", "hydra.run.dir=elsewhere"], ["experiment=mf", "+hydra.sweep.dir=elsewhere"],
     ["experiment=mf", "a=\0"]],
)  # fmt: skip
def test_words_that_are_no_overrides_are_refused(overrides, checkout):
    server = make_server(checkout, allow_run=True)
    result = with_client(server, lambda client: client.call_tool("start_proof", {"overrides": overrides}))
    assert result.is_error


def test_where_there_are_no_pipelines_nothing_is_run(root):
    server = make_server(root, allow_run=True)
    result = with_client(server, lambda client: client.call_tool("start_proof", {"overrides": ["experiment=mf"]}))
    assert "no pipelines/run.py" in text_of(result)
    assert "there is no proof 'x'" in text_of(
        with_client(server, lambda client: client.call_tool("cancel_proof", {"proof": "x"}))
    )


def stdio(root, *flags):
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "flowgrad", "mcp", "--root", str(root), *flags],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_over_standard_input_and_output(mode, root):
    """As a client starts it, with the newest protocol and with the handshake of older ones."""

    async def session():
        async with Client(stdio(root), mode=mode) as client:
            tools = {tool.name for tool in (await client.list_tools()).tools}
            found = await client.call_tool("findings", {"run": "outputs/mf/one"})
            tested = await client.call_tool("compare", CALLS["compare"])
            wrong = await client.call_tool("findings", {"run": "/etc"})
            return tools, found, tested, wrong

    tools, found, tested, wrong = asyncio.run(session())
    assert tools == READING
    assert found.structured_content["findings"][0]["type"] == "ZOMBIE_EMBEDDINGS"
    assert tested.structured_content["tests"][0]["verdict"] == "confirmed"
    assert wrong.is_error


def test_a_server_that_is_left_over_stdio_leaves_no_run_behind(checkout):
    async def session():
        async with Client(stdio(checkout, "--allow-run")) as client:
            await client.call_tool("start_proof", {"overrides": ["experiment=mf", "trial=[never=1]"]})
            return await asyncio.to_thread(pid_of, checkout)

    assert gone(asyncio.run(session()))


def test_start_imports_nothing_that_takes_long():
    code = (
        "import sys; from flowgrad.agents import serving; serving.make_server('.')\n"
        "heavy = {'torch', 'pandas', 'scipy.stats', 'statsmodels', 'hydra', 'pipelines'} & {*sys.modules}\n"
        "assert not heavy, heavy"
    )
    import subprocess

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_root_that_is_not_there_is_refused(refused, tmp_path):
    assert "there is no such folder" in refused("mcp", "--root", tmp_path / "missing")
