"""What is added, removed and refused when a message is completed."""

import time

import attrs
import pytest

from submitd.mail.address import Mailbox
from submitd.message.completion import (
    Completed,
    CompletionOptions,
    Facts,
    FromMismatch,
    Refused,
    complete,
)

ALICE = Mailbox("alice", "example.org")
FACTS = Facts(
    helo="laptop.example.org",
    client_address="192.0.2.1",
    hostname="mail.example.org",
    queue_id="4ABC",
    tls_suite="TLS_AES_256_GCM_SHA384",
    only_recipient=None,
    login="alice",
    login_mailbox=ALICE,
    now_s=1_763_760_000.5,
    utc_offset_minutes=60,
    random="r4nd",
)
OPTIONS = CompletionOptions()
RECEIVED = (
    b"Received: from laptop.example.org by mail.example.org with ESMTPSA id 4ABC\r\n"
    b"\ttls TLS_AES_256_GCM_SHA384; Fri, 21 Nov 2025 22:20:00 +0100\r\n"
)
DATE = b"Date: Fri, 21 Nov 2025 22:20:00 +0100\r\n"
MESSAGE_ID = b"Message-ID: <r4nd.4ABC@mail.example.org>\r\n"
SENDER = b"Sender: alice@example.org\r\n"
FROM = b"From: Alice <alice@example.org>\r\n"
THEIR_DATE = b"Date: Thu, 20 Nov 2025 08:00:00 +0000\r\n"
THEIR_ID = b"Message-ID: <x.y@laptop.example.org>\r\n"


def run(
    block: bytes,
    from_mismatch: FromMismatch = "reject",
    options: CompletionOptions = OPTIONS,
    facts: Facts = FACTS,
) -> Completed | Refused:
    """Complete a block that Alice sent, who may use her own address only."""
    return complete(block, facts, lambda mailbox: mailbox == ALICE, from_mismatch, options)


def header(
    block: bytes,
    from_mismatch: FromMismatch = "reject",
    options: CompletionOptions = OPTIONS,
    facts: Facts = FACTS,
) -> bytes:
    """The completed block, without the Received field on top of it."""
    completed = run(block, from_mismatch, options, facts)
    assert isinstance(completed, Completed), completed
    assert completed.header.startswith(RECEIVED)
    return completed.header.removeprefix(RECEIVED)


def test_nothing_missing() -> None:
    """A whole header gets a Received field on top, and else comes out as it went in."""
    block = THEIR_ID + b"SUBJECT : \xfc\r\n \r\n\tb\r\n" + FROM + THEIR_DATE + b"\r\n"
    assert header(block) == block


def test_missing_fields() -> None:
    """Date and Message-ID are added where they are missing, on top."""
    assert header(FROM + b"\r\n") == DATE + MESSAGE_ID + FROM + b"\r\n"
    assert header(FROM + THEIR_ID + b"\r\n") == DATE + FROM + THEIR_ID + b"\r\n"
    assert header(THEIR_DATE + FROM + b"\r\n") == MESSAGE_ID + THEIR_DATE + FROM + b"\r\n"


def test_header_without_an_end() -> None:
    """A message without an empty line and a body gets the empty line."""
    for cut in (FROM, FROM.removesuffix(b"\r\n")):
        assert header(cut) == DATE + MESSAGE_ID + FROM + b"\r\n"


def test_completed_tells_the_log() -> None:
    """What logs want to know comes along: the Message-ID and the authors."""
    completed = run(FROM + b"Message-ID:\r\n <\xfc@x>\r\n\r\n")
    assert isinstance(completed, Completed)
    assert completed.message_id == "<?@x>"
    assert completed.authors == (ALICE,)
    completed = run(FROM + b"\r\n")
    assert isinstance(completed, Completed)
    assert completed.message_id == "<r4nd.4ABC@mail.example.org>"


