"""The two families of protocol errors; any other exception is a bug."""

from submitd.smtp.replies import Reply


class LocalProtocolError(Exception):
    """Our own side called the engine in a way that its state does not allow: a bug here."""


class RemoteProtocolError(Exception):
    """The other side broke the protocol.

    :ivar reply: what to answer, or None where nothing is to be answered (a client
        facing a broken server).
    """

    def __init__(self, message: str, reply: Reply | None = None) -> None:
        super().__init__(message)
        self.reply = reply
