"""Completing a message as a submission server may (RFC 6409 §8), and refusing what it must.

Works on the header block alone.  Fields are added on top and the named ones removed;
every other octet comes out as it came in.  docs/completion.md tells users the rules.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import attrs

from submitd.mail.address import Mailbox
from submitd.message.addresses import (
    MalformedAddress,
    lacks_qualified_domain,
    mailboxes,
    value_of,
)
from submitd.message.headers import HeaderBlock, MalformedHeader
from submitd.message.trace import DATE, MESSAGE_ID, date_time, message_id, received
from submitd.options import option

FromMismatch = Literal["reject", "add-sender", "allow"]
"""What becomes of a message whose From the login may not use."""

# RFC 5322 §3.6.3 leaves it to the sender's side to take Bcc out; Resent-Bcc is its like (§3.6.6).
_ALWAYS_REMOVED = (b"bcc", b"resent-bcc")
# The rules below stand on the first ones; a message means something else without the others.
_NEVER_REMOVED = (
    *("from", "sender", "date", "message-id", "received", "mime-version"),
    *("content-type", "content-transfer-encoding", "content-disposition"),
)
# RFC 6409 §4.2 speaks of "address header fields": these (RFC 5322 §3.6.2, §3.6.3, §3.6.6).
_ADDRESS_FIELDS = frozenset(
    (
        *(b"from", b"sender", b"reply-to", b"to", b"cc"),
        *(b"resent-from", b"resent-sender", b"resent-to", b"resent-cc"),
    )
)

_FIELD_NAME = re.compile(r"[!-9;-~]{1,76}")


def _removable(names: tuple[str, ...]) -> str | None:
    """The check of `remove`."""
    for name in names:
        if not _FIELD_NAME.fullmatch(name):
            return "names of header fields, without the colon"
        if name.lower() in _NEVER_REMOVED:
            return f"fields other than {name}, which a message can't go without"
    return None


@attrs.frozen(kw_only=True)
class CompletionOptions:
    """`[completion]`: what is added to, taken from and asked of the header of each message."""

    remove: tuple[str, ...] = option(
        "Header fields to remove besides Bcc and Resent-Bcc, which always are; "
        'for example "X-Originating-IP", "User-Agent".',
        default=(),
        check=_removable,
    )
    invalid_date: Literal["keep", "replace"] = option(
        "What to do with a Date that is malformed or there twice. A missing one is always added.",
        default="keep",
    )
    invalid_message_id: Literal["keep", "replace"] = option(
        "What to do with a Message-ID that is malformed or there twice. "
        "A missing one is always added.",
        default="keep",
    )
    show_client_address: bool = option(
        "Whether the Received field tells everybody the client's IP address.", default=False
    )
    show_login: bool = option(
        "Whether the Received field tells everybody the user's login.", default=False
    )
    bare_line_ends: Literal["normalise", "reject"] = option(
        "What to do with a message that has a CR or LF alone. normalise: each becomes CRLF, "
        "and the log names the login; reject: 554.",
        default="normalise",
    )
    unqualified_addresses: Literal["reject", "accept"] = option(
        "What to do with a message whose address fields have a domain without a dot "
        "(RFC 6409 section 4.2 has it refused).",
        default="reject",
    )


@attrs.frozen(slots=True, kw_only=True)
class Facts:
    """What is known of a message beside its octets.

    :ivar helo: what the client called itself, unverified.
    :ivar client_address: its IP address as text.
    :ivar hostname: our own name.
    :ivar queue_id: letters and digits.
    :ivar tls_suite: IANA's name of the cipher suite, or None without TLS.
    :ivar only_recipient: the recipient, when there is exactly one; else None.
    :ivar login: who sent it.
    :ivar login_mailbox: the login's own mailbox, for `Sender`, or None when the login is
        no address and no rule names one.
    :ivar now_s: POSIX time in seconds.
    :ivar utc_offset_minutes: the zone of the dates we write, minutes east of UTC.
    :ivar random: letters and digits, unguessable and unique, for the Message-ID.
    """

    helo: str
    client_address: str
    hostname: str
    queue_id: str
    tls_suite: str | None
    only_recipient: Mailbox | None
    login: str
    login_mailbox: Mailbox | None
    now_s: float
    utc_offset_minutes: int
    random: str


@attrs.frozen(slots=True)
class Completed:
    """A message that may go on.

    :ivar header: the new header block with its empty line; it takes the place of the
        block that was handed in, and the body follows as it is.
    :ivar message_id: for the log: the Message-ID as it stands in the message, ASCII.
    :ivar authors: the mailboxes of From.
    """

    header: bytes
    message_id: str
    authors: tuple[Mailbox, ...]


@attrs.frozen(slots=True)
class Refused:
    """A message that may not.

    :ivar code: the reply code: 554 for what is malformed (RFC 6409 §4.1, §4.2), 550
        for what the login may not do (§6.1).
    :ivar status: the enhanced status code: `5.6.0` (the content is at fault) or `5.7.1`
        (not authorised) of RFC 3463.
    :ivar text: the reply's text, ASCII.
    """

    code: int
    status: str
    text: str


class _Refusal(Exception):
    """Carries a Refused out of the checks; never leaves `complete`."""

    def __init__(self, code: int, status: str, text: str) -> None:
        self.refused = Refused(code, status, text)


def complete(
    block: bytes,
    facts: Facts,
    may_send_as: Callable[[Mailbox], bool],
    from_mismatch: FromMismatch,
    options: CompletionOptions,
) -> Completed | Refused:
    """Check a header block and make it complete.

    :param block: the octets up to and with the empty line, as `headers.find_end` cuts
        them, or the whole message where that line never came; CRLF line ends.
    :param may_send_as: whether the login may use a mailbox.
    :param from_mismatch: what to do with a From that it may not use.
    :return: the new block, or why the message is refused; raises nothing for what a
        client can send.
    """
    try:
        return _complete(block, facts, may_send_as, from_mismatch, options)
    except _Refusal as refusal:
        return refusal.refused
    except MalformedHeader as error:
        return Refused(554, "5.6.0", str(error))


def _complete(
    block: bytes,
    facts: Facts,
    may_send_as: Callable[[Mailbox], bool],
    from_mismatch: FromMismatch,
    options: CompletionOptions,
) -> Completed:
    header = HeaderBlock.parse(block)
    found = _find(header, options.unqualified_addresses == "reject")
    authors = _authors(found[b"from"])
    sender = _sender(found[b"sender"])
    gone = _names_removed(options.remove)
    date = date_time(facts.now_s, facts.utc_offset_minutes)
    added = [
        received(
            helo=facts.helo,
            hostname=facts.hostname,
            queue_id=facts.queue_id,
            date=date,
            tls_suite=facts.tls_suite,
            only_recipient=facts.only_recipient,
            client_address=facts.client_address if options.show_client_address else None,
            login=facts.login if options.show_login else None,
        )
    ]

    if _needs_own_sender(authors, sender, may_send_as, from_mismatch):
        gone |= {b"sender"}
        added.append(b"Sender: %b\r\n" % str(_own_mailbox(facts)).encode("ascii"))
    if _to_be_made(found[b"date"], DATE, options.invalid_date):
        gone |= {b"date"}
        added.append(b"Date: %b\r\n" % date.encode("ascii"))
    if _to_be_made(found[b"message-id"], MESSAGE_ID, options.invalid_message_id):
        gone |= {b"message-id"}
        identifier = message_id(facts.queue_id, facts.hostname, facts.random)
        added.append(b"Message-ID: %b\r\n" % identifier.encode("ascii"))
    else:
        identifier = value_of(found[b"message-id"][0]).strip().encode("ascii", "replace").decode()

    added += [raw for raw, name in header.fields if name.lower() not in gone]
    added.append(header.end)
    return Completed(b"".join(added), identifier, authors)


@lru_cache(maxsize=8)
def _names_removed(configured: tuple[str, ...]) -> frozenset[bytes]:
    return frozenset((*_ALWAYS_REMOVED, *(name.lower().encode("ascii") for name in configured)))


def _find(header: HeaderBlock, fully_qualified: bool) -> dict[bytes, list[bytes]]:
    """Collect the fields that rules look at, and check the domains in address fields."""
    found: dict[bytes, list[bytes]] = {b"from": [], b"sender": [], b"date": [], b"message-id": []}
    for raw, written in header.fields:
        name = written.lower()
        if name in found:
            found[name].append(raw)
        if fully_qualified and name in _ADDRESS_FIELDS and lacks_qualified_domain(value_of(raw)):
            field = written.decode("ascii")
            raise _Refusal(554, "5.6.0", f"a domain in the {field} field is not fully qualified")
    return found


def _authors(fields: list[bytes]) -> tuple[Mailbox, ...]:
    """The mailboxes of From: one field exactly, whatever the policy (RFC 5322 §3.6)."""
    if len(fields) != 1:
        raise _Refusal(554, "5.6.0", f"the header has {len(fields) or 'no'} From fields, not one")
    return tuple(_read(fields[0], "From"))


def _sender(fields: list[bytes]) -> Mailbox | None:
    """The mailbox of Sender: one field and one mailbox at most (RFC 5322 §3.6, §3.6.2)."""
    if not fields:
        return None
    if len(fields) > 1:
        raise _Refusal(554, "5.6.0", f"the header has {len(fields)} Sender fields, not one")
    senders = _read(fields[0], "Sender")
    if len(senders) > 1:
        raise _Refusal(554, "5.6.0", "the Sender field has more than one mailbox")
    return senders[0]


def _read(raw: bytes, name: str) -> list[Mailbox]:
    # "From : x" is obsolete syntax (RFC 5322 §4.5), yet some readers end the header there
    # and others take it for an mbox line.
    if raw[len(name) : len(name) + 1] != b":":
        raise _Refusal(554, "5.6.0", f"the {name} field has white space before its colon")
    try:
        return mailboxes(value_of(raw))
    except MalformedAddress as error:
        raise _Refusal(554, "5.6.0", f"the {name} field is malformed: {error}") from error


def _needs_own_sender(
    authors: tuple[Mailbox, ...],
    sender: Mailbox | None,
    may_send_as: Callable[[Mailbox], bool],
    from_mismatch: FromMismatch,
) -> bool:
    """Apply the policy; tell whether Sender must be the login's own mailbox."""
    if from_mismatch == "reject":
        for mailbox in authors if sender is None else (*authors, sender):
            if not may_send_as(mailbox):
                raise _Refusal(550, "5.7.1", f"you may not send as {mailbox}")
    elif from_mismatch == "add-sender":
        if sender is not None:
            return not may_send_as(sender)
        if not all(map(may_send_as, authors)):
            return True
    # RFC 5322 §3.6.2: with several authors there must be a Sender.
    return sender is None and len(authors) > 1


def _own_mailbox(facts: Facts) -> Mailbox:
    if facts.login_mailbox is not None:
        return facts.login_mailbox
    try:
        return Mailbox.parse(f"{facts.login}@{facts.hostname}")
    except ValueError as error:
        text = "the message needs a Sender field, and your login has no mailbox to put there"
        raise _Refusal(550, "5.7.1", text) from error


def _to_be_made(
    fields: list[bytes], syntax: re.Pattern[str], invalid: Literal["keep", "replace"]
) -> bool:
    """Whether we write a field of our own in place of these."""
    if not fields:
        return True
    if invalid == "keep":
        return False
    return len(fields) > 1 or syntax.fullmatch(value_of(fields[0])) is None
