"""A message's content on its way to the next hop: in pieces, no faster than it is taken."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from submitd.message.conversion import Converter, Edit, Inspector, Unconvertible
from submitd.smtp.client import ClientSession

PIECE_OCTETS = 65_536  # read and sent at one time


@implementer(IPushProducer)
class ContentSender:
    """Sends one message between ContentWanted and the end of data.

    :param content: provides `IContent`.
    :param wire: the transport: registers the producer where there is more than a piece.
    :param progressed: called when the session has something to send.
    :param failed: called once if the content can't be read; no end of data is sent then.
    :param converter: what the pieces go through on their way, if anything.
    """

    def __init__(
        self,
        content: Any,
        session: ClientSession,
        wire: Any,
        progressed: Callable[[], None],
        failed: Callable[[Failure], None],
        converter: Converter | None = None,
    ) -> None:
        self._content = content
        self._session = session
        self._wire = wire
        self._progressed = progressed
        self._failed = failed
        self._converter = converter
        self._offset = 0
        self._registered = self._running = False
        self._waiting = False  # for a piece to be read
        self._paused = False
        self._stopped = False

    def start(self) -> None:
        """Send all, or as much as the transport takes now."""
        if self._content.size > PIECE_OCTETS:
            self._registered = True
            self._wire.registerProducer(self, True)
        self.resumeProducing()

    def stop(self) -> None:
        """Send nothing more.  Harmless at any time."""
        self._stopped = True
        if self._registered:
            self._registered = False
            self._wire.unregisterProducer()

    def resumeProducing(self) -> None:
        """The transport has room."""
        self._paused = False
        if self._running:
            return
        self._running = True
        while not (self._paused or self._waiting or self._stopped):
            self._next_piece()
        self._running = False

    def pauseProducing(self) -> None:
        """The transport has enough."""
        self._paused = True

    def stopProducing(self) -> None:
        """The transport is gone; its connection learns that by itself."""
        self._stopped = True

    def _next_piece(self) -> None:
        if self._offset >= self._content.size:
            self._end()
            return
        try:
            piece = self._content.read(self._offset, PIECE_OCTETS)
        except OSError:
            self._broken(Failure())
            return
        if isinstance(piece, Deferred):
            self._waiting = True
            piece.addCallbacks(self._came, self._broken)
        else:
            self._send(piece)

    def _came(self, piece: bytes) -> None:
        self._waiting = False
        if not self._stopped:
            self._send(piece)
            if not self._paused:
                self.resumeProducing()

    def _send(self, piece: bytes) -> None:
        self._offset += len(piece)
        if not piece or self._offset > self._content.size:
            self._broken(Failure(OSError("stored content is not as long as it should be")))
            return
        self._session.content(piece if self._converter is None else self._converter.feed(piece))
        if self._offset >= self._content.size:
            self._end()
        else:
            self._progressed()

    def _end(self) -> None:
        self.stop()
        if self._converter is not None:
            self._session.content(self._converter.end())
        self._session.end_of_content()
        self._progressed()

    def _broken(self, failure: Failure) -> None:
        self._waiting = False
        if not self._stopped:
            self.stop()
            self._failed(failure)


class ContentInspection:
    """Has a message's content looked into, from its beginning as far as need be.

    :param content: provides `IContent`.
    :param done: called once with what has to change, or why nothing helps.
    :param failed: called once if the content can't be read.
    """

    def __init__(
        self,
        content: Any,
        inspector: Inspector,
        done: Callable[[tuple[Edit, ...] | Unconvertible], None],
        failed: Callable[[Failure], None],
    ) -> None:
        self._content = content
        self._inspector = inspector
        self._done = done
        self._failed = failed
        self._offset = 0
        self._stopped = False

    def start(self) -> None:
        """Go on until the end, or until a piece must be waited for."""
        while not self._stopped:
            if self._inspector.is_done or self._offset >= self._content.size:
                self._end()
                return
            try:
                piece = self._content.read(self._offset, PIECE_OCTETS)
            except OSError:
                self._failed(Failure())
                return
            if isinstance(piece, Deferred):
                piece.addCallbacks(self._came, self._broken)
                return
            self._take(piece)

    def _end(self) -> None:
        self._stopped = True
        result: tuple[Edit, ...] | Unconvertible
        try:
            result = self._inspector.end()
        except Unconvertible as fault:
            result = fault
        self._done(result)

    def stop(self) -> None:
        """Nothing more is called.  Harmless at any time."""
        self._stopped = True

    def _came(self, piece: bytes) -> None:
        if not self._stopped:
            self._take(piece)
            self.start()

    def _take(self, piece: bytes) -> None:
        self._offset += len(piece)
        if not piece:
            self._stopped = True
            self._failed(Failure(OSError("stored content is shorter than it should be")))
            return
        try:
            self._inspector.feed(piece)
        except Unconvertible as fault:
            self._stopped = True
            self._done(fault)

    def _broken(self, failure: Failure) -> None:
        if not self._stopped:
            self._failed(failure)