def test_malformed_line_ends_the_header() -> None:
    """An empty line is put before a malformed line, so that all see the same header."""
    block = FROM + b"no colon here\r\nFrom: boss@example.com\r\n\r\n"
    assert header(block) == DATE + MESSAGE_ID + FROM + b"\r\n" + block.removeprefix(FROM)


def test_mbox_line_is_dropped() -> None:
    """An mbox line at the top is not passed on."""
    assert header(b"From alice Sat Nov 22\r\n" + FROM + b"\r\n") == (
        DATE + MESSAGE_ID + FROM + b"\r\n"
    )


def test_bcc_is_removed() -> None:
    """Bcc and Resent-Bcc go, folded and however written; what is like them stays."""
    block = (
        b"BCC : a@b.c,\r\n d@e.f\r\nX-Bcc: 1\r\nbcc:\r\n"
        + FROM
        + b"resent-bcc: g@h.i\r\nBccx: 2\r\n"
    )
    assert header(block + b"\r\n") == (
        DATE + MESSAGE_ID + b"X-Bcc: 1\r\n" + FROM + b"Bccx: 2\r\n\r\n"
    )


def test_configured_names_are_removed() -> None:
    """Names from the configuration go in whatever case they come."""
    options = CompletionOptions(remove=("User-Agent", "X-Originating-IP"))
    block = b"user-agent: a\r\nX-ORIGINATING-IP: b\r\n c\r\n" + FROM + b"User-Agents: d\r\n\r\n"
    assert header(block, options=options) == (DATE + MESSAGE_ID + FROM + b"User-Agents: d\r\n\r\n")


@pytest.mark.parametrize("name", ["From", "DATE", "Received", "Content-Type", "a b", "a:", ""])
def test_names_that_cannot_be_removed(name: str) -> None:
    """The configuration can't take away what a message needs, or what is no name."""
    with pytest.raises(ValueError, match="expected"):
        CompletionOptions(remove=("User-Agent", name))


VALID_DATES = [
    b"Thu, 20 Nov 2025 08:00:00 +0000",
    b"20 nov 2025 08:00 -0530",
    b" Thu ,\t 1 Jan 99 23:59:60 GMT",
    b"Thu,\r\n 20 Nov 2025 08:00:00 +0000 (Coordinated\r\n Universal)\r\n ",
]
INVALID_DATES = [b"", b"today", b"2025-11-20", b"Thu, 32 Nov 2025 08:00:00 +0000",
                 b"Thu, 20 Nov 2025 24:00:00 +0000", b"Thu, 20 Nov 2025 08:00:00",
                 b"Thu, 20 Nov 2025 08:00:00 +0000 x", b"\xfc"]  # fmt: skip
VALID_IDS = [b"<a.b@c>", b"\r\n\t<a@[192.0.2.1]> ", b'<"a b"@c.d>', b"<a+b=c_d@e-f>"]
INVALID_IDS = [b"", b"a@b", b"<a>", b"<a@b> <c@d>", b"<a b@c>", b"<a@b", b"<a@>", b"<\xfc@b>",
               b"<a@b@c>", b"<a..b@c>"]  # fmt: skip


@pytest.mark.parametrize("value", VALID_DATES + INVALID_DATES)
def test_date(value: bytes) -> None:
    """A Date is replaced only when it is malformed and the configuration says so."""
    block = FROM + THEIR_ID + b"Date:" + value + b"\r\n\r\n"
    assert header(block) == block
    replaced = DATE + FROM + THEIR_ID + b"\r\n"
    options = CompletionOptions(invalid_date="replace")
    assert header(block, options=options) == (block if value in VALID_DATES else replaced)


