"""MovieLens-100K, read from the first source that can be reached and checked against one checksum of its content.

The data are GroupLens' (see README.md beside this file): they are read and cached, never committed.
"""

import io
import logging
import os
import re
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pooch

from datasets.ratings import Ratings, encode_ratings
from flowgrad.errors import FlowGradError

NAME = "ml-100k"
N_RATINGS, N_USERS, N_ITEMS = 100_000, 943, 1_682

CONTENT_SHA256 = "0366ee810ad1c0e18e7d7c285e4ff367e4a250848fa6bfab7d254e688c6555c3"
"""`datasets.ratings.content_sha256` of MovieLens-100K: the same for every source, for all keep the rows' order."""

ARCHIVE_URL = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
ARCHIVE_MD5 = "0e33842e24a9c977be4e0107933c0723"

WHEEL = "recbole==1.2.1"
WHEEL_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"

_CACHE_VARIABLE = "FLOWGRAD_CACHE"
_CACHED_FILE = "ml-100k.inter"
_MEMBERS = ("u.data", "ml-100k.inter")
_FIELDS = ("user_id:token", "item_id:token", "rating:float", "timestamp:float")
_ARCHIVE_TIMEOUT_SECONDS = 15
_WHEEL_TIMEOUT_SECONDS = 120
_REASON_LENGTH = 200

_logger = logging.getLogger(__name__)


class _UnreachableError(Exception):
    """A source that cannot be reached: the next one is tried."""


def default_cache() -> Path:
    """The folder that verified copies are kept in: `$FLOWGRAD_CACHE`, else the user's cache folder for flowgrad."""
    return Path(os.environ.get(_CACHE_VARIABLE) or pooch.os_cache("flowgrad"))


def load_movielens_100k(path: str | Path | None = None, cache: str | Path | None = None) -> Ratings:
    """MovieLens-100K from the first of these sources.

    1. `path`, where one is given, and then nothing else: a folder with `u.data` (GroupLens) or `ml-100k.inter`
       (RecBole), at its top or under `ml-100k/`; one of those files; `ml-100k.zip`; or the RecBole wheel.
    2. The verified copy in `cache` (None: `default_cache()`).
    3. GroupLens' archive, checked by MD5.
    4. The copy shipped in the PyPI wheel recbole 1.2.1, checked by SHA-256. The wheel is fetched as a file; it is
       not installed and nothing in it runs.

    A source that cannot be reached gives way to the next. A checksum that does not match never does: it ends the
    load, since the wrong data under a right name is what checksums are there to stop. Whatever the source, the
    content must have `CONTENT_SHA256`. A download is kept in `cache` by an atomic rename, so that two processes may
    load at once. Which source was used is logged at INFO, and which ones failed and why.

    Raises:
        FlowGradError: `path` or the cached copy is missing, unreadable, damaged or other data; a download has the
            wrong checksum; the cache folder cannot be written to; or no source can be reached.
    """
    if path is not None:
        given = Path(path).expanduser()
        ratings = _ratings(_read_given(given), source=str(given), where=f"dataset.path {str(given)!r}")
    else:
        ratings = _from_cache_or_download(default_cache() if cache is None else Path(cache).expanduser())
    _logger.info("MovieLens-100K: read from %s", ratings.source)
    return ratings


def _from_cache_or_download(cache: Path) -> Ratings:
    cached = cache / _CACHED_FILE
    if os.path.lexists(cached):
        return _from_cache(cached)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # Inside the cache, so that the rename at the end stays on one file system and is atomic.
        with tempfile.TemporaryDirectory(prefix=".download-", dir=cache, ignore_cleanup_errors=True) as folder:
            return _download(Path(folder), cached)
    except OSError as error:
        raise FlowGradError(
            f"the cache folder {str(cache)!r} cannot be written to ({_reason(error)}); set {_CACHE_VARIABLE} to a "
            f"folder that can, or dataset.path=... to a copy of ml-100k.zip from {ARCHIVE_URL}"
        ) from error


