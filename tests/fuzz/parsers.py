"""Fuzz targets: everything that reads a text in one go."""

import contextlib
import email.parser
import tomllib
from collections.abc import Callable
from pathlib import Path

import attrs

from submitd.auth import htfile
from submitd.config.errors import Fault, Faults
from submitd.config.load import read
from submitd.config.positions import line_of, positions
from submitd.mail.address import Mailbox
from submitd.message.addresses import (
    MalformedAddress,
    lacks_qualified_domain,
    mailboxes,
    value_of,
)
from submitd.message.authors import FromMismatch
from submitd.message.completion import Completed, CompletionOptions, Facts, complete
from submitd.message.headers import HeaderBlock, MalformedHeader, find_end
from submitd.policy import senders_file
from submitd.smtp.errors import RemoteProtocolError
from submitd.smtp.grammar import parse_bdat, parse_mail, parse_rcpt

_OWN = Mailbox("alice", "example.org")
_FACTS = Facts(
    helo="client.example",
    client_address="192.0.2.1",
    hostname="mail.example.org",
    queue_id="Q1",
    tls_suite="TLS_AES_128_GCM_SHA256",
    only_recipient=None,
    login="alice",
    login_mailbox=_OWN,
    now_s=1_700_000_000.0,
    utc_offset_minutes=60,
    random="x1",
)
_MISMATCHES: tuple[FromMismatch, ...] = ("reject", "add-sender", "allow")
_REPLACING = CompletionOptions(
    remove=("X-Mailer",), invalid_date="replace", invalid_message_id="replace",
    show_client_address=True, show_login=True, unqualified_addresses="accept",
)  # fmt: skip
_OPTIONS = (CompletionOptions(), _REPLACING)


def header(data: bytes) -> None:
    """A header block: split and completed.  First octet: the policy; then the message."""
    flags, message = data[0] if data else 0, data[1:]
    end = find_end(message)
    assert end == (2 if message.startswith(b"\r\n") else _behind(message, b"\r\n\r\n"))
    block = message if end < 0 else message[:end]
    parsed = None
    with contextlib.suppress(MalformedHeader):
        parsed = HeaderBlock.parse(block)
        _nothing_is_lost(block, parsed)
    mismatch = _MISMATCHES[flags % 3]
    login = "alice" if flags & 4 else "müller"
    own = _OWN if flags & 8 else None
    facts = attrs.evolve(_FACTS, login=login, login_mailbox=own, utf8=bool(flags & 16))
    done = complete(block, facts, lambda mailbox: mailbox == _OWN, mismatch, _OPTIONS[flags >> 7])
    if isinstance(done, Completed):
        assert parsed is not None
        _is_complete(done, parsed, mismatch)
    else:
        assert done.code in (550, 554)
        assert done.text.isprintable()
        assert done.status in ("5.6.0", "5.7.1", "5.6.7")


def _behind(text: bytes, what: bytes) -> int:
    found = text.find(what)
    return found if found < 0 else found + len(what)


def _nothing_is_lost(block: bytes, parsed: HeaderBlock) -> None:
    joined = b"".join(raw for raw, _ in parsed.fields)
    assert parsed.end.startswith(b"\r\n")
    whole = block if block.endswith(b"\r\n") else block + b"\r\n"
    if not whole.endswith(joined + parsed.end):
        # The one thing that is ever put in: the empty line before a malformed one.
        assert whole.endswith(joined + parsed.end[2:])
    for raw, name in parsed.fields:
        assert raw.startswith(name)
        assert raw.endswith(b"\r\n")


