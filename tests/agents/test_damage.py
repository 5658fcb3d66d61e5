"""Whatever is done to the files of a run, a verb answers, or names what is wrong in one line."""

from __future__ import annotations

import json
import random
import re

import pytest

from flowgrad.__main__ import main

TEXTS = (
    b"nan", b"inf", b"1e999", b"", b"\x00", b'"', b",", b"\n", b"-1", b"9" * 30, b"one", b"\xff", b"{", b"[", b": ",
    b"<", b"\x1b[31m", "\u202e".encode(), b"1_0", "\u0661".encode(),
)  # fmt: skip
CALLS = (
    ["findings", "RUN"],
    ["history", "RUN"],
    ["history", "RUN", "training", "validation_loss"],
    ["rows", "RUN", "item_emb"],
    ["compare", "RUN/report.xml", "RUN/report_treated.xml"],
    ["prove", "RUN"],
    ["runs", "RUN/.."],
)


def damaged(data, chance):
    """A value in another's place, something put in or taken out, or the end cut off."""
    data = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 5])):
        place = chance.randrange(len(data) + 1)
        match chance.randrange(4):
            case 0:
                spots = [found.span() for found in re.finditer(rb'[^,\n"<> =:]+', bytes(data))]
                start, end = chance.choice(spots or [(0, 0)])
                data[start:end] = chance.choice(TEXTS)
            case 1:
                data[place:place] = chance.choice(TEXTS)
            case 2:
                del data[place : place + chance.choice([1, 3, 30, 300])]
            case 3:
                del data[place:]
    return bytes(data)


@pytest.mark.parametrize("seed", range(4))
def test_a_verb_answers_or_names_what_is_wrong(seed, run, capsys):
    chance = random.Random(seed)
    files = {path.name: path.read_bytes() for path in sorted(run.iterdir())}
    for _ in range(8):
        name = chance.choice(list(files))
        (run / name).write_bytes(damaged(files[name], chance))
        for call in CALLS:
            words = [word.replace("RUN", str(run)) for word in call]
            code = main([*words, "--json"])
            printed = capsys.readouterr()
            errors = [line for line in printed.err.splitlines() if line.startswith("error: ")]
            assert code in (0, 1, 2)
            assert (code == 2) == (len(errors) == 1), printed.err
            assert "\x1b" not in printed.err
            if code != 2:
                json.loads(printed.out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
        (run / name).write_bytes(files[name])


def test_splits_whose_overlap_is_no_number_are_no_pairs(run, answer):
    (run / "config.yaml").write_text((run / "config.yaml").read_text().replace("null", "much"))
    found = answer("compare", run / "report.xml", run / "report_treated.xml")
    assert "comparison.overlap is 'much'" in found["untested"]
