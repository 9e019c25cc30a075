"""A message on its way in: handed on in pieces worth the handing, refused at its end."""

from typing import Literal

from submitd.smtp import replies
from submitd.smtp.framing import ChunkReader, ContentReader, DataReader, LineBuffer
from submitd.smtp.replies import Reply

PIECE_OCTETS = 4096
"""Content is handed on in pieces of at least this many octets, but for the last one, so
that a message of tiny chunks or TLS records costs what others cost."""


class Incoming:
    """What has come of one message, after DATA (RFC 5321 §4.1.1.4) or BDAT (RFC 3030).

    :param limit: most octets of content.
    :param binary: BODY=BINARYMIME: all octets are kept as they are.
    :ivar content: what the content is like.
    :ivar ended: whether its end has come.
    """

    __slots__ = ("_binary", "_limit", "_piece", "content", "ended")

    def __init__(self, content: ContentReader, *, limit: int, binary: bool) -> None:
        self.content = content
        self.ended = False
        self._binary = binary
        self._limit = limit
        self._piece = bytearray()  # too little to be handed on yet

    @property
    def is_too_big(self) -> bool:
        """Whether there is more content than the limit allows."""
        return self.content.size > self._limit

    @property
    def is_endless(self) -> bool:
        """Whether its sender was told the limit, and doesn't care."""
        return self.content.size > 2 * self._limit

    def read_data(self, reader: DataReader, lines: LineBuffer) -> bytes:
        """Read what waits, up to the end of data; a piece to hand on, or nothing."""
        content, rest = reader.feed(lines.take_all())
        if rest is not None:
            lines.append(rest)
            self.ended = True
        # What is too big is read and dropped to its end: DATA has no other.
        return b"" if self.is_too_big else self._collect(content)

    def read_chunk(self, reader: ChunkReader, octets: bytes, *, last: bool) -> bytes:
        """Read octets of a chunk; a piece to hand on, or nothing.

        :param last: they are the last ones of the last chunk.
        """
        self.ended = last
        return self._collect(reader.feed(octets, last=last))

    def _collect(self, content: bytes) -> bytes:
        """Join small pieces; empty while what there is is too little."""
        piece = self._piece
        if not piece and (self.ended or len(content) >= PIECE_OCTETS):
            return content
        piece += content
        if not self.ended and len(piece) < PIECE_OCTETS:
            return b""
        content = bytes(piece)
        piece.clear()
        return content

    def refusal(self, bare_line_ends: Literal["normalise", "reject"]) -> Reply | None:
        """Why the whole message must be refused, or None."""
        content = self.content
        if self.is_too_big:
            return replies.MESSAGE_TOO_BIG
        if content.has_nul and not self._binary:
            return replies.NUL_IN_MESSAGE
        if content.bare_line_ends and bare_line_ends == "reject":
            return replies.BARE_LINE_END_IN_MESSAGE
        return None
