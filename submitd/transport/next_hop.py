"""What is known of a next hop before there is a connection to it, and how one fails."""

from typing import Literal

import attrs

from submitd.mail.status import DeliveryStatus
from submitd.smtp.client_replies import Stage
from submitd.transport.client_tls import ClientTls

Level = Literal["implicit", "starttls", "opportunistic", "none"]


@attrs.frozen(kw_only=True)
class Timeouts:
    """How long to wait, in seconds (RFC 5321 §4.5.3.2)."""

    connect_s: float = 30
    handshake_s: float = 30
    greeting_s: float = 300
    command_s: float = 300
    data_s: float = 120
    content_s: float = 180
    end_of_data_s: float = 600
    close_s: float = 5

    def by_stage(self) -> dict[Stage, float]:
        """The limit for each thing a session may wait for."""
        limits = dict.fromkeys(Stage, self.command_s)
        limits[Stage.GREETING] = self.greeting_s
        limits[Stage.HANDSHAKE] = self.handshake_s
        limits[Stage.DATA] = self.data_s
        limits[Stage.CONTENT] = self.content_s
        limits[Stage.END_OF_DATA] = self.end_of_data_s
        limits[Stage.QUIT] = self.close_s
        return limits


@attrs.frozen
class Credentials:
    """A login at the next hop."""

    username: str
    password: str = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class Destination:
    """A next hop, and how to speak with it.

    :ivar host: its name, for statuses and logs.
    :ivar hostname: our own name, for EHLO.
    :ivar level: `"implicit"`: TLS from the first octet; `"starttls"`: TLS or nothing;
        `"opportunistic"`: TLS if offered, with anybody; `"none"`.
    :ivar tls: for all levels but `"none"`.
    :ivar credentials: only for a peer that is verified.
    :ivar ignored_extensions: EHLO keywords in capitals that count as not offered.
    """

    host: str
    hostname: str
    level: Level
    tls: ClientTls | None
    credentials: Credentials | None = None
    ignored_extensions: frozenset[str] = frozenset()
    timeouts: Timeouts = Timeouts()


class Unreachable(Exception):
    """No connection that mail could be sent over.

    :ivar status: what it means for recipients: DELAYED.
    :ivar stage: how far it came; None when there was no connection at all.
    """

    def __init__(self, status: DeliveryStatus, stage: Stage | None) -> None:
        super().__init__(status.diagnostic)
        self.status = status
        self.stage = stage
