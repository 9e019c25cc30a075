"""Delivery into Maildirs."""

import mailbox as stdlib_mailbox
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from zope.interface.verify import verifyObject

from submitd.interfaces import IRelayBackendFactory, QueuedMessage, Site
from submitd.mail.address import Mailbox
from submitd.mail.envelope import Envelope, Recipient
from submitd.mail.status import Action, DeliveryStatus
from submitd.relay.maildir import MaildirBackend, MaildirFactory, MaildirOptions
from submitd.testing import ThreadedClock, envelope, queued
from tests.contracts.relay_backend import RelayBackendContract

CONTENT = b"Subject: x\r\n\r\nhello\r\n"


class MaildirHop:
    """A backend that writes to one Maildir, and that Maildir."""

    keeps_content = True
    ends_last_line = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reactor = ThreadedClock()
        self.backend = self.another()

    def another(self) -> MaildirBackend:
        """A backend with the same Maildir, as after a restart."""
        options = MaildirOptions(path=self.path)
        return MaildirFactory().build(options, Site("mail.example.org", self.reactor))

    def wait(self, eventual: Any) -> Any:
        """Its value, when the threads have come to it."""
        return self.reactor.wait(eventual)

    def deliver(self, message: QueuedMessage) -> list[DeliveryStatus]:
        """Deliver to all recipients of the envelope: the statuses in their order."""
        recipients = message.envelope.recipients
        outcome = self.wait(self.backend.deliver(message, recipients))
        return [outcome[recipient.mailbox] for recipient in recipients]

    def files(self, folder: str = "new") -> list[Path]:
        """The files in one folder of the Maildir."""
        return sorted((self.path / folder).iterdir())

    def received(self) -> Sequence[tuple[str, bytes]]:
        """What is in `new`, without the two lines on top."""
        found = []
        for file in self.files() if self.path.exists() else []:
            returned, delivered, content = file.read_bytes().split(b"\r\n", 2)
            assert returned in (b"Return-Path: <ann@example.org>", b"Return-Path: <>")
            found.append((delivered.removeprefix(b"Delivered-To: ").decode(), content))
        assert not self.path.exists() or self.files("tmp") == []
        return found


@pytest.fixture
def hop(tmp_path: Path) -> Iterator[MaildirHop]:
    """One Maildir for all."""
    made = MaildirHop(tmp_path / "mail" / "all")
    yield made
    made.wait(made.backend.stop())


class TestMaildir(RelayBackendContract):
    """The contract of relay backends."""

    @pytest.fixture
    def hop(self, tmp_path: Path) -> MaildirHop:
        """One Maildir for all; the contract stops its backend."""
        return MaildirHop(tmp_path / "mail")


def test_factory() -> None:
    """The factory has all that its interface names."""
    assert verifyObject(IRelayBackendFactory, MaildirFactory())


def test_layout(hop: MaildirHop) -> None:
    """Folders and files are for their owner alone, and other programs read them."""
    (status,) = hop.deliver(queued(CONTENT))
    assert (status.action, status.status) == (Action.DELIVERED, "2.1.5")
    assert sorted(path.name for path in hop.path.iterdir()) == ["cur", "new", "tmp"]
    assert {path.stat().st_mode & 0o777 for path in [hop.path, *hop.path.iterdir()]} == {0o700}
    assert hop.files()[0].stat().st_mode & 0o777 == 0o600
    (message,) = stdlib_mailbox.Maildir(hop.path)
    assert message["Return-Path"] == "<ann@example.org>"
    assert message["Delivered-To"] == "bob@example.net"
    assert message["Subject"] == "x"


def test_null_reverse_path(hop: MaildirHop) -> None:
    """A report has an empty Return-Path (RFC 5321 §4.5.5)."""
    hop.deliver(queued(CONTENT, envelope(sender=None)))
    assert hop.files()[0].read_bytes().startswith(b"Return-Path: <>\r\n")


def test_each_recipient_has_a_file(hop: MaildirHop) -> None:
    """Each recipient has a file of its own, one that was named twice has one."""
    addresses = ("a@example.net", "b@example.net", "a@EXAMPLE.net", "A@example.net")
    hop.deliver(queued(CONTENT, envelope(*addresses)))
    assert len(hop.files()) == 3


def test_second_attempt_changes_nothing(hop: MaildirHop) -> None:
    """What an attempt before a crash delivered is found there and not delivered again."""
    message = queued(CONTENT)
    hop.deliver(message)
    again = hop.another()
    outcome = hop.wait(again.deliver(message, message.envelope.recipients))
    hop.wait(again.stop())
    assert [status.action for status in outcome.values()] == [Action.DELIVERED]
    assert len(hop.files()) == 1


