"""The relay backend `maildir`: mail ends in Maildirs on this machine.

One Maildir for all recipients, or one for each where the path has `{user}` or `{domain}`.
A message is written to `tmp`, synced, and renamed into `new`, and the folder is synced
before it counts as delivered.  A file's name follows from the queue id and the recipient:
should the server be killed after the rename and before its queue knew of it, the next
attempt finds the file and does not deliver it a second time.
"""

import errno
import os
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from submitd.interfaces import IRelayBackend, IRelayBackendFactory, QueuedMessage, Site
from submitd.mail.address import Mailbox
from submitd.mail.envelope import Recipient
from submitd.mail.status import Action, DeliveryStatus
from submitd.options import between, option

PIECE_BYTES = 262_144
"""How much of a message is in memory at one time."""

T = TypeVar("T")
_PLACEHOLDER = re.compile(r"\{(user|domain)\}")
_STATUS_OF_ERROR = {
    errno.ENOSPC: "4.3.1",  # RFC 3463 §3.4: mail system full
    errno.EDQUOT: "4.2.2",  # RFC 3463 §3.3: mailbox full
    errno.EACCES: "4.3.5",  # RFC 3463 §3.4: system incorrectly configured
    errno.EPERM: "4.3.5",
    errno.EROFS: "4.3.5",
    errno.ENOTDIR: "4.3.5",
}
# What mail readers make of a file's name when they have seen it.
_SEEN_AS = ("", ":2,", ":2,S")


def _known_placeholders(path: Path) -> str | None:
    text = _PLACEHOLDER.sub("", str(path))
    return "no other placeholders than {user} and {domain}" if "{" in text or "}" in text else None


@attrs.frozen(kw_only=True)
class MaildirOptions:
    """`[relay]` with `backend = "maildir"`: mail is stored on this machine."""

    path: Path = option(
        "The Maildir, made where it is missing; `{user}` and `{domain}` stand for the parts of"
        " the recipient's address, in lower case.",
        check=_known_placeholders,
    )
    threads: int = option("Threads that write to the disk.", default=4, check=between(1, 64))


class NoFolder(ValueError):
    """A recipient's name can't be the name of a folder."""


def _folder_name(text: str) -> str:
    """*text* as the name of one folder, in lower case.

    :raises NoFolder: where it would lead elsewhere, or be hidden.
    """
    if not text or text.startswith(".") or "/" in text or not text.isprintable():
        raise NoFolder(f"{text!r} can't be the name of a folder")
    return text.lower()


class _File:
    """One message on its way into one Maildir; its methods are for threads."""

    def __init__(self, folder: Path, name: str, attempt: str) -> None:
        """Prepare, without touching the disk.

        :param folder: the Maildir.
        :param name: the file's name in `new`, the same at each attempt.
        :param attempt: makes its name in `tmp` a new one at each attempt.
        """
        self._folder = folder
        self._name = name
        self._tmp = folder / "tmp" / f"{name}.{attempt}"
        self._new = folder / "new" / name
        self._descriptor: int | None = None

    def take(self, data: bytes, first: bool, last: bool) -> bool:
        """Add octets; the last ones publish the file.  True when nothing is left to do."""
        if first:
            if self._is_there():
                return True
            self._open()
        assert self._descriptor is not None
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]
        if last:
            os.fsync(self._descriptor)
            self._close()
            os.rename(self._tmp, self._new)
            _sync(self._new.parent)
        return last

    def drop(self) -> None:
        """Leave nothing behind of a file that was not published."""
        self._close()
        self._tmp.unlink(missing_ok=True)

    def _is_there(self) -> bool:
        """Whether an earlier attempt delivered it, as far as it has not been refiled since."""
        seen = (self._folder / "cur" / f"{self._name}{flags}" for flags in _SEEN_AS)
        if self._new.exists():
            _sync(self._new.parent)
            return True
        return any(path.exists() for path in seen)

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            self._descriptor = os.open(self._tmp, flags, 0o600)
        except FileNotFoundError:
            self._make_folders()
            self._descriptor = os.open(self._tmp, flags, 0o600)

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _make_folders(self) -> None:
        changed = [self._folder]
        for parent in self._folder.parents:
            changed.append(parent)
            if parent.exists():
                break
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for part in ("tmp", "new", "cur"):
            (self._folder / part).mkdir(mode=0o700, exist_ok=True)
        for folder in changed:
            _sync(folder)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@implementer(IRelayBackend)
