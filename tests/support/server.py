"""The real server for tests: a site in a directory, and `twistd -n submitd` with it."""

import base64
import contextlib
import datetime
import hashlib
import json
import os
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import attrs

from submitd.ctl.certificates import Authority

HOSTNAME = "localhost.example"
LOGIN = "alice@example.org"
PASSWORD = "correct horse"
START_S = 30
STOP_S = 40
STOPPED = -signal.SIGTERM
"""The exit status after a clean stop: twistd ends by the signal that it was stopped with."""


def free_ports(number: int) -> list[int]:
    """Ports of loopback that nobody listens on now, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)
        ]
        return [each.getsockname()[1] for each in sockets]


def wait_until(what: str, condition: Callable[[], bool], timeout_s: float = START_S) -> None:
    """Look again and again until *condition* holds.

    :raises TimeoutError: when it doesn't in time.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s} s: {what}")
        time.sleep(0.02)


def certify(site: Path, authority: Authority | None = None) -> Authority:
    """Write a certificate for the site (`tls/`), and its authority's to `authority.pem`."""
    now = datetime.datetime.now(datetime.UTC)
    authority = authority or Authority.make("test authority", now)
    credentials = authority.issue([HOSTNAME, "localhost", "127.0.0.1"], now)
    (site / "tls").mkdir(exist_ok=True)
    (site / "authority.pem").write_bytes(authority.certificate)
    for name, data in (
        ("fullchain.pem", credentials.certificate),
        ("privkey.pem", credentials.key),
    ):
        fresh = site / "tls" / f"{name}.new"
        fresh.write_bytes(data)
        fresh.chmod(0o600)
        fresh.rename(site / "tls" / name)
    return authority