@pytest.mark.parametrize("flags", ["", ":2,", ":2,S"])
def test_second_attempt_after_it_was_seen(hop: MaildirHop, flags: str) -> None:
    """A file that a mail reader has moved to `cur` is found as well."""
    hop.deliver(queued(CONTENT))
    (file,) = hop.files()
    file.rename(hop.path / "cur" / f"{file.name}{flags}")
    hop.deliver(queued(CONTENT))
    assert hop.files() == []


def test_leftovers_are_no_obstacle(hop: MaildirHop) -> None:
    """What a crash left in `tmp` does not stand in the way of the next attempt."""
    hop.deliver(queued(CONTENT))
    (file,) = hop.files()
    file.rename(hop.path / "tmp" / file.name)
    (status,) = hop.deliver(queued(CONTENT))
    assert status.action is Action.DELIVERED
    assert len(hop.files()) == 1


def test_names_differ(hop: MaildirHop) -> None:
    """Messages differ in their file names, which hold neither "/" nor ":"."""
    hop.deliver(queued(CONTENT, queue_id="Q0000001"))
    hop.deliver(queued(CONTENT, queue_id="Q0000002"))
    names = [file.name for file in hop.files()]
    assert len(names) == 2
    assert all("Q000000" in name and ":" not in name for name in names)


# ---- a Maildir for each recipient -------------------------------------------------


def test_placeholders(tmp_path: Path) -> None:
    """`{user}` and `{domain}` lead to a Maildir of the recipient's own, in lower case."""
    hop = MaildirHop(tmp_path / "{domain}" / "{user}" / "Maildir")
    hop.deliver(queued(CONTENT, envelope("Bob@Example.NET", '"a b"@example.net')))
    hop.wait(hop.backend.stop())
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.glob("*/*/Maildir/new")) == [
        Path("example.net/a b/Maildir/new"),
        Path("example.net/bob/Maildir/new"),
    ]


@pytest.mark.parametrize(
    "local_part", ["../bob", "..", ".", "", "a/b", "/etc", ".hidden", "a\0b", "a\nb", "a\r\nX: y"]
)
def test_no_way_out(tmp_path: Path, local_part: str) -> None:
    """A local part that is no plain name of a folder fails, and nothing is written."""
    hop = MaildirHop(tmp_path / "mail" / "{user}")
    what = Envelope(None, (Recipient(Mailbox(local_part, "example.net")),))
    (status,) = hop.deliver(queued(CONTENT, what))
    hop.wait(hop.backend.stop())
    assert (status.action, status.status) == (Action.FAILED, "5.1.3")
    assert list(tmp_path.iterdir()) == []


def test_placeholders_are_not_expanded_twice(tmp_path: Path) -> None:
    """An address that looks like a placeholder is taken as it is."""
    backend = MaildirHop(tmp_path / "{domain}" / "{user}").backend
    folder = backend.folder(Mailbox("{domain}", "[{user}]"))
    assert folder == tmp_path / "[{user}]" / "{domain}"


def test_unknown_placeholders_are_refused(tmp_path: Path) -> None:
    """A path with a placeholder that nobody knows is a fault of the configuration."""
    with pytest.raises(ValueError, match="no other placeholders"):
        MaildirOptions(path=tmp_path / "{login}")


# ---- faults -----------------------------------------------------------------------


def test_not_a_folder(tmp_path: Path) -> None:
    """A file where the Maildir should be delays the message, and the log says which."""
    (tmp_path / "mail").write_text("not a folder")
    hop = MaildirHop(tmp_path / "mail")
    (status,) = hop.deliver(queued(CONTENT))
    hop.wait(hop.backend.stop())
    assert (status.action, status.status) == (Action.DELAYED, "4.3.5")
    assert str(tmp_path / "mail") in status.diagnostic


@pytest.mark.may_skip(reason="root may write everywhere")
def test_no_permission(hop: MaildirHop) -> None:
    """A Maildir that can't be written to delays the message."""
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    hop.deliver(queued(CONTENT, queue_id="Q0000001"))
    (hop.path / "tmp").chmod(0o500)
    (status,) = hop.deliver(queued(CONTENT, queue_id="Q0000002"))
    assert (status.action, status.status) == (Action.DELAYED, "4.3.5")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with 64 KiB."""
    path = tmp_path / "small"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(path)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("may not mount file systems")
    yield path
    subprocess.run(["umount", str(path)], check=True)


@pytest.mark.may_skip(reason="needs the right to mount a file system")
def test_full_disk(small_disk: Path) -> None:
    """A full disk delays the message, leaves nothing of it, and smaller ones still pass."""
    hop = MaildirHop(small_disk / "mail")
    (status,) = hop.deliver(queued(CONTENT * 10_000, queue_id="Q0000001"))
    assert (status.action, status.status) == (Action.DELAYED, "4.3.1")
    assert hop.files("tmp") == hop.files() == []
    (status,) = hop.deliver(queued(CONTENT, queue_id="Q0000002"))
    assert status.action is Action.DELIVERED
    hop.wait(hop.backend.stop())