@pytest.mark.parametrize("value", VALID_IDS + INVALID_IDS)
def test_message_id(value: bytes) -> None:
    """A Message-ID is replaced only when it is malformed and the configuration says so."""
    block = FROM + THEIR_DATE + b"Message-Id:" + value + b"\r\n\r\n"
    assert header(block) == block
    replaced = MESSAGE_ID + FROM + THEIR_DATE + b"\r\n"
    options = CompletionOptions(invalid_message_id="replace")
    assert header(block, options=options) == (block if value in VALID_IDS else replaced)


def test_duplicates() -> None:
    """Duplicates of fields that no rule stands on are kept, unless invalid ones are replaced."""
    block = FROM + THEIR_DATE * 2 + THEIR_ID * 2 + b"Subject: a\r\nSubject: b\r\n\r\n"
    assert header(block) == block
    options = CompletionOptions(invalid_date="replace", invalid_message_id="replace")
    assert header(block, options=options) == (
        DATE + MESSAGE_ID + FROM + b"Subject: a\r\nSubject: b\r\n\r\n"
    )


def test_hidden_by_default() -> None:
    """Address and login stand in the Received field only when configured."""
    completed = run(FROM + b"\r\n")
    assert isinstance(completed, Completed)
    assert b"192.0.2.1" not in completed.header
    options = CompletionOptions(show_client_address=True, show_login=True)
    completed = run(FROM + b"\r\n", options=options)
    assert isinstance(completed, Completed)
    assert b"([192.0.2.1])" in completed.header
    assert b"(Authenticated sender: alice)" in completed.header


def test_only_recipient() -> None:
    """The recipient is named when there is exactly one."""
    completed = run(FROM + b"\r\n", facts=attrs.evolve(FACTS, only_recipient=ALICE))
    assert isinstance(completed, Completed)
    assert b"\tfor <alice@example.org> " in completed.header


MALFORMED = [
    ("no From", b"Subject: x\r\n", "no From"),
    ("no fields", b"", "no From"),
    ("two From", FROM * 2, "2 From"),
    ("second From in other case", FROM + b"fRoM: boss@example.com\r\n", "2 From"),
    ("second From with a space", FROM + b"From : boss@example.com\r\n", "2 From"),
    ("From with a space", b"From : alice@example.org\r\n", "white space"),
    ("From behind a malformed line", b"x\r\n" + FROM, "no From"),
    ("From behind a continuation", b" x\r\n" + FROM, "no From"),
    ("From that is malformed", b"From: Doe, Alice <alice@example.org>\r\n", "From"),
    ("From that is empty", b"From:\r\n", "From"),
    ("a group", b"From: all: alice@example.org;\r\n", "From"),
    ("two Sender", FROM + SENDER * 2, "2 Sender"),
    ("Sender with a space", FROM + b"Sender : alice@example.org\r\n", "white space"),
    ("Sender with two mailboxes", FROM + b"Sender: alice@example.org, a@b.c\r\n", "Sender"),
    ("Sender that is malformed", FROM + b"Sender: alice\r\n", "Sender"),
    ("NUL", FROM + b"X: \0\r\n", "control"),
    ("Bcc behind a malformed line", FROM + b"x\r\nBcc: a@b.c\r\n", "Bcc"),
    ("unqualified From", b"From: alice@host\r\n", "From field is not fully"),
    ("unqualified To", FROM + b"To: b@c.d,\r\n bob@host\r\n", "To field is not fully"),
    ("unqualified Resent-Cc", FROM + b"Resent-Cc: bob@host\r\n", "Resent-Cc field is not fully"),
]


@pytest.mark.parametrize("mode", ["reject", "add-sender", "allow"])
@pytest.mark.parametrize(
    ("fields", "text"), [m[1:] for m in MALFORMED], ids=[m[0] for m in MALFORMED]
)
def test_malformed(fields: bytes, text: str, mode: FromMismatch) -> None:
    """What is malformed is refused whatever the policy, with a reason."""
    refused = run(fields + b"\r\n", mode)
    assert isinstance(refused, Refused)
    assert (refused.code, refused.status) == (554, "5.6.0")
    assert text in refused.text


