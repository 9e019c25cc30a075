"""submitd.policy.senders_file: the text of the rules."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from submitd.mail.address import Mailbox
from submitd.policy.senders_file import Pattern, parse


def key(address: str) -> str:
    """The key of an address."""
    return Mailbox.parse(address).key


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        (
            "ann@example.org",
            ["ann@example.org", "Ann@EXAMPLE.org", '"ann"@example.org'],
            ["ann@mail.example.org", "xann@example.org", "ann@example.orgx"],
        ),
        (
            "@example.org",
            ["ann@example.org", "x.y@Example.ORG", '"a b@c"@example.org'],
            ["ann@mail.example.org", "ann@example.net", '"x@example.org"@example.net'],
        ),
        ("*@example.org", ["ann@example.org"], ["ann@mail.example.org"]),
        (
            "sales-*@example.org",
            ["sales-@example.org", "sales-de@example.org", "SALES-DE@example.org"],
            ["sales@example.org", "presales-de@example.org", "sales-de@example.net"],
        ),
        (
            "*@*.example.org",
            ["a@b.example.org", "a@c.b.example.org"],
            ["a@example.org", "a@bexample.org", '"x@y.example.org"@example.net'],
        ),
        ("@*.example.org", ["a@b.example.org"], ["a@example.org"]),
        (
            "a*b@example.org",
            ["ab@example.org", "a+b@example.org", '"a-b"@example.org'],
            ["abc@example.org", '"a@evil.example b"@example.org'],
        ),
        ("ann@*", ["ann@example.org", "ann@[192.0.2.1]"], ["bob@example.org"]),
        ("a.b+c@example.org", ["a.b+c@example.org"], ["axb+c@example.org", "a.bbc@example.org"]),
        ("a.b+*@example.org", ["a.b+c@example.org"], ["axb+c@example.org", "a.bbc@example.org"]),
        ('"ann lee"@example.org', ['"Ann Lee"@example.org'], ["annlee@example.org"]),
        ("@[192.0.2.1]", ["ann@[192.0.2.1]"], ["ann@[192.0.2.11]"]),
        (
            "jörg@bücher.example",
            ["JÖRG@Bücher.example", "jo\u0308rg@xn--bcher-kva.example"],
            ["jorg@bücher.example", "jörg@bucher.example"],
        ),
        ("@xn--bcher-kva.example", ["ann@bücher.example"], ["ann@xn--bcher.example"]),
        ("ö*@*.bücher.example", ["Öl@a.XN--bcher-kva.example"], ["öl@bücher.example"]),
        ("a@*.xn--bcher-kva.example", ["a@b.bu\u0308cher.example"], ["a@b.bucher.example"]),
        ("@xn--b*.example", ["a@xn--bx.example"], ["a@bücher.example"]),
        ("*", ["ann@example.org", '"a b"@[IPv6:::1]'], []),
    ],
)
def test_patterns(pattern: str, yes: list[str], no: list[str]) -> None:
    """A pattern is about these addresses and not about those, when asked slowly or quickly."""
    parsed = Pattern.parse(pattern)
    rules = parse(f"ann: {pattern}".encode())
    assert rules.faults == ()
    for address in yes + no:
        assert parsed.matches(key(address)) == (address in yes), address
        assert rules.allow("ann", key(address)) == (address in yes), address


def test_lines() -> None:
    """Several logins in a line, several lines for a login, commas or blanks, comments."""
    rules = parse(
        b"\xef\xbb\xbf# who may send as whom\r\n"
        b"Ann@example.org, bob : sales@example.org  info@example.org # both\r\n"
        b"\r\n"
        b"   bob:bob@example.net,#1@example.net, x#y@example.net\r\n"
        b"*: noreply@example.org"
    )
    assert rules.faults == ()
    patterns = {
        login: [(rule.number, rule.pattern.text) for rule in rules.of(login)]
        for login in ("ann@example.org", "bob", "*", "carol")
    }
    assert patterns == {
        "ann@example.org": [(2, "sales@example.org"), (2, "info@example.org")],
        "bob": [
            (2, "sales@example.org"),
            (2, "info@example.org"),
            (4, "bob@example.net"),
            (4, "#1@example.net"),
            (4, "x#y@example.net"),
        ],
        "*": [(5, "noreply@example.org")],
        "carol": [],
    }
    assert len(rules) == 3


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("ann", "no colon after the login"),
        ("ann ann@example.org", "no colon after the login"),
        (": ann@example.org", "a login is empty"),
        ("ann,,bob: ann@example.org", "a login is empty"),
        ("ann\0: ann@example.org", "a login has a control character"),
        ("ann:", "no address after the colon"),
        ("ann: # all", "no address after the colon"),
        ("ann: example.org", "example.org is neither an address nor a pattern"),
        ("ann: a@b@example.org", "neither"),
        ("ann: ann@", "neither"),
        ("ann: @", "neither"),
        ("ann: a..b@example.org", "neither"),
        ("ann: @example..org", "@example..org is neither"),
        ("ann: good@example.org bad", "bad is neither"),
        ("ann: a*b*c*d@*.org", "more than 3 wildcards"),
        ('ann: "ann lee@example.org', "quotation mark"),
    ],
)
def test_a_faulty_line_grants_nothing(line: str, reason: str) -> None:
    """A faulty line is told by number and reason, grants nothing, and harms no other."""
    rules = parse(f"zoe: zoe@example.org\n{line}\nyan: yan@example.org".encode())
    (fault,) = rules.faults
    assert fault.number == 2
    assert reason in fault.reason
    assert not rules.of("ann")
    assert rules.allow("zoe", "zoe@example.org")
    assert rules.allow("yan", "yan@example.org")


def test_a_line_that_is_not_utf8() -> None:
    """A line that is not UTF-8 is a fault like any other."""
    (fault,) = parse(b"ann: ann@example.org\nb\xffb: ann@example.org").faults
    assert (fault.number, fault.reason) == (2, "not UTF-8")


PARTS = st.text("ab.*", min_size=1, max_size=6)


@given(
    PARTS, PARTS, st.from_regex(r"[ab]{1,6}(\.[ab]{1,3})?@[ab]{1,6}(\.[ab]{1,3})?", fullmatch=True)
)
def test_wildcards_mean_what_they_say(local_part: str, domain: str, address: str) -> None:
    """A pattern matches as its two parts match, each on its own."""
    try:
        pattern = Pattern.parse(f"{local_part}@{domain}")
    except ValueError:
        return

    def part_matches(part: str, text: str) -> bool:
        return re.fullmatch(re.escape(part).replace(r"\*", ".*"), text) is not None

    local, _, host = address.partition("@")
    expected = part_matches(local_part, local) and part_matches(domain, host)
    assert pattern.matches(address) == expected
    assert parse(f"x: {local_part}@{domain}".encode()).allow("x", address) == expected


@given(st.binary(max_size=200))
def test_any_octets(data: bytes) -> None:
    """No file, whatever is in it, makes reading it fail."""
    parse(data)
