"""Small files that are edited while the server runs: followed, and replaced whole."""

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import attrs
from twisted.logger import Logger

T = TypeVar("T")

FAULTS_IN_LOG = 20
LOOK_EVERY_S = 1  # an edit counts after a second at the latest; a stat a second costs nothing
# Two edits within one tick of the file system's clock, 10 ms at most, look like one.
SETTLED_NS = 100_000_000

_Signature = tuple[int, int, int, int]


@attrs.frozen(slots=True)
class FileFault:
    """A line of a file that can't be used.

    :ivar number: the line, from 1.
    :ivar reason: what is wrong with it; nothing of what it contains.
    """

    number: int
    reason: str


def log_faults(log: Logger, path: Path, faults: Sequence[FileFault]) -> None:
    """Warn of the first faults of a file, one line each.

    A file of another kind, named by mistake, must not fill the log.
    """
    for fault in faults[:FAULTS_IN_LOG]:
        log.warn(
            "{path}, line {number}: {reason}; the line is ignored",
            path=str(path),
            number=fault.number,
            reason=fault.reason,
        )


class WatchedFile(Generic[T]):
    """The content of a file, read again when the file has changed.

    A file that has vanished or can't be read any more keeps its last good content;
    the log says so once.

    :param path: the file; small enough to be read and parsed in one go.
    :param parse: makes the content from the file's octets; does not raise.
    :param seconds: the clock (`IReactorTime.seconds`).
    :raises OSError: when the file can't be read now.
    """

    _log = Logger()

    def __init__(self, path: Path, parse: Callable[[bytes], T], seconds: Callable[[], float]):
        self._path = path
        self._parse = parse
        self._seconds = seconds
        self._trouble: str | None = None
        self._data: bytes | None = None
        self._read()
        self._looked_s = seconds()

    def content(self) -> T:
        """The parsed content, not older than `LOOK_EVERY_S` if the file is readable."""
        now_s = self._seconds()
        # A clock that was set back must not stop us from looking.
        if not 0 <= now_s - self._looked_s < LOOK_EVERY_S:
            self._looked_s = now_s
            self._look()
        return self._content

    def _look(self) -> None:
        try:
            if _signature(os.stat(self._path)) != self._signature:
                self._read()
        except OSError as error:
            trouble = error.strerror or type(error).__name__
            if trouble != self._trouble:
                self._log.error(
                    "cannot read {path}: {reason}; its last good content stays in use",
                    path=str(self._path),
                    reason=trouble,
                )
            self._trouble = trouble
        else:
            if self._trouble is not None:
                self._log.info("{path} can be read again", path=str(self._path))
            self._trouble = None

    def _read(self) -> None:
        with open(self._path, "rb") as file:
            # First the signature: what changes during the read is read again.
            stat = os.fstat(file.fileno())
            data = file.read()
        # Not the injected clock: this is compared with the file system's.
        settled = time.time_ns() - stat.st_ctime_ns > SETTLED_NS
        self._signature = _signature(stat) if settled else None
        if data != self._data:
            self._content = self._parse(data)
            self._data = data


def _signature(stat: os.stat_result) -> _Signature:
    # The time of the last change of the inode sees an edit that sets the old mtime again.
    return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes that ask for the same lock from changing *path* meanwhile.

    The lock is held on `.NAME.lock` beside the file, because the file itself is
    replaced; that file stays.  Waits for its turn.

    :raises OSError: when the lock file can't be opened.
    """
    path = path.resolve()
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path.with_name(f".{path.name}.lock"), flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def replace_file(
    path: Path,
    data: bytes,
    *,
    mode: int = 0o640,
    fsync: Callable[[int], None] = os.fsync,
    rename: Callable[[str, Path], None] = os.replace,
) -> None:
    """Write a file so that a reader, or a crash at any instant, sees the old one or the new one.

    The new file has the owner, group and mode of the one it replaces.  A file that
    was not there has the directory's group, where the system lets us, and *mode*.
    A symbolic link stays, and what it points to is replaced.

    :param fsync: makes what was written durable; for the injection of faults.
    :param rename: puts the new file in its place; for the injection of faults.
    :raises OSError: when it can't be written, or its owner can't be kept; nothing has changed then.
    """
    path = path.resolve()
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            _take_over_owner(path, descriptor, mode)
            file.write(data)
            file.flush()
            fsync(descriptor)
        rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fsync(directory)
    finally:
        os.close(directory)


def _take_over_owner(path: Path, descriptor: int, mode: int) -> None:
    ours = os.fstat(descriptor)
    try:
        old = os.stat(path)
    except FileNotFoundError:
        group = os.stat(path.parent).st_gid
        if group != ours.st_gid:
            with contextlib.suppress(PermissionError):
                os.fchown(descriptor, -1, group)
    else:
        mode = old.st_mode & 0o7777
        if (old.st_uid, old.st_gid) != (ours.st_uid, ours.st_gid):
            os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, mode)
