"""Quoted-printable and base64 (RFC 2045 §6.7, §6.8), piece by piece and reversible to the octet."""

import binascii
import re

# All but printable ASCII without "=", space and tab.
_QUOTED = re.compile(rb"[^\t -<>-~]+")
_LONG_LINE = re.compile(rb"^[^\r\n]{76,}", re.MULTILINE)
_LINE_OCTETS = 75  # before a soft line break
_SOFT_BREAK = b"=\r\n"
_HELD_OCTETS = 4096  # of a line whose end hasn't come
_BASE64_LINE = re.compile(rb".{76}")
_BASE64_GROUP = 57  # octets that make a line of 76


class QuotedPrintable:
    """Encodes one body in which CRLF are line ends, and nothing else is."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """The next piece of the body; what can be written of it."""
        data = self._held + data
        end = data.rfind(b"\r\n") + 2
        if end > 1:
            self._held = data[end:]
            return _quoted(data[:end])
        if len(data) < _HELD_OCTETS:
            self._held = data
            return b""
        end = len(data) - data.endswith(b"\r")  # CR and LF stay together
        self._held = data[end:]
        return _quoted(data[:end]) + _SOFT_BREAK

    def end(self) -> bytes:
        """What is left."""
        return _quoted(self._held, last=True)


def _quoted(data: bytes, *, last: bool = False) -> bytes:
    quoted = _QUOTED.sub(_escaped, data)
    # RFC 2045 §6.7 (3): no white space at the end of a line.
    quoted = quoted.replace(b" \r\n", b"=20\r\n").replace(b"\t\r\n", b"=09\r\n")
    if last and quoted[-1:] in (b" ", b"\t"):
        quoted = b"%b=%02X" % (quoted[:-1], quoted[-1])
    return _LONG_LINE.sub(_cut, quoted)


def _escaped(run: re.Match[bytes]) -> bytes:
    octets = run[0]
    if octets == b"\r\n":
        return octets
    # "=" itself is quoted, so that "=0D=0A" can be nothing but CRLF.
    return (b"=" + binascii.hexlify(octets, "=").upper()).replace(b"=0D=0A", b"\r\n")


def _cut(line: re.Match[bytes]) -> bytes:
    text, start, pieces = line[0], 0, []
    while len(text) - start > _LINE_OCTETS:
        end = start + _LINE_OCTETS
        if text[end - 1] == 0x3D:  # "=XX" stays whole
            end -= 1
        elif text[end - 2] == 0x3D:
            end -= 2
        pieces.append(text[start:end])
        start = end
    pieces.append(text[start:])
    return _SOFT_BREAK.join(pieces)


class Base64:
    """Encodes one body, lines of 76 with CRLF between them."""

    __slots__ = ("_between", "_held")

    def __init__(self) -> None:
        self._held = b""
        self._between = b""

    def feed(self, data: bytes) -> bytes:
        """The next piece of the body; what can be written of it."""
        data = self._held + data
        end = len(data) // _BASE64_GROUP * _BASE64_GROUP
        self._held = data[end:]
        return self._lines(data[:end])

    def end(self) -> bytes:
        """What is left."""
        return self._lines(self._held)

    def _lines(self, data: bytes) -> bytes:
        if not data:
            return b""
        between, self._between = self._between, b"\r\n"
        lines = _BASE64_LINE.sub(rb"\g<0>\r\n", binascii.b2a_base64(data, newline=False))
        return between + lines.removesuffix(b"\r\n")