def _is_complete(done: Completed, parsed: HeaderBlock, mismatch: FromMismatch) -> None:
    after = HeaderBlock.parse(done.header)
    names = [name.lower() for _, name in after.fields]
    assert names[0] == b"received"
    assert names.count(b"from") == 1
    assert names.count(b"sender") <= 1
    assert b"date" in names
    assert b"message-id" in names
    assert not {b"bcc", b"resent-bcc"} & set(names)
    kept = {raw for raw, _ in after.fields}
    for raw, name in parsed.fields:
        lower = name.lower()
        replaceable = (b"bcc", b"resent-bcc", b"sender", b"date", b"message-id", b"x-mailer")
        assert raw in kept or lower in replaceable, raw
    if mismatch == "reject":
        assert set(done.authors) == {_OWN}
    # Somebody else's reader sees what we see, or less: for this one, white space before a
    # colon ends the header.
    theirs = email.parser.BytesHeaderParser().parsebytes(done.header)
    less = any(raw[len(name) : len(name) + 1] != b":" for raw, name in after.fields)
    assert len(theirs.get_all("From", [])) == 1 or (less and "From" not in theirs)
    assert "bcc" not in theirs
    assert done.message_id.isascii()


def address(data: bytes) -> None:
    """Addresses, as header fields write them and as MAIL, RCPT and BDAT do."""
    value = value_of(b"To:" + data)
    lacks_qualified_domain(value)
    try:
        found = mailboxes(value)
    except MalformedAddress:
        found = []
    else:
        assert found
    text = data.decode("utf-8", "replace")
    for take in (parse_mail, _rcpt, _rcpt_utf8, parse_bdat):
        _take(take, text)
    with contextlib.suppress(ValueError):
        found.append(Mailbox.parse(text))
    for mailbox in found:
        assert Mailbox.parse(str(mailbox)) == mailbox, mailbox
        assert len(mailbox.domain.encode()) <= 255
        assert mailbox.key == mailbox.key.lower()


def _rcpt(text: str) -> object:
    return parse_rcpt(text, "mail.example.org", utf8=False)


def _rcpt_utf8(text: str) -> object:
    return parse_rcpt(text, "mail.example.org", utf8=True)


def _take(take: Callable[[str], object], text: str) -> None:
    refusal = None
    try:
        take(text)
    except RemoteProtocolError as error:
        refusal = error
    assert refusal is None or (refusal.reply is not None and refusal.reply.code >= 500)


def senders(data: bytes) -> None:
    """A senders file: any octets are rules and faults, and no rule gives what it shouldn't."""
    rules = senders_file.parse(data)
    lines = data.count(b"\n") + 1
    assert all(1 <= fault.number <= lines for fault in rules.faults)
    for login in ("alice", "*", "bob@example.org"):
        for rule in rules.of(login):
            exact = rule.pattern.exact
            assert exact is None or rules.allow(login, exact.key)
        granted = rules.allow(login, "alice@example.org")
        matching = any(rule.pattern.matches("alice@example.org") for rule in rules.of(login))
        assert granted == matching
        rules.first_exact(login)


def htpasswd(data: bytes) -> None:
    """A password file: what is written for one user changes nothing for another."""
    before = htfile.parse(data)
    name, stored = "Alice", "{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M="
    after = htfile.parse(htfile.with_user(data, name, stored))
    alice = after.get(name)
    assert alice is not None
    assert (alice.stored, alice.disabled) == (stored, False)
    others = {key: user for key, user in before.by_key.items() if key != "alice"}
    assert {key: user for key, user in after.by_key.items() if key != "alice"} == others
    without = htfile.parse(htfile.without_user(data, name))
    assert without.get(name) is None
    assert without.by_key.keys() == others.keys()


def configuration(data: bytes) -> None:
    """A configuration file: every fault is a fault with a path and a line, never a traceback."""
    try:
        text = data.decode()
        tables = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError):
        return
    faults: tuple[Fault, ...] = ()
    try:
        read(tables, Path("/nowhere"))
    except Faults as error:
        faults = tuple(error.faults)
    if faults:
        known = positions(text)
    for fault in faults:
        line_of(fault.path, known)
        assert str(fault).isprintable()
