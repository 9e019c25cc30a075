"""The tables of the SQLite queue, and how a connection to them is opened."""

import os
import sqlite3
from pathlib import Path

VERSION = 1
DATABASE = "queue.sqlite"
LOCKED_S = 10.0  # how long to wait for another process's transaction, all of which are short

_TABLES = """
CREATE TABLE messages (
    key INTEGER PRIMARY KEY,       -- arrival in microseconds, the first part of the id
    id TEXT NOT NULL,
    state TEXT NOT NULL,           -- 'queued' or 'held'
    arrived_s REAL NOT NULL,       -- times are POSIX seconds
    next_attempt_s REAL NOT NULL,
    attempts INTEGER NOT NULL,
    priority INTEGER NOT NULL,     -- MT-PRIORITY, -9 to 9
    delay_told_s REAL,             -- when the sender was told of a delay
    login TEXT,                    -- NULL: a report of our own
    reverse_path TEXT,             -- NULL: <>
    body TEXT NOT NULL,            -- as in MAIL: 7BIT, 8BITMIME, BINARYMIME
    parameters TEXT,               -- what else MAIL said, JSON
    size INTEGER NOT NULL,         -- octets
    in_file INTEGER NOT NULL       -- 1: the content is bodies/<id>, 0: it is in contents
);
CREATE INDEX due ON messages (state, priority, next_attempt_s);
CREATE TABLE contents (
    key INTEGER PRIMARY KEY,
    content BLOB NOT NULL
);
CREATE TABLE recipients (
    key INTEGER NOT NULL,
    number INTEGER NOT NULL,       -- the order of RCPT
    mailbox TEXT NOT NULL,
    parameters TEXT,               -- what else RCPT said, JSON
    state TEXT NOT NULL,           -- queued, delayed; done with: relayed, ...
    status TEXT,                   -- of the last attempt: RFC 3463 code,
    diagnostic TEXT,               -- words,
    next_hop TEXT,                 -- who said them,
    tried_s REAL,                  -- when
    PRIMARY KEY (key, number)
) WITHOUT ROWID;
"""


class SchemaError(OSError):
    """The file is not a queue that this version of submitd can use."""


def connect(directory: Path, *, create: bool) -> sqlite3.Connection:
    """Open the queue's database; the connection belongs to the calling thread.

    Transactions are up to the caller: none is begun implicitly.

    :param directory: the spool.
    :param create: whether to make the database when there is none.
    :raises FileNotFoundError: when there is none and it isn't to be made.
    :raises SchemaError: when it was made by a newer version, or isn't a queue.
    :raises OSError: when it can't be opened.
    """
    path = directory / DATABASE
    if not path.exists():
        if not create:
            raise FileNotFoundError(
                f"there is no queue in {directory}; the server makes it when it first starts"
            )
        # SQLite gives its -wal and -shm files the mode of this one.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    try:
        connection = sqlite3.connect(path, timeout=LOCKED_S, isolation_level=None)
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise SchemaError(f"{path} can't be opened: {error}") from error
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    execute = connection.execute
    (version,) = execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise SchemaError(
            f"{path} was made by a newer version of submitd"
            f" (schema {version}, this one knows up to {VERSION})"
        )
    if version == 0:
        # Space of deleted messages is used again; start() gives back what is too much.
        execute("PRAGMA auto_vacuum = INCREMENTAL")
    # A commit is one append to the log and one fsync.
    execute("PRAGMA journal_mode = WAL")
    execute("PRAGMA synchronous = FULL")
    # Every 4 MiB of log, the writer thread moves it into the database: 10 ms now and then
    # where 16 MiB took 25, at the same rate of messages.
    execute("PRAGMA wal_autocheckpoint = 1000")
    execute(f"PRAGMA journal_size_limit = {64 << 20}")
    execute(f"PRAGMA cache_size = {-16 << 10}")  # KiB
    execute("PRAGMA secure_delete = FAST")
    execute("PRAGMA trusted_schema = OFF")
    if version == 0:
        _create(connection, path)


def _create(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have been faster.
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            if connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
                raise SchemaError(f"{path} is a database, but not a queue of submitd")
            for statement in _TABLES.split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
