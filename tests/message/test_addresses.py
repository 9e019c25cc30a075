"""Mailboxes in header fields: what is read, what is refused, what is not fully qualified."""

import contextlib
import time

import pytest

from submitd.message.addresses import (
    MalformedAddress,
    has_address_beyond_ascii,
    lacks_qualified_domain,
    mailboxes,
    value_of,
)

READ = [
    ("bare", b"alice@example.org", ["alice@example.org"]),
    ("brackets alone", b"<alice@example.org>", ["alice@example.org"]),
    ("name", b"Alice <alice@example.org>", ["alice@example.org"]),
    ("no space", b"Alice<alice@example.org>", ["alice@example.org"]),
    ("quoted name", b'"Doe, Jane" <jane@example.org>', ["jane@example.org"]),
    ("address as a name", b'"boss@example.com" <jane@example.org>', ["jane@example.org"]),
    ("escapes", b'"a \\" <b@c.d> \\\\" <jane@example.org>', ["jane@example.org"]),
    ("dots in the name", b"J. R. Doe Jr. <jane@example.org>", ["jane@example.org"]),
    ("name in two styles", b'Jane "J" Doe <jane@example.org>', ["jane@example.org"]),
    ("8-bit name", b"J\xc3\xb6rg \xff <jane@example.org>", ["jane@example.org"]),
    ("encoded word", b"=?utf-8?Q?J=C3=B6rg?= <jane@example.org>", ["jane@example.org"]),
    ("base64, padded", b"=?utf-8?B?SsO2cg==?= <jane@example.org>", ["jane@example.org"]),
    ("two encoded words", b"=?a?q?x?=\r\n =?a?q?y?= <jane@example.org>", ["jane@example.org"]),
    ("quoted encoded word", b'"=?utf-8?B?SsO2cg==?=" <jane@example.org>', ["jane@example.org"]),
    ("encoded address as name", b"=?a?q?b=40c.d?= <jane@example.org>", ["jane@example.org"]),
    ("folded", b"\r\n Jane Doe\r\n\t<jane@example.org>\r\n ", ["jane@example.org"]),
    ("fold in the brackets", b"Jane <\r\n jane@example.org\r\n >", ["jane@example.org"]),
    ("comment behind", b"jane@example.org (Jane (J) Doe)", ["jane@example.org"]),
    ("comment with an address", b"(boss@example.com) jane@example.org", ["jane@example.org"]),
    ("comment with quotes", b'(") jane@example.org (")', ["jane@example.org"]),
    ("comment with escapes", b"(\\() jane@example.org", ["jane@example.org"]),
    ("quote with a comment", b'"(" <jane@example.org>', ["jane@example.org"]),
    ("several", b"a@b.c, D <d@e.f>,\r\n g@h.i", ["a@b.c", "d@e.f", "g@h.i"]),
    ("quoted local part", b'"a b@c"@example.org', ['"a b@c"@example.org']),
    ("literal", b"jane@[192.0.2.1]", ["jane@[192.0.2.1]"]),
    ("one label", b"jane@localhost", ["jane@localhost"]),
]


@pytest.mark.parametrize(("value", "expected"), [r[1:] for r in READ], ids=[r[0] for r in READ])
def test_read(value: bytes, expected: list[str]) -> None:
    """What real clients write is read."""
    assert [str(mailbox) for mailbox in mailboxes(value_of(b"From: " + value))] == expected


