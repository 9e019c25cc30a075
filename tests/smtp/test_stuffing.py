"""Outbound dot-stuffing (RFC 5321 §4.5.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from submitd.smtp.stuffing import DotStuffer


def sent(*pieces: bytes) -> bytes:
    """What goes over the wire for content that comes in *pieces*."""
    stuffer = DotStuffer()
    return b"".join([*(stuffer.stuff(piece) for piece in pieces), stuffer.end()])


@pytest.mark.parametrize(
    ("content", "wire"),
    [
        (b"", b".\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b"a\r", b"a\r\r\n.\r\n"),
        (b"a\n", b"a\n\r\n.\r\n"),
        (b".", b"..\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"..\r\n.\r\n", b"...\r\n..\r\n.\r\n"),
        (b"a\r\n.b\r\n", b"a\r\n..b\r\n.\r\n"),
        (b"a.\r\nb.c\r\n", b"a.\r\nb.c\r\n.\r\n"),
        (b"a\n.\r\nb\r\n", b"a\n..\r\nb\r\n.\r\n"),
    ],
)
def test_whole_and_octet_by_octet(content: bytes, wire: bytes) -> None:
    """The wire carries the same octets however the content is cut into pieces."""
    assert sent(content) == wire
    assert sent(*(content[at : at + 1] for at in range(len(content)))) == wire
    for cut in range(len(content)):
        assert sent(content[:cut], b"", content[cut:]) == wire


@given(st.lists(st.text("a.\r\n", max_size=8).map(str.encode)))
def test_receiver_gets_the_content(pieces: list[bytes]) -> None:
    """A receiver that knows CRLF alone finds the end of data only at the end, and the content."""
    wire = b"\r\n" + sent(*pieces)  # the CRLF of DATA
    body, end, rest = wire.partition(b"\r\n.\r\n")
    assert (end, rest) == (b"\r\n.\r\n", b"")
    content = b"".join(pieces)
    received = b"".join(
        line.removeprefix(b".") + b"\r\n" for line in body[2:].split(b"\r\n") if body
    )
    if not content.endswith(b"\r\n") and content:
        content += b"\r\n"
    # A dot behind a bare LF, which content never has, is doubled too.
    assert received == content.replace(b"\n.", b"\n..").replace(b"\r\n..", b"\r\n.")


@given(st.lists(st.text("a.\r\n", max_size=8).map(str.encode)))
def test_no_other_end_of_data(pieces: list[bytes]) -> None:
    """A receiver that takes a bare LF for a line end finds no earlier end of data either."""
    lines = sent(*pieces).replace(b"\r\n", b"\n").split(b"\n")
    assert b"." not in lines[:-2]
