"""Room on the disk that is kept for outcomes, so that a full disk makes nobody get mail twice.

An outcome that can't be written down leaves its message in the queue, to be delivered
again.  So a file takes up some room as long as all is well, and is emptied when an
outcome finds none.  New messages are then refused until the file is whole again.
"""

import os
import sqlite3
from contextlib import suppress
from pathlib import Path

_FILE = "reserve"


class Reserve:
    """The file that keeps the room; all but `is_whole` blocks, and is for the writing thread.

    :param directory: the spool.
    :param octets: how much to keep; with 0 there is no reserve.
    :ivar is_whole: whether new messages may be stored.
    """

    def __init__(self, directory: Path, octets: int) -> None:
        self._path = directory / _FILE
        self._octets = octets
        self.is_whole = True

    def lay(self) -> None:
        """Take up the room, if it is there."""
        descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            os.ftruncate(descriptor, min(self._octets, os.fstat(descriptor).st_size))
            if self._octets:
                os.posix_fallocate(descriptor, 0, self._octets)
            self.is_whole = True
        except OSError:
            # What there is stays free until there is enough.
            os.ftruncate(descriptor, 0)
            self.is_whole = False
        finally:
            os.close(descriptor)

    def give_up(self, db: sqlite3.Connection) -> None:
        """Make room for an outcome that found none."""
        if self._octets:
            self.is_whole = False
            with suppress(OSError):
                os.truncate(self._path, 0)
        checkpoint(db)

    def regain(self, db: sqlite3.Connection) -> None:
        """Try to take up the room again, with what deleted messages left in the database."""
        # Suppressed: this is tried again, and jobs report what is wrong.
        with suppress(OSError, sqlite3.Error):
            vacuum(db, spare_bytes=0)
            checkpoint(db)
            self.lay()


def checkpoint(db: sqlite3.Connection) -> None:
    """Move the log into the database, so that it is written over and doesn't grow."""
    with suppress(sqlite3.Error):
        db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def vacuum(db: sqlite3.Connection, spare_bytes: int) -> None:
    """Give free pages of the database back to the disk if they are more than *spare_bytes*."""
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    (page,) = db.execute("PRAGMA page_size").fetchone()
    if free * page > spare_bytes:
        # A step of this statement frees one page; only executescript takes all steps.
        db.executescript("PRAGMA incremental_vacuum")