REFUSED = [
    ("empty", b""),
    ("name alone", b"Jane"),
    ("local part alone", b"<jane>"),
    ("null path", b"<>"),
    ("two addresses in one", b"a@b.c <d@e.f>"),
    ("two in brackets", b"<a@b.c> <d@e.f>"),
    ("address behind", b"<a@b.c> d@e.f"),
    ("brackets in brackets", b"<<a@b.c>>"),
    ("list in brackets", b"<a@b.c, d@e.f>"),
    ("two at signs", b"a@b.c@d.e"),
    ("unquoted comma", b"Doe, Jane <jane@example.org>"),
    ("empty element", b"a@b.c,,d@e.f"),
    ("comma at the end", b"a@b.c,"),
    ("semicolon", b"a@b.c; d@e.f"),
    ("group", b"team: a@b.c, d@e.f;"),
    ("empty group", b"undisclosed-recipients:;"),
    ("source route", b"<@a.b,@c.d:e@f.g>"),
    ("space at the at sign", b"jane @ example.org"),
    ("comment at the at sign", b"jane(x)@example.org"),
    ("comment in the domain", b"jane@example(x).org"),
    ("fold in the address", b"jane@\r\n example.org"),
    ("fold in the local part", b"ja\r\n ne@example.org"),
    ("open quote", b'"Jane <jane@example.org>'),
    ("open quote at the end", b'jane@example.org "'),
    ("open comment", b"jane@example.org (x"),
    ("comment closed twice", b"jane@example.org (x))"),
    ("open bracket", b"Jane <jane@example.org"),
    ("backslash", b"Jane \\<a@b.c> <jane@example.org>"),
    ("8-bit local part", b"j\xc3\xa4ne@example.org"),
    ("8-bit domain", b"jane@ex\xc3\xa4mple.org"),
    ("8-bit space", b"a@b.c\xa0<jane@example.org>"),
    ("dot first", b".jane@example.org"),
    ("two dots", b"ja..ne@example.org"),
    ("dot last in the domain", b"jane@example.org."),
    ("backslash before a fold", b'"a\\\r\n b"@example.org'),
    ("two quoted strings", b'"a"."b"@example.org'),
    ("too long", b"j" * 65 + b"@example.org"),
    ("encoded local part", b"=?utf-8?q?boss?=@example.org"),
    ("encoded part with a NUL", b"=?utf-8?b?Ym9zc0BhLmIA?=@example.org"),
    ("encoded whole", b"=?utf-8?q?jane=40example.org?="),
    ("encoded brackets raw", b"=?utf-8?q?<boss@a.b>?= <jane@example.org>"),
    ("encoded quote raw", b'=?utf-8?q?"?= <boss@a.b>" <jane@example.org>'),
    ("encoded at sign raw", b"=?utf-8?q?boss@a.b?= <jane@example.org>"),
    ("encoded word open", b"=?utf-8?q?x <jane@example.org>"),
    ("encoded word open in quotes", b'"=?utf-8?q?x" <jane@example.org>'),
]


