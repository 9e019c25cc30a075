"""Messages made to look different to us and to those who read them later: what becomes of each.

The table is the promise.  What is let through is then read by programs that nobody here
wrote, and they must find the same authors, no Bcc, and our Received field on top.
"""

from collections.abc import Iterator

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from submitd.mail.address import Mailbox
from submitd.message.completion import Completed, CompletionOptions, Facts, complete
from submitd.message.headers import find_end
from submitd.message.refusal import Refused
from tests.support.readers import PerlReaders, Reading, python_readings

ALICE = Mailbox.parse("alice@example.org")
JÖRG = Mailbox.parse("jörg@bücher.example")
FACTS = Facts(
    helo="laptop",
    client_address="192.0.2.1",
    hostname="mail.example.org",
    queue_id="4ABC",
    tls_suite="TLS_AES_256_GCM_SHA384",
    only_recipient=None,
    login="alice",
    login_mailbox=ALICE,
    now_s=1_763_760_000,
    utc_offset_minutes=0,
    random="r4nd",
)
FROM = b"From: Alice <alice@example.org>\r\n"
BOSS = b"From: The Boss <boss@example.org>\r\n"
END = b"\r\nHello\r\n"


@attrs.frozen
class Case:
    """One message.

    :ivar name: what is tried.
    :ivar message: header and body as the client sends them.
    :ivar decision: `"kept"`, `"changed"` (with an empty line put in or a field taken
        out), or what the refusal says.
    :ivar reason: why this, and not the other.
    :ivar utf8: whether MAIL had SMTPUTF8.
    """

    name: str
    message: bytes
    decision: str
    reason: str
    utf8: bool = False


def value(text: str | bytes) -> bytes:
    """A message with this From."""
    return b"From: " + (text.encode() if isinstance(text, str) else text) + b"\r\n" + END


