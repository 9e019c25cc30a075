"""The fields that we make ourselves."""

import re
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from submitd.mail.address import Mailbox
from submitd.message.trace import LINE_COLUMNS, date_time, message_id, received

DATE = "Fri, 21 Nov 2025 22:20:00 +0100"
SUITE = "TLS_AES_256_GCM_SHA384"

# RFC 5321 §4.4 and RFC 8314 §4.3, for what we write of it; unfolded.
ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
DOMAIN = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
LITERAL = r"\[(?:[0-9.]+|IPv6:[0-9A-Fa-f:.]+)\]"
QUOTED = r'"(?:[^"\\]|\\.)*"'
GRAMMAR = re.compile(
    rf"Received: from (?:{DOMAIN}(?: \({LITERAL}\))?|{LITERAL} \({LITERAL}\))"
    rf"(?: \(Authenticated sender: (?:[ -'*-\[\]-~])*\))? by {DOMAIN}"
    rf" with ESMTPS?A id {ATOM}(?: for <(?:{ATOM}(?:\.{ATOM})*|{QUOTED})@(?:{DOMAIN}|\[.*\])>)?"
    rf"(?: tls {ATOM})?; ([A-Z][a-z]{{2}}, [0-9]{{2}} [A-Z][a-z]{{2}} [0-9]{{4}}"
    r" [0-9:]{8} [+-][0-9]{4})"
)


def unfold(field: bytes) -> str:
    """Check the line ends of a field, and take its folding away."""
    text = field.decode("ascii")
    assert text.endswith("\r\n")
    return text[:-2].replace("\r\n\t", " ")


def test_received() -> None:
    """By default there is who, where, how and when, and neither address nor login."""
    field = received(
        helo="laptop.example.org",
        hostname="mail.example.org",
        queue_id="4ABC",
        date=DATE,
        tls_suite=SUITE,
        only_recipient=Mailbox("bob", "example.net"),
    )
    assert field == (
        b"Received: from laptop.example.org by mail.example.org with ESMTPSA id 4ABC\r\n"
        b"\tfor <bob@example.net> tls TLS_AES_256_GCM_SHA384;\r\n"
        b"\tFri, 21 Nov 2025 22:20:00 +0100\r\n"
    )


def test_received_with_everything() -> None:
    """Address and login are there when asked for."""
    field = received(
        helo="[192.0.2.1]",
        hostname="mail.example.org",
        queue_id="4ABC",
        date=DATE,
        tls_suite=SUITE,
        client_address="2001:db8::1",
        login="alice",
    )
    assert unfold(field) == (
        "Received: from [192.0.2.1] ([IPv6:2001:db8::1]) (Authenticated sender: alice)"
        f" by mail.example.org with ESMTPSA id 4ABC tls {SUITE}; {DATE}"
    )


@pytest.mark.parametrize(
    ("helo", "hidden", "shown"),
    [
        ("laptop", "laptop", "laptop"),
        ("laptop.example.org", "laptop.example.org", "laptop.example.org"),
        ("[192.0.2.1]", "unknown", "[192.0.2.1]"),
        ("192.0.2.1", "unknown", "192.0.2.1"),
        ("[IPv6:2001:db8::1]", "unknown", "[IPv6:2001:db8::1]"),
        ("[x] by evil", "unknown", "unknown"),
        ("a b", "unknown", "unknown"),
        ("a\r\nX: y", "unknown", "unknown"),
        ("a\n", "unknown", "unknown"),
        ("(x)", "unknown", "unknown"),
        ("b\xfccher", "unknown", "unknown"),
        ("", "unknown", "unknown"),
        ("a." * 127 + "ab", "unknown", "unknown"),
    ],
)
def test_client_name(helo: str, hidden: str, shown: str) -> None:
    """A name that the grammar allows is told as it is, an address only when addresses are."""
    for address, expected in ((None, hidden), ("192.0.2.9", shown)):
        field = received(
            helo=helo,
            hostname="h.example",
            queue_id="1",
            date=DATE,
            tls_suite=None,
            client_address=address,
        )
        name = "" if address is None else f" ([{address}])"
        assert unfold(field).startswith(f"Received: from {expected}{name} by h.example with ")


@pytest.mark.parametrize(
    ("utf8", "suite", "protocol"),
    [
        (False, None, "ESMTPA"),
        (False, SUITE, "ESMTPSA"),
        (True, None, "UTF8SMTPA"),
        (True, SUITE, "UTF8SMTPSA"),
    ],
)
def test_protocol(utf8: bool, suite: str | None, protocol: str) -> None:
    """The protocol tells of SMTPUTF8, TLS and login; a recipient beyond ASCII needs the first."""
    field = received(
        helo="laptop",
        hostname="h.example",
        queue_id="1",
        date=DATE,
        tls_suite=suite,
        only_recipient=Mailbox("jörg", "bücher.example"),
        utf8=utf8,
    ).decode()
    assert f" with {protocol} id 1" in field
    assert ("for <jörg@bücher.example>" in field) is utf8


local_parts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=64)


@settings(deadline=None)
@given(
    helo=st.one_of(st.text(), st.from_regex(LITERAL), st.from_regex(DOMAIN, fullmatch=True)),
    login=st.one_of(st.none(), st.text()),
    local_part=st.one_of(st.none(), local_parts),
    address=st.one_of(st.none(), st.ip_addresses().map(str)),
    suite=st.sampled_from([None, SUITE]),
)
def test_received_keeps_to_the_grammar(
    helo: str, login: str | None, local_part: str | None, address: str | None, suite: str | None
) -> None:
    """Whatever client and user call themselves, the field has its clauses and no others."""
    field = received(
        helo=helo,
        hostname="mail.example.org",
        queue_id="4ABC",
        date=DATE,
        tls_suite=suite,
        only_recipient=None if local_part is None else Mailbox(local_part, "example.net"),
        client_address=address,
        login=login,
    )
    assert GRAMMAR.fullmatch(unfold(field))
    for line in field.decode("ascii").split("\r\n"):
        assert len(line.expandtabs(8)) <= LINE_COLUMNS or " " not in line[1:] or "(" in line


@settings(deadline=None)
@given(st.integers(0, 4_000_000_000), st.integers(-14 * 60, 14 * 60))
def test_date_time(now_s: int, offset: int) -> None:
    """A date is read by others as the moment it was made from, in its zone."""
    text = date_time(now_s + 0.25, offset)
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}", text)
    # Python reads +0000 as UTC too.
    moment = parsedate_to_datetime(text)
    assert moment.timestamp() == now_s
    assert moment.utcoffset() is not None


def test_message_id() -> None:
    """A Message-ID has our name, the queue id and the random text."""
    assert message_id("4ABC", "mail.example.org", "r4nd") == "<r4nd.4ABC@mail.example.org>"
