"""submitd.files: files that are edited while the server runs."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from submitd.files import WatchedFile, locked, replace_file


class Watched:
    """A watched file of text, with a clock and a count of readings."""

    def __init__(self, path: Path) -> None:
        self.clock = Clock()
        self.read = 0
        self._file = WatchedFile(path, self._parse, self.clock.seconds)

    def _parse(self, data: bytes) -> str:
        self.read += 1
        return data.decode()

    def later(self) -> str:
        """The content after a second."""
        self.clock.advance(1)
        return self._file.content()

    def now(self) -> str:
        """The content now."""
        return self._file.content()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with something in it."""
    path = tmp_path / "file"
    path.write_text("one")
    return path


def test_a_change_is_seen_within_a_second(path: Path) -> None:
    """A change is seen a second later, written in place or put in place."""
    watched = Watched(path)
    assert watched.now() == "one"
    path.write_text("two")
    assert watched.now() == "one"
    assert watched.later() == "two"
    replace_file(path, b"six")
    assert watched.later() == "six"


def test_an_unchanged_file_is_read_once(path: Path) -> None:
    """Nothing is read again without a change."""
    watched = Watched(path)
    for _ in range(5):
        watched.later()
    assert watched.read == 1


def test_an_edit_that_sets_the_old_time_is_seen(path: Path) -> None:
    """Same size and time of modification do not hide an edit."""
    watched = Watched(path)
    stat = path.stat()
    path.write_text("two")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert watched.later() == "two"


def test_quick_edits_are_all_seen(path: Path) -> None:
    """Edits of the same size, quicker than the file system's clock ticks, are all seen."""
    watched = Watched(path)
    for number in range(200):
        path.write_text(f"{number:03}")
        assert watched.later() == f"{number:03}"


def test_a_clock_set_back_does_not_stop_it(path: Path) -> None:
    """A change is seen although the clock was set back."""
    watched = Watched(path)
    watched.clock.advance(1_000_000)
    watched.now()
    path.write_text("two")
    watched.clock.rightNow = 0
    assert watched.now() == "two"


def test_a_file_that_vanishes_keeps_its_content(path: Path) -> None:
    """The last good content stays in use, and the log says so once, and when it is back."""
    watched = Watched(path)
    path.unlink()
    with capturedLogs() as events:
        assert [watched.later() for _ in range(3)] == ["one"] * 3
    (event,) = events
    assert (event["path"], event["reason"]) == (str(path), "No such file or directory")
    path.write_text("two")
    with capturedLogs() as events:
        assert watched.later() == "two"
    assert [event["log_level"].name for event in events] == ["info"]


def test_a_file_that_is_not_there_at_the_start_is_an_error(tmp_path: Path) -> None:
    """Without any content there is nothing to go on with."""
    with pytest.raises(FileNotFoundError):
        Watched(tmp_path / "missing")


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o660, 0o400])
def test_replacing_keeps_the_mode(path: Path, mode: int) -> None:
    """The new file has the mode of the old one."""
    path.chmod(mode)
    replace_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o7777 == mode


@pytest.mark.may_skip(reason="only root may give files away")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_replacing_keeps_the_owner(path: Path) -> None:
    """The new file has the owner and group of the old one; a new one the directory's group."""
    os.chown(path, 12345, 23456)
    replace_file(path, b"two")
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 23456)
    os.chown(path.parent, 0, 34567)
    replace_file(path.with_name("new"), b"")
    assert (path.with_name("new").stat().st_uid, path.with_name("new").stat().st_gid) == (0, 34567)


def test_a_new_file_is_not_for_everybody(tmp_path: Path) -> None:
    """A file that was not there is readable by its owner and group alone."""
    replace_file(tmp_path / "new", b"x")
    assert (tmp_path / "new").stat().st_mode & 0o7777 == 0o640


def test_a_symbolic_link_stays(path: Path) -> None:
    """What a link points to is replaced, not the link."""
    link = path.with_name("link")
    link.symlink_to(path)
    replace_file(link, b"two")
    assert link.is_symlink()
    assert path.read_bytes() == b"two"


def broken(*_: Any) -> None:
    """What a bad disk does."""
    raise OSError(5, "Input/output error")


@pytest.mark.parametrize("fault", [{"fsync": broken}, {"rename": broken}], ids=["fsync", "rename"])
def test_a_fault_leaves_the_old_file(path: Path, fault: dict[str, Callable[..., None]]) -> None:
    """When a step fails, the old file is there as it was, and nothing else."""
    with pytest.raises(OSError, match="Input/output error"):
        replace_file(path, b"two", **fault)
    assert path.read_bytes() == b"one"
    assert list(path.parent.iterdir()) == [path]


def test_the_new_file_is_durable_before_it_takes_the_place(path: Path) -> None:
    """The content is synced before the rename, the directory after it."""
    steps: list[str] = []

    def fsync(descriptor: int) -> None:
        steps.append("directory" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "content")

    def rename(old: str, new: Path) -> None:
        steps.append("rename")
        assert Path(old).read_bytes() == b"two"
        os.replace(old, new)

    replace_file(path, b"two", fsync=fsync, rename=rename)
    assert steps == ["content", "rename", "directory"]


def test_a_crash_leaves_the_old_file(path: Path) -> None:
    """A process that dies before the rename leaves the old file as it was."""
    script = (
        "import os, sys; from pathlib import Path; from submitd.files import replace_file\n"
        "replace_file(Path(sys.argv[1]), b'two', rename=lambda old, new: os._exit(7))"
    )
    done = subprocess.run([sys.executable, "-c", script, path], cwd=Path(__file__).parents[1])
    assert done.returncode == 7
    assert path.read_bytes() == b"one"


def test_the_lock_lets_one_change_at_a_time(path: Path) -> None:
    """Many processes that change a file at one time lose no change."""
    path.write_text("0")
    script = (
        "import sys; from pathlib import Path; from submitd.files import locked, replace_file\n"
        "path = Path(sys.argv[1])\n"
        "for _ in range(25):\n"
        "    with locked(path):\n"
        "        replace_file(path, b'%d' % (int(path.read_bytes()) + 1), fsync=lambda fd: None)"
    )
    root = Path(__file__).parents[1]
    processes = [subprocess.Popen([sys.executable, "-c", script, path], cwd=root) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    assert path.read_text() == "100"


def test_the_lock_is_for_its_owner_alone(path: Path) -> None:
    """Other users can't hold the lock: its file is closed to them."""
    with locked(path):
        (lock,) = (each for each in path.parent.iterdir() if each != path)
    assert lock.stat().st_mode & 0o777 == 0o600
