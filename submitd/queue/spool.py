"""The folder of the SQLite queue: claimed by one process, and put in order when opened."""

import fcntl
import os
import sqlite3
from pathlib import Path

import attrs

from submitd.queue import rows
from submitd.queue.content import Bodies
from submitd.queue.ids import keys_of
from submitd.queue.reserve import vacuum

BODIES = "bodies"
_LOCK = "lock"
# What deleted messages leave free in the database is used again.  More than this is
# given back to the file system when the queue is opened.
_SPARE_BYTES = 16 << 20


def claim(directory: Path) -> int:
    """Make the folder if need be, and become its only owner until the result is closed.

    :returns: a file descriptor.
    :raises BlockingIOError: when another process, or another store in this one, owns it.
    :raises OSError: when it can't be made or entered.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    (directory / BODIES).mkdir(mode=0o700, exist_ok=True)
    lock = os.open(directory / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException as error:
        os.close(lock)
        if isinstance(error, OSError):
            error.filename = str(directory)
        raise
    return lock


@attrs.frozen(slots=True)
class Found:
    """What was in the spool.

    :ivar queued: messages to be delivered.
    :ivar held: messages on hold.
    :ivar orphans: how many files without a message were removed.
    :ivar missing: ids of messages whose file is missing; they are on hold now.
    """

    queued: int
    held: int
    orphans: int
    missing: tuple[str, ...]


def put_in_order(db: sqlite3.Connection, bodies: Bodies) -> Found:
    """Remove what incomplete messages left behind, and find what is damaged; blocks."""
    files = bodies.names()
    wanted = rows.ids_with_files(db)
    orphans = [name for name in files - wanted if keys_of([name.removesuffix(bodies.UNFINISHED)])]
    for name in orphans:
        bodies.remove(name)
    missing = tuple(sorted(wanted - files))
    for key in keys_of(missing):
        rows.hold(key, db)
    vacuum(db, _SPARE_BYTES)
    queued, held = rows.counts(db)
    return Found(queued, held, len(orphans), missing)
