"""xtext, decoded."""

import pytest

from submitd.mail.xtext import decode_xtext


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        ("", ""),
        ("QQ314159", "QQ314159"),
        ("bob+2Bx+3Dy", "bob+x=y"),
        ("+2B2B", "+2B"),
        ("+E9", "\xe9"),
        ("+2b", "+2b"),
        ("a+", "a+"),
    ],
)
def test_decode(text: str, decoded: str) -> None:
    """Each "+" with two capital hexadecimal digits is one octet, decoded once; the rest stays."""
    assert decode_xtext(text) == decoded