@attrs.define
class Server:
    """A site and its server; `running()` starts and stops it.

    :ivar site: its directory: `submitd.toml`, `users.htpasswd`, `tls/`, `spool/`, `log`.
    :ivar implicit_port: the port of the listener with implicit TLS.
    :ivar starttls_port: the port of the listener with STARTTLS.
    :ivar process: twistd, while it runs.
    :ivar command: put before `twistd`: a program that starts it.
    :ivar options: more options of twistd's own.
    :ivar environment: more variables for it.
    :ivar descriptors: file descriptors it inherits.
    """

    site: Path
    implicit_port: int
    starttls_port: int
    authority: Authority
    process: subprocess.Popen[bytes] | None = None
    command: list[str] = attrs.field(factory=list)
    options: list[str] = attrs.field(factory=list)
    environment: dict[str, str] = attrs.field(factory=dict)
    descriptors: tuple[int, ...] = ()

    @classmethod
    def make(
        cls,
        site: Path,
        relay: str,
        tables: Mapping[str, str] | None = None,
        spool: Path | None = None,
    ) -> "Server":
        """Write a site.

        :param relay: the `[relay]` table, as TOML.
        :param tables: keys for `limits`, `queue` and `log`, as TOML: `{"limits": "data_s = 1"}`;
            under any other name, whole tables.
        :param spool: where the queue is, if not within the site.
        """
        site.mkdir(parents=True, exist_ok=True)
        implicit, starttls = free_ports(2)
        extra = {"limits": "", "queue": "", "log": "", **(tables or {})}
        whole = "\n\n".join(v for k, v in extra.items() if k not in ("limits", "queue", "log"))
        text = f"""
hostname = "{HOSTNAME}"

[tls]
certificate = "tls/fullchain.pem"
key = "tls/privkey.pem"

[[listener]]
address = "127.0.0.1"
port = {implicit}
tls = "implicit"

[[listener]]
address = "127.0.0.1"
port = {starttls}
tls = "starttls"

[users]
backend = "htpasswd"
file = "users.htpasswd"

[limits]
connections_per_address = 1000
{extra["limits"]}

[queue]
store = "sqlite"
path = "{spool or "spool"}"
{extra["queue"]}

[relay]
{relay}

[log]
format = "json"
{extra["log"]}

{whole}
"""
        (site / "submitd.toml").write_text(text)
        digest = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()
        (site / "users.htpasswd").write_text(f"{LOGIN}:{{SHA}}{digest}\n")
        (site / "users.htpasswd").chmod(0o600)
        (spool or site / "spool").mkdir(mode=0o700, exist_ok=True)
        return cls(site, implicit, starttls, certify(site))

    @property
    def authority_file(self) -> Path:
        """What clients are to trust."""
        return self.site / "authority.pem"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self.process is not None
        return self.process.pid

    def log(self) -> str:
        """All that the server has written, over all its runs."""
        path = self.site / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def mails(self) -> list[Path]:
        """What was delivered so far into `mail/`, the Maildir of the site."""
        return sorted((self.site / "mail" / "new").glob("*"))

    def log_lines(self, line: str) -> list[dict[str, object]]:
        """The log's JSON objects of one kind (`"message"`)."""
        objects = [json.loads(each) for each in self.log().splitlines() if each.startswith("{")]
        return [each for each in objects if each.get("line") == line]

    def spawn(self) -> None:
        """Start it, and don't wait."""
        twistd = Path(sys.executable).with_name("twistd")
        config = str(self.site / "submitd.toml")
        own = [str(twistd), "-n", "--pidfile=", *self.options, "submitd", "--config", config]
        with (self.site / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command, *own],
                cwd=self.site,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **self.environment},
                pass_fds=self.descriptors,
            )

    def start(self) -> None:
        """Start it, and wait until both listeners greet.

        :raises RuntimeError: with its log, when it ends or doesn't get there.
        """
        self.spawn()
        try:
            wait_until("both listeners greet", self._greets)
        except TimeoutError as error:
            self.kill()
            raise RuntimeError(f"the server doesn't serve:\n{self.log()}") from error

    def _greets(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"the server has ended:\n{self.log()}")
        try:
            with self.connect_implicit() as one, self.connect_plain() as other:
                return one.recv(3) == b"220" and other.recv(3) == b"220"
        except OSError:
            return False

    def terminate(self) -> int:
        """SIGTERM, and wait for its end; the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end; the exit status."""
        assert self.process is not None
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    @contextlib.contextmanager
    def running(self) -> Iterator["Server"]:
        """Run it for the length of a `with` block; what fails in it shows the log."""
        self.start()
        try:
            yield self
        except BaseException as error:
            error.add_note(f"--- the server's log ---\n{self.log()[-20000:]}")
            raise
        finally:
            if self.process is not None and self.process.poll() is None:
                self.terminate()

    # ---- clients ----------------------------------------------------------------------

    def context(self) -> ssl.SSLContext:
        """A client's TLS settings that trust the site's authority, and nobody else."""
        return ssl.create_default_context(cafile=str(self.authority_file))

    def connect_plain(self) -> socket.socket:
        """A connection to the STARTTLS listener, nothing said yet."""
        return socket.create_connection(("127.0.0.1", self.starttls_port), timeout=20)

    def connect_implicit(self) -> ssl.SSLSocket:
        """A connection to the implicit TLS listener, after the handshake."""
        plain = socket.create_connection(("127.0.0.1", self.implicit_port), timeout=20)
        try:
            return self.context().wrap_socket(plain, server_hostname=HOSTNAME)
        except BaseException:
            plain.close()
            raise

    def smtp(self, port: str = "implicit", login: bool = True) -> smtplib.SMTP:
        """Python's own client, past TLS and login; a context manager that says QUIT."""
        context = self.context()
        client: smtplib.SMTP
        if port == "implicit":
            client = smtplib.SMTP_SSL("127.0.0.1", self.implicit_port, timeout=60, context=context)
        else:
            client = smtplib.SMTP("127.0.0.1", self.starttls_port, timeout=60)
            client.starttls(context=context)
        if login:
            client.login(LOGIN, PASSWORD)
        return client
