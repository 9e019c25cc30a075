"""The SQLite store keeps what every store promises, and what only it does."""

import re
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from submitd.interfaces import IQueueStore, IQueueStoreFactory, QueuedMessage, Report, Site
from submitd.queue import rows
from submitd.queue.ids import IdMaker, key_of, keys_of
from submitd.queue.intake import OUTSTANDING_BYTES
from submitd.queue.schema import DATABASE, VERSION, SchemaError
from submitd.queue.sqlite import SqliteFactory, SqliteOptions
from tests.contracts.queue_store import (
    DELAYED,
    NOBODY,
    RELAYED,
    Case,
    QueueStoreContract,
    envelope,
    pattern,
)
from tests.support.sqlite_host import SqliteHost


@pytest.fixture
def host(tmp_path: Path) -> SqliteHost:
    """A spool."""
    return SqliteHost(tmp_path)


@pytest.fixture
def case(host: SqliteHost) -> Iterator[Case]:
    """A started store."""
    store = host.open()
    host.wait(store.start())
    yield Case(host, store)
    host.wait(store.stop())


def reopened(host: SqliteHost) -> Case:
    """A store started over what an earlier one left."""
    store = host.open()
    host.wait(store.start())
    return Case(host, store)


def change(host: SqliteHost, statement: str) -> None:
    """Run one statement of SQL on the database, as an operator with a shell might."""
    with sqlite3.connect(host.options.path / DATABASE) as connection:
        connection.execute(statement)
    connection.close()


class TestSqliteStore(QueueStoreContract):
    """The contract, over a spool of its own for each test."""

    @pytest.fixture
    def host(self, tmp_path: Path) -> SqliteHost:
        """A spool."""
        return SqliteHost(tmp_path)


class TestSqliteStoreAllInFiles(QueueStoreContract):
    """The contract, with every message in a file."""

    @pytest.fixture
    def host(self, tmp_path: Path) -> SqliteHost:
        """A spool."""
        return SqliteHost(tmp_path, inline_bytes=0)


# ---- the spool ------------------------------------------------------------------------


def test_build_touches_nothing(host: SqliteHost) -> None:
    """The factory gives a store without making its folder."""
    factory = SqliteFactory()
    verifyObject(IQueueStoreFactory, factory)
    store = factory.build(host.options, Site("mail.example.org", host.clock))
    assert not host.options.path.exists()
    host.wait(store.stop())


