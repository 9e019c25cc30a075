"""The operator's view of an SQLite queue: read and changed beside the server that owns it.

Everything here blocks.  Each change is one short transaction; the server notices it by
`IQueueStore.changed_elsewhere`.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import attrs

from submitd.mail.envelope import Envelope
from submitd.queue import rows, schema
from submitd.queue.content import Bodies
from submitd.queue.faults import as_storage_error, nothing
from submitd.queue.ids import key_of, keys_of
from submitd.queue.parameters import ENVELOPE, RECIPIENT
from submitd.queue.spool import BODIES

_PIECE = 65_536

_COLUMNS = (
    "SELECT key, parameters, id, state, arrived_s, next_attempt_s, attempts, priority, login,"
    " reverse_path, body, size FROM messages"
)
_LIST = (
    f"{_COLUMNS} WHERE key > :after"
    " AND (:id IS NULL OR substr(id, 1, length(:id)) = :id)"
    " AND (:login IS NULL OR login = :login)"
    " AND (:sender IS NULL OR lower(coalesce(reverse_path, '')) = lower(:sender))"
    " AND (:domain IS NULL OR EXISTS (SELECT 1 FROM recipients WHERE recipients.key = messages.key"
    " AND recipients.state IN ('queued', 'delayed')"
    " AND lower(substr(mailbox, -length(:domain) - 1)) = '@' || lower(:domain)))"
    " ORDER BY key LIMIT :limit"
)
_ONE = f"{_COLUMNS} WHERE key = ? AND id = ?"
_RECIPIENTS = (
    "SELECT parameters, mailbox, state, status, diagnostic, next_hop, tried_s FROM recipients"
    " WHERE key = ? ORDER BY number"
)
_RETRY = (
    "UPDATE messages SET next_attempt_s = min(next_attempt_s, ?) WHERE key = ? AND state = 'queued'"
)
_QUEUED = "SELECT id FROM messages WHERE state = 'queued' ORDER BY key"
_STATE = "SELECT state, parameters FROM messages WHERE key = ?"
_RELEASE = "UPDATE messages SET state = 'queued', next_attempt_s = ?, parameters = ? WHERE key = ?"
_IN_FILE = "SELECT in_file FROM messages WHERE key = ?"
_CONTENT = "SELECT content FROM contents WHERE key = ?"


class UnknownMessage(LookupError):
    """No such message is in the queue.

    :ivar queue_ids: which ones are not there.
    """

    def __init__(self, queue_ids: Sequence[str]) -> None:
        super().__init__(f"not in the queue: {', '.join(queue_ids)}")
        self.queue_ids = tuple(queue_ids)


@attrs.frozen(slots=True)
class RecipientState:
    """One recipient of a message in the queue.

    :ivar state: `queued` (not tried yet), `delayed`, `relayed`, `delivered` or `failed`.
    :ivar status: enhanced status code of the last attempt, or None before the first.
    :ivar diagnostic: its last words.
    :ivar next_hop: who said them.
    :ivar tried_s: when, POSIX time.
    :ivar notify: as in `submitd.mail.envelope.Recipient`, like `original`.
    """

    mailbox: str
    state: str
    status: str | None
    diagnostic: str | None
    next_hop: str | None
    tried_s: float | None
    notify: frozenset[str] | None
    original: str | None

    @property
    def is_pending(self) -> bool:
        """Whether it is not yet done with."""
        return self.state in ("queued", "delayed")


@attrs.frozen(slots=True)
class StoredMessage:
    """A message in the queue; times are POSIX seconds.

    :ivar state: `queued` or `held`.
    :ivar next_attempt_s: when it is tried next, if it isn't held.
    :ivar login: who submitted it, None for a report of the server's own.
    :ivar reverse_path: the sender, None for `<>`.
    :ivar size: octets.
    :ivar parameters: what else MAIL said, in an envelope of nothing besides.
    """

    id: str
    state: str
    arrived_s: float
    next_attempt_s: float
    attempts: int
    priority: int
    login: str | None
    reverse_path: str | None
    body: str
    size: int
    recipients: tuple[RecipientState, ...]
    parameters: Envelope

    def is_held_until(self, now_s: float) -> bool:
        """Whether its sender wants it to be sent later than now (RFC 4865)."""
        return (self.parameters.hold_until_s or 0.0) > now_s


@attrs.frozen(slots=True, kw_only=True)
class Filter:
    """Which messages to list; None lets all through.

    :ivar id: how the queue id begins.
    :ivar sender: the reverse-path, in any case; `""` is the null reverse-path.
    :ivar domain: of a recipient not yet done with, in any case.
    """

    id: str | None = None
    login: str | None = None
    sender: str | None = None
    domain: str | None = None


class Operator:
    """An operator at work on a spool.  A context manager.

    :param directory: the spool.
    :raises FileNotFoundError: when there is no queue.
    :raises OSError: when it can't be opened; its methods raise it for faults of storage.
    """

    def __init__(self, directory: Path) -> None:
        self._db = schema.connect(directory, create=False)
        self._bodies = Bodies(directory / BODIES, nothing)

    def __enter__(self) -> "Operator":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._db.close()

    # ---- looking ------------------------------------------------------------------

    def messages(self, which: Filter, limit: int, after: str | None) -> list[StoredMessage]:
        """Messages in the order of their arrival.

        :param limit: how many at most; -1 for all.
        :param after: the id to go on behind, in the queue or not.
        :raises ValueError: when *after* is no queue id.
        """
        values = attrs.asdict(which) | {
            "after": 0 if after is None else key_of(after),
            "limit": limit,
        }
        with self._transaction("BEGIN"):
            found = self._db.execute(_LIST, values).fetchall()
            return [self._message(row) for row in found]

    def show(self, queue_id: str) -> StoredMessage:
        """One message.

        :raises UnknownMessage: when it isn't there.
        """
        with self._transaction("BEGIN"):
            return self._message(self._row(queue_id))

    def content(self, queue_id: str) -> Iterator[bytes]:
        """The message itself, in pieces.

        :raises UnknownMessage: when it isn't there.
        """
        with self._transaction("BEGIN"):
            key = (self._row(queue_id)[0],)
            (in_file,) = self._db.execute(_IN_FILE, key).fetchone()
            found = self._db.execute(_CONTENT, key).fetchone()
        if not in_file:
            yield found[0] if found else b""
            return
        with self._bodies.path(queue_id).open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece

    # ---- changing -----------------------------------------------------------------

    def retry(self, queue_ids: Sequence[str] | None, now_s: float) -> Sequence[str]:
        """Let messages be due now; those on hold, or to be sent later, stay as they are.

        :param queue_ids: which; None for all.
        :returns: the ids of those that are due now.
        :raises UnknownMessage: when one isn't there; then none is changed.
        """
        with self._transaction("BEGIN IMMEDIATE"):
            if queue_ids is None:
                queue_ids = [queue_id for (queue_id,) in self._db.execute(_QUEUED)]
            keys = self._keys(queue_ids)
            return [queue_id for queue_id, key in keys.items() if self._retry(key, now_s)]

    def hold(self, queue_ids: Sequence[str]) -> Sequence[str]:
        """Put messages on hold: no attempt begins until they are released.

        An attempt under way goes on; should it be final, the message is done with.

        :raises UnknownMessage: when one isn't there; then none is changed.
        """
        with self._transaction("BEGIN IMMEDIATE"):
            keys = self._keys(queue_ids)
            return [queue_id for queue_id, key in keys.items() if rows.hold(key, self._db)]

    def release(self, queue_ids: Sequence[str], now_s: float) -> Sequence[str]:
        """Take messages off hold; what their senders want to be sent later is due now.

        A message that is both is taken off hold and keeps its time.

        :returns: the ids of those that were changed.
        :raises UnknownMessage: when one isn't there; then none is changed.
        """
        with self._transaction("BEGIN IMMEDIATE"):
            keys = self._keys(queue_ids)
            return [queue_id for queue_id, key in keys.items() if self._release(key, now_s)]

    def delete(self, queue_ids: Sequence[str]) -> Sequence[str]:
        """Remove messages; nobody gets a report.

        An attempt under way may still deliver what has been read already; what comes
        of it is not written down.

        :raises UnknownMessage: when one isn't there; then none is removed.
        """
        with self._transaction("BEGIN IMMEDIATE"):
            keys = self._keys(queue_ids)
            in_files = [queue_id for queue_id in keys if rows.remove(queue_id, self._db)]
        for queue_id in in_files:
            self._bodies.remove(queue_id)
        return list(keys)

    # ---- rows ---------------------------------------------------------------------

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        try:
            self._db.execute(begin)
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise as_storage_error(error) from error

    def _row(self, queue_id: str) -> Sequence[Any]:
        key = next(iter(keys_of([queue_id])), None)
        row: Sequence[Any] | None = self._db.execute(_ONE, (key, queue_id)).fetchone()
        if row is None:
            raise UnknownMessage([queue_id])
        return row

    def _keys(self, queue_ids: Sequence[str]) -> dict[str, int]:
        keys: dict[str, int] = {}
        unknown = []
        for queue_id in queue_ids:
            try:
                self._row(queue_id)
                keys[queue_id] = key_of(queue_id)
            except UnknownMessage:
                unknown.append(queue_id)
        if unknown:
            raise UnknownMessage(unknown)
        return keys

    def _retry(self, key: int, now_s: float) -> bool:
        _state, parameters = self._db.execute(_STATE, (key,)).fetchone()
        if (_envelope(parameters).hold_until_s or 0.0) > now_s:
            return False
        return self._db.execute(_RETRY, (now_s, key)).rowcount > 0

    def _release(self, key: int, now_s: float) -> bool:
        state, parameters = self._db.execute(_STATE, (key,)).fetchone()
        envelope = _envelope(parameters)
        hold_until_s = envelope.hold_until_s or 0.0
        due_s = now_s
        if state == "held":
            due_s = max(now_s, hold_until_s)
        elif hold_until_s > now_s:
            # Its time to expire counts from here.
            parameters = ENVELOPE.dump(attrs.evolve(envelope, hold_until_s=now_s))
        else:
            return False
        return self._db.execute(_RELEASE, (due_s, parameters, key)).rowcount > 0

    def _message(self, row: Sequence[Any]) -> StoredMessage:
        key, parameters, *columns = row
        found = self._db.execute(_RECIPIENTS, (key,)).fetchall()
        columns += (tuple(_recipient(*each) for each in found), _envelope(parameters))
        return StoredMessage(*columns)


def _envelope(parameters: str | None) -> Envelope:
    """The parameters of MAIL; as usual where the row is damaged, so that it can be shown."""
    try:
        return Envelope(None, (), **ENVELOPE.load(parameters))
    except ValueError:
        return Envelope(None, ())


def _recipient(parameters: str | None, *columns: Any) -> RecipientState:
    """A recipient as `_RECIPIENTS` gives it."""
    try:
        loaded = RECIPIENT.load(parameters)
    except ValueError:
        loaded = {}
    wishes = (loaded.get("notify"), loaded.get("original"))
    return RecipientState(*(columns + wishes))
