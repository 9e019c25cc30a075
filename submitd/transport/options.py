"""The options of listeners, TLS and limits (`[[listener]]`, `[tls]`, `[limits]`)."""

from pathlib import Path
from typing import Literal

import attrs

from submitd.options import at_least, between, not_empty, option
from submitd.transport.addresses import Networks


def _networks(texts: tuple[str, ...]) -> str | None:
    for text in texts:
        try:
            Networks([text])
        except ValueError:
            return 'networks without host bits, such as "192.0.2.0/24" or "2001:db8::/32"'
    return None


@attrs.frozen(kw_only=True)
class SniOptions:
    """`[[tls.sni]]`: another certificate for other names."""

    names: tuple[str, ...] = option(
        "Server names (SNI) this certificate is for; `*.example.net` covers one label.",
        check=not_empty,
    )
    certificate: Path = option("PEM file: the certificate, then its chain.")
    key: Path = option("PEM file: the private key, RSA or ECDSA, without a passphrase.")


@attrs.frozen(kw_only=True)
class TlsOptions:
    """`[tls]`: the certificate of all listeners. Read again on SIGHUP and when the files change."""

    certificate: Path = option("PEM file: the certificate, then its chain.")
    key: Path = option("PEM file: the private key, RSA or ECDSA, without a passphrase.")
    minimum_version: Literal["1.2", "1.3"] = option(
        "The oldest TLS version a client may use.", default="1.2"
    )
    sni: tuple[SniOptions, ...] = option(
        "Certificates for other names the server is known by.", default=()
    )


@attrs.frozen(kw_only=True)
class ListenerOptions:
    """`[[listener]]`: one port that clients connect to."""

    address: str = option(
        'An address or a host name of this machine; "::" is IPv6 and IPv4, "0.0.0.0" IPv4 alone.',
        default="::",
    )
    port: int | None = option(
        "TCP port; 465 for implicit TLS, 587 for STARTTLS.", default=None, check=between(0, 65535)
    )
    systemd: str | None = option(
        "Instead of `address` and `port`: the FileDescriptorName= of a socket unit.",
        default=None,
        check=not_empty,
    )
    tls: Literal["implicit", "starttls"] = option(
        "implicit: TLS from the first byte (RFC 8314); starttls: nothing of value before STARTTLS."
    )
    missing_angle_brackets: bool = option(
        "Take MAIL FROM:a@b.example without its angle brackets, and RCPT likewise: for old"
        " printers and alarm systems.",
        default=False,
    )

    def __attrs_post_init__(self) -> None:
        if (self.port is None) == (self.systemd is None):
            raise ValueError("expected either `port` or `systemd`")

    @property
    def name(self) -> str:
        """What logs and `submitctl check` call it: `implicit:465`, `starttls:systemd:NAME`."""
        return f"{self.tls}:{self.port if self.systemd is None else 'systemd:' + self.systemd}"


@attrs.frozen(kw_only=True)
class LoginLimitsOptions:
    """`[[limits.login]]`: other limits for some logins."""

    names: tuple[str, ...] = option(
        'Logins, `*` for any characters: "scanner@example.org", "*@lab.example.org".'
        " The first table that names a login counts.",
        check=not_empty,
    )
    message_size_bytes: int = option(
        "Largest message of these logins, in octets as sent.", check=at_least(65_536)
    )


@attrs.frozen(kw_only=True)
class LimitsOptions:
    """`[limits]`: how much, how many, how long."""

    message_size_bytes: int = option(
        "Largest message, in octets as sent; announced as SIZE (RFC 1870).",
        default=52_428_800,
        check=at_least(65_536),
    )
    login: tuple[LoginLimitsOptions, ...] = option("Other limits for some logins.", default=())
    recipients_per_message: int = option(
        "Most RCPT commands accepted for one message (RFC 5321 §4.5.3.1.8 asks for 100).",
        default=1000,
        check=at_least(100),
    )
    messages_per_connection: int = option(
        "Most messages on one connection, announced as MAILMAX (RFC 9422); 0 for no limit.",
        default=0,
        check=at_least(0),
    )
    future_release_s: int = option(
        "How many seconds ahead a client may ask for a message to be sent later (RFC 4865);"
        " 0 to not offer it.",
        default=2_592_000,
        check=between(0, 999_999_999),
    )
    highest_priority: int = option(
        "The highest MT-PRIORITY a client is given (RFC 6710), however high it asks.",
        default=4,
        check=between(-9, 9),
    )
    header_size_bytes: int = option(
        "Largest header block of a message, in octets.", default=262_144, check=at_least(16_384)
    )
    connections: int = option(
        "Most connections at one time, all listeners together.", default=2000, check=at_least(1)
    )
    connections_per_address: int = option(
        "Most connections at one time from one client: an IPv4 address, an IPv6 /64.",
        default=100,
        check=at_least(1),
    )
    connections_per_network: int = option(
        "Most connections at one time from one network: an IPv4 /24, an IPv6 /48.",
        default=500,
        check=at_least(1),
    )
    connections_per_minute: int = option(
        "Most new connections in a minute from one client, counted as for"
        " `connections_per_address`; 0 for no limit.",
        default=0,
        check=at_least(0),
    )
    exempt_networks: tuple[str, ...] = option(
        "Networks without these three limits, such as those of a web mail server or a gateway."
        " `connections` holds for them too.",
        default=(),
        check=_networks,
    )
    failed_logins_per_connection: int = option(
        "Failed logins after which a connection is closed (421).", default=5, check=at_least(1)
    )
    errors_per_connection: int = option(
        "Refused commands after which a connection is closed (421).", default=50, check=at_least(1)
    )
    junk_commands_per_connection: int = option(
        "Commands that bring no message any further (EHLO, HELO, HELP, NOOP, RSET, VRFY, empty"
        " chunks) after which a connection is closed (421); counted anew after each message.",
        default=100,
        check=at_least(10),
    )
    handshake_s: int = option(
        "Seconds a client has to complete the TLS handshake.", default=30, check=at_least(1)
    )
    login_s: int = option(
        "Seconds from connecting to a successful login.", default=120, check=at_least(1)
    )
    # RFC 5321 §4.5.3.2.7 has 5 minutes; RFC 6409 lets a submission server differ.
    command_s: int = option(
        "Seconds a logged-in client has from one reply to the end of its next command.",
        default=300,
        check=at_least(1),
    )
    data_s: int = option(
        "Seconds a client may stay silent within a message.", default=180, check=at_least(1)
    )
    data_rate_bytes_s: int = option(
        "How many octets a second a message has to come with, on average over `data_s`;"
        " 0 for no minimum.",
        default=100,
        check=at_least(0),
    )
    close_s: int = option(
        "Seconds an ending connection has to take the last reply.", default=10, check=at_least(1)
    )
    stop_s: int = option(
        "Seconds that sessions and deliveries under way have to finish when the server stops.",
        default=30,
        check=at_least(0),
    )
