"""Fetches MovieLens-100K from the first source that can be reached, checked against its checksum, and caches it.

The data are GroupLens' (see README.md in this folder): they are read and cached, never committed.
"""

import io
import logging
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import pooch

from datasets.given_paths import given_path
from datasets.wheels import (
    CACHE_VARIABLE,
    MOST_ARCHIVE,
    NO_ZIP,
    UnreachableError,
    default_cache,
    download_wheel,
    read_member,
    reason,
)
from flowgrad.csv_tables import check_shape
from flowgrad.errors import FlowGradError
from flowgrad.files import read_bounded, temporary_folder

ARCHIVE_URL = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
ARCHIVE_MD5 = "0e33842e24a9c977be4e0107933c0723"

WHEEL = "recbole==1.2.1"
WHEEL_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"

MOST_MEMBER = 4 << 20
"""Number of bytes of a file of the data set, unpacked; the longest has 2 MB."""
MOST_COLUMNS = 64
"""Number of columns of a file of the data set, at most; the widest has 24."""

_FOLDER = "ml-100k"
_AGAIN = f"get it again: {ARCHIVE_URL}"
_ARCHIVE_TIMEOUT_SECONDS = 15
_PROBE = 1 << 12

_logger = logging.getLogger(__name__)

Read = TypeVar("Read")


@dataclass(frozen=True)
class Wanted(Generic[Read]):
    """Files of the data set that are read together."""

    members: tuple[tuple[str, str], ...]
    """Name of each file at GroupLens, and in RecBole's wheel; it is cached under the latter."""
    read: Callable[[Sequence[bytes], str], Read]
    """Function that parses the files' contents, given the source's name; a ValueError says what is wrong."""
    kept: Callable[[Read], Sequence[bytes]]
    """Function that gives the contents to cache, a file each, so that `read` gives the same of them."""


def fetch(wanted: Wanted[Read], path: str | Path | None = None, cache: str | Path | None = None) -> tuple[Read, str]:
    """Fetch the files wanted from the first of these sources, with the name of that source.

    1. `path`, where one is given, and then nothing else: a folder with GroupLens' files or RecBole's, at its top or
       under `ml-100k/`; one of those files, with the others next to it; `ml-100k.zip`; or the RecBole wheel.
    2. The verified copies in `cache` (None: `default_cache()`).
    3. GroupLens' archive, checked by MD5.
    4. The copy shipped in the PyPI wheel recbole 1.2.1, checked by SHA-256. The wheel is fetched as a file; it is
       not installed and nothing in it runs.

    A source that cannot be reached gives way to the next. A checksum that does not match never does: it ends the
    load, since the wrong data under a right name is what checksums are there to stop. Downloads are kept in `cache`
    by an atomic rename, so that two processes may load at once. Which source was used is logged at INFO, and which
    ones failed and why.

    Raises:
        FlowGradError: `path` or a cached copy is missing, unreadable, damaged or other data; a download has the
            wrong checksum; the cache folder cannot be written to; or no source can be reached.
    """
    if path is not None:
        given = given_path("dataset.path", path)
        found = _read(wanted, _read_given(given, wanted), str(given), where=f"dataset.path {str(given)!r}")
    else:
        found = _from_cache_or_download(
            wanted, default_cache() if cache is None else given_path("dataset.cache", cache)
        )
    _logger.info("MovieLens-100K: read from %s", found[1])
    return found


def _from_cache_or_download(wanted: Wanted[Read], cache: Path) -> tuple[Read, str]:
    cached = [cache / names[-1] for names in wanted.members]
    if all(map(os.path.lexists, cached)):
        return _from_cache(wanted, cached)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # Inside the cache, so that the rename at the end stays on one file system and is atomic.
        with temporary_folder(cache, ".download-") as folder:
            return _download(wanted, folder, cached)
    except OSError as error:
        raise FlowGradError(
            f"the cache folder {str(cache)!r} cannot be written to ({reason(error)}); set {CACHE_VARIABLE} to a "
            f"folder that can, or dataset.path=... to a copy of ml-100k.zip from {ARCHIVE_URL}"
        ) from error


def _from_cache(wanted: Wanted[Read], cached: Sequence[Path]) -> tuple[Read, str]:
    shown = " and ".join(repr(str(path)) for path in cached)
    where, way_out = f"the cached copy {shown}", "delete it and run again"
    try:
        data = [read_bounded(path, MOST_MEMBER) for path in cached]
    except OSError as error:
        raise FlowGradError(f"{where} cannot be read ({reason(error)}); {way_out}") from error
    source = f"cached copy {' and '.join(map(str, cached))}"
    return _read(wanted, data, source, where=where, way_out=way_out)