OPTIONS = CompletionOptions(unqualified_addresses="accept")
TWICE = "2 From fields"
SPACE = "white space before its colon"
ODD = "malformed"
# fmt: off
CASES = [
    # ---- octets
    Case("NUL in From", value(b"alice@example.org\0boss@example.org"), "control",
         "C programs end the value there"),
    Case("NUL in a name", b"Fr\0om: boss@example.org\r\n" + FROM + END, "control",
         "some drop it, and then there are two From fields"),
    Case("vertical tab", b"X: y\x0bFrom: boss@example.org\r\n" + FROM + END, "control",
         "Python's str.splitlines ends a line there"),
    Case("form feed", b"X: y\x0cFrom: boss@example.org\r\n" + FROM + END, "control",
         "Python's str.splitlines ends a line there"),
    Case("CR alone", b"X: y\rFrom: boss@example.org\r\n" + FROM + END, "control",
         "some end the line there"),
    Case("LF alone", b"X: y\nFrom: boss@example.org\r\n" + FROM + END, "control",
         "most end the line there"),
    Case("NEL", b"X: y\xc2\x85From: boss@example.org\r\n" + FROM + END, "kept",
         "no line end of mail, in Latin-1 or in UTF-8"),
    Case("line separator", "X: y\u2028From: boss@example.org\r\n".encode() + FROM + END, "kept",
         "no line end of mail"),
    # ---- names of fields
    Case("two From", FROM + BOSS + END, TWICE, "some take the first, some the last"),
    Case("two From, far apart", FROM + b"X: y\r\n" * 200 + BOSS + END, TWICE, "the same"),
    Case("two From, the same", FROM * 2 + END, TWICE, "RFC 5322 §3.6 allows one"),
    Case("odd case", FROM + BOSS.replace(b"From", b"fRoM") + END, TWICE, "case does not matter"),
    Case("space before the colon", FROM + BOSS.replace(b":", b" :") + END, TWICE,
         "it is From for those who know obsolete syntax"),
    Case("space before the only colon", FROM.replace(b":", b" :") + END, SPACE,
         "others end the header there, or see an mbox line"),
    Case("tab before the colon", FROM.replace(b":", b"\t:") + END, SPACE, "the same"),
    Case("name folded", b"From\r\n : boss@example.org\r\n" + FROM + END, "no From",
         "no field, so the header ends there"),
    Case("name folded, behind", FROM + b"From\r\n : boss@example.org\r\n" + END, "changed",
         "no field, so an empty line is put before it, and it is body"),
    Case("no-break space", FROM + b"From\xa0: boss@example.org\r\n" + END, "changed",
         "no field name, so the header ends before it"),
    Case("zero-width space", FROM + "Fr\u200bom: boss@example.org\r\n".encode() + END, "changed",
         "no field name, so the header ends before it"),
    Case("Cyrillic letter", FROM + "Fr\u043em: boss@example.org\r\n".encode() + END, "changed",
         "no field name, so the header ends before it"),
    Case("space before the name", b" " + BOSS + FROM + END, "no From",
         "some skip it, some take it for a fold: the header ends there"),
    Case("space before the name, behind", FROM + b" " + BOSS + END, ODD,
         "a fold of our From, which then holds two addresses"),
    Case("no name", FROM + b": boss@example.org\r\n" + END, "changed", "no field"),
    Case("mbox line for From", b"From boss@example.org Sat Nov 22 10:00:00 2025\r\n" + FROM + END,
         "changed", "a separator of mailboxes is no field, and some would keep it"),
    Case("mbox line alone", b"From boss@example.org Sat Nov 22 10:00:00 2025\r\n" + END,
         "no From", "the same"),
    Case("mbox line later", FROM + b"From boss@example.org Sat Nov 22 10:00:00 2025\r\n" + END,
         "changed", "no field, so the header ends before it"),
    Case("quoted mbox line", b">" + BOSS + FROM + END, "kept", "a field of another name"),
    Case("Resent-From", b"Resent-" + BOSS + FROM + END, "kept",
         "nobody shows it as the author; it gives no permission either"),
    Case("X-From", b"X-" + BOSS + FROM + END, "kept", "a field of another name"),
    # ---- folding
    Case("From folded", b"From:\r\n Alice\r\n\t<alice@example.org>\r\n" + END, "kept",
         "as honest clients do"),
    Case("From folded, white line", b"From:\r\n \r\n alice@example.org\r\n" + END, "kept",
         "obsolete folding (RFC 5322 §4.2); who ends the header there sees no From"),
    Case("white line before From", b"X: y\r\n \r\n" + FROM + BOSS + END, TWICE,
         "a white line does not end the header"),
    Case("fold in the local part", b"From: alice-\r\n boss@example.org\r\n" + END, ODD,
         "some read boss@example.org"),
    Case("fold after the at sign", b"From: alice@\r\n example.org\r\n" + END, ODD,
         "obsolete syntax, read in two ways"),
    Case("line too long",
         b"From: " + b"a" * 980 + b" <alice-boss@example.org>\r\n" + END, "longer than 998",
         "next hops break it in two, here within the address"),
    Case("field too long",
         b"From: " + b'"x"\r\n ' * 14_000 + b"<alice@example.org>\r\n" + END, "longer than 65536",
         "next hops cut it"),
    # ---- the end of the header
    Case("no end", FROM + b"X: y\r\n", "changed", "the empty line is added"),
    Case("no end, no line end", FROM + b"X: y", "changed", "both are added"),
    Case("no end, Bcc last", FROM + b"Bcc: carol@example.com", "changed",
         "Bcc is removed wherever it stands"),
    Case("empty at once", b"\r\n" + FROM + END, "no From", "an empty header; the rest is body"),
    Case("text in the header", FROM + b"Hello\r\n" + BOSS + END, "changed",
         "the header ends before the text, for all who come after us"),
    Case("text first", b"Hello\r\n" + FROM + END, "no From", "the header ends before the text"),
    Case("text, then Bcc", FROM + b"Hello\r\nBcc: carol@example.com\r\n" + END, "Bcc",
         "it would become text that all recipients read"),
    Case("text, then Bcc folded", FROM + b"Hello\r\nBcc\r\n : carol@example.com\r\n" + END, "Bcc",
         "the same"),
    Case("Received in the body", FROM + END + b"Received: from a by b; c\r\n", "kept", "no field"),
    # ---- Bcc
    Case("Bcc", FROM + b"Bcc: carol@example.com\r\n" + END, "changed", "removed"),
    Case("Bcc in odd case, twice", FROM + b"bCC: a@b.c\r\nX: y\r\nBCC:d@e.f,\r\n g@h.i\r\n" + END,
         "changed", "all are removed, with their folds"),
    Case("Bcc, space before the colon", FROM + b"Bcc \t: carol@example.com\r\n" + END, "changed",
         "it is Bcc for those who know obsolete syntax"),
    Case("Bcc behind a white line", FROM + b"X: y\r\n \r\nBcc: carol@example.com\r\n" + END,
         "changed", "a white line does not end the header"),
    # ---- an attached message
    Case("attached message",
         b"Content-Type: message/rfc822\r\n" + FROM
         + b"\r\n" + BOSS + b"Bcc: carol@example.com\r\nReceived: from x by y; z\r\n\r\nHello\r\n",
         "kept", "its fields are content: neither ours to judge nor to touch"),
    Case("attached message alone", b"Content-Type: message/rfc822\r\n\r\n" + FROM + END, "no From",
         "a From within is none of the message"),
    # ---- lists of addresses
    Case("two authors", value("alice@example.org, boss@example.org"), "you may not send as boss",
         "each author must be the login's"),
    Case("author behind", value("boss@example.org <alice@example.org>"), ODD,
         "one address or two?"),
    Case("two in brackets", value("<alice@example.org> <boss@example.org>"), ODD,
         "one address or two?"),
    Case("brackets in brackets", value("<<boss@example.org>alice@example.org>"), ODD,
         "some take the inner one"),
    Case("comma unquoted", value("Boss, The <alice@example.org>"), ODD, "one mailbox or two?"),
    Case("address as a name", value('"boss@example.org" <alice@example.org>'), "kept",
         "a name is text for people, and honest clients send such"),
    Case("brackets as a name", value('"The Boss <boss@example.org>" <alice@example.org>'), "kept",
         "the same, and quoted for all readers"),
    Case("quote open", value('"The Boss <boss@example.org>, <alice@example.org>'), ODD,
         "each reader closes it elsewhere"),
    Case("quote escaped", value('"x\\" <boss@example.org>, "y" <alice@example.org>'), ODD,
         "inside or outside depends on the backslash"),
    Case("group", value("Board: boss@example.org, alice@example.org;"), ODD,
         "not all know groups in From"),
    Case("empty group", value("Board:;, alice@example.org"), ODD, "the same"),
    Case("source route", value("<@boss.example:alice@example.org>"), ODD, "read in two ways"),
    Case("two at signs", value("<boss@example.org@example.org>"), ODD, "read in two ways"),
    Case("no address", value("The Boss"), ODD, "there is nothing to check"),
    Case("nothing", value(""), ODD, "the same"),
    # ---- comments
    Case("address in a comment", value("alice@example.org (boss@example.org)"), "kept",
         "all read over comments"),
    Case("comment in a comment", value("(a (boss@example.org) b) alice@example.org"), "kept",
         "comments nest (RFC 5322 §3.2.2)"),
    Case("comment open", value("alice@example.org (x <boss@example.org>"), ODD,
         "each reader closes it elsewhere"),
    Case("comment in the address", value("alice(@boss.example)@example.org"), ODD,
         "obsolete syntax, read in two ways"),
    Case("parenthesis quoted", value('"(" <alice@example.org> ")"'), ODD,
         "no name stands behind an address"),
    # ---- encoded words
    Case("address encoded as a name", value("=?utf-8?q?boss=40example=2Eorg?= <alice@example.org>"),
         "kept", "a name is text for people"),
    Case("brackets encoded as a name",
         value("=?utf-8?b?Qm9zcyA8Ym9zc0BleGFtcGxlLm9yZz4=?= <alice@example.org>"), "kept",
         "decoding comes after splitting (RFC 2047 §6.2)"),
    Case("address encoded, nothing else", value("=?utf-8?q?alice=40example.org?="), ODD,
         "no encoded word stands for an address (RFC 2047 §5)"),
    Case("encoded local part", value("=?utf-8?q?boss?=@example.org"), ODD, "the same"),
    Case("encoded local part with a NUL",
         value("<=?utf-8?b?Ym9zc0BleGFtcGxlLm9yZwA=?=@example.org>"), ODD,
         "those who decode it find boss@example.org, and an end"),
    Case("brackets raw in a word", value("=?utf-8?q?<boss@example.org>?= <alice@example.org>"), ODD,
         "who looks for the word's end first sees no brackets"),
    Case("quote raw in a word", value('=?utf-8?q?"?= <boss@example.org>" <alice@example.org>'), ODD,
         "the same"),
    Case("word without an end", value("=?utf-8?q?x <alice@example.org>"), ODD, "the same"),
    # ---- beyond ASCII
    Case("raw name, Latin-1", value(b"J\xf6rg <alice@example.org>"), "kept",
         "old clients send names raw"),
    Case("raw address without SMTPUTF8", value("jörg@bücher.example"), "SMTPUTF8",
         "only SMTPUTF8 has addresses beyond ASCII (RFC 6531)"),
    Case("raw address in To without SMTPUTF8",
         FROM + "To: Jörg <jörg@bücher.example>\r\n".encode() + END, "SMTPUTF8", "the same"),
    Case("raw name in To", FROM + "To: Jörg <joerg@example.com>\r\n".encode() + END, "kept",
         "old clients send names raw"),
    Case("UTF-8 address", value("Jörg <jörg@bücher.example>"), "kept", "the login's own",
         utf8=True),
    Case("A-labels", value("jörg@xn--bcher-kva.example"), "kept", "the same domain", utf8=True),
    Case("composed otherwise", value("jo\u0308rg@bücher.example"), "kept",
         "the same address (RFC 6532 §3.1)", utf8=True),
    Case("Cyrillic letter in an address", value("\u0430lice@example.org"), "you may not send",
         "looks alike, and is another's", utf8=True),
    Case("Cyrillic letter in a domain", value("alice@ex\u0430mple.org"), "you may not send",
         "looks alike, and is another's", utf8=True),
    Case("full-width letters", value("\uff42\uff4f\uff53\uff53@example.org"), "you may not send",
         "another address than boss, for all that compare octets", utf8=True),
    Case("full-width at sign", value("boss\uff20example.org@example.org"), ODD,
         "becomes @ where text is normalised (NFKC)", utf8=True),
    Case("full-width bracket", value("x\uff1cboss@example.org"), ODD,
         "becomes < where text is normalised", utf8=True),
    Case("one dot leader", value("boss\u2024alice@example.org"), ODD,
         "becomes a dot where text is normalised", utf8=True),
    Case("ideographic full stop", value("alice@example\u3002org"), ODD,
         "a dot for some that look up names; no character of a domain", utf8=True),
    Case("stroke behind the bracket", value("<\u0338alice@example.org>"), ODD,
         "bracket and stroke become one character (NFC)", utf8=True),
    Case("right-to-left override", value("\u202eecila@example.org"), ODD,
         "shown from the end", utf8=True),
    Case("isolate in a domain", value("alice@\u2067example.org"), ODD, "shown from the end",
         utf8=True),
    Case("zero-width space in an address", value("al\u200bice@example.org"), ODD, "does not show",
         utf8=True),
    Case("zero-width joiner in an address", value("al\u200dice@example.org"), ODD, "does not show",
         utf8=True),
    Case("soft hyphen in a domain", value("alice@exam\u00adple.org"), ODD, "does not show",
         utf8=True),
    Case("no-break space for a space", value("Alice\u00a0<alice@example.org>"), "kept",
         "part of the name", utf8=True),
    Case("no-break space in an address", value("alice\u00a0boss@example.org"), ODD,
         "a space where text is normalised", utf8=True),
    Case("full-width bracket in a name", value("\uff1cboss\uff1e <alice@example.org>"), "kept",
         "a name is text for people", utf8=True),
    Case("right-to-left name", value("\u202bאליס\u202c <alice@example.org>"), "kept",
         "names may be in any script", utf8=True),
    Case("Latin-1 with SMTPUTF8", value(b"J\xf6rg <alice@example.org>"), "not UTF-8",
         "RFC 6532 §3.1", utf8=True),
    Case("overlong UTF-8", value(b"x\xc0\xbcboss@example.org\xc0\xbe <alice@example.org>"),
         "not UTF-8", "lax decoders find brackets", utf8=True),
]
# fmt: on

