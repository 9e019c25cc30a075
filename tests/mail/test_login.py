"""submitd.mail.login: when two names are the same, and which can be stored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from submitd.mail.login import login_fault, login_key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Alice", "aLICE"),
        ("J\u00fcrgen", "ju\u0308RGEN"),
        ("\u00c5sa", "\u212bsa"),  # the letter, and the sign for the unit of length
    ],
)
def test_spellings_of_one_name(one: str, other: str) -> None:
    """Case and composition make no other name."""
    assert login_key(one) == login_key(other)


@pytest.mark.parametrize(
    ("one", "other"), [("ann", "anna"), ("ann", "ann "), ("stra\u00dfe", "strasse")]
)
def test_different_names(one: str, other: str) -> None:
    """Names that look different are different."""
    assert login_key(one) != login_key(other)


@given(st.text())
def test_key_of_a_key(login: str) -> None:
    """The key of what is stored finds it again, in lower case too."""
    assert login_key(login.lower()) == login_key(login)


@pytest.mark.parametrize(
    ("login", "fault"),
    [
        ("", "empty"),
        ("a:b", "colon"),
        ("a\0b", "control"),
        ("a\u2028b", "control"),
        ("\ud800", "control"),
        ("#a", "begins"),
        (" a", "begins"),
        ("a ", "begins"),
        ("\u00fc" * 128, "255 octets"),
    ],
)
def test_faulty_names(login: str, fault: str) -> None:
    """What would break a file of names is a fault."""
    found = login_fault(login)
    assert found is not None
    assert fault in found


@pytest.mark.parametrize("login", ["a", "alice@example.org", "Jürgen Müller", "\u00fc" * 127, "*"])
def test_good_names(login: str) -> None:
    """Addresses, names with spaces, and letters of any script are fine."""
    assert login_fault(login) is None