def test_modes(host: SqliteHost, case: Case) -> None:
    """Folders and files of the spool are for their owner alone."""
    case.put(pattern(100_000))
    case.put()
    spool = host.options.path
    assert {stat.S_IMODE(path.stat().st_mode) for path in (spool, spool / "bodies")} == {0o700}
    files = [path for path in spool.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {DATABASE, f"{DATABASE}-wal", "lock"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_one_owner(host: SqliteHost, case: Case) -> None:
    """A spool that is owned can't be started a second time, until its owner has stopped."""
    second = host.open()
    with pytest.raises(BlockingIOError):
        host.wait(second.start())
    host.wait(second.stop())
    case.put()
    host.wait(case.store.stop())
    third = reopened(host)
    assert len(third.ids()) == 1
    host.wait(third.store.stop())


def test_one_owner_among_processes(host: SqliteHost, case: Case) -> None:
    """Another process is refused the spool as well."""
    command = [sys.executable, "-m", "tests.support.storing", str(host.options.path)]
    result = subprocess.run(
        command, capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=30
    )
    assert result.returncode != 0
    assert "BlockingIOError" in result.stderr


def test_newer_schema_is_refused(host: SqliteHost) -> None:
    """A database of a newer version is refused by name and left as it is."""
    host.wait(reopened(host).store.stop())
    change(host, f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(SchemaError, match="newer version"):
        host.wait(host.open().start())
    change(host, f"PRAGMA user_version = {VERSION}")
    host.wait(reopened(host).store.stop())


@pytest.mark.parametrize("made", ["CREATE TABLE other (x)", None])
def test_something_else_is_refused(host: SqliteHost, made: str | None) -> None:
    """A file that is no queue is refused and left as it is."""
    host.options.path.mkdir()
    if made is None:
        (host.options.path / DATABASE).write_bytes(b"not a database" * 100)
    else:
        change(host, made)
    before = (host.options.path / DATABASE).read_bytes()
    with pytest.raises(SchemaError):
        host.wait(host.open().start())
    if made is None:
        assert (host.options.path / DATABASE).read_bytes() == before


def test_start_removes_what_is_incomplete(host: SqliteHost) -> None:
    """Files of messages that were never committed are removed; other people's files stay."""
    case = reopened(host)
    kept = case.put(pattern(100_000))
    host.wait(case.store.stop())
    bodies = host.options.path / "bodies"
    for name in ("1hd6v0q3r5cq8f2", "1hd6v0q3r5cq8f3.part", "README"):
        (bodies / name).write_bytes(b"half a mess")
    (bodies / "lost+found").mkdir()
    case = reopened(host)
    assert host.files == {kept.id, "README", "lost+found"}
    assert case.read(case.due()[0]) == pattern(100_000)
    host.wait(case.store.stop())


def test_missing_file_is_reported(host: SqliteHost) -> None:
    """A message whose file is missing is not lost in silence: it is on hold, and logged."""
    case = reopened(host)
    message, other = case.put(pattern(100_000)), case.put(pattern(100_000))
    host.wait(case.store.stop())
    (host.options.path / "bodies" / message.id).unlink()
    case = reopened(host)
    assert case.ids() == [other.id]
    host.wait(case.store.stop())
    with sqlite3.connect(host.options.path / DATABASE) as connection:
        states = dict(connection.execute("SELECT id, state FROM messages").fetchall())
    connection.close()
    assert states == {message.id: "held", other.id: "queued"}


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM contents",
        "UPDATE contents SET content = x'00'",
        "DELETE FROM recipients",
        "UPDATE recipients SET mailbox = 'nonsense'",
        "UPDATE messages SET reverse_path = 'nonsense'",
        "UPDATE messages SET id = 'nonsense'",
        "UPDATE messages SET parameters = 'nonsense'",
        """UPDATE recipients SET parameters = '{"unknown": 1}'""",
    ],
)
def test_damaged_message_is_put_aside(host: SqliteHost, case: Case, damage: str) -> None:
    """Rows that make no message are put on hold and don't keep others from being due."""
    case.put()
    change(host, damage)
    other = case.put()
    assert case.ids() == [other.id]
    assert case.next_due_s() is not None
    case.record(other, {"bob@example.net": RELAYED})
    assert case.next_due_s() is None


def test_space_is_given_back(host: SqliteHost) -> None:
    """After a great backlog, the database shrinks when it is next opened."""
    case = reopened(host)
    waiting = []
    for _ in range(500):
        writer = case.store.new_message()
        writer.write(bytes(60_000))
        waiting.append(writer.commit(envelope(), "ann"))
    for committed in waiting:
        case.record(host.wait(committed), {"bob@example.net": RELAYED})
    host.wait(case.store.stop())
    database = host.options.path / DATABASE
    assert database.stat().st_size > 25_000_000
    host.wait(reopened(host).store.stop())
    assert database.stat().st_size < 1_000_000


def test_questions_go_by_the_index(host: SqliteHost, case: Case) -> None:
    """What is due is found along the index, without a sort and without reading messages."""
    case.put()
    with sqlite3.connect(host.options.path / DATABASE) as db:
        for question, count in [(rows.DUE, 2), (rows.NEXT, 1), (rows.PRIORITIES, 1)]:
            values = (0,) * count
            plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {question}", values)]
            assert len(plan) == 1
            assert re.match("SEARCH messages USING COVERING INDEX due ", plan[0])
    db.close()


# ---- threads --------------------------------------------------------------------------


def test_group_commit(host: SqliteHost, case: Case) -> None:
    """What waits while a group is written shares one commit and one call to the reactor."""
    commits, batches = host.steps.count["commit"], host.clock.batches
    go_on = host.steps.wait_at("group")
    committed = []
    for _ in range(100):
        writer = case.store.new_message()
        writer.write(b"content")
        committed.append(writer.commit(envelope(), "ann"))
    go_on()
    for each in committed:
        host.wait(each)
    # One group of what the thread found at first, one of all the rest.
    assert host.steps.count["commit"] - commits <= 2
    assert host.clock.batches - batches <= 2
    assert len(case.ids()) == 100


def test_outcomes_ride_along(host: SqliteHost, case: Case) -> None:
    """Outcomes share commits with new messages."""
    messages = [case.put() for _ in range(50)]
    commits = host.steps.count["commit"]
    go_on = host.steps.wait_at("group")
    waiting: list[Deferred[Any]] = []
    for message in messages:
        outcome = {message.envelope.recipients[0].mailbox: RELAYED}
        waiting.append(case.store.record(message, outcome, None))
        waiting.append(case.store.new_message().commit(envelope(), "ann"))
    go_on()
    for each in waiting:
        host.wait(each)
    assert host.steps.count["commit"] - commits <= 2
    assert len(case.ids()) == 50


def test_nothing_is_reported_before_its_commit(host: SqliteHost, case: Case) -> None:
    """The Deferred of a message fires after its commit, and not before."""
    go_on = host.steps.wait_at("commit")
    committed = case.store.new_message().commit(envelope(), "ann")
    while host.clock.run_calls(0.1):
        pass
    assert not committed.called
    assert case.ids() == []
    go_on()
    host.wait(committed)
    assert len(case.ids()) == 1


def test_due_leaves_out_what_was_recorded_meanwhile(host: SqliteHost, case: Case) -> None:
    """A message that is delivered while `due` reads is not given out to be delivered again."""
    message = case.put()
    due = case.store.due(host.now_s(), 10, NOBODY)
    recorded = case.store.record(
        message, {message.envelope.recipients[0].mailbox: DELAYED}, host.now_s()
    )
    assert host.wait(due) == []
    host.wait(recorded)
    assert case.ids() == [message.id]


def test_a_fast_sender_is_paused(host: SqliteHost, case: Case) -> None:
    """What waits for the disk is bounded: write asks to pause above a quarter of a MiB."""
    go_on = host.steps.wait_at("write")
    writer = case.store.new_message()
    written = 0
    while (pause := writer.write(bytes(16_384))) is None:
        written += 16_384
        assert written <= OUTSTANDING_BYTES
    assert isinstance(pause, Deferred)
    assert not pause.called
    assert written == OUTSTANDING_BYTES
    go_on()
    host.wait(pause)
    message = host.wait(writer.commit(envelope(), "ann"))
    assert message.content.size == written + 16_384


def test_stop_drops_what_is_incomplete(host: SqliteHost) -> None:
    """Messages not committed when the store stops leave no file, and harm nobody afterwards."""
    case = reopened(host)
    large, small = case.store.new_message(), case.store.new_message()
    host.wait(large.write(pattern(1_000_000)))
    small.write(b"small")
    assert host.files != set()
    host.wait(case.store.stop())
    assert host.files == set()
    large.write(b"more")
    large.abort()
    with pytest.raises(OSError, match="closed"):
        host.wait(small.commit(envelope(), "ann"))


def test_small_messages_are_in_no_file(host: SqliteHost, case: Case) -> None:
    """Content up to `inline_bytes` is in the database, one octet more is in a file."""
    case.put(pattern(65_536))
    assert host.files == set()
    large = case.put(pattern(65_537))
    assert host.files == {large.id}


def test_fresh_content_is_read_at_once(case: Case) -> None:
    """Small content is at hand in what commit and due give, without waiting for a thread."""
    fresh = case.put(b"hello")
    assert fresh.content.read(0, 100) == b"hello"
    assert case.due()[0].content.read(1, 2) == b"el"


def test_file_is_removed_with_its_message(host: SqliteHost, case: Case) -> None:
    """The file of a large message goes with it, also when the caller dropped the content."""
    first, second = case.put(pattern(100_000)), case.put(pattern(100_000))
    bare = QueuedMessage(first.id, first.envelope, first.login, None, first.arrived_s)
    case.record(bare, {"bob@example.net": RELAYED})
    report = Report(envelope("ann@example.org", sender=None), pattern(200_000))
    stored = case.record(second, {"bob@example.net": RELAYED}, None, report)
    assert stored is not None
    host.wait(case.store.stop())
    assert host.files == {stored.id}


# ---- ids ------------------------------------------------------------------------------


def test_ids_sort_by_time() -> None:
    """Ids sort as text in the order they were made, and carry their key."""
    now_s = 1_700_000_000.0
    maker = IdMaker(lambda: now_s)
    ids = [maker.make() for _ in range(100)]
    now_s += 0.5
    ids.append(maker.make())
    assert ids == sorted(ids)
    keys = [key_of(queue_id) for queue_id in ids]
    assert keys[0] == 1_700_000_000_000_000
    assert keys[-1] == 1_700_000_000_500_000
    assert len(set(keys)) == 101


def test_ids_when_the_clock_steps_back(host: SqliteHost) -> None:
    """A clock that steps back between two runs does not bring old ids back."""
    case = reopened(host)
    message = case.put()
    host.wait(case.store.stop())
    host.clock.rightNow -= 1_000_000
    case = reopened(host)
    assert case.store.new_message().id > message.id
    host.wait(case.store.stop())


def test_processes_make_different_ids() -> None:
    """Two processes make different ids at the same moment."""
    assert IdMaker(lambda: 1.0).make() != IdMaker(lambda: 1.0).make()


@pytest.mark.parametrize("text", ["", "x", "1hd6v0q3r5cq8f", "1hd6v0q3r5-q8f2", "1hd6v0q3r5wq8f2"])
def test_no_id(text: str) -> None:
    """What is no id of ours has no key."""
    with pytest.raises(ValueError):
        key_of(text)
    assert keys_of([text]) == frozenset()


def test_options() -> None:
    """Sizes that can't work are refused."""
    with pytest.raises(ValueError, match="expected"):
        SqliteOptions(path=Path("spool"), inline_bytes=-1)
    for octets in (-1, 1 << 20):  # with 1 MiB a full disk could stop the queue for good
        with pytest.raises(ValueError, match="expected"):
            SqliteOptions(path=Path("spool"), reserve_bytes=octets)


def test_provides_the_interface(host: SqliteHost) -> None:
    """A store that was not started can be asked to stop."""
    store = host.open()
    verifyObject(IQueueStore, store)
    host.wait(store.stop())