def _from_cache(cached: Path) -> Ratings:
    where, way_out = f"the cached copy {str(cached)!r}", "delete it and run again"
    try:
        data = cached.read_bytes()
    except OSError as error:
        raise FlowGradError(f"{where} cannot be read ({_reason(error)}); {way_out}") from error
    return _ratings(data, source=f"cached copy {cached}", where=where, way_out=way_out)


def _download(folder: Path, cached: Path) -> Ratings:
    sources: tuple[tuple[str, Callable[[Path], Path]], ...] = (
        (f"GroupLens' archive {ARCHIVE_URL}", _fetch_archive),
        (f"PyPI wheel {WHEEL}", _fetch_wheel),
    )
    failures = []
    for source, fetch in sources:
        try:
            downloaded = fetch(folder)
        except _UnreachableError as error:
            _logger.info("MovieLens-100K: %s not reachable: %s", source, error)
            failures.append(f"{source}: {error}")
            continue
        ratings = _ratings(_read_zip(downloaded, source), source=source, where=source)
        _keep(ratings, folder / _CACHED_FILE, cached)
        return ratings
    raise FlowGradError(
        f"MovieLens-100K: no source can be reached ({'; '.join(failures)}); download {ARCHIVE_URL} on a machine that "
        "can and set dataset.path=/folder/ml-100k.zip"
    )


def _fetch_archive(folder: Path) -> Path:
    try:
        return _fetch_quietly(folder)
    except OSError as error:  # every requests.RequestException is an OSError: no network, time-out, cut, HTTP status
        raise _UnreachableError(_reason(error)) from error
    except ValueError as error:
        raise FlowGradError(
            f"{ARCHIVE_URL} does not have the MD5 {ARCHIVE_MD5}: the download was changed or cut on its way; run "
            "again, or get the file by other means and set dataset.path=/folder/ml-100k.zip"
        ) from error


def _fetch_quietly(folder: Path) -> Path:
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    downloader = pooch.HTTPDownloader(progressbar=False, timeout=_ARCHIVE_TIMEOUT_SECONDS)
    try:
        return Path(
            pooch.retrieve(
                ARCHIVE_URL, known_hash=f"md5:{ARCHIVE_MD5}", fname="ml-100k.zip", path=folder, downloader=downloader
            )
        )
    finally:
        logger.setLevel(level)


