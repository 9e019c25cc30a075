"""Fuzz targets: where a message ends, against readers that see all of it at once."""

import re

from submitd.smtp.framing import ChunkReader, ContentReader, DataReader
from tests.fuzz.splits import pieces

_BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)")


def data(octets: bytes) -> None:
    """What comes after DATA.  First octet: how it is cut; then the stream."""
    pattern, stream = octets[0] if octets else 0, octets[1:]
    # RFC 5321 §4.5.2, on the whole stream, with the CRLF that ended the command.
    with_start = b"\r\n" + stream
    end = with_start.find(b"\r\n.\r\n")
    if end < 0:
        _without_end(stream, pattern)
        return
    stuffed = with_start[: end + 2]
    expected = re.sub(rb"\r\n\.", b"\r\n", stuffed)[2:]
    reader = DataReader()
    content = b""
    come = 0
    for piece in pieces(stream, pattern):
        come += len(piece)
        some, rest = reader.feed(piece)
        content += some
        if rest is not None:
            assert rest + stream[come:] == with_start[end + 5 :]
            break
    else:
        raise AssertionError("the end was not found")
    _judge(reader, content, expected)


def _without_end(stream: bytes, pattern: int) -> None:
    reader = DataReader()
    content = b""
    for piece in pieces(stream, pattern):
        some, rest = reader.feed(piece)
        assert rest is None, "an end where there is none"
        content += some
    # An end behind it must bring out all that was held back.
    some, rest = reader.feed(b"\r\n.\r\n")
    expected = re.sub(rb"\r\n\.", b"\r\n", b"\r\n" + stream + b"\r\n")[2:]
    if (b"\r\n" + stream).endswith(b"\r\n."):
        return  # that dot and our CRLF were the end
    assert rest == b""
    _judge(reader, content + some, expected)


def _judge(reader: ContentReader, content: bytes, raw: bytes) -> None:
    assert content == re.sub(rb"\r\n|\r|\n", b"\r\n", raw)
    assert reader.bare_line_ends == len(_BARE.findall(raw))
    assert reader.size == len(content)
    assert reader.eight_bit == (not raw.isascii())
    assert reader.has_nul == (b"\0" in raw)


def chunks(octets: bytes) -> None:
    """What comes by BDAT.  First octet: binary or not; second: how it is cut; then the stream."""
    head, stream = octets[:2].ljust(2, b"\0"), octets[2:]
    binary = bool(head[0] & 1)
    reader = ChunkReader(binary=binary)
    content = b"".join(reader.feed(piece, last=False) for piece in pieces(stream, head[1]))
    content += reader.feed(b"", last=True)
    if binary:
        assert content == stream
        assert (reader.size, reader.bare_line_ends) == (len(stream), 0)
    else:
        _judge(reader, content, stream)
