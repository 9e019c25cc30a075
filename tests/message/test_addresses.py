"""Mailboxes in header fields: what is read, what is refused, what is not fully qualified."""

import contextlib
import time

import pytest

from submitd.message.addresses import (
    MalformedAddress,
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


UNQUALIFIED = [
    ("bare", b"bob@host", True),
    ("brackets", b"Bob <bob@host>", True),
    ("one of several", b"a@b.c, bob@host , d@e.f", True),
    ("in a group", b"team: bob@host;", True),
    ("before a comment", b"bob@host (Bob)", True),
    ("quoted local part", b'"b b"@host', True),
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
    ["(", "()", '"', '\\"', "a@b,", "=?", "=?a?q?", "a@b.c,", "<", " ", "\\", "a@", "(\\", '"" '],
)
def test_hostile_values_take_linear_time(unit: str) -> None:
    """The largest header field is judged in well under a second, whatever it holds."""
    value = unit * (262_144 // len(unit))
    for hostile in (value, f"{value}@host", f'"{value}', f"x@y{value}"):
        start = time.process_time()
        lacks_qualified_domain(hostile)
        with contextlib.suppress(MalformedAddress):
            mailboxes(hostile)
        assert time.process_time() - start < 2
