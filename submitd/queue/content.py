"""Where a message's content is: in memory, or in a file of the spool."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, ClassVar

import attrs
from twisted.internet.defer import Deferred
from zope.interface import implementer

from submitd.interfaces import IContent
from submitd.queue.faults import Before
from submitd.queue.threads import Threads


@implementer(IContent)
class BytesContent:
    """Content that is in memory.

    :param data: all of it.
    """

    __slots__ = ("_data", "size")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read(self, offset: int, octets: int) -> bytes:
        """At once, see `IContent`."""
        return self._data[offset : offset + octets]


@implementer(IContent)
@attrs.frozen(slots=True, eq=False)
class FileContent:
    """Content that is in a file, read in threads."""

    _path: Path
    size: int
    _threads: Threads

    def read(self, offset: int, octets: int) -> Deferred[bytes]:
        """From the file, see `IContent`."""
        return self._threads.run(_read, self._path, offset, octets)


def _read(path: Path, offset: int, octets: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        return file.read(octets)


@attrs.frozen
class Bodies:
    """The folder of the content that is too large for the database: a file a message.

    All of it blocks.

    :ivar directory: the folder; files in it are named by the queue ids.
    :ivar before: called ahead of each step with its name, for tests: `create`, `write`,
        `sync file`, `rename`, `sync directory`.
    """

    UNFINISHED: ClassVar[str] = ".part"

    directory: Path
    before: Before

    def path(self, queue_id: str) -> Path:
        """The file of a message."""
        return self.directory / queue_id

    def remove(self, queue_id: str) -> None:
        """Take the file away, if it is there."""
        self.path(queue_id).unlink(missing_ok=True)

    def names(self) -> set[str]:
        """The names of all files, unfinished ones among them."""
        return set(os.listdir(self.directory))

    def sync(self) -> None:
        """Make the names in the folder durable."""
        descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class BodyFile:
    """One file on its way into `Bodies`.  All of it blocks and raises `OSError`."""

    def __init__(self, bodies: Bodies, queue_id: str) -> None:
        self._bodies = bodies
        self._path = bodies.path(queue_id)
        self._part = self._path.with_name(queue_id + bodies.UNFINISHED)
        self._file: BinaryIO | None = None

    def append(self, pieces: Sequence[bytes]) -> None:
        """Write more, to a file that doesn't have its name yet."""
        if self._file is None:
            self._bodies.before("create")
            self._file = open(self._part, "xb", opener=_private)  # noqa: SIM115
        self._bodies.before("write")
        self._file.writelines(pieces)

    def publish(self) -> None:
        """Make what was written durable, under its name."""
        if self._file is None:
            raise ValueError("nothing was written")
        with self._file as file:
            file.flush()
            self._bodies.before("sync file")
            os.fsync(file.fileno())
        self._bodies.before("rename")
        self._part.rename(self._path)
        self._bodies.before("sync directory")
        self._bodies.sync()

    def discard(self) -> None:
        """Leave nothing behind."""
        if self._file is not None:
            # Closing writes what is buffered, which fails on a full disk.
            with suppress(OSError):
                self._file.close()
        self._part.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
