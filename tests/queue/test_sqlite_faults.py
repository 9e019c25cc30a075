"""The SQLite store when the disk is full or broken."""

import errno
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from submitd.interfaces import QueuedMessage, Report, StoreFull
from submitd.queue.schema import DATABASE
from submitd.queue.sqlite import SqliteStore
from tests.contracts.queue_store import DELAYED, FAILED, RELAYED, Case, envelope, pattern
from tests.support.sqlite_host import SqliteHost

SMALL, LARGE = 1000, 1_000_000
NO_SPACE = OSError(errno.ENOSPC, "No space left on device")
OVER_QUOTA = OSError(errno.EDQUOT, "Disk quota exceeded")
BROKEN = OSError(errno.EIO, "Input/output error")
FILE_STEPS = ("create", "write", "sync file", "rename", "sync directory")


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
    host.steps.mend()
    host.wait(store.stop())


def commit(case: Case, size: int, login: str = "ann") -> "Deferred[QueuedMessage]":
    """Write and commit a message without waiting for either."""
    writer = case.store.new_message()
    pause = writer.write(pattern(size))
    if isinstance(pause, Deferred):
        pause.addErrback(lambda failure: None)
    return writer.commit(envelope(), login)


@pytest.mark.parametrize("error", [NO_SPACE, OVER_QUOTA, BROKEN])
@pytest.mark.parametrize("step", [*FILE_STEPS, "commit"])
def test_large_message_on_a_bad_disk(
    host: SqliteHost, case: Case, step: str, error: OSError
) -> None:
    """Whichever step fails, the caller is told, nothing stays behind, the next one goes well."""
    expected = OSError if error is BROKEN else StoreFull
    host.steps.fail(step, "alone", error=error)
    with pytest.raises(expected):
        host.wait(commit(case, LARGE))
    assert host.files == set()
    assert case.ids() == []
    host.steps.mend()
    message = host.wait(commit(case, LARGE))
    assert case.read(case.due()[0]) == pattern(LARGE)
    assert host.files == {message.id}


def test_pause_ends_in_store_full(host: SqliteHost, case: Case) -> None:
    """A sender that was paused learns that the disk is full, and can abort."""
    go_on = host.steps.wait_at("create")
    writer = case.store.new_message()
    pause = writer.write(pattern(LARGE))
    host.steps.fail("write", error=NO_SPACE)
    go_on()
    with pytest.raises(StoreFull):
        host.wait(pause)
    assert writer.write(pattern(LARGE)) is None
    writer.abort()
    host.wait(case.store.stop())
    assert host.files == set()


def test_bad_job_fails_alone(host: SqliteHost, case: Case) -> None:
    """A message that can't be stored does not take those of the same group with it."""
    go_on = host.steps.wait_at("group")
    first = commit(case, SMALL)
    waiting = [commit(case, SMALL, "\ud800" if number == 7 else "ann") for number in range(20)]
    go_on()
    host.wait(first)
    for number, committed in enumerate(waiting):
        if number == 7:
            with pytest.raises(UnicodeEncodeError):
                host.wait(committed)
        else:
            host.wait(committed)
    assert len(case.ids()) == 20


def test_failed_commit_keeps_nobody(host: SqliteHost, case: Case) -> None:
    """When no commit succeeds, none of the group is told that it is stored."""
    host.steps.fail("commit", "alone", error=NO_SPACE)
    waiting = [commit(case, SMALL) for _ in range(20)]
    for committed in waiting:
        with pytest.raises(StoreFull):
            host.wait(committed)
    assert case.ids() == []


def test_failed_group_is_tried_again_one_by_one(host: SqliteHost, case: Case) -> None:
    """A commit that fails for the group may still succeed for each message."""
    host.steps.fail("commit", error=NO_SPACE)
    for committed in [commit(case, SMALL) for _ in range(20)]:
        host.wait(committed)
    assert len(case.ids()) == 20


@pytest.mark.parametrize("report_size", [None, SMALL, LARGE])
def test_failed_outcome_changes_nothing(
    host: SqliteHost, case: Case, report_size: int | None
) -> None:
    """An outcome that can't be written down leaves the message as it was, and no report."""
    message = case.put(pattern(LARGE), envelope("a@example.net", "b@example.net"))
    report = None
    if report_size is not None:
        report = Report(envelope("ann@example.org", sender=None), pattern(report_size))
    host.steps.fail("commit", "alone", error=NO_SPACE)
    with pytest.raises(StoreFull):
        case.record(message, {"a@example.net": FAILED, "b@example.net": RELAYED}, None, report)
    host.steps.mend()
    (found,) = case.due()
    assert (found.id, found.envelope, found.attempts) == (message.id, message.envelope, 0)
    assert case.read(found) == pattern(LARGE)
    assert host.files == {message.id}