def _download(wanted: Wanted[Read], folder: Path, cached: Sequence[Path]) -> tuple[Read, str]:
    sources: tuple[tuple[str, Callable[[Path], Path]], ...] = (
        (f"GroupLens' archive {ARCHIVE_URL}", _fetch_archive),
        (f"PyPI wheel {WHEEL}", _fetch_wheel),
    )
    failures = []
    for source, get in sources:
        try:
            downloaded = get(folder)
        except UnreachableError as error:
            _logger.info("MovieLens-100K: %s not reachable: %s", source, error)
            failures.append(f"{source}: {error}")
            continue
        found = _read(wanted, _unzipped(read_bounded(downloaded, MOST_ARCHIVE), wanted, source), source, where=source)
        _keep(wanted.kept(found[0]), folder, cached)
        return found
    raise FlowGradError(
        f"MovieLens-100K: no source can be reached ({'; '.join(failures)}); download {ARCHIVE_URL} on a machine that "
        "can and set dataset.path=/folder/ml-100k.zip"
    )


def _fetch_archive(folder: Path) -> Path:
    try:
        return _fetch_quietly(folder)
    except OSError as error:  # every requests.RequestException is an OSError: no network, time-out, cut, HTTP status
        raise UnreachableError(reason(error)) from error
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
    way_out = f"download {ARCHIVE_URL} and set dataset.path=/folder/ml-100k.zip"
    return download_wheel(WHEEL, WHEEL_SHA256, folder, way_out)


def _keep(contents: Sequence[bytes], folder: Path, cached: Sequence[Path]) -> None:
    try:
        for content, path in zip(contents, cached, strict=True):
            temporary = folder / path.name
            temporary.write_bytes(content)
            os.replace(temporary, path)
    except OSError as error:
        _logger.warning("MovieLens-100K: no copy kept in %s: %s", cached[0].parent, reason(error))


def _read_given(path: Path, wanted: Wanted[Read]) -> list[bytes]:
    where = f"dataset.path {str(path)!r}"
    try:
        if not path.is_dir():
            data = read_bounded(path, MOST_ARCHIVE)
            if path.suffix.lower() in (".zip", ".whl") or zipfile.is_zipfile(io.BytesIO(data)):
                return _unzipped(data, wanted, where)
            if len(wanted.members) == 1:
                return [data if len(data) <= MOST_MEMBER else read_bounded(path, MOST_MEMBER)]
            path = path.parent
        for number in range(2):  # GroupLens' names, then RecBole's: files of both are not mixed
            for folder in (path, path / _FOLDER):
                files = [folder / names[number] for names in wanted.members]
                if all(file.is_file() for file in files):
                    return [read_bounded(file, MOST_MEMBER) for file in files]
    except OSError as error:
        raise FlowGradError(
            f"{where} cannot be read ({reason(error)}); give ml-100k.zip from {ARCHIVE_URL}, the folder unpacked "
            "from it, or leave dataset.path unset to download it"
        ) from error
    raise FlowGradError(
        f"{where} holds neither {_names(wanted)}; give the folder unpacked from {ARCHIVE_URL}, or "
        f"{'that file itself' if len(wanted.members) == 1 else 'ml-100k.zip'}"
    )


def _names(wanted: Wanted[Read]) -> str:
    return " nor ".join(" and ".join(names[number] for names in wanted.members) for number in range(2))


def _unzipped(data: bytes, wanted: Wanted[Read], where: str) -> list[bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name.rpartition("/")[2]: name for name in reversed(archive.namelist())}
            for number in range(2):
                names = [pair[number] for pair in wanted.members]
                if all(name in members for name in names):
                    return [read_member(archive, members[name], MOST_MEMBER, where, _AGAIN) for name in names]
    except FlowGradError:
        raise
    except NO_ZIP as error:
        raise FlowGradError(
            f"{where} is no whole zip archive ({reason(error)}), perhaps a cut download; get it again: {ARCHIVE_URL}"
        ) from error
    raise FlowGradError(f"{where} holds neither {_names(wanted)}; give ml-100k.zip: {ARCHIVE_URL}")


def _read(
    wanted: Wanted[Read],
    data: Sequence[bytes],
    source: str,
    where: str,
    way_out: str = _AGAIN,
) -> tuple[Read, str]:
    try:
        for one in data:
            check_shape(one, b"\t" if b"\t" in one[:_PROBE] else b"|", MOST_COLUMNS)
        return wanted.read(data, source), source
    except ValueError as error:  # pandas' parser errors, undecodable bytes and FlowGradError are ValueErrors
        raise FlowGradError(f"{where} is not MovieLens-100K as published: {reason(error)}; {way_out}") from error
