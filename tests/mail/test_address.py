"""Mailboxes as the envelope writes them."""

import pytest

from submitd.mail.address import Mailbox


@pytest.mark.parametrize(
    "text",
    ["alice@example.org", "a.b+c@example.org", '"a b"@example.org', "a@[192.0.2.1]", "a@b"],
)
def test_mailboxes_are_read_and_written(text: str) -> None:
    """A mailbox in the grammar of RFC 5321 comes out as it went in."""
    assert str(Mailbox.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "alice", "@example.org", "alice@", "a b@example.org", ".a@example.org", "a..b@example.org",
     "a@-example.org", "a@example..org", "a@example.org ", "<a@example.org>", "a@example.org\r\n",
     '"a"b@example.org', "a@[192.0.2.1", "a\0@example.org"],
)  # fmt: skip
def test_what_is_no_mailbox_is_refused(text: str) -> None:
    """Anything else, or anything more, is an error."""
    with pytest.raises(ValueError, match="mailbox"):
        Mailbox.parse(text)


def test_a_local_part_of_64_octets_is_the_longest() -> None:
    """64 octets before the "@" are read, 65 are refused."""
    assert Mailbox.parse("a" * 64 + "@example.org").local_part == "a" * 64
    with pytest.raises(ValueError, match="64"):
        Mailbox.parse("a" * 65 + "@example.org")


def test_a_domain_of_255_octets_is_the_longest() -> None:
    """255 octets behind the "@" are read, 256 are refused."""
    longest = ".".join(["d" * 63] * 4)
    assert Mailbox.parse(f"a@{longest}").domain == longest
    with pytest.raises(ValueError, match="255"):
        Mailbox.parse(f"a@{longest}.d")


def test_equality_ignores_the_case_of_the_domain_only() -> None:
    """Domains are compared in any case, local parts in theirs, however they were quoted."""
    assert Mailbox.parse("a@Example.ORG") == Mailbox.parse("a@example.org")
    assert Mailbox.parse("A@example.org") != Mailbox.parse("a@example.org")
    assert Mailbox.parse('"a"@example.org') == Mailbox.parse("a@example.org")


def test_the_key_ignores_all_case() -> None:
    """For rules of policy, nobody gets past by writing capitals."""
    assert Mailbox.parse("Alice@Example.org").key == "alice@example.org"


@pytest.mark.parametrize(
    ("text", "qualified"),
    [("a@example.org", True), ("a@[192.0.2.1]", True), ("a@localhost", False)],
)
def test_fully_qualified_domains(text: str, qualified: bool) -> None:
    """A domain of one label is not fully qualified, an address literal counts as if it were."""
    assert Mailbox.parse(text).is_fully_qualified is qualified
