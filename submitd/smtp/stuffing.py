"""Outbound transparency (RFC 5321 §4.5.2): what the receiver's unstuffing takes away again."""


class DotStuffer:
    """Turns one message's content into what is sent between `354` and the end of data.

    The cost of a piece is one `bytes.replace`; what links two pieces are the last
    two octets of the one before.

    A dot is doubled after any LF, not only after CRLF.  Content comes here with CRLF
    line ends, where that is the same; should a bare LF ever slip through, `LF . LF`
    can't end the message at a receiver that takes LF for a line end.
    """

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        # The CRLF that ended DATA counts: an empty message needs no other, and a
        # dot in the very first octet begins a line (RFC 5321 §4.1.1.4).
        self._tail = b"\r\n"

    def stuff(self, data: bytes) -> bytes:
        """The next piece of content, of any length, as it goes over the wire."""
        if not data:
            return data
        begins_line = self._tail[-1] == 10  # LF
        self._tail = data[-2:] if len(data) > 1 else self._tail[-1:] + data
        stuffed = data.replace(b"\n.", b"\n..")
        if begins_line and data[0] == 46:  # "."
            return b"." + stuffed
        return stuffed

    def end(self) -> bytes:
        """The end of data, with the CRLF before it that the content may lack."""
        return b".\r\n" if self._tail == b"\r\n" else b"\r\n.\r\n"
