"""What a server says, read by the letter of the RFCs and by no code of submitd's."""

import re

import attrs

# RFC 5321 §4.2: Reply-code = %x32-35 %x30-35 %x30-39; textstring = 1*(%d09 / %d32-126).
_LINE = re.compile(rb"([2-5][0-5][0-9])(?:([ -])([\t -~]*))?")
# RFC 2034 §4: status-code = class "." subject "." detail, without leading zeros.
_ENHANCED = re.compile(rb"([245])\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2}) ")
_LINE_OCTETS = 512  # RFC 5321 §4.5.3.1.5


@attrs.frozen(slots=True)
class WireReply:
    """One reply as it came over the wire.

    :ivar code: the reply code.
    :ivar enhanced: the enhanced status code, such as `"5.5.1"`, or None.
    :ivar lines: what stands behind the code in each line.
    """

    code: int
    enhanced: str | None
    lines: tuple[bytes, ...]


def read_replies(octets: bytes) -> list[WireReply]:
    """Read whole replies and nothing but whole replies.

    :raises AssertionError: where RFC 5321 §4.2 or RFC 2034 §4 is not kept: the form of a
        line, its length, one code and one status code in all lines, the status code's
        class the code's first digit.
    """
    replies = []
    lines: list[bytes] = []
    codes: set[bytes] = set()
    if octets:
        assert octets.endswith(b"\r\n"), f"not ended by CRLF: {octets[-80:]!r}"
    for line in octets.split(b"\r\n")[:-1]:
        match = _LINE.fullmatch(line)
        assert match is not None, f"not a reply line: {line!r}"
        assert len(line) + 2 <= _LINE_OCTETS, f"too long: {line!r}"
        code, separator, text = match.groups()
        lines.append(text or b"")
        codes.add(code)
        if separator != b"-":
            assert len(codes) == 1, f"several codes in one reply: {codes!r}"
            replies.append(WireReply(int(code), _enhanced(code, lines), tuple(lines)))
            lines, codes = [], set()
    assert not lines, f"the last reply has no end: {lines!r}"
    return replies


def _enhanced(code: bytes, lines: list[bytes]) -> str | None:
    found = {match.group() if (match := _ENHANCED.match(line)) else None for line in lines}
    assert len(found) == 1, f"several status codes in one reply: {lines!r}"
    (first,) = found
    if first is None:
        return None
    assert first[:1] == code[:1], f"{code!r} with {first!r}"
    return first.decode().strip()