@pytest.mark.parametrize("value", [r[1] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_refused(value: bytes) -> None:
    """What two parsers could read in two ways is malformed."""
    with pytest.raises(MalformedAddress):
        mailboxes(value_of(b"From: " + value))


UTF8_READ = [
    ("local part", "jörg@example.org", ["jörg@example.org"]),
    ("domain", "<a@bücher.example>", ["a@bücher.example"]),
    ("name", "Jörg <jörg@bücher.example>", ["jörg@bücher.example"]),
    ("capital domain", "a@Bücher.Example", ["a@Bücher.Example"]),
    ("quoted local part", '"jörg w"@example.org', ['"jörg w"@example.org']),
    ("Chinese", "用户@例子.广告", ["用户@例子.广告"]),
    ("Hindi", "संपर्क@डाटामेल.भारत", ["संपर्क@डाटामेल.भारत"]),
    ("Arabic", "مثال@مثال.إختبار", ["مثال@مثال.إختبار"]),
    ("symbol", "i❤@example.org", ["i❤@example.org"]),
    ("not composed", "jo\u0308rg@example.org", ["jo\u0308rg@example.org"]),
    ("ASCII alone", "a@b.c, D <d@e.f>", ["a@b.c", "d@e.f"]),
    ("comment", "ö@b.c (Jörg)", ["ö@b.c"]),
    ("underscore", "a@_x.bücher.example", ["a@_x.bücher.example"]),
]


@pytest.mark.parametrize(
    ("value", "expected"), [r[1:] for r in UTF8_READ], ids=[r[0] for r in UTF8_READ]
)
def test_read_with_utf8(value: str, expected: list[str]) -> None:
    """Addresses in any script are read where the client gave SMTPUTF8, and only there."""
    raw = value_of(b"From: " + value.encode())
    assert [str(mailbox) for mailbox in mailboxes(raw, utf8=True)] == expected
    if not "".join(expected).isascii():
        with pytest.raises(MalformedAddress, match="beyond ASCII"):
            mailboxes(raw)


UTF8_REFUSED = [
    ("not UTF-8", b"J\xf6rg <a@b.c>", "not UTF-8"),
    ("surrogate", b"\xed\xa0\x80@b.c", "not UTF-8"),
    ("control", b"a\xc2\x85b@b.c", "malformed"),
    ("invisible", "a\u200bb@b.c", "do not show"),
    ("direction", "a\u202eb@b.c", "do not show"),
    ("private use", "a\ue000@b.c", "do not show"),
    ("quoted invisible", '"a\u2066b"@b.c', "do not show"),
    ("becomes a dot", "a\uff0eb@b.c", "become others"),
    ("becomes an at sign", "a\ufe6bb@b.c", "become others"),
    ("becomes a space", "a\u3000b@b.c", "do not show"),
    ("becomes a space and an accent", "a\u00b4b@b.c", "become others"),
    ("combining first", "\u0301a@b.c", "become others"),
    ("domain not composed", "a@bu\u0308cher.example", "domain"),
    ("domain with a full stop of its own", "a@b\u3002c", "domain"),
    ("domain with a symbol", "a@i❤.example", "domain"),
    ("domain full-width", "a@\uff42.c", "domain"),
    ("label of an A-label and more", "a@xn--ü.c", "domain"),
    ("local part too long", "ö" * 33 + "@b.c", "malformed"),
    ("two addresses", "ö@b.c <ä@b.c>", "not a list"),
]


@pytest.mark.parametrize(
    ("value", "reason"), [r[1:] for r in UTF8_REFUSED], ids=[r[0] for r in UTF8_REFUSED]
)
def test_refused_with_utf8(value: str | bytes, reason: str) -> None:
    """Addresses that the eye or another program could take for others are malformed."""
    raw = value if isinstance(value, bytes) else value.encode()
    with pytest.raises(MalformedAddress, match=reason):
        mailboxes(value_of(b"From: " + raw), utf8=True)


BEYOND_ASCII = [
    ("bare", "jörg@example.org", True),
    ("brackets", "Bob <jörg@example.org>", True),
    ("one of several", "a@b.c, jörg@example.org , d@e.f", True),
    ("in a group", "team: a@b.c, jörg@example.org;", True),
    ("domain", "a@bücher.example", True),
    ("quoted local part", '"jörg w"@example.org', True),
    ("literal", "jörg@[192.0.2.1]", True),
    ("name", "Jörg <joerg@example.org>", False),
    ("quoted name", '"Jörg@home" <joerg@example.org>', False),
    ("unquoted name", "Jörg@home <joerg@example.org>", False),
    ("comment", "joerg@example.org (jörg@example.org)", False),
    ("unbalanced", '"jörg@example.org', False),
    ("ASCII", "a@b.c", False),
    ("text", "jörg", False),
    ("empty", "", False),
]


@pytest.mark.parametrize(
    ("value", "expected"), [b[1:] for b in BEYOND_ASCII], ids=[b[0] for b in BEYOND_ASCII]
)
def test_beyond_ascii(value: str, expected: bool) -> None:
    """Octets above 127 are found where they are an address's, and nowhere else."""
    assert has_address_beyond_ascii(value_of(b"To: " + value.encode())) is expected
    assert has_address_beyond_ascii(value_of(b"To: " + value.encode("latin-1"))) is expected


UNQUALIFIED = [
    ("bare", b"bob@host", True),
    ("brackets", b"Bob <bob@host>", True),
    ("one of several", b"a@b.c, bob@host , d@e.f", True),
    ("in a group", b"team: bob@host;", True),
    ("before a comment", b"bob@host (Bob)", True),
    ("quoted local part", b'"b b"@host', True),
    ("beyond ASCII", "bob@büro".encode(), True),
    ("qualified", b"Bob <bob@host.example.org>", False),
    ("literal", b"bob@[192.0.2.1]", False),
    ("no domain", b"root", False),
    ("group", b"undisclosed-recipients:;", False),
    ("in a quoted name", b'"bob@host" <bob@host.example.org>', False),
    ("in an unquoted name", b"bob@host <bob@host.example.org>", False),
    ("in a comment", b"bob@host.example.org (bob@host)", False),
    ("in an encoded word", b"=?a?q?bob@host?= <bob@host.example.org>", False),
    ("unbalanced", b'"bob@host', False),
    ("empty", b"", False),
]


@pytest.mark.parametrize(
    ("value", "expected"), [u[1:] for u in UNQUALIFIED], ids=[u[0] for u in UNQUALIFIED]
)
def test_unqualified(value: bytes, expected: bool) -> None:
    """A domain of one label is found where it is an address's, and nowhere else."""
    assert lacks_qualified_domain(value_of(b"To: " + value)) is expected


@pytest.mark.parametrize(
    "unit",
    [
        "ü",
        "ü@",
        "ü <",
        "(",
        "()",
        '"',
        '\\"',
        "a@b,",
        "=?",
        "=?a?q?",
        "a@b.c,",
        "<",
        " ",
        "\\",
        "a@",
        "(\\",
        '"" ',
    ],
)
def test_hostile_values_take_linear_time(unit: str) -> None:
    """A field of 64 KiB is judged in well under a second, whatever it holds."""
    value = unit * (65_536 // len(unit))
    for hostile in (value, f"{value}@host", f'"{value}', f"x@y{value}"):
        start = time.process_time()
        lacks_qualified_domain(hostile)
        has_address_beyond_ascii(f"{hostile}\xff")
        with contextlib.suppress(MalformedAddress):
            mailboxes(f"{hostile}\xc3\xbc", utf8=True)
        with contextlib.suppress(MalformedAddress):
            mailboxes(hostile)
        assert time.process_time() - start < 1
