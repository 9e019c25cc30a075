"""submitd.smtp.replies: every reply is well formed, and says the same thing twice."""

import re

import pytest

from submitd.smtp import replies
from submitd.smtp.replies import Reply, reply

NAMED = {name: value for name, value in vars(replies).items() if isinstance(value, Reply)}

# The highest detail of each subject in the registry of RFC 5248 (2026); none below is missing.
REGISTERED = {0: 0, 1: 10, 2: 4, 3: 6, 4: 7, 5: 6, 6: 10, 7: 30}

each_reply = pytest.mark.parametrize("named", NAMED.values(), ids=NAMED.keys())


@each_reply
def test_codes_agree(named: Reply) -> None:
    """An enhanced code has the class of the code before it; only 3yz has none (RFC 2034 §4)."""
    assert 200 <= named.code <= 599
    if named.status is None:
        assert 300 <= named.code <= 399
    else:
        assert re.fullmatch(r"[245]\.\d{1,3}\.\d{1,3}", named.status)
        assert named.status[0] == str(named.code)[0]


@each_reply
def test_codes_are_registered(named: Reply) -> None:
    """Enhanced codes are those that the registry has (RFC 5248 §2)."""
    if named.status is not None:
        _, subject, detail = map(int, named.status.split("."))
        assert detail <= REGISTERED[subject]


@each_reply
def test_lines_are_short_and_printable(named: Reply) -> None:
    """A line of a reply has at most 512 octets, all of them printable ASCII (RFC 5321 §4.2)."""
    assert named.encoded.endswith(b"\r\n")
    for line in named.encoded[:-2].split(b"\r\n"):
        assert re.fullmatch(rb"\d{3}[ -][ -~]+", line)
        assert len(line) + 2 <= 512


def test_several_lines() -> None:
    """Each line has both codes, and only the last one a space behind the first code."""
    assert reply(250, "2.0.0", "one", "two").encoded == b"250-2.0.0 one\r\n250 2.0.0 two\r\n"
