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
from submitd.message.addresses import has_address_beyond_ascii, lacks_qualified_domain, value_of
from submitd.message.authors import (
    FromMismatch,
    needs_own_sender,
    own_mailbox,
    read_authors,
    read_sender,
)
from submitd.message.headers import HeaderBlock, HeaderLeniency, HeaderTooBig, MalformedHeader
from submitd.message.refusal import Refusal, Refused, malformed
from submitd.message.trace import (
    DATE,
    MESSAGE_ID,
    UTF8_MESSAGE_ID,
    date_time,
    message_id,
    received,
)
from submitd.options import at_least, option

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

_SINGLE_FIELDS = (b"from", b"sender", b"date", b"message-id", b"tls-required")
_LOGGED_CHARACTERS = 250  # of a Message-ID, which may be as long as the block

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
    # Exchange, ARC (RFC 8617 §5.2.1: 50 sets of three) and mailing lists add the most,
    # some hundred in all.
    header_fields: int = option(
        "Most header fields of a message.", default=1000, check=at_least(100)
    )
    # 1000 recipients, each with a long name in encoded words, take some 150,000 octets.
    header_field_size_bytes: int = option(
        "Longest header field, all of its lines together, in octets.",
        default=196_608,
        check=at_least(8192),
    )
    received_limit: int = option(
        "Most Received fields a message comes with; with more it goes round in a loop"
        " (RFC 5321 section 6.3).",
        default=100,
        check=at_least(1),
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
    :ivar utf8: whether the client gave SMTPUTF8 (RFC 6531).
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
    utf8: bool = False


@attrs.frozen(slots=True)
class Completed:
    """A message that may go on.

    :ivar header: the new header block with its empty line; it takes the place of the
        block that was handed in, and the body follows as it is.
    :ivar message_id: for the log: the Message-ID as it stands in the message, ASCII, not
        all of it when it is overlong.
    :ivar authors: the mailboxes of From.
    :ivar tls_optional: the message says `TLS-Required: No` (RFC 8689 §3).
    :ivar leniencies: what the header block needed.
    """

    header: bytes
    message_id: str
    authors: tuple[Mailbox, ...]
    tls_optional: bool = False
    leniencies: tuple[HeaderLeniency, ...] = ()


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
    except Refusal as refusal:
        return refusal.refused
    except HeaderTooBig as error:
        return Refused(552, "5.3.4", str(error))
    except MalformedHeader as error:
        return Refused(554, "5.6.0", str(error))


def _complete(
    block: bytes,
    facts: Facts,
    may_send_as: Callable[[Mailbox], bool],
    from_mismatch: FromMismatch,
    options: CompletionOptions,
) -> Completed:
    utf8 = facts.utf8
    header = HeaderBlock.parse(
        block, max_fields=options.header_fields, max_field_octets=options.header_field_size_bytes
    )
    found = _find(header, options, utf8=utf8)
    authors = read_authors(found[b"from"], utf8=utf8)
    sender = read_sender(found[b"sender"], utf8=utf8)
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
            utf8=utf8,
        )
    ]

    if needs_own_sender(authors, sender, may_send_as, from_mismatch):
        gone |= {b"sender"}
        own = own_mailbox(facts.login, facts.login_mailbox, facts.hostname, utf8=utf8)
        added.append(b"Sender: %b\r\n" % own.encode())
    if _to_be_made(found[b"date"], DATE, options.invalid_date):
        gone |= {b"date"}
        added.append(b"Date: %b\r\n" % date.encode("ascii"))
    syntax = UTF8_MESSAGE_ID if utf8 else MESSAGE_ID
    if _to_be_made(found[b"message-id"], syntax, options.invalid_message_id):
        gone |= {b"message-id"}
        identifier = message_id(facts.queue_id, facts.hostname, facts.random)
        added.append(b"Message-ID: %b\r\n" % identifier.encode("ascii"))
    else:
        there = value_of(found[b"message-id"][0]).strip()[:_LOGGED_CHARACTERS]
        identifier = there.encode("ascii", "replace").decode()

    added += [raw for raw, name in header.fields if name.lower() not in gone]
    added.append(header.end)
    leniencies = header.leniencies
    if not utf8 and not block.isascii():
        leniencies += (HeaderLeniency.RAW_8BIT,)
    return Completed(
        b"".join(added), identifier, authors, _waives_tls(found[b"tls-required"]), leniencies
    )


@lru_cache(maxsize=8)
def _names_removed(configured: tuple[str, ...]) -> frozenset[bytes]:
    return frozenset((*_ALWAYS_REMOVED, *(name.lower().encode("ascii") for name in configured)))


def _find(
    header: HeaderBlock, options: CompletionOptions, *, utf8: bool
) -> dict[bytes, list[bytes]]:
    """Collect the fields that rules look at, check address fields, and count Received."""
    found: dict[bytes, list[bytes]] = {name: [] for name in _SINGLE_FIELDS}
    fully_qualified = options.unqualified_addresses == "reject"
    hops = 0
    for raw, written in header.fields:
        name = written.lower()
        if name in found:
            found[name].append(raw)
        if name in _ADDRESS_FIELDS:
            value = value_of(raw)
            if fully_qualified and lacks_qualified_domain(value):
                field = written.decode("ascii")
                raise malformed(f"a domain in the {field} field is not fully qualified")
            if not utf8 and has_address_beyond_ascii(value):
                field = written.decode("ascii")
                text = f"an address in the {field} field needs the SMTPUTF8 parameter"
                raise Refusal(554, "5.6.7", text)
        elif name == b"received":
            hops += 1
    if hops > options.received_limit:
        raise Refusal(554, "5.4.6", f"the message has been through {hops} servers: a loop")
    return found


def _waives_tls(fields: list[bytes]) -> bool:
    """Whether the one TLS-Required field says what it may say: "No" (RFC 8689 §3)."""
    return len(fields) == 1 and value_of(fields[0]).strip().lower() == "no"


def _to_be_made(
    fields: list[bytes], syntax: re.Pattern[str], invalid: Literal["keep", "replace"]
) -> bool:
    """Whether we write a field of our own in place of these."""
    if not fields:
        return True
    if invalid == "keep":
        return False
    return len(fields) > 1 or syntax.fullmatch(value_of(fields[0])) is None
