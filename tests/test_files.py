import os
import stat
import subprocess
import sys
import textwrap
import time

import pytest

from flowgrad import files
from flowgrad.files import write_atomically


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("data", [b"", b"\x00\xff\r\n", b"x" * 1_000_000])
@pytest.mark.parametrize("as_text", [True, False])
def test_content(tmp_path, data, as_text):
    path = tmp_path / "report.xml"
    write_atomically(str(path) if as_text else path, data)
    assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == [path]


def test_an_older_file_is_replaced_whole(tmp_path):
    path = tmp_path / "report.xml"
    path.write_bytes(b"a longer old text")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_of_the_old_file_keeps_it(tmp_path):
    path = tmp_path / "report.xml"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        write_atomically(path, b"new")
        assert reader.read() == b"old"


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_permissions_follow_the_umask(tmp_path):
    """In a process of its own, for the umask belongs to all threads; writing leaves it as it was."""
    script = """
        import os, sys
        from flowgrad.files import write_atomically
        for umask in (0o022, 0o077, 0o002):
            os.umask(umask)
            write_atomically(os.path.join(sys.argv[1], oct(umask)), b"data")
            assert os.umask(0) == umask
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(tmp_path)], check=True)
    assert {path.name: oct(mode(path)) for path in tmp_path.iterdir()} == {
        "0o22": "0o644",
        "0o77": "0o600",
        "0o2": "0o664",
    }


@pytest.mark.parametrize("fault", ["fsync", "chmod", "replace"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, fault, error):
    path = tmp_path / "report.xml"
    path.write_bytes(b"old")

    def fail(*arguments):
        raise error

    monkeypatch.setattr(files.os, fault, fail)
    with pytest.raises(type(error)):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_before_there_was_a_file_leaves_none(tmp_path):
    with pytest.raises(TypeError):
        write_atomically(tmp_path / "report.xml", "text is not bytes")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "nowhere" / "report.xml", b"")
    assert list(tmp_path.iterdir()) == []


def leftover(parent, age, name=".download-x"):
    folder = parent / name
    folder.mkdir()
    (folder / "part.zip").write_bytes(b"half")
    then = time.time() - age
    os.utime(folder, (then, then))
    return folder


def test_a_folder_of_a_killed_process_is_removed_by_the_next(tmp_path):
    """Downloads of runs that were killed stayed in the cache for good."""
    old, young = leftover(tmp_path, 60), leftover(tmp_path, 0, ".download-y")
    kept = leftover(tmp_path, 60, "download-mine")
    (tmp_path / ".download-file").write_bytes(b"")
    with files.temporary_folder(tmp_path, ".download-") as folder:
        assert folder.is_dir()
        assert not old.exists()
    assert not folder.exists()
    assert young.exists()
    assert kept.exists()
    assert (tmp_path / ".download-file").exists()


def test_a_folder_that_is_in_use_stays(tmp_path):
    with files.temporary_folder(tmp_path, ".download-") as mine:
        os.utime(mine, (1, 1))
        with files.temporary_folder(tmp_path, ".download-"):
            assert mine.exists()


def test_a_link_is_not_followed(tmp_path):
    target = leftover(tmp_path, 60, "target")
    (tmp_path / ".download-link").symlink_to(target)
    files.clear_folders(tmp_path, ".download-")
    assert (target / "part.zip").exists()


def test_a_pipe_that_nobody_reads_is_not_waited_for(tmp_path):
    """A run hung for ever where a pipe stood in the place of one of its files."""
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(OSError, match="No such device"):
        write_atomically(tmp_path / "a.csv", b"x")
    reader = os.open(tmp_path / "a.csv", os.O_RDONLY | os.O_NONBLOCK)
    write_atomically(tmp_path / "a.csv", b"x" * 1000)
    assert os.read(reader, 2000) == b"x" * 1000
    os.close(reader)
