"""What is added, removed and refused when a message is completed."""

import time

import attrs
import pytest

from submitd.mail.address import Mailbox
from submitd.message.authors import FromMismatch
from submitd.message.completion import Completed, CompletionOptions, Facts, complete
from submitd.message.headers import HeaderLeniency
from submitd.message.refusal import Refused

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


def test_resent_fields_in_any_number() -> None:
    """However many Resent fields there are, and of whichever kind, they stay (RFC 5321 §3.3)."""
    for resent in (b"Resent-To: b@c.d\r\n", b"Resent-From: a@b.c\r\n" * 2 + b"Resent-Date: x\r\n"):
        block = resent + FROM + THEIR_DATE + THEIR_ID + b"\r\n"
        assert header(block) == block


def test_unqualified_accepted() -> None:
    """Domains of one label are let through where configured."""
    options = CompletionOptions(unqualified_addresses="accept")
    block = FROM + b"To: bob@host\r\n\r\n"
    assert header(block, options=options) == DATE + MESSAGE_ID + block


@pytest.mark.parametrize("name", ["From", "Sender"])
def test_overlong_author_fields(name: str) -> None:
    """A From or Sender that a next hop would break or cut is refused, just below it is not."""
    start = FROM if name == "Sender" else b""
    field = name.encode() + b': "%b" <alice@example.org>'
    longest = field % (b"x" * (998 - len(field) + 2))
    assert len(longest) == 998
    assert isinstance(run(start + longest + b"\r\n\r\n"), Completed)
    for overlong in (
        longest.replace(b"x", b"xx", 1),
        field % (b"\r\n x" * 20_000),
    ):
        refused = run(start + overlong + b"\r\n\r\n")
        assert isinstance(refused, Refused)
        assert refused.text.startswith(f"the {name} field ")
        assert (refused.code, refused.status) == (554, "5.6.0")


# ---- bounds -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "most"), [(b"X: y\r\n", 999), (b"X:\r\n y\r\n\tz\r\n", 999)], ids=["plain", "folded"]
)
def test_number_of_fields(field: bytes, most: int) -> None:
    """1000 fields by default are taken, 1001 are 552 5.3.4."""
    assert isinstance(run(FROM + field * most + b"\r\n"), Completed)
    assert run(FROM + field * (most + 1) + b"\r\n") == Refused(
        552, "5.3.4", "the header has more than 1000 fields"
    )
    few = CompletionOptions(header_fields=100)
    assert isinstance(run(FROM + field * 100 + b"\r\n", options=few), Refused)


def test_length_of_a_field() -> None:
    """A field of the length configured is taken, one octet more is 552 5.3.4."""
    options = CompletionOptions(header_field_size_bytes=8192)
    line = b" " + b"y" * 997 + b"\r\n"
    for more, taken in ((0, True), (1, False)):
        field = b"X:\r\n" + line * 8
        field += b" " + b"z" * (8192 - len(field) - 3 + more) + b"\r\n"
        result = run(FROM + field + FROM.replace(b"From", b"To") + b"\r\n", options=options)
        assert isinstance(result, Completed) is taken
        if not taken:
            assert result == Refused(552, "5.3.4", "a header field is longer than 8192 octets")


LONG_NAME = b"=?utf-8?B?RHIuIE1heGltaWxpYW5hIHZvbiBkZXIgTGFuZ2VuIFdpZXNlLU3DvGxsZXI=?="
HONEST = {
    "1000 recipients with long names": b"To: "
    + b",\r\n ".join(
        b"%b\r\n <maximiliana.von-der-langen-wiese.%d@department.example.org>" % (LONG_NAME, n)
        for n in range(1000)
    )
    + b"\r\n",
    "50 ARC sets": b"".join(
        b"ARC-Seal: i=%d; a=rsa-sha256; b=%b\r\nARC-Message-Signature: i=%d; b=%b\r\n"
        b"ARC-Authentication-Results: i=%d; mx.example.org; dkim=pass\r\n"
        % (n, b"\r\n\tx".join([b"A" * 70] * 5), n, b"\r\n\tx".join([b"A" * 70] * 7), n)
        for n in range(1, 51)
    ),
    "200 references": b"References:"
    + b"".join(b"\r\n\t<%d.0123456789abcdef@mail.department.example.org>" % n for n in range(200))
    + b"\r\n",
    "references on one line": b"References:"
    + b" <0123456789abcdef@mail.example.org>" * 200
    + b"\r\n",
    "100 hops": (
        b"Received: from a.example.org by b.example.org with ESMTPS id 0123456789;"
        b" Fri, 21 Nov 2025 22:20:00 +0100\r\n"
    )
    * 100,
}


@pytest.mark.parametrize("fields", HONEST.values(), ids=HONEST.keys())
def test_honest_headers_meet_no_bound(fields: bytes) -> None:
    """The longest headers that honest clients send pass with the bounds as they are by default."""
    block = FROM + fields + b"\r\n"
    assert len(block) < 262_144  # header_size_bytes
    assert header(block).endswith(block)


def test_loop() -> None:
    """A message with more Received fields than configured is going round: 554 5.4.6."""
    hop = b"RECEIVED: from a by b; c\r\n"
    assert isinstance(run(FROM + hop * 100 + b"\r\n"), Completed)
    assert run(FROM + hop * 101 + b"\r\n") == Refused(
        554, "5.4.6", "the message has been through 101 servers: a loop"
    )
    options = CompletionOptions(received_limit=1)
    assert isinstance(run(FROM + hop * 2 + b"\r\n", options=options), Refused)


# ---- SMTPUTF8 ---------------------------------------------------------------------

UTF8 = attrs.evolve(FACTS, utf8=True)


