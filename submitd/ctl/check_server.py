"""Checks against the running server, as a client from outside would see it."""

import contextlib
import smtplib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import attrs

from submitd.ctl.findings import Finding, fault, ok, warning
from submitd.transport.options import ListenerOptions

TIMEOUT_S = 15.0
# How long a listener with implicit TLS is watched for saying anything in clear.
SILENCE_S = 1.0
_NAME = "submitctl.check.invalid"  # in EHLO: nobody's (RFC 2606 §2)
_MINIMUM = ssl.TLSVersion.TLSv1_2


@attrs.frozen
class Account:
    """Who logs in.

    :ivar mail_from: a reverse-path to try after the login, or None.
    """

    login: str
    password: str = attrs.field(repr=False)
    mail_from: str | None = None


@attrs.frozen
class Client:
    """What the client that we play knows.

    :ivar hostname: the name that the certificate must be for.
    :ivar authority: PEM file of an authority to trust if the system's are not enough, or None.
    :ivar account: an account to log in with, or None.
    """

    hostname: str
    authority: Path | None = None
    account: Account | None = None


class _ImplicitTls(smtplib.SMTP):
    """A session within TLS that verifies a name other than the address it connects to."""

    def __init__(self, address: str, port: int, context: ssl.SSLContext, hostname: str) -> None:
        self._context = context
        self._hostname = hostname
        super().__init__(address, port, _NAME, TIMEOUT_S)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        plain = socket.create_connection((host, port), timeout)
        try:
            return self._context.wrap_socket(plain, server_hostname=self._hostname)
        except BaseException:
            plain.close()
            raise


def check_listener(listener: ListenerOptions, client: Client) -> Iterator[Finding]:
    """Every check of one listener.  Sends no message."""
    if listener.port is None:
        yield warning(listener.name, "is systemd's; its port is not known here and was not tried")
        return
    address = {"::": "localhost", "0.0.0.0": "127.0.0.1"}.get(listener.address, listener.address)
    try:
        socket.create_connection((address, listener.port), TIMEOUT_S).close()
    except OSError as error:
        text = f"{address} port {listener.port} can't be reached ({error.strerror or error})"
        yield fault(listener.name, f"{text}; is the server running? systemctl status submitd")
        return
    try:
        if listener.tls == "implicit":
            yield _check_silence(listener.name, address, listener.port)
        else:
            yield from _check_clear(listener.name, address, listener.port)
        yield from _check_secured(listener, address, listener.port, client)
    except (OSError, smtplib.SMTPException) as error:
        yield fault(listener.name, f"the session broke off: {error}; see the server's log")


# ---- before TLS -------------------------------------------------------------------


def _check_silence(name: str, address: str, port: int) -> Finding:
    """Whether a listener with implicit TLS keeps silent towards a client without."""
    with socket.create_connection((address, port), SILENCE_S) as plain:
        said = b""
        with contextlib.suppress(OSError):
            said = plain.recv(64)
        if not said:
            with contextlib.suppress(OSError):
                plain.sendall(f"EHLO {_NAME}\r\n".encode())
                said = plain.recv(64)
    # A TLS record (type 21: an alert) is no answer in clear.
    if not said or said[0] == 21:
        return ok(name, "says nothing in clear")
    return fault(name, "answers a client without TLS; is another program on this port?")


def _check_clear(name: str, address: str, port: int) -> Iterator[Finding]:
    """What a STARTTLS listener serves before TLS: nothing of value."""
    with smtplib.SMTP(address, port, _NAME, TIMEOUT_S) as session:
        session.ehlo()
        if not session.has_extn("starttls"):
            yield fault(name, "does not offer STARTTLS; is another program on this port?")
        if session.has_extn("auth"):
            yield fault(name, "offers AUTH before TLS: passwords would cross the network in clear")
        code, reply = session.docmd("AUTH", "PLAIN")
        # RFC 4954 §6 has 538, RFC 3207 §4 has 530.
        if code in (530, 538):
            yield ok(name, f"neither offers nor accepts AUTH before TLS ({code})")
        else:
            yield fault(name, f"AUTH before TLS got {code} {_text(reply)}, not 530 or 538")
            return
        code, reply = session.docmd("MAIL", "FROM:<>")
        if code != 530:
            yield fault(name, f"MAIL before TLS got {code} {_text(reply)}, not 530")


# ---- within TLS -------------------------------------------------------------------


def _contexts(client: Client) -> Iterator[tuple[ssl.SSLContext, str]]:
    """Ways to verify the certificate, the best first, each with who vouches for it then."""
    yield ssl.create_default_context(), ""
    if client.authority is not None:
        context = ssl.create_default_context(cafile=str(client.authority))
        yield context, f"the authority in {client.authority}, which clients must be told to trust"


def _check_secured(
    listener: ListenerOptions, address: str, port: int, client: Client
) -> Iterator[Finding]:
    trouble = "no way to verify it"
    for context, voucher in _contexts(client):
        context.minimum_version = _MINIMUM
        try:
            session = _connect(listener, address, port, context, client.hostname)
        except ssl.SSLCertVerificationError as error:
            trouble = error.verify_message
            continue
        with session:
            yield from _check_session(listener.name, session, voucher, client)
        return
    yield fault(
        listener.name,
        f"clients will refuse the certificate for {client.hostname}: {trouble};"
        " no password was sent",
    )


def _connect(
    listener: ListenerOptions, address: str, port: int, context: ssl.SSLContext, hostname: str
) -> smtplib.SMTP:
    """A session with TLS on, the certificate verified.

    :raises ssl.SSLCertVerificationError: when it is not to be trusted.
    """
    if listener.tls == "implicit":
        return _ImplicitTls(address, port, context, hostname)
    session = smtplib.SMTP(address, port, _NAME, TIMEOUT_S)
    # smtplib takes the name to verify from here, and has no parameter for it.
    session._host = hostname  # type: ignore[attr-defined]
    try:
        session.starttls(context=context)
    except BaseException:
        session.close()
        raise
    return session


def _check_session(
    name: str, session: smtplib.SMTP, voucher: str, client: Client
) -> Iterator[Finding]:
    secured = session.sock
    assert isinstance(secured, ssl.SSLSocket)
    suite = secured.cipher()
    text = f"{secured.version()}, {suite[0] if suite else 'no cipher'}; the certificate is "
    if voucher:
        yield warning(name, f"{text}vouched for by {voucher}")
    else:
        yield ok(name, f"{text}one that clients trust")
    session.ehlo()
    if not session.has_extn("auth"):
        yield fault(name, "does not offer AUTH within TLS")
    if client.account is not None:
        yield from _check_login(name, session, client.account)


def _check_login(name: str, session: smtplib.SMTP, account: Account) -> Iterator[Finding]:
    login = account.login
    try:
        session.login(login, account.password)
    except smtplib.SMTPAuthenticationError as error:
        yield fault(name, f"login of {login}: {error.smtp_code} {_text(error.smtp_error)}")
        return
    yield ok(name, f"login of {login} accepted")
    if account.mail_from is not None:
        code, reply = session.mail(account.mail_from)
        text = f"{login} as <{account.mail_from}>: {code} {_text(reply)}"
        yield ok(name, text) if code == 250 else fault(name, text)
        session.rset()


def _text(reply: bytes | str) -> str:
    text = reply.decode("ascii", "replace") if isinstance(reply, bytes) else reply
    return " ".join(text.split())
