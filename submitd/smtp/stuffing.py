"""How content is framed on its way out: dots doubled for DATA, or counted octets for BDAT."""

from submitd.smtp.errors import LocalProtocolError


class DotStuffer:
    """Turns one message's content into what is sent between `354` and the end of data.

    That is the transparency of RFC 5321 §4.5.2, which the receiver takes away again.

    The cost of a piece is one `bytes.replace`; what links two pieces are the last
    two octets of the one before.

    A dot is doubled after any LF, not only after CRLF.  Content comes here with CRLF
    line ends, where that is the same; should a bare LF ever slip through, `LF . LF`
    can't end the message at a receiver that takes LF for a line end.

    :ivar begun: always True: DATA has gone out already.
    """

    __slots__ = ("_tail", "begun")

    def __init__(self) -> None:
        self.begun = True
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


class Chunk:
    """Sends one message's content as one chunk, the last (RFC 3030 §2), to the octet.

    :param octets: how many there will be.

    :ivar begun: whether the command went out.
    """

    __slots__ = ("_left", "begun")

    def __init__(self, octets: int) -> None:
        self.begun = False
        self._left = octets

    def stuff(self, data: bytes) -> bytes:
        """The next piece of content as it goes over the wire, the command before the first.

        :raises LocalProtocolError: when it is more than was announced: what goes beyond
            a chunk would be taken for commands.
        """
        octets = self._left
        if len(data) > octets:
            raise LocalProtocolError("more content than was announced")
        self._left -= len(data)
        if self.begun:
            return data
        self.begun = True
        return b"BDAT %d LAST\r\n%b" % (octets, data)

    def end(self) -> bytes:
        """What there is to send at the end: the command, for content that is empty.

        :raises LocalProtocolError: when there was less than was announced.
        """
        if self._left:
            raise LocalProtocolError("less content than was announced")
        return b"" if self.begun else self.stuff(b"")