ONE_BY_ONE = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def finish(
    message: bytes, *, utf8: bool, anybody: bool = False
) -> tuple[Completed | Refused, bytes]:
    """What becomes of a message of Alice's, or of *anybody*'s; and its body."""
    end = find_end(message)
    block, body = (message[:end], message[end:]) if end > 0 else (message, b"")

    def may_send_as(mailbox: Mailbox) -> bool:
        return anybody or mailbox.key in (ALICE.key, JÖRG.key)

    facts = attrs.evolve(FACTS, utf8=utf8)
    return complete(block, facts, may_send_as, "allow" if anybody else "reject", OPTIONS), body


def check(readings: Iterator[Reading], completed: Completed) -> None:
    """Each reader sees the authors that we saw, no Bcc, and our own Received on top."""
    for reading in readings:
        if reading.authors is not None:
            assert [list(map(_key, field)) for field in reading.authors] == [
                [mailbox.key for mailbox in completed.authors]
            ], reading.reader
        assert reading.blind == 0, reading.reader
        assert reading.received is not None
        assert " id 4ABC" in reading.received, reading.reader


def _key(address: str) -> str:
    try:
        return Mailbox.parse(address).key
    except ValueError:
        return f"no mailbox: {address}"


@pytest.fixture(scope="module")
def perl() -> Iterator[PerlReaders]:
    """Perl's modules."""
    missing = PerlReaders.missing()
    if missing:
        pytest.skip(missing)
    readers = PerlReaders()
    yield readers
    readers.stop()


