"""`submitctl demo`: a real server on loopback, two messages through it, settings to copy.

This is what `make run` calls.
"""

import datetime
import secrets
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import attrs
import click

from submitd.auth import hashing, htfile
from submitd.ctl.certificates import Authority
from submitd.ctl.init import AUTHORITY, CONFIGURATION, USERS, configuration_text, write_site
from submitd.ctl.site import SiteWriter

ADDRESS = "127.0.0.1"
HOSTNAME = "demo.example.org"
CLIENT = "client.example.org"  # what our own client says in EHLO
LOGIN = "demo@example.org"
PASSWORD = "password"
MAILDIR = "Maildir"
LOG = "server.log"
START_S = 20
DELIVERY_S = 20
STOP_S = 40
_LOG_LINES = 20
_POLL_S = 0.05
# Letters and digits that nobody mistakes for one another when typing them.
_PASSWORD_CHARACTERS = "abcdefghjkmnpqrstuvwxyz23456789"
_PASSWORD_LENGTH = 16

_SETTINGS = """\
To send from a mail client on this machine, set up an outgoing server (SMTP):

  server          {address}
  port            {implicit} with SSL/TLS   (or {starttls} with STARTTLS)
  user name       {login}
  password        {password}
  authentication  normal password
  trust           {authority}
                  (import it as a certificate authority, or accept the warning once)
  sender address  {login}

Whatever is sent arrives in {maildir}
The server's log is         {log}
"""

Port = tuple[str, int]
"""`"implicit"` or `"starttls"`, and the TCP port."""


class Trouble(click.ClickException):
    """The demo can't go on; the message is for who runs it."""


@attrs.frozen
class Demo:
    """The demo's site.

    :ivar directory: where it is.
    :ivar ports: both listeners.
    """

    directory: Path
    ports: tuple[Port, Port]

    @property
    def password(self) -> str:
        """The user's password, as it was generated."""
        return (self.directory / PASSWORD).read_text("ascii").strip()

    def prepare(self) -> None:
        """Write the site the first time; later only the configuration, should the ports differ."""
        text = configuration_text(
            HOSTNAME,
            [(ADDRESS, port, tls) for tls, port in self.ports],
            {"backend": "maildir", "path": MAILDIR},
        )
        file = self.directory / CONFIGURATION
        if not file.exists():
            self._write(text)
        elif self._ports_in(file) != [port for _, port in self.ports]:
            click.echo(f"Other ports than last time: writing {file} anew.")
            file.write_text(text)

    def _write(self, text: str) -> None:
        now = datetime.datetime.now(datetime.UTC)
        authority = Authority.make("submitd demo authority", now)
        issued = authority.issue([HOSTNAME, "localhost", ADDRESS, "::1"], now)
        password = "".join(secrets.choice(_PASSWORD_CHARACTERS) for _ in range(_PASSWORD_LENGTH))
        users = htfile.with_user(b"", LOGIN, hashing.hash_password(password))
        writer = SiteWriter(self.directory)
        try:
            writer.make_directory()
            writer.write(PASSWORD, f"{password}\n".encode(), private=True)
            write_site(writer, text, issued.certificate, issued.key, authority.certificate)
            (self.directory / USERS).write_bytes(users)
        except FileExistsError as error:
            raise Trouble(
                f"{error.filename} is there, but {CONFIGURATION} is not:"
                f" remove {self.directory} to begin anew"
            ) from None

    @staticmethod
    def _ports_in(file: Path) -> list[int | None]:
        try:
            listeners = tomllib.loads(file.read_text("utf-8")).get("listener", [])
            return [listener.get("port") for listener in listeners]
        except (AttributeError, ValueError):
            return []

    def check_ports(self) -> None:
        """Make sure that nobody else has the ports.

        :raises Trouble: with the way to take others.
        """
        for tls, port in self.ports:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((ADDRESS, port))
                except OSError as error:
                    variable = f"{tls.upper()}_PORT"
                    raise Trouble(
                        f"port {port} of {ADDRESS} can't be taken: {error.strerror}.\n"
                        f"Choose another: make run {variable}={port + 1}"
                        f"   (submitctl demo --{tls}-port {port + 1})"
                    ) from None

    def submit(self, tls: str, port: int, subject: str) -> None:
        """Send one message through a port, as a mail client would: TLS verified, then a login."""
        message = EmailMessage()
        message["From"] = f"Demo <{LOGIN}>"
        message["To"] = "you@example.net"
        message["Subject"] = subject
        message.set_content(f"This came through port {port}.\n")
        context = ssl.create_default_context(cafile=str(self.directory / AUTHORITY))
        client: smtplib.SMTP
        if tls == "implicit":
            client = smtplib.SMTP_SSL(ADDRESS, port, CLIENT, timeout=START_S, context=context)
        else:
            client = smtplib.SMTP(ADDRESS, port, CLIENT, timeout=START_S)
        with client:
            if tls == "starttls":
                client.starttls(context=context)
            client.login(LOGIN, self.password)
            client.send_message(message)

    def arrived(self) -> dict[str, str]:
        """The delivered messages: each file's name and text."""
        folder = self.directory / MAILDIR / "new"
        if not folder.is_dir():
            return {}
        return {file.name: file.read_text("utf-8", "replace") for file in folder.iterdir()}