class MaildirBackend:
    """Writes messages into Maildirs, in threads."""

    def __init__(self, options: MaildirOptions, site: Site) -> None:
        """Make one; no thread and no folder is made before the first delivery."""
        self._path = str(options.path)
        self._reactor = site.reactor
        # The convention asks that "/" and ":" be kept out of file names.
        self._host = site.hostname.replace("/", "\\057").replace(":", "\\072")
        self._pool = ThreadPool(0, options.threads, "maildir")
        self._under_way = 0
        self._idle: Deferred[None] | None = None

    def next_hop(self, recipient: Recipient) -> str:
        """One for all: the disk."""
        return "maildir"

    def deliver(
        self, message: QueuedMessage, recipients: Sequence[Recipient]
    ) -> Deferred[Mapping[Mailbox, DeliveryStatus]]:
        """Write one file for each recipient."""
        if not self._pool.started:
            self._pool.start()
        self._under_way += 1
        return Deferred.fromCoroutine(self._deliver(message, recipients))

    def stop(self) -> Deferred[None]:
        """Wait for what is being written, then end the threads."""
        idle: Deferred[None] = Deferred()
        self._idle = idle
        idle.addCallback(self._end_threads)
        if not self._under_way:
            idle.callback(None)
        return idle

    def folder(self, mailbox: Mailbox) -> Path:
        """The Maildir of a recipient.

        :raises NoFolder: when its name can't be the name of a folder.
        """
        parts = {"user": mailbox.local_part, "domain": mailbox.domain}
        return Path(_PLACEHOLDER.sub(lambda match: _folder_name(parts[match[1]]), self._path))

    async def _deliver(
        self, message: QueuedMessage, recipients: Sequence[Recipient]
    ) -> Mapping[Mailbox, DeliveryStatus]:
        outcome: dict[Mailbox, DeliveryStatus] = {}
        try:
            for recipient in recipients:
                if recipient.mailbox not in outcome:
                    outcome[recipient.mailbox] = await self._store(message, recipient.mailbox)
        finally:
            self._under_way -= 1
            if self._idle is not None and not self._under_way:
                self._idle.callback(None)
        return outcome

    async def _store(self, message: QueuedMessage, mailbox: Mailbox) -> DeliveryStatus:
        try:
            folder = self.folder(mailbox)
        except NoFolder as error:
            return DeliveryStatus(Action.FAILED, "5.1.3", str(error), "maildir")
        file = _File(folder, self._name(message, mailbox), secrets.token_hex(8))
        sender = message.envelope.reverse_path
        # RFC 5321 §4.4: whoever makes final delivery adds Return-Path.
        top = f"Return-Path: <{sender or ''}>\r\nDelivered-To: {mailbox}\r\n"
        try:
            await self._copy(message, file, top.encode("ascii", "backslashreplace"))
        except OSError as error:
            status = _STATUS_OF_ERROR.get(error.errno or 0, "4.3.0")
            why = f"{folder}: {error.strerror or error}"
            return DeliveryStatus(Action.DELAYED, status, why, "maildir")
        return DeliveryStatus(Action.DELIVERED, "2.1.5", f"stored in {folder}", "maildir")

    async def _copy(self, message: QueuedMessage, file: _File, top: bytes) -> None:
        """Write a message piece by piece, *top* before it; on failure nothing is left of it."""
        size = message.content.size
        offset = 0
        done = False
        try:
            while not done:
                piece = message.content.read(offset, PIECE_BYTES)
                if isinstance(piece, Deferred):
                    piece = await piece
                if not piece and offset < size:
                    raise OSError(errno.EIO, "the queued message is shorter than it was")
                data = piece if offset else top + piece
                first = not offset
                offset += len(piece)
                done = await self._in_thread(file.take, data, first, offset >= size)
        finally:
            if not done:
                await self._in_thread(file.drop)

    def _name(self, message: QueuedMessage, mailbox: Mailbox) -> str:
        who = f"{mailbox.local_part}@{mailbox.domain.lower()}".encode()
        recipient = blake2b(who, digest_size=8).hexdigest()
        return f"{int(message.arrived_s)}.Q{message.id}R{recipient}.{self._host}"

    def _in_thread(self, call: Callable[..., T], *args: object) -> Deferred[T]:
        return deferToThreadPool(self._reactor, self._pool, call, *args)

    def _end_threads(self, _: object) -> None:
        if self._pool.started:
            self._pool.stop()


@implementer(IRelayBackendFactory)
class MaildirFactory:
    """The relay backend `maildir`."""

    name = "maildir"
    options = MaildirOptions

    def build(self, options: MaildirOptions, site: Site) -> MaildirBackend:
        """Make one."""
        return MaildirBackend(options, site)
