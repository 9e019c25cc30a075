"""Messages as rows: the jobs of the writing thread and the questions of the reading one.

Every function takes a connection, runs constant SQL on it, and leaves the transaction
to the caller.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from heapq import merge
from typing import Any, cast, get_args

import attrs

from submitd.interfaces import QueuedMessage
from submitd.mail.address import Mailbox
from submitd.mail.envelope import BodyType, Envelope, Recipient
from submitd.mail.status import DeliveryStatus
from submitd.queue.content import BytesContent
from submitd.queue.ids import key_of
from submitd.queue.parameters import ENVELOPE, RECIPIENT
from submitd.queue.schedule import turn_s

_INSERT_MESSAGE = (
    "INSERT INTO messages (key, id, state, arrived_s, next_attempt_s, attempts, priority, login,"
    " reverse_path, body, parameters, size, in_file)"
    " VALUES (?, ?, 'queued', ?, ?, 0, ?, ?, ?, ?, ?, ?, ?)"
)
_INSERT_CONTENT = "INSERT INTO contents (key, content) VALUES (?, ?)"
_INSERT_RECIPIENT = (
    "INSERT INTO recipients (key, number, mailbox, parameters, state) VALUES (?, ?, ?, ?, 'queued')"
)
_DELETE_MESSAGE = "DELETE FROM messages WHERE key = ? RETURNING in_file"
_DELETE_CONTENT = "DELETE FROM contents WHERE key = ?"
_DELETE_RECIPIENTS = "DELETE FROM recipients WHERE key = ?"
_PENDING = (
    "SELECT number, mailbox, parameters FROM recipients"
    " WHERE key = ? AND state IN ('queued', 'delayed') ORDER BY number"
)
_TRIED = (
    "UPDATE recipients SET state = ?, status = ?, diagnostic = ?, next_hop = ?, tried_s = ?"
    " WHERE key = ? AND number = ?"
)
_RESCHEDULE = (
    "UPDATE messages SET next_attempt_s = ?, delay_told_s = ?, attempts = attempts + 1"
    " WHERE key = ?"
)
# One step along the index for each priority that is there.
PRIORITIES = (
    "SELECT priority FROM messages WHERE state = 'queued' AND priority > ?"
    " ORDER BY priority LIMIT 1"
)
DUE = (
    "SELECT next_attempt_s, key FROM messages"
    " WHERE state = 'queued' AND priority = ? AND next_attempt_s <= ?"
    " ORDER BY next_attempt_s, key"
)
NEXT = (
    "SELECT next_attempt_s, key FROM messages WHERE state = 'queued' AND priority = ?"
    " ORDER BY next_attempt_s"
)
_MESSAGE = (
    "SELECT id, arrived_s, attempts, priority, delay_told_s, login, reverse_path, body,"
    " parameters, size, in_file FROM messages WHERE key = ?"
)
_HOLD = "UPDATE messages SET state = 'held' WHERE key = ?"
_CONTENT = "SELECT content FROM contents WHERE key = ?"


def insert(message: QueuedMessage, content: bytes | None, db: sqlite3.Connection) -> QueuedMessage:
    """Add a message, due at once or when its sender wants it released (RFC 4865).

    :param content: all of it, or None when its file is in place.
    """
    key = key_of(message.id)
    envelope = message.envelope
    sender = envelope.reverse_path
    execute = db.execute
    execute(
        _INSERT_MESSAGE,
        (
            key,
            message.id,
            message.arrived_s,
            max(message.arrived_s, envelope.hold_until_s or 0),
            envelope.priority,
            message.login,
            None if sender is None else str(sender),
            envelope.body,
            ENVELOPE.dump(envelope),
            message.content.size,
            content is None,
        ),
    )
    if content is not None:
        execute(_INSERT_CONTENT, (key, content))
    for number, recipient in enumerate(envelope.recipients):
        values = (key, number, str(recipient.mailbox), RECIPIENT.dump(recipient))
        execute(_INSERT_RECIPIENT, values)
    return message


def remove(queue_id: str, db: sqlite3.Connection) -> bool:
    """Delete a message's rows, if they are there.

    :returns: whether its content is in a file, to be removed once this is durable.
    """
    key = (key_of(queue_id),)
    found = db.execute(_DELETE_MESSAGE, key).fetchall()
    db.execute(_DELETE_RECIPIENTS, key)
    if found and found[0][0]:
        return True
    db.execute(_DELETE_CONTENT, key)
    return False


def reschedule(
    message: QueuedMessage,
    outcome: Mapping[Mailbox, DeliveryStatus],
    tried_s: float,
    retry_at_s: float | None,
    db: sqlite3.Connection,
) -> bool:
    """Write down an outcome that may leave recipients to be tried again.

    The message is removed if it leaves none.

    :returns: as `remove`.
    :raises ValueError: when some are left and *retry_at_s* doesn't say until when.
    """
    queue_id = message.id
    key = key_of(queue_id)
    tried = []
    left = False
    for number, mailbox, _ in db.execute(_PENDING, (key,)).fetchall():
        status = outcome.get(Mailbox.parse(mailbox))
        left = left or status is None or not status.is_final
        if status is not None:
            tried.append(
                (
                    status.action.value,
                    status.status,
                    status.diagnostic,
                    status.next_hop,
                    tried_s,
                    key,
                    number,
                )
            )
    if not left:
        return remove(queue_id, db)
    if retry_at_s is None:
        raise ValueError(f"{queue_id} has recipients left and no time for the next attempt")
    db.executemany(_TRIED, tried)
    db.execute(_RESCHEDULE, (retry_at_s, message.delay_told_s, key))
    return False


@attrs.define(slots=True)
class Outcome:
    """The job that writes down an attempt's outcome.

    :ivar report: a report to store with it.
    :ivar report_data: the report's content, or None when its file is in place.
    :ivar leaves_file: set by the run: whether the message is gone and its file remains.
    """

    message: QueuedMessage
    outcome: Mapping[Mailbox, DeliveryStatus]
    tried_s: float
    retry_at_s: float | None
    report: QueuedMessage | None = None
    report_data: bytes | None = None
    leaves_file: bool = False

    def __call__(self, db: sqlite3.Connection) -> QueuedMessage | None:
        """Run it; gives the report.

        :raises ValueError: see `reschedule`.
        """
        queue_id, get = self.message.id, self.outcome.get
        for recipient in self.message.envelope.recipients:
            status = get(recipient.mailbox)
            if status is None or not status.is_final:
                self.leaves_file = reschedule(
                    self.message, self.outcome, self.tried_s, self.retry_at_s, db
                )
                break
        else:
            self.leaves_file = remove(queue_id, db)
        if self.report is not None:
            insert(self.report, self.report_data, db)
        return self.report


def hold(key: int, db: sqlite3.Connection) -> bool:
    """Leave a message alone until an operator releases it; tells whether it was there."""
    return db.execute(_HOLD, (key,)).rowcount > 0


def last_key(db: sqlite3.Connection) -> int:
    """The highest key of a message, 0 if there is none."""
    (key,) = db.execute("SELECT max(key) FROM messages").fetchone()
    return int(key or 0)


def ids_with_files(db: sqlite3.Connection) -> set[str]:
    """The ids of all messages with content in a file."""
    return {queue_id for (queue_id,) in db.execute("SELECT id FROM messages WHERE in_file")}


def counts(db: sqlite3.Connection) -> tuple[int, int]:
    """How many messages are queued, and how many are on hold."""
    states = dict(db.execute("SELECT state, count(*) FROM messages GROUP BY state").fetchall())
    return states.get("queued", 0), states.get("held", 0)


def data_version(db: sqlite3.Connection) -> int:
    """A number that changes when another connection changes the database."""
    (version,) = db.execute("PRAGMA data_version").fetchone()
    return int(version)


def due_keys(db: sqlite3.Connection, now_s: float, limit: int, busy: AbstractSet[int]) -> list[int]:
    """The keys of at most *limit* messages whose time has come, in turn, without *busy*."""
    keys: list[int] = []
    for _turn, key in merge(*[_due_by_turn(db, one, now_s) for one in _priorities(db)]):
        if len(keys) == limit:
            break
        if key not in busy:
            keys.append(key)
    return keys


def next_due_s(db: sqlite3.Connection, busy: AbstractSet[int]) -> float | None:
    """When the first message that isn't *busy* is due."""
    first_of_each = []
    for priority in _priorities(db):
        for next_attempt_s, key in db.execute(NEXT, (priority,)):
            if key not in busy:
                first_of_each.append(float(next_attempt_s))
                break
    return min(first_of_each, default=None)