@attrs.define
class Child:
    """The server, as a process of its own.

    :ivar log: the file its output goes to.
    """

    process: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def start(cls, directory: Path) -> "Child":
        """Start `twistd -n submitd`, the one installed beside this Python."""
        twistd = Path(sys.executable).parent / "twistd"
        if not twistd.exists():
            raise Trouble(f"{twistd} is missing: is Twisted installed for {sys.executable}?")
        command = [sys.executable, str(twistd), "--nodaemon", "--pidfile="]
        command += ["submitd", "--config", str(directory / CONFIGURATION)]
        log = directory / LOG
        with log.open("wb") as output:
            # Its own session: Ctrl-C is for us, who then tell it in an orderly way.
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return cls(process, log)

    def wait_for(self, what: str, timeout_s: float, condition: Callable[[], bool]) -> None:
        """Look until *condition* holds.

        :raises Trouble: when it doesn't in time, or the server ends.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self.process.poll() is not None:
                raise self.trouble("the server ended by itself")
            if time.monotonic() > deadline:
                raise self.trouble(f"{what} within {timeout_s:.0f} s")
            time.sleep(_POLL_S)

    def trouble(self, what: str) -> Trouble:
        """The fault with the last lines of the server's log."""
        lines = self.log.read_text("utf-8", "replace").splitlines()[-_LOG_LINES:]
        tail = "".join(f"\n  {line}" for line in lines) or "\n  (nothing)"
        return Trouble(f"{what}. The end of {self.log}:{tail}")

    def stop(self) -> None:
        """End the server in an orderly way, and if it doesn't, in the other."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection((ADDRESS, port), timeout=1).close()
    except OSError:
        return False
    return True


def _send_and_show(demo: Demo, child: Child) -> None:
    """One message through each port, then what arrived.

    :raises Trouble: when either doesn't get through.
    """
    before = demo.arrived().keys()
    subjects = {}
    for tls, port in demo.ports:
        subjects[port] = f"Through port {port} ({tls}) {secrets.token_hex(4)}"
        try:
            demo.submit(tls, port, subjects[port])
        except (OSError, smtplib.SMTPException) as error:
            raise child.trouble(f"a message through port {port} failed: {error}") from None

    def new() -> list[str]:
        return [text for name, text in demo.arrived().items() if name not in before]

    def message(subject: str) -> str | None:
        return next((text for text in new() if subject in text), None)

    child.wait_for(
        "not both messages arrived", DELIVERY_S, lambda: all(map(message, subjects.values()))
    )
    for port, subject in subjects.items():
        click.secho(f"---- Sent through port {port}; as delivered:", bold=True)
        click.echo(f"{message(subject)}")


def _end(*_: object) -> None:
    raise KeyboardInterrupt


@click.command()
@click.argument("directory", default=Path("demo"), type=click.Path(path_type=Path, file_okay=False))
@click.option("--once", is_flag=True, help="End after the two messages, with 0 if both arrived.")
@click.option("--implicit-port", default=4650, show_default=True, type=click.IntRange(1, 65535))
@click.option("--starttls-port", default=5870, show_default=True, type=click.IntRange(1, 65535))
def demo(directory: Path, once: bool, implicit_port: int, starttls_port: int) -> None:
    """Run a server on loopback with a site of its own in DIRECTORY.

    Sends one message through each port, shows them as they arrive in a Maildir, and
    serves until Ctrl-C.
    """
    if implicit_port == starttls_port:
        raise click.UsageError("the two ports must differ")
    site = Demo(directory.absolute(), (("implicit", implicit_port), ("starttls", starttls_port)))
    site.check_ports()
    site.prepare()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    child = Child.start(site.directory)
    try:
        child.wait_for(
            "the server did not come up",
            START_S,
            lambda: all(_listens(port) for _, port in site.ports),
        )
        _send_and_show(site, child)
        click.echo(
            _SETTINGS.format(
                address=ADDRESS,
                implicit=implicit_port,
                starttls=starttls_port,
                login=LOGIN,
                password=site.password,
                authority=site.directory / AUTHORITY,
                maildir=site.directory / MAILDIR,
                log=child.log,
            )
        )
        if not once:
            click.secho("Serving. Ctrl-C ends it.", bold=True)
            child.process.wait()
            raise child.trouble("the server ended by itself")
    except KeyboardInterrupt:
        if once:
            raise
        click.echo("\nEnding.")
    finally:
        child.stop()
