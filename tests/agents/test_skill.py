"""The skill that agents are given: its commands run, its names exist, and nobody's text is overwritten."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from flowgrad.__main__ import _parser, main
from flowgrad.agents.answers import ANSWERS
from flowgrad.agents.installing import NAME, PLACES, SKILL
from flowgrad.report import Report, write
from tests.agents.conftest import BASELINE, TREATED, observed

ROOT = Path(__file__).parents[2]
PARTS = [SKILL / "SKILL.md", *sorted((SKILL / "references").glob("*.md"))]
TEXTS = {path.relative_to(SKILL).as_posix(): path.read_text(encoding="utf-8") for path in PARTS}
_CONSOLE = re.compile(r"^ *```console\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
SHOWN = sorted(
    {line.strip() for text in TEXTS.values() for block in _CONSOLE.findall(text) for line in block.splitlines()}
)
SCRIPT = """
import torch
from torch import nn
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))
optimizer = torch.optim.Adam(model.parameters(), 1e-3)
for step in range(40):
    x = torch.randn(16, 8)
    loss = nn.functional.mse_loss(model(x).squeeze(1), x[:, 0])
    loss.backward()
    optimizer.step()
"""
"""It forgets to clear its gradients."""


@pytest.fixture
def project(run, monkeypatch):
    """A folder with all that the commands of the skill name."""
    folder = run.parents[2]
    monkeypatch.chdir(folder)
    (folder / "train.py").write_text(SCRIPT)
    for name in ("report.xml", "report2.xml"):
        (folder / name).write_bytes((run / "report.xml").read_bytes())
    for name, values in (("before", BASELINE), ("after", TREATED)):
        (folder / name).mkdir()
        write(Report("watch", "train.py"), folder / name / "report.xml")
        observed(folder / name, {"baseline": values})
    return folder


PLACEHOLDERS = {
    "RUN2": "outputs/mf/one/report_treated.xml", "RUN": "outputs/mf/one", "RULE": "zombie_rows", "SUBJECT": "item_emb",
    "FIGURE": "zombie_share",
}  # fmt: skip


@pytest.mark.parametrize("shown", SHOWN)
def test_every_command_runs(shown, project, capsys):
    words = shlex.split(shown)
    assert words[0] == "flowgrad"
    if words[1] == "run":
        pytest.importorskip("torch")
        assert main(words[1:]) == (1 if "--fail-on" in words else 0)
        written = words[words.index("--report") + 1]
        assert main(["findings", written, "--rule", "gradients_not_cleared", "--fail-on", "critical"]) == 1
        return
    code = main([PLACEHOLDERS.get(word, word) for word in words[1:]])
    printed = capsys.readouterr()
    assert code == (1 if "--fail-on" in words and "RUN2" not in words else 0), printed.err
    assert printed.err == "" or words[1] == "validate"
    if "--json" in words:
        json.loads(printed.out)


def test_commands_that_take_minutes_are_commands_all_the_same():
    """`flowgrad prove --run` trains; its arguments are at least those that the command takes."""
    text = TEXTS["references/proving.md"]
    (shown,) = re.findall(r"^(flowgrad prove --run .*)$", text, re.MULTILINE)
    assert _parser().parse_args(shlex.split(shown)[1:]).overrides == [
        "experiment=movielens_mf",
        "trial=[optimizer.lr=0.005]",
    ]


def commands():
    (found,) = [action for action in _parser()._actions if action.dest == "command"]
    return found.choices


@pytest.mark.parametrize("name", TEXTS)
def test_every_verb_and_flag_in_it_exists(name):
    known = commands()
    flags = {flag for parser in known.values() for action in parser._actions for flag in action.option_strings}
    flags |= {"--claude", "--codex", "--cursor"}
    for code in re.findall(r"`([^`\n]+)`", TEXTS[name]):
        words = code.split()
        if words[0] == "flowgrad" and len(words) > 1 and words[1] != "VERB":
            assert words[1] in known, code
        for flag in re.findall(r"(?<!\S)--[a-z][a-z-]*", code):
            assert flag in flags, code


def test_the_list_of_commands_is_whole():
    text = TEXTS["references/commands.md"]
    for verb in ANSWERS:
        assert f"| `{verb}" in text
        for action in commands()[verb]._actions:
            for flag in action.option_strings:
                if flag.startswith("--") and flag not in ("--help", "--rules", "--run"):
                    assert flag in text, (verb, flag)


def test_names_of_fields_in_it_are_those_of_the_answers():
    schema = (SKILL.parent / "schema.json").read_text(encoding="utf-8")
    names = {name for form in json.loads(schema)["$defs"].values() for name in form["properties"]}
    named = (
        "premise evidence severity follows candidates check fix path value framework text deferred rows blind unseen "
        "unjudged basis confirmed trials low high prescribed untested detectable reason not_finite cut"
    )
    for name in named.split():
        assert f"`{name}" in "".join(TEXTS.values())
        assert name in names, name


def test_the_front_matter_is_that_of_a_skill():
    """https://agentskills.io/specification: the name is the folder's, the description says what and when."""
    _, head, body = TEXTS["SKILL.md"].split("---\n", 2)
    fields = yaml.safe_load(head)
    assert set(fields) == {"name", "description", "license"}
    assert fields["name"] == NAME
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", fields["name"])
    assert len(fields["description"]) <= 1024
    assert "Use when" in fields["description"]
    assert len(TEXTS["SKILL.md"].splitlines()) < 500
    for target in re.findall(r"\]\(([^)]+)\)", body):
        assert (SKILL / target).is_file(), target


