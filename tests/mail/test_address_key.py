"""When two mailboxes are one for rules about senders."""

import pytest

from submitd.mail.address import Mailbox, domain_key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Alice@Example.ORG", "alice@example.org"),
        ('"alice"@example.org', "alice@example.org"),
        ("jörg@example.org", "JÖRG@example.org"),
        ("jo\u0308rg@example.org", "jörg@example.org"),
        ("a@bücher.example", "a@xn--bcher-kva.example"),
        ("a@bücher.example", "a@XN--BCHER-KVA.example"),
        ("a@bu\u0308cher.example", "a@xn--bcher-kva.example"),
        ("ö@a.bücher.example", "Ö@A.xn--bcher-kva.EXAMPLE"),
    ],
)
def test_same(one: str, other: str) -> None:
    """Case, composition, quoting, and A-label or U-label make no difference."""
    assert Mailbox.parse(one).key == Mailbox.parse(other).key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("alice@example.org", "\u0430lice@example.org"),  # a Cyrillic letter
        ("alice@example.org", "alice@ex\u0430mple.org"),
        ("alice@example.org", "alice@xn--exmple-4nf.org"),
        ("alice@example.org", "ali\u200bce@example.org"),
        ("alice@example.org", "\uff41lice@example.org"),  # a full-width letter
        ("alice@example.org", "alice@example\u3002org"),  # an ideographic full stop
        ("xn--bcher-kva@example.org", "bücher@example.org"),
        ('"a@xn--bcher-kva"@example.org', '"a@bücher"@example.org'),
        ("a@faß.example", "a@fass.example"),
    ],
)
def test_not_the_same(one: str, other: str) -> None:
    """What only looks alike, or is no valid A-label, is another mailbox."""
    assert Mailbox.parse(one).key != Mailbox.parse(other).key


@pytest.mark.parametrize("domain", ["[192.0.2.1]", "xn--zzzzzz99999", "xn--", "*.xn--b*", "a_b"])
def test_what_is_no_a_label_stays(domain: str) -> None:
    """Literals, patterns and broken A-labels are compared as they are."""
    assert domain_key(domain.upper()) == domain
