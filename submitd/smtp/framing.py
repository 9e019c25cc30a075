"""Where a command line ends, and where a message ends.

Only CRLF ends a command line and only CRLF "." CRLF ends a message (RFC 5321 §4.1.1.4).
A server that takes anything else for an end of data, while the next hop does not (or
the other way round), lets a sender smuggle a second message past our checks.
"""

import io
import re

CRLF = b"\r\n"
END_OF_DATA = b"\r\n.\r\n"
# The longest that a piece may end with and still become END_OF_DATA; longest first.
_UNDECIDED = tuple(END_OF_DATA[:length] for length in (4, 3, 2, 1))
_ANY_LINE_END = re.compile(rb"\r\n|\r|\n")
_BARE_LINE_END = re.compile(rb"(?<!\r)\n|\r(?!\n)")
_CLEAN = (None, "\r\n")


class LineBuffer:
    """Octets not yet read as lines.

    :param limit: most octets of one line, its end included.
    """

    __slots__ = ("_data", "_discarding", "_limit", "_position")

    def __init__(self, limit: int) -> None:
        self._data = b""
        self._position = 0
        self._limit = limit
        self._discarding = False

    def __len__(self) -> int:
        """How many octets wait."""
        return len(self._data) - self._position

    def append(self, data: bytes) -> None:
        """Add octets behind those that wait."""
        if self._position == len(self._data):
            self._data = data
        else:
            self._data = self._data[self._position :] + data
        self._position = 0

    def take_all(self) -> bytes:
        """Remove and return all that waits."""
        data = self._data[self._position :] if self._position else self._data
        self._data = b""
        self._position = 0
        return data

    def take(self, octets: int) -> bytes:
        """Remove and return what waits, at most *octets*."""
        if self._position == 0 and len(self._data) <= octets:
            return self.take_all()
        data = self._data[self._position : self._position + octets]
        self._position += len(data)
        return data

    def take_line(self) -> "bytes | LineFault | None":
        """Remove and return the next line without its CRLF, or what is wrong with it.

        None when no line is complete.  Of a line over the limit nothing is kept but
        the fact.
        """
        data = self._data
        start = self._position
        end = data.find(b"\n", start)
        if end < 0:
            if len(data) - start > self._limit:
                self._data = data[-1:]  # a CR may be the first half of its CRLF
                self._position = 0
                self._discarding = True
            return None
        self._position = end + 1
        if self._discarding or end + 1 - start > self._limit:
            self._discarding = False
            return LINE_TOO_LONG
        if end == start or data[end - 1] != 13:
            return BARE_LINE_END
        line = data[start : end - 1]
        return BARE_LINE_END if b"\r" in line else line


class LineFault:
    """Why an octet sequence is not a command line."""

    __slots__ = ()


LINE_TOO_LONG = LineFault()
BARE_LINE_END = LineFault()


class ContentReader:
    """What reading after DATA and after BDAT have in common: what the content is like.

    :ivar size: octets of content given out so far.
    :ivar bare_line_ends: how many bare CR and LF were turned into CRLF.
    :ivar eight_bit: whether an octet above 127 was seen.
    :ivar has_nul: whether a NUL was seen.
    """

    __slots__ = ("bare_line_ends", "eight_bit", "has_nul", "size")

    def __init__(self) -> None:
        self.size = 0
        self.bare_line_ends = 0
        self.eight_bit = False
        self.has_nul = False

    def _look_at(self, data: bytes) -> bytes:
        if not self.eight_bit and not data.isascii():
            self.eight_bit = True
        if b"\0" in data:
            self.has_nul = True
        self.size += len(data)
        return data

    def _clean(self, data: bytes) -> bytes:
        """Put line ends right; *data* must not end between a CR and its LF."""
        # The newline decoder notes which kinds of line end it saw: one pass in C, four
        # times as fast as counting CR, LF and CRLF.
        decoder = io.IncrementalNewlineDecoder(None, translate=False)
        decoder.decode(data.decode("latin-1"), final=True)
        if decoder.newlines not in _CLEAN:
            self.bare_line_ends += len(_BARE_LINE_END.findall(data))
            data = _ANY_LINE_END.sub(CRLF, data)
        return self._look_at(data)


class ChunkReader(ContentReader):
    """Reads one message that comes by BDAT (RFC 3030 §2): no dots, no end to look for.

    :param binary: BODY=BINARYMIME: all octets are kept as they are.
    """

    __slots__ = ("_binary", "_held")

    def __init__(self, *, binary: bool) -> None:
        super().__init__()
        self._binary = binary
        self._held = b""

    def feed(self, data: bytes, *, last: bool) -> bytes:
        """Take octets as they came; their content.

        :param last: nothing follows, so that a CR at the end is a bare one.
        """
        if self._binary:
            return self._look_at(data)
        if self._held:
            data = self._held + data
            self._held = b""
        if not last and data.endswith(b"\r"):
            self._held = b"\r"
            data = data[:-1]
        return self._clean(data) if data else data


class DataReader(ContentReader):
    """Reads one message after DATA: finds its end, unstuffs dots, puts line ends right.

    No octet is looked at twice and no line is looked at alone: whole pieces are
    searched.  What might be the beginning of the end of data is held back until the
    next piece decides; so is a CR, which makes every CRLF in a piece whole.
    """

    __slots__ = ("_held", "_skip")

    def __init__(self) -> None:
        super().__init__()
        # The CRLF of the DATA command counts as the line end before the first
        # line: "." CRLF at once is an empty message.
        self._held = CRLF
        self._skip = len(CRLF)

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """Take octets as they came.

        :returns: the content in them, and None while the message goes on or else the
            octets behind its end.
        """
        if self._held:
            data = self._held + data
            self._held = b""
        rest: bytes | None = None
        # One search finds both what may end the message and what must be unstuffed.
        dot = data.find(b"\r\n.")
        end = data.find(END_OF_DATA, dot) if dot >= 0 else -1
        if end >= 0:
            rest = data[end + len(END_OF_DATA) :]
            data = data[: end + len(CRLF)]
        else:
            for tail in _UNDECIDED:
                if data.endswith(tail):
                    self._held = tail
                    data = data[: -len(tail)]
                    break
        if not data:
            return b"", rest
        if 0 <= dot < len(data) - 2:
            data = data.replace(b"\r\n.", CRLF)
        if self._skip:
            data = data[self._skip :]
            self._skip = 0
        return self._clean(data), rest