@ONE_BY_ONE
def test_decision(case: Case) -> None:
    """Each message is kept to the byte, changed, or refused with a reason, as the table says."""
    result, body = finish(case.message, utf8=case.utf8)
    if isinstance(result, Refused):
        assert case.decision in result.text
        return
    kept = (result.header + body).endswith(b"\r\n" + case.message)
    assert case.decision == ("kept" if kept else "changed")


@ONE_BY_ONE
def test_python_sees_the_same(case: Case) -> None:
    """What is let through has for Python's parsers the authors that we saw, and no Bcc."""
    result, body = finish(case.message, utf8=case.utf8)
    if isinstance(result, Completed):
        check(python_readings(result.header + body), result)


@ONE_BY_ONE
def test_perl_sees_the_same(case: Case, perl: PerlReaders) -> None:
    """What is let through has for Perl's mail modules the authors that we saw, and no Bcc."""
    result, body = finish(case.message, utf8=case.utf8)
    if isinstance(result, Completed):
        check(perl.readings(result.header + body), result)


FRAGMENTS = st.sampled_from(
    [
        *("alice@example.org", "<alice@example.org>", "boss@a.b", "<boss@a.b>", "Alice", "J.", " "),
        *("<", ">", "@", ",", '"', "(", ")", "\\", ":", ";", ".", "[", "]", "'", "\r\n ", "\t"),
        *("=?utf-8?q?", "=?utf-8?b?Ym9zc0BhLmI=?=", "?=", "=?", "?", "=", "=40", "_", "x", "ü"),
        *('"Doe, J" ', "(comment) ", "=?utf-8?q?boss=40a.b?= ", '"a b"@example.org', "a@[1.2.3.4]"),
        *("jörg@bücher.example", "<ö@b.c>", "\r\nFrom: ", "\r\nBcc: ", "\r\nX\r\n", "\r\nX: "),
    ]
)


