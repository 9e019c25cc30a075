"""What all sessions of a server have in common, and what EHLO says of it."""

from typing import Literal

import attrs

from submitd.smtp.replies import Reply, reply
from submitd.smtp.sasl import MECHANISMS


def _greeting(settings: "Settings") -> Reply:
    return reply(220, None, f"{settings.hostname} ESMTP submitd")


def _extensions(settings: "Settings") -> tuple[str, ...]:
    """What EHLO lists, with TLS and without; RFC 9422 §3 has the form of LIMITS."""
    limits = f"LIMITS RCPTMAX={settings.recipients_per_message}"
    if settings.messages_per_connection:
        limits += f" MAILMAX={settings.messages_per_connection}"
    return (
        settings.hostname,
        "PIPELINING",
        f"SIZE {settings.message_size_bytes}",
        "8BITMIME",
        "BINARYMIME",
        "CHUNKING",
        "SMTPUTF8",
        "DSN",
        "ENHANCEDSTATUSCODES",
        "DELIVERBY",
        "MT-PRIORITY",
        limits,
    )


def _ehlo_clear(settings: "Settings") -> Reply:
    return reply(250, None, *_extensions(settings), "STARTTLS")


def _ehlo_secured(settings: "Settings") -> Reply:
    mechanisms = f"AUTH {' '.join(settings.mechanisms)}"
    # RFC 8689 §2: REQUIRETLS is offered within TLS alone.
    return reply(250, None, *_extensions(settings), "REQUIRETLS", mechanisms)


@attrs.frozen(slots=True, kw_only=True)
class Settings:
    """What all sessions of a server have in common.

    :ivar hostname: our name in the greeting and in the replies to EHLO and HELO.
    :ivar message_size_bytes: largest message, announced as SIZE (RFC 1870).
    :ivar recipients_per_message: most recipients of one message.
    :ivar messages_per_connection: mail transactions after which the session ends
        (RFC 9422, MAILMAX); 0 for no limit.
    :ivar future_release_s: how long a message may be held (RFC 4865); 0 to not offer it.
    :ivar failed_logins_per_connection: failed logins after which the session ends.
    :ivar errors_per_connection: refused commands after which the session ends.
    :ivar junk_commands_per_connection: commands that bring no message any further, after
        which the session ends; each message accepted begins the count anew.
    :ivar missing_angle_brackets: whether paths without their brackets are taken.
    :ivar bare_line_ends: what a bare CR or LF in a message leads to.
    :ivar mechanisms: names of the SASL mechanisms offered, the preferred one first.
    """

    hostname: str
    message_size_bytes: int
    recipients_per_message: int
    failed_logins_per_connection: int
    errors_per_connection: int
    junk_commands_per_connection: int = 100
    messages_per_connection: int = 0
    future_release_s: int = 0
    missing_angle_brackets: bool = False
    bare_line_ends: Literal["normalise", "reject"] = "normalise"
    mechanisms: tuple[str, ...] = tuple(MECHANISMS)
    # Made once for all sessions.
    greeting: Reply = attrs.field(init=False, default=attrs.Factory(_greeting, takes_self=True))
    ehlo_clear: Reply = attrs.field(init=False, default=attrs.Factory(_ehlo_clear, takes_self=True))
    ehlo_secured: Reply = attrs.field(
        init=False, default=attrs.Factory(_ehlo_secured, takes_self=True)
    )