def test_unqualified_accepted() -> None:
    """Domains of one label are let through where configured."""
    options = CompletionOptions(unqualified_addresses="accept")
    block = FROM + b"To: bob@host\r\n\r\n"
    assert header(block, options=options) == DATE + MESSAGE_ID + block


BOSS = b"From: boss@example.com\r\n"
BOTH = b"From: alice@example.org, boss@example.com\r\n"
OTHER = b"Sender: boss@example.com\r\n"
KEPT = b""  # nothing is added and nothing is removed

# From and Sender as they come; then for each mode: the fields added, and those left of
# the two; None is refused.
POLICY: list[tuple[bytes, bytes, bytes | None, tuple[bytes, bytes], bytes]] = [
    (FROM, b"", KEPT, (KEPT, FROM), KEPT),
    (FROM, SENDER, KEPT, (KEPT, FROM + SENDER), KEPT),
    (FROM, OTHER, None, (SENDER, FROM), KEPT),
    (BOSS, b"", None, (SENDER, BOSS), KEPT),
    (BOSS, SENDER, None, (KEPT, BOSS + SENDER), KEPT),
    (BOSS, OTHER, None, (SENDER, BOSS), KEPT),
    (BOTH, b"", None, (SENDER, BOTH), SENDER),
    (BOTH, SENDER, None, (KEPT, BOTH + SENDER), KEPT),
    (BOTH, OTHER, None, (SENDER, BOTH), KEPT),
]


@pytest.mark.parametrize(("from_", "sender", "reject", "add", "allow"), POLICY)
def test_policy(
    from_: bytes,
    sender: bytes,
    reject: bytes | None,
    add: tuple[bytes, bytes],
    allow: bytes,
) -> None:
    """Each pair of From and Sender is refused, kept or given a Sender as the mode says."""
    block = from_ + sender + b"\r\n"
    if reject is None:
        refused = run(block)
        assert isinstance(refused, Refused)
        assert refused == Refused(550, "5.7.1", "you may not send as boss@example.com")
    else:
        assert header(block) == reject + DATE + MESSAGE_ID + block
    assert header(block, "add-sender") == add[0] + DATE + MESSAGE_ID + add[1] + b"\r\n"
    assert header(block, "allow") == allow + DATE + MESSAGE_ID + block


def test_several_authors_need_a_sender() -> None:
    """With several mailboxes in From a Sender is added, though the login may use all of them."""
    block = b"From: alice@example.org,\r\n alice@EXAMPLE.org\r\n\r\n"
    assert header(block) == SENDER + DATE + MESSAGE_ID + block


def test_sender_of_a_login_without_a_mailbox() -> None:
    """Where the login's mailbox is not known, Sender is the login at our name."""
    facts = attrs.evolve(FACTS, login_mailbox=None)
    assert header(BOSS + b"\r\n", "add-sender", facts=facts).startswith(
        b"Sender: alice@mail.example.org\r\n"
    )
    refused = run(BOSS + b"\r\n", "add-sender", facts=attrs.evolve(facts, login="a b@c"))
    assert isinstance(refused, Refused)
    assert (refused.code, refused.status) == (550, "5.7.1")


@pytest.mark.parametrize(
    "unit", [b"Date: \r\n", b"To: a@b\r\n", b"From: \r\n", b"Message-ID:\r\n <a.\r\n a\r\n", b" \t"]
)
def test_hostile_headers_take_linear_time(unit: bytes) -> None:
    """The largest header is completed in well under a second, whatever it holds."""
    options = CompletionOptions(invalid_date="replace", invalid_message_id="replace")
    for start in (b"", FROM, FROM + b"Date:", FROM + b"Message-ID: <a", FROM + b"To: "):
        block = start + unit * (262_144 // len(unit)) + b"\r\n\r\n"
        began = time.process_time()
        run(block, options=options)
        assert time.process_time() - began < 1