def _fetch_wheel(folder: Path) -> Path:
    options = [
        "--quiet",
        "--no-cache-dir",
        "--disable-pip-version-check",
        "--no-input",
        "--retries",
        "1",
        "--timeout",
        "15",
    ]
    command = [sys.executable, "-m", "pip", "download", *options, "--no-deps", "--only-binary=:all:"]
    try:
        result = subprocess.run(
            [*command, "--dest", str(folder), WHEEL],
            capture_output=True,
            check=False,
            timeout=_WHEEL_TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise _UnreachableError(f"pip download took more than {_WHEEL_TIMEOUT_SECONDS} s") from error
    except OSError as error:
        raise _UnreachableError(f"pip could not be started: {_reason(error)}") from error
    wheels = sorted(folder.glob("*.whl"))
    if result.returncode != 0 or not wheels:
        complaint = result.stderr.decode(errors="replace").strip().splitlines()
        last_line = complaint[-1][:_REASON_LENGTH] if complaint else "no message"
        raise _UnreachableError(f"pip download ended with status {result.returncode}: {last_line}")
    found = pooch.file_hash(str(wheels[0]), alg="sha256")
    if found != WHEEL_SHA256:
        raise FlowGradError(
            f"the wheel {WHEEL} has the SHA-256 {found} instead of {WHEEL_SHA256}: the download was changed or cut on "
            f"its way; run again, or download {ARCHIVE_URL} and set dataset.path=/folder/ml-100k.zip"
        )
    return wheels[0]


def _keep(ratings: Ratings, temporary: Path, cached: Path) -> None:
    try:
        temporary.write_bytes(_inter_bytes(ratings))
        os.replace(temporary, cached)
    except OSError as error:
        _logger.warning("MovieLens-100K: no copy kept in %s: %s", cached, _reason(error))


def _inter_bytes(ratings: Ratings) -> bytes:
    frame = ratings.frame
    rows = zip(
        ratings.user_ids[frame["user"]],
        ratings.item_ids[frame["item"]],
        frame["rating"].astype(int),
        frame["timestamp"],
        strict=True,
    )
    lines = ["\t".join(_FIELDS), *("\t".join(map(str, row)) for row in rows)]
    return ("\n".join(lines) + "\n").encode("ascii")


def _read_given(path: Path) -> bytes:
    where = f"dataset.path {str(path)!r}"
    try:
        if not path.is_dir():
            zipped = path.suffix.lower() in (".zip", ".whl") or zipfile.is_zipfile(path)
            return _read_zip(path, where) if zipped else path.read_bytes()
        candidates = [folder / member for folder in (path, path / NAME) for member in _MEMBERS]
        found = next((candidate for candidate in candidates if candidate.is_file()), None)
        if found is None:
            raise FlowGradError(
                f"{where} holds neither {' nor '.join(_MEMBERS)}; give the folder unpacked from {ARCHIVE_URL}, or "
                "that file itself"
            )
        return found.read_bytes()
    except OSError as error:
        raise FlowGradError(
            f"{where} cannot be read ({_reason(error)}); give ml-100k.zip from {ARCHIVE_URL}, the folder unpacked "
            "from it, or leave dataset.path unset to download it"
        ) from error


def _read_zip(path: Path, where: str) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.rpartition("/")[2] in _MEMBERS]
            if not names:
                raise FlowGradError(f"{where} holds neither {' nor '.join(_MEMBERS)}; give ml-100k.zip: {ARCHIVE_URL}")
            return archive.read(names[0])
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise FlowGradError(
            f"{where} is no whole zip archive ({_reason(error)}), perhaps a cut download; get it again: {ARCHIVE_URL}"
        ) from error


def _ratings(data: bytes, source: str, where: str, way_out: str = f"get it again: {ARCHIVE_URL}") -> Ratings:
    """Parse `u.data` or `ml-100k.inter` (told apart by the header) and check that it is MovieLens-100K, whole."""
    body = data.removeprefix("\t".join(_FIELDS).encode())
    try:
        table = pd.read_csv(io.BytesIO(body), sep="\t", header=None, quoting=3, dtype=str, keep_default_na=False)
        if table.shape[1] != len(_FIELDS):
            raise ValueError(f"{table.shape[1]} columns instead of {len(_FIELDS)}")
        users, items = (table[column].to_numpy(dtype=object) for column in (0, 1))
        numbers = table[[2, 3]].astype(np.float64)
        ratings = encode_ratings(NAME, source, users, items, numbers[2], numbers[3])
    except ValueError as error:  # pandas' parser errors, undecodable bytes and FlowGradError are ValueErrors
        raise FlowGradError(f"{where} is not MovieLens-100K as published: {_reason(error)}; {way_out}") from error
    fault = _fault(ratings)
    if fault is not None:
        raise FlowGradError(f"{where} is not MovieLens-100K as published: {fault}; {way_out}")
    return ratings


def _fault(ratings: Ratings) -> str | None:
    counts = (
        (len(ratings.frame), N_RATINGS, "ratings"),
        (ratings.n_users, N_USERS, "users"),
        (ratings.n_items, N_ITEMS, "items"),
    )
    for found, expected, what in counts:
        if found != expected:
            return f"{found:,} {what} instead of {expected:,}"
    if not ratings.frame["rating"].isin([1, 2, 3, 4, 5]).all():
        return "ratings other than 1, 2, 3, 4 and 5"
    if ratings.sha256 != CONTENT_SHA256:
        return f"content checksum {ratings.sha256} instead of {CONTENT_SHA256}"
    return None


def _reason(error: Exception) -> str:
    text = re.sub(r"\s+", " ", str(error)).strip()
    return f"{type(error).__name__}: {text[:_REASON_LENGTH]}"