VALUES = st.lists(FRAGMENTS, max_size=9).map("".join)


def let_through(text: str, *, utf8: bool) -> tuple[bytes, Completed] | None:
    """A message with this From, completed for whoever sent it, and what we saw in it."""
    message = value(text.encode("utf-8" if utf8 else "latin-1"))
    result, body = finish(message, utf8=utf8, anybody=True)
    return (result.header + body, result) if isinstance(result, Completed) else None


@settings(max_examples=800, deadline=None)
@given(VALUES, st.booleans())
@example('=?utf-8?q?"?= <boss@a.b>" <alice@example.org>', False)
@example('"=?utf-8?q?x" <alice@example.org> "?="', False)
@example("alice@example.org(<boss@a.b>)", False)
@example("(=?utf-8?q?) <boss@a.b>?=) alice@example.org", False)
def test_python_agrees(text: str, utf8: bool) -> None:
    """However a From is put together, Python's parsers see what we saw, or it is refused."""
    if (through := let_through(text, utf8=utf8)) is not None:
        message, completed = through
        check(python_readings(message), completed)


@settings(max_examples=800, deadline=None)
@given(VALUES, st.booleans())
@example('"boss@a.b=\\\r\n ,"@example.org', False)
def test_perl_agrees(perl: PerlReaders, text: str, utf8: bool) -> None:
    """However a From is put together, Perl's modules see what we saw, or it is refused."""
    if (through := let_through(text, utf8=utf8)) is not None:
        message, completed = through
        check(perl.readings(message), completed)