def _priorities(db: sqlite3.Connection) -> list[int]:
    """The priorities of the messages that are queued, the lowest first."""
    found: list[int] = []
    while row := db.execute(PRIORITIES, (found[-1] if found else -100,)).fetchone():
        found.append(row[0])
    return found


def _due_by_turn(
    db: sqlite3.Connection, priority: int, now_s: float
) -> Iterator[tuple[float, int]]:
    """Place and key of the messages of one priority that are due, read as they are asked for."""
    for next_attempt_s, key in db.execute(DUE, (priority, now_s)):
        yield turn_s(next_attempt_s, priority), key


def load(
    db: sqlite3.Connection, key: int, file_content: Callable[[str, int], Any]
) -> QueuedMessage:
    """A message with the recipients that are left.

    :param file_content: makes the `IContent` of what is in a file, from id and size.
    :raises ValueError: when the rows make no message.
    """
    row = db.execute(_MESSAGE, (key,)).fetchone()
    (
        queue_id,
        arrived_s,
        attempts,
        priority,
        delay_told_s,
        login,
        reverse_path,
        body,
        parameters,
        size,
        in_file,
    ) = row
    recipients = tuple(
        Recipient(Mailbox.parse(mailbox), **RECIPIENT.load(rest))
        for _, mailbox, rest in db.execute(_PENDING, (key,))
    )
    if not recipients or key_of(queue_id) != key or body not in get_args(BodyType):
        raise ValueError(f"the rows of {queue_id!r} make no message")
    if in_file:
        content = file_content(queue_id, size)
    else:
        found = db.execute(_CONTENT, (key,)).fetchone()
        if found is None or len(found[0]) != size:
            raise ValueError(f"the content of {queue_id!r} is missing or cut")
        content = BytesContent(found[0])
    return QueuedMessage(
        id=queue_id,
        envelope=Envelope(
            None if reverse_path is None else Mailbox.parse(reverse_path),
            recipients,
            cast(BodyType, body),
            priority=priority,
            **ENVELOPE.load(parameters),
        ),
        login=login,
        content=content,
        arrived_s=arrived_s,
        attempts=attempts,
        delay_told_s=delay_told_s,
    )
