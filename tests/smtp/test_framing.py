"""Command lines and the end of data, whole, octet by octet and split at random."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from submitd.smtp.framing import BARE_LINE_END, LINE_TOO_LONG, DataReader, LineBuffer, LineFault
from tests.support.session import SPLITS

# Octets that matter, so that hypothesis meets them often.
octets = st.lists(
    st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"a", b"\0", b"\xe9", b"\r\n.\r\n", b"bc"])
).map(b"".join)


def read(data: bytes, cuts: list[int]) -> tuple[bytes, bytes | None, DataReader]:
    """Feed *data* cut at *cuts*; content, what is behind the end (None without one), reader."""
    reader = DataReader()
    content = b""
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for start, end in itertools.pairwise(edges):
        piece, rest = reader.feed(data[start:end])
        content += piece
        if rest is not None:
            return content, rest + data[end:], reader
    return content, None, reader


def model(data: bytes) -> tuple[bytes, bytes] | None:
    """What RFC 5321 §4.1.1.4 and §4.5.2 make of it, line by line; None without an end."""
    lines = []
    position = 0
    while True:
        end = data.find(b"\r\n", position)
        if end < 0:
            return None
        line = data[position:end]
        position = end + 2
        if line == b".":
            content = b"".join(line + b"\r\n" for line in lines)
            return re.sub(rb"\r\n|\r|\n", b"\r\n", content), data[position:]
        lines.append(line.removeprefix(b"."))


@given(octets, st.lists(st.integers(0, 1000)))
def test_data_agrees_with_the_rules_read_line_by_line(data: bytes, cuts: list[int]) -> None:
    """However it is cut, a message has the content and the end that the RFC's rules give it."""
    content, rest, reader = read(data, cuts)
    expected = model(data)
    if expected is None:
        assert rest is None
    else:
        assert (content, rest) == expected
        assert reader.size == len(content)
        assert reader.has_nul == (b"\0" in content)
        assert reader.eight_bit == (b"\xe9" in content)


@given(octets)
def test_only_bare_line_ends_are_counted(data: bytes) -> None:
    """The count of bare line ends is that of CR and LF that stand alone."""
    data = data.replace(b"\r\n.", b"\r\n") + b"\r\n.\r\n"
    _, _, reader = read(data.lstrip(b"."), [])
    body = data.lstrip(b".")[:-5] + b"\r\n"
    bare = len(re.findall(rb"\r(?!\n)|(?<!\r)\n", body))
    assert reader.bare_line_ends == bare


@pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
def test_lines(split: object) -> None:
    """Lines come out without their CRLF, and each fault as one."""
    assert callable(split)
    buffer = LineBuffer(limit=12)
    lines: list[bytes | LineFault] = []
    for piece in split(b"one\r\n\r\ntwo\nthr\ree\r\n0123456789\r\n0123456789a\r\nlast\r\nrest"):
        buffer.append(piece)
        while (line := buffer.take_line()) is not None:
            lines.append(line)
    assert lines == [
        b"one",
        b"",
        BARE_LINE_END,
        BARE_LINE_END,
        b"0123456789",
        LINE_TOO_LONG,
        b"last",
    ]
    assert buffer.take_all() == b"rest"
    assert len(buffer) == 0


def test_an_endless_line_is_not_kept() -> None:
    """Of a line over the limit nothing is held, however long it goes on."""
    buffer = LineBuffer(limit=1000)
    for _ in range(1000):
        buffer.append(b"x" * 1000)
        assert buffer.take_line() is None
        assert len(buffer) <= 1000
    buffer.append(b"\r\nNOOP\r\n")
    assert buffer.take_line() is LINE_TOO_LONG
    assert buffer.take_line() == b"NOOP"