@pytest.mark.parametrize("name", ["From", "Sender", "Reply-To", "To", "Cc", "Resent-To"])
def test_addresses_beyond_ascii(name: str) -> None:
    """An address beyond ASCII in an address field is for SMTPUTF8 alone: else 554 5.6.7."""
    start = b"" if name == "From" else FROM
    block = start + f"{name}: Jörg <jörg@example.org>\r\n\r\n".encode()
    refused = run(block, "allow")
    assert isinstance(refused, Refused)
    assert (refused.code, refused.status) == (554, "5.6.7")
    assert name in refused.text
    completed = run(block, "allow", facts=UTF8)
    assert isinstance(completed, Completed)
    assert completed.header.endswith(block)


def test_raw_octets_elsewhere() -> None:
    """Raw octets outside addresses pass with and without SMTPUTF8, in any charset."""
    block = FROM + b"Subject: J\xf6rg\r\nTo: J\xf6rg <joerg@example.org>\r\n\r\n"
    for facts in (FACTS, UTF8):
        completed = run(block, facts=facts)
        assert isinstance(completed, Completed)
        assert completed.header.endswith(block)


def test_received_with_utf8() -> None:
    """With SMTPUTF8 the Received field says so (RFC 6531 §4.3)."""
    completed = run(FROM + b"\r\n", facts=UTF8)
    assert isinstance(completed, Completed)
    assert b" with UTF8SMTPSA id 4ABC" in completed.header


def test_refusals_are_ascii() -> None:
    """A refusal that names an address beyond ASCII is ASCII all the same."""
    refused = run("From: jörg@example.org\r\n\r\n".encode(), facts=UTF8)
    assert refused == Refused(550, "5.7.1", "you may not send as j?rg@example.org")


@pytest.mark.parametrize(
    ("mailbox", "plain", "utf8"),
    [
        ("jörg@example.org", None, "jörg@example.org"),
        ("joerg@bücher.example", "joerg@xn--bcher-kva.example", "joerg@bücher.example"),
        ("joerg@b\u00a0cher.example", None, "joerg@b\u00a0cher.example"),
    ],
)
def test_own_sender_beyond_ascii(mailbox: str, plain: str | None, utf8: str) -> None:
    """Our own Sender field is UTF-8 with SMTPUTF8 alone, else in A-labels, else impossible."""
    facts = attrs.evolve(FACTS, login_mailbox=Mailbox.parse(mailbox))
    result = run(BOSS + b"\r\n", "add-sender", facts=facts)
    if plain is None:
        assert isinstance(result, Refused)
        assert (result.code, result.status) == (550, "5.6.7")
    else:
        assert isinstance(result, Completed)
        assert f"\r\nSender: {plain}\r\n".encode() in result.header
    result = run(BOSS + b"\r\n", "add-sender", facts=attrs.evolve(facts, utf8=True))
    assert isinstance(result, Completed)
    assert f"\r\nSender: {utf8}\r\n".encode() in result.header


def test_message_id_beyond_ascii() -> None:
    """A Message-ID in UTF-8 is valid with SMTPUTF8 (RFC 6532 §3.2)."""
    options = CompletionOptions(invalid_message_id="replace")
    block = FROM + THEIR_DATE + "Message-ID: <ü@example.org>\r\n\r\n".encode()
    for facts, kept in ((FACTS, False), (UTF8, True)):
        completed = run(block, options=options, facts=facts)
        assert isinstance(completed, Completed)
        assert completed.header.endswith(block) is kept


def test_an_overlong_message_id_is_cut_for_the_log() -> None:
    """The log gets no more of a Message-ID than a line can bear; the message keeps all of it."""
    block = FROM + THEIR_DATE + b"Message-ID: <" + b"x" * 900 + b"@y>\r\n\r\n"
    completed = run(block)
    assert isinstance(completed, Completed)
    assert len(completed.message_id) == 250
    assert completed.header.endswith(block)


# ---- TLS-Required, leniencies -----------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "waived"),
    [
        (b"TLS-Required: No\r\n", True),
        (b"tls-required:no\r\n", True),
        (b"TLS-Required:\r\n NO \r\n", True),
        (b"", False),
        (b"TLS-Required: Yes\r\n", False),
        (b"TLS-Required:\r\n", False),
        (b"TLS-Required: No, thanks\r\n", False),
        (b"TLS-Required: No (really)\r\n", False),
        (b"TLS-Required: No\r\nTLS-Required: No\r\n", False),
        (b"X-TLS-Required: No\r\n", False),
    ],
)
def test_tls_required(fields: bytes, waived: bool) -> None:
    """One field that says No, and nothing else, waives TLS; the field stays (RFC 8689 §3)."""
    completed = run(FROM + fields + b"\r\n")
    assert isinstance(completed, Completed)
    assert completed.tls_optional is waived
    assert completed.header.endswith(FROM + fields + b"\r\n")


@pytest.mark.parametrize(
    ("block", "leniencies"),
    [
        (FROM + b"\r\n", ()),
        (FROM, (HeaderLeniency.NO_EMPTY_LINE,)),
        (b"From a Sat\r\n" + FROM + b"\r\n", (HeaderLeniency.MBOX_LINE,)),
        (FROM + b"text\r\n\r\n", (HeaderLeniency.MALFORMED_LINE,)),
        (FROM + b"X: \xfc\r\n\r\n", (HeaderLeniency.RAW_8BIT,)),
    ],
)
def test_leniencies(block: bytes, leniencies: tuple[HeaderLeniency, ...]) -> None:
    """What a header block needed is told by name."""
    completed = run(block)
    assert isinstance(completed, Completed)
    assert completed.leniencies == leniencies


# ---- who may send as whom ---------------------------------------------------------

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