def test_the_rule_for_cursor_is_one():
    _, head, body = (SKILL / "cursor.mdc").read_text(encoding="utf-8").split("---\n", 2)
    fields = yaml.safe_load(head)
    assert list(fields) == ["description", "globs", "alwaysApply"]
    assert fields["alwaysApply"] is False
    assert "{skill}" in body


def everything(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("agent", [*PLACES, "own/place"])
def test_it_is_installed_where_the_agent_looks_and_again_changes_nothing(agent, tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    words = ["skill", "install", f"--{agent}" if agent in PLACES else agent]
    first = text(*words)
    held = everything(tmp_path)
    place = f"{PLACES.get(agent, agent)}/{NAME}"
    expected = {f"{place}/{name}" for name in TEXTS} | {"AGENTS.md" if agent in PLACES else f"{agent}/AGENTS.md"}
    assert set(held) == expected | ({".cursor/rules/flowgrad.mdc"} if agent == "cursor" else set())
    assert held[f"{place}/SKILL.md"].decode().startswith(TEXTS["SKILL.md"].rstrip())
    assert first.count("written: ") == len(held)
    again = text(*words)
    assert again.count("unchanged: ") == len(held)
    assert everything(tmp_path) == held
    notes = (tmp_path / ("AGENTS.md" if agent in PLACES else f"{agent}/AGENTS.md")).read_text()
    assert f"{NAME}/SKILL.md`" in notes


MINE = "# Mine\n\nKeep this.\n"


@pytest.mark.parametrize(
    "before", ["", MINE, MINE.rstrip(), "\n", MINE + "<!-- other begin -->\nx\n<!-- other end -->\n"]
)
def test_what_others_wrote_in_the_notes_is_kept(before, tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    notes = tmp_path / "AGENTS.md"
    notes.write_text(before)
    text("skill", "install", "--codex")
    assert notes.read_text().startswith(before.rstrip())
    notes.write_text(notes.read_text() + "\n## After\n")
    whole = notes.read_text()
    text("skill", "install", "--codex")
    assert notes.read_text() == whole


def test_an_older_version_is_brought_up_to_date(tmp_path, monkeypatch, text):
    from flowgrad.agents import installing

    monkeypatch.chdir(tmp_path)
    text("skill", "install", "--claude")
    path = tmp_path / ".claude/skills/flowgrad/SKILL.md"
    current, notes = path.read_text(), (tmp_path / "AGENTS.md").read_text()
    path.write_text(installing._sealed("An older text."))
    (tmp_path / "AGENTS.md").write_text(installing._with_section(tmp_path, MINE, "An older section."))
    told = text("skill", "install", "--claude")
    assert told.count("updated: ") == 2
    assert path.read_text() == current
    assert (tmp_path / "AGENTS.md").read_text() == f"{MINE}\n{notes}"


@pytest.mark.parametrize("name", ["SKILL.md", "references/proving.md"])
@pytest.mark.parametrize("edit", ["edited", "foreign", "bytes", "folder", "empty"])
def test_a_file_that_somebody_wrote_or_edited_is_never_overwritten(name, edit, tmp_path, monkeypatch, text, refused):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / ".claude/skills/flowgrad" / name
    if edit == "edited":
        text("skill", "install", "--claude")
        path.write_text(path.read_text().replace("prove", "believe", 1))
    else:
        path.parent.mkdir(parents=True)
        if edit == "folder":
            path.mkdir()
        else:
            path.write_bytes({"foreign": MINE.encode(), "bytes": b"\xff\xfe", "empty": b""}[edit])
    before = everything(tmp_path)
    assert str(path.relative_to(tmp_path)) in refused("skill", "install", "--claude")
    assert everything(tmp_path) == before


@pytest.mark.parametrize("damage", ["edited", "no end", "no begin", "twice", "bytes"])
def test_notes_whose_section_was_edited_or_damaged_are_never_touched(damage, tmp_path, monkeypatch, text, refused):
    monkeypatch.chdir(tmp_path)
    text("skill", "install", "--codex")
    notes = tmp_path / "AGENTS.md"
    whole = notes.read_text()
    begin, end = whole.splitlines()[0], whole.splitlines()[-1]
    notes.write_bytes(
        {
            "edited": whole.replace("one change", "two changes").replace("One change", "Two changes"),
            "no end": whole.replace(end, ""), "no begin": whole.replace(begin, ""), "twice": whole + whole,
            "bytes": "\udcff",
        }[damage].replace("several", "some" if damage == "edited" else "several").encode("utf-8", "surrogateescape")
    )  # fmt: skip
    before = everything(tmp_path)
    assert "AGENTS.md" in refused("skill", "install", "--codex")
    assert everything(tmp_path) == before


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch, refused):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".claude").write_text("a file")
    assert ".claude" in refused("skill", "install", "--claude")


def test_configurations_of_clients_in_the_docs_start_the_server():
    page = (ROOT / "docs" / "agents.md").read_text(encoding="utf-8")
    blocks = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)]
    assert [list(block) for block in blocks] == [["mcpServers"], ["servers"]]
    started = [block[key]["flowgrad"] for block in blocks for key in block]
    (claude,) = re.findall(r"^claude mcp add flowgrad -- (.*)$", page, re.MULTILINE)
    for words in [shlex.split(claude), *([one["command"], *one["args"]] for one in started)]:
        assert words[0] == "flowgrad"
        assert _parser().parse_args(words[1:]).root


def test_every_command_in_the_docs_is_one():
    page = (ROOT / "docs" / "agents.md").read_text(encoding="utf-8")
    found = re.findall(r"^(flowgrad [a-z].*)$", page, re.MULTILINE)
    assert len(found) >= 11
    for shown in found:
        if not shown.startswith("flowgrad mcp"):
            _parser().parse_args(shlex.split(shown)[1:])


def test_the_skill_is_part_of_the_wheel():
    import tomllib

    built = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
    assert built["wheel"] == {"packages": ["flowgrad"]}, "all files of the package are taken"
    assert SKILL.is_relative_to(ROOT / "flowgrad")