def test_full_database(host: SqliteHost, case: Case) -> None:
    """A full database refuses new messages and serves on; outcomes make room again."""
    store = case.store
    assert isinstance(store, SqliteStore)

    def limit(pages: int) -> Any:
        return host.wait(
            store._writer.submit(
                lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchall()
            )
        )

    kept = [case.put(pattern(50_000)) for _ in range(4)]
    limit(1)  # it can't be less than there is now
    with pytest.raises(StoreFull):
        host.wait(commit(case, 50_000))
    assert case.ids() == [message.id for message in kept]
    assert case.read(case.due()[0]) == pattern(50_000)
    case.record(kept[0], {"bob@example.net": DELAYED}, 60)
    case.record(kept[1], {"bob@example.net": RELAYED})
    fresh = host.wait(commit(case, 40_000))
    assert case.ids() == [kept[2].id, kept[3].id, fresh.id]


def test_full_for_one_is_not_full_for_all(host: SqliteHost, case: Case) -> None:
    """In a group that doesn't fit, the outcomes are written down and who fits is stored."""
    store = case.store
    assert isinstance(store, SqliteStore)
    kept = case.put(pattern(60_000))
    host.wait(store._writer.submit(lambda db: db.execute("PRAGMA max_page_count = 1").fetchall()))
    go_on = host.steps.wait_at("group")
    too_large = commit(case, 65_000)
    outcome = {kept.envelope.recipients[0].mailbox: RELAYED}
    recorded = store.record(kept, outcome, None)
    fits = commit(case, 40_000)
    go_on()
    with pytest.raises(StoreFull):
        host.wait(too_large)
    host.wait(recorded)
    assert case.ids() == [host.wait(fits).id]


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_no_room_for_the_reserve(host: SqliteHost, tmp_path: Path, size: int) -> None:
    """Without room for the reserve, new messages are refused and outcomes written down."""
    case = Case(host, host.open())
    host.wait(case.store.start())
    message = case.put()
    host.wait(case.store.stop())
    short = SqliteHost(tmp_path, reserve_bytes=1 << 60)
    case = Case(short, short.open())
    short.wait(case.store.start())
    with pytest.raises(StoreFull):
        short.wait(commit(case, size))
    writer = case.store.new_message()
    if size == LARGE:
        with pytest.raises(StoreFull):
            short.wait(writer.write(pattern(size)))
    writer.abort()
    assert case.ids() == [message.id]
    case.record(message, {"bob@example.net": RELAYED})
    assert case.ids() == []
    short.wait(case.store.stop())
    assert short.files == set()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root can mount a small file system")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill_up(disk: Path) -> Path:
    """Leave no room on a disk; the file that takes it."""
    filler = disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    return filler


@pytest.mark.may_skip(reason="needs root")
@pytest.mark.parametrize("size", [SMALL, 60_000, 300_000])
@pytest.mark.parametrize("by", ["messages", "somebody else"])
def test_full_disk(small_disk: Path, size: int, by: str) -> None:
    """On a disk that is really full, what is stored is kept, served and written off."""
    host = SqliteHost(small_disk, reserve_bytes=8 << 20)
    case = Case(host, host.open())
    host.wait(case.store.start())
    stored = []
    if by == "messages":
        with suppress(StoreFull):
            while True:
                stored.append(host.wait(commit(case, size)))
                host.advance(1)
    else:
        stored = [host.wait(commit(case, size)) for _ in range(5)]
    filler = fill_up(small_disk)
    host.advance(1)
    with pytest.raises(StoreFull):
        host.wait(commit(case, size))
    found = case.due(limit=100_000)
    assert [message.id for message in found] == [message.id for message in stored]
    for message in found:
        assert case.read(message) == pattern(size)
        case.record(message, {"bob@example.net": RELAYED})
    assert case.ids() == []

    # The first who comes when there is room again has it looked for.
    filler.unlink()
    host.advance(1)
    with pytest.raises(StoreFull):
        host.wait(commit(case, size))
    for _ in range(2):
        host.wait(case.store.changed_elsewhere())
    fresh = host.wait(commit(case, size))
    host.wait(case.store.stop())
    again = Case(host, host.open())
    host.wait(again.store.start())
    assert again.ids() == [fresh.id]
    host.wait(again.store.stop())


def test_locked_by_somebody_else(host: SqliteHost, case: Case) -> None:
    """While another program writes to the database, messages wait for it."""
    case.put()
    other = sqlite3.connect(host.options.path / DATABASE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    committed = commit(case, SMALL)
    assert not host.clock.run_calls(0.2)
    other.execute("ROLLBACK")
    other.close()
    host.wait(committed)
    assert len(case.ids()) == 2
