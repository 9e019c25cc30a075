"""A next hop for tests: real TCP and TLS on loopback, records what it gets, misbehaves on request.

It stands on the standard library alone, so that it is no judge in its own cause:
nothing of submitd is used to check submitd.

In a test::

    with NextHop(tls="starttls", identity=identity, users={"org": "secret"}) as hop:
        ...                       # connect to 127.0.0.1:hop.port
        message = hop.wait_for(1)[0]

As a program: `python -m tests.support.nexthop --help`.  The first line on standard
output is `{"port": N}`, then one JSON object a line for each message; standard input
at its end, or SIGTERM, ends it.

A script maps what a session waits for to what is done about it: `"greeting"`, a verb
(`"EHLO"`, `"MAIL"` ..., `"AUTH"`), `"handshake"` (a reply is said in clear instead of
one), `"content"` (while the message comes in), `"."` (after its end).  The value is a
reply without its final line end (lines separated by CRLF), CLOSE, or SILENCE (for
ever), or a list of such that is used up one by one; a None in it, and what follows the
list, mean the ordinary reply.  A reply that starts with CLOSE_AFTER is sent, and then
the connection is closed.
"""

import argparse
import base64
import contextlib
import json
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

CLOSE = "<close>"
CLOSE_AFTER = "<close after>"
SILENCE = "<silence>"
# The extension that each parameter needs; BODY is one of several.
_PARAMETERS = {
    "SIZE": "SIZE",
    "BODY=8BITMIME": "8BITMIME",
    "BODY=BINARYMIME": "BINARYMIME",
    "SMTPUTF8": "SMTPUTF8",
    "RET": "DSN",
    "ENVID": "DSN",
    "NOTIFY": "DSN",
    "ORCPT": "DSN",
    "REQUIRETLS": "REQUIRETLS",
    "BY": "DELIVERBY",
    "MT-PRIORITY": "MT-PRIORITY",
    "AUTH": "AUTH",
}
DEFAULT_EXTENSIONS = ("PIPELINING", "SIZE 104857600", "8BITMIME", "ENHANCEDSTATUSCODES")

Script = Mapping[str, str | Sequence[str | None]]


@attrs.define
class Message:
    """One message that was accepted: envelope as it was written, content undotted."""

    mail: str
    recipients: list[str]
    content: bytes
    session: "Session"


@attrs.define(eq=False)
class Session:
    """One connection: what came in, in order."""

    number: int
    commands: list[str] = attrs.field(factory=list)
    reads: list[bytes] = attrs.field(factory=list)
    tls_version: str | None = None
    server_name: str | None = None
    login: str | None = None
    closed: threading.Event = attrs.field(factory=threading.Event)


class _Closed(Exception):
    """The connection has ended, by either side."""


class NextHop:
    """Listens from construction on; a context manager that stops it at the end.

    :param tls: `"none"`, `"implicit"` or `"starttls"`.
    :param identity: has `certificate` and `key`: PEM files.
    :param users: logins and passwords; with any, MAIL needs AUTH.
    :param extensions: EHLO keywords besides STARTTLS and AUTH.
    :param script: see the module.
    :param on_message: called with each accepted message, in a thread of its own.
    """

    def __init__(
        self,
        tls: str = "none",
        identity: Any = None,
        users: Mapping[str, str] | None = None,
        extensions: Sequence[str] = DEFAULT_EXTENSIONS,
        mechanisms: str = "PLAIN LOGIN",
        script: Script | None = None,
        address: str = "127.0.0.1",
        port: int = 0,
        on_message: Callable[[Message], None] | None = None,
    ) -> None:
        self.tls = tls
        self.users = users or {}
        self.extensions = extensions
        self.mechanisms = mechanisms
        self.sessions: list[Session] = []
        self.messages: list[Message] = []
        self.server_names: list[str | None] = []
        self._script = {
            k: [v] * 10_000 if isinstance(v, str) else list(v) for k, v in (script or {}).items()
        }
        self._on_message = on_message
        self._changed = threading.Condition()
        self._sockets: set[socket.socket] = set()
        self._context = self._make_context(identity) if identity is not None else None
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.create_server((address, port), family=family, backlog=128)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _make_context(self, identity: Any) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity.certificate, identity.key)

        def remember(_socket: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
            self.server_names.append(name)

        context.sni_callback = remember
        return context

    def __enter__(self) -> "NextHop":
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop listening and cut every connection."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Cut the connections there are, and go on listening."""
        for each in list(self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def wait_for(
        self, messages: int = 0, sessions: int = 0, timeout_s: float = 20
    ) -> list[Message]:
        """Block until there have been this many of each.

        :raises TimeoutError: when they don't come in time.
        """
        with self._changed:
            if not self._changed.wait_for(
                lambda: len(self.messages) >= messages and len(self.sessions) >= sessions, timeout_s
            ):
                raise TimeoutError(f"{len(self.messages)} messages, {len(self.sessions)} sessions")
            return list(self.messages)

    # ---- connections ------------------------------------------------------------------

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with self._changed:
            session = Session(len(self.sessions))
            self.sessions.append(session)
            self._sockets.add(connection)
            self._changed.notify_all()
        try:
            _Conversation(self, session, connection, self._context).run()
        except (_Closed, OSError):
            pass
        finally:
            with self._changed:
                self._sockets.discard(connection)
            connection.close()
            session.closed.set()

    def scripted(self, stage: str) -> str | None:
        """What the script has for *stage* now."""
        with self._changed:
            steps = self._script.get(stage)
            return steps.pop(0) if steps else None

    def accept(self, message: Message) -> None:
        """Keep an accepted message."""
        with self._changed:
            self.messages.append(message)
            self._changed.notify_all()
        if self._on_message is not None:
            self._on_message(message)


class _Conversation:
    """One session, from greeting to end."""

    def __init__(
        self,
        hop: NextHop,
        session: Session,
        connection: socket.socket,
        context: ssl.SSLContext | None,
    ) -> None:
        self._hop = hop
        self._session = session
        self._socket = connection
        self._context = context
        self._buffer = b""
        self._mail: str | None = None
        self._recipients: list[str] = []

    def run(self) -> None:
        if self._hop.tls == "implicit":
            self._start_tls()
        self._reply("greeting", "220 nexthop.test ESMTP")
        while True:
            line = self._line()
            self._session.commands.append(line)
            verb, _, argument = line.partition(" ")
            handler = getattr(self, f"_do_{verb.lower()}", None)
            if handler is None:
                self._reply(verb, "500 5.5.1 Unknown command")
            else:
                handler(verb.upper(), argument)

    # ---- bytes ------------------------------------------------------------------------

    def _start_tls(self) -> None:
        if (nonsense := self._scripted("handshake")) is not None:
            self._socket.recv(65536)
            self._socket.sendall(nonsense.encode() + b"\r\n")
            raise _Closed
        assert self._context is not None
        self._socket = self._context.wrap_socket(self._socket, server_side=True)
        self._session.tls_version = self._socket.version()
        self._session.server_name = self._hop.server_names[-1]

    def _receive(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise _Closed
        self._session.reads.append(data)
        self._buffer += data

    def _line(self) -> str:
        while b"\r\n" not in self._buffer:
            self._receive()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line.decode("utf-8", "backslashreplace")

    def _scripted(self, stage: str) -> str | None:
        action = self._hop.scripted(stage)
        if action == CLOSE:
            raise _Closed
        while action == SILENCE:
            self._receive()
        return action

    def _reply(self, stage: str, ordinary: str) -> int:
        return self._say(self._scripted(stage) or ordinary)

    def _say(self, text: str) -> int:
        closing = text.startswith(CLOSE_AFTER)
        text = text.removeprefix(CLOSE_AFTER)
        self._socket.sendall(text.encode() + b"\r\n")
        if closing:
            raise _Closed
        return int(text[:3]) if text[:3].isdigit() else 0

    # ---- commands ---------------------------------------------------------------------

    def _do_ehlo(self, verb: str, _argument: str) -> None:
        keywords = list(self._hop.extensions)
        if self._hop.tls == "starttls" and self._session.tls_version is None:
            keywords.append("STARTTLS")
        if self._hop.users:
            keywords.append(f"AUTH {self._hop.mechanisms}")
        lines = ["nexthop.test", *keywords]
        text = "\r\n".join(f"250-{line}" for line in lines[:-1])
        self._reply(verb, f"{text}\r\n250 {lines[-1]}" if text else f"250 {lines[-1]}")
        self._mail = None

    def _do_helo(self, verb: str, _argument: str) -> None:
        self._reply(verb, "250 nexthop.test")

    def _do_starttls(self, verb: str, _argument: str) -> None:
        if self._reply(verb, "220 2.0.0 Go ahead") == 220:
            self._start_tls()

    def _do_auth(self, verb: str, argument: str) -> None:
        mechanism, _, initial = argument.partition(" ")
        if mechanism == "PLAIN":
            decoded = base64.b64decode(initial or self._ask(""))
            _, login, password = decoded.decode().split("\0")
        else:
            login = base64.b64decode(self._ask("VXNlcm5hbWU6")).decode()
            password = base64.b64decode(self._ask("UGFzc3dvcmQ6")).decode()
        good = self._hop.users.get(login) == password
        # Before the reply: who has read it may look at the session.
        self._session.login = login if good else None
        code = self._reply(verb, "235 2.7.0 Welcome" if good else "535 5.7.8 Wrong credentials")
        if code != 235:
            self._session.login = None

    def _ask(self, challenge: str) -> str:
        self._socket.sendall(f"334 {challenge}\r\n".encode())
        line = self._line()
        self._session.commands.append(line)
        return line

    def _fault(self, argument: str) -> str | None:
        """A parameter or an address that was not offered."""
        offered = {extension.partition(" ")[0] for extension in self._hop.extensions}
        if self._hop.users:
            offered.add("AUTH")
        if not argument.isascii() and "SMTPUTF8" not in offered:
            return "501 5.5.2 Not ASCII"
        for word in argument.replace("=<>", "=").rpartition(">")[2].split():
            keyword = word.partition("=")[0]
            needs = _PARAMETERS.get(word if keyword == "BODY" else keyword)
            if needs not in offered:
                return f"555 5.5.4 {word} was not offered"
        return None

    def _do_mail(self, verb: str, argument: str) -> None:
        ordinary = self._fault(argument) or "250 2.1.0 Ok"
        if self._hop.users and self._session.login is None:
            ordinary = "530 5.7.0 Authentication required"
        elif self._mail is not None:
            ordinary = "503 5.5.1 Nested MAIL"
        if self._reply(verb, ordinary) == 250:
            self._mail, self._recipients = argument, []

    def _do_rcpt(self, verb: str, argument: str) -> None:
        ordinary = self._fault(argument) or "250 2.1.5 Ok"
        if self._mail is None:
            ordinary = "503 5.5.1 MAIL first"
        if self._reply(verb, ordinary) in (250, 251):
            self._recipients.append(argument)

    def _do_data(self, verb: str, _argument: str) -> None:
        if self._mail is None:
            ordinary = "503 5.5.1 MAIL first"
        elif not self._recipients:
            ordinary = "554 5.5.1 No valid recipients"
        else:
            ordinary = "354 Go ahead"
        if self._reply(verb, ordinary) != 354:
            return
        content = self._content()
        ordinary = "250 2.0.0 Queued" if self._recipients else "554 5.5.1 No recipients"
        text = self._scripted(".") or ordinary
        if text.startswith("250"):  # kept before the client knows
            self._hop.accept(Message(self._mail or "", self._recipients, content, self._session))
        self._say(text)
        self._mail = None

    def _content(self) -> bytes:
        """The message up to CRLF "." CRLF, undotted as RFC 5321 §4.5.2 has it."""
        # The CRLF of DATA itself counts: an empty message is a lone dot.
        received = bytearray(b"\r\n" + self._buffer)
        searched = 0
        while (end := received.find(b"\r\n.\r\n", searched)) < 0:
            searched = max(0, len(received) - 4)
            interruption = self._scripted("content")
            if interruption is not None:
                self._socket.sendall(interruption.encode() + b"\r\n")
            self._buffer = b""
            self._receive()
            received += self._buffer
        self._buffer = bytes(received[end + 5 :])
        return bytes(received[: end + 2]).replace(b"\r\n.", b"\r\n")[2:]

    def _do_bdat(self, verb: str, argument: str) -> None:
        """One chunk (RFC 3030 §2); what is refused is read all the same."""
        size, _, last = argument.partition(" ")
        while len(self._buffer) < int(size):
            interruption = self._scripted("content")
            if interruption is not None:
                self._socket.sendall(interruption.encode() + b"\r\n")
            self._receive()
        content, self._buffer = self._buffer[: int(size)], self._buffer[int(size) :]
        if self._mail is None:
            ordinary = "503 5.5.1 MAIL first"
        elif not self._recipients:
            ordinary = "554 5.5.1 No valid recipients"
        elif last != "LAST":
            ordinary = "501 5.5.4 One chunk is all this server takes"
        else:
            ordinary = "250 2.0.0 Queued"
        text = self._scripted(verb) or self._scripted(".") or ordinary
        if text.startswith("250"):
            self._hop.accept(Message(self._mail or "", self._recipients, content, self._session))
        self._say(text)
        self._mail = None

    def _do_rset(self, verb: str, _argument: str) -> None:
        self._reply(verb, "250 2.0.0 Ok")
        self._mail = None

    def _do_noop(self, verb: str, _argument: str) -> None:
        self._reply(verb, "250 2.0.0 Ok")

    def _do_quit(self, verb: str, _argument: str) -> None:
        self._reply(verb, "221 2.0.0 Bye")
        raise _Closed


# ---- as a program ---------------------------------------------------------------------


def _as_json(message: Message, directory: Path | None, number: int) -> str:
    session = message.session
    fields: dict[str, Any] = {
        "number": number,
        "session": session.number,
        "mail": message.mail,
        "recipients": message.recipients,
        "tls": session.tls_version,
        "server_name": session.server_name,
        "login": session.login,
        "octets": len(message.content),
    }
    if directory is None:
        fields["content"] = base64.b64encode(message.content).decode()
    else:
        path = directory / f"{number}.eml"
        path.write_bytes(message.content)
        fields["path"] = str(path)
    return json.dumps(fields)


def main() -> None:
    """Run as a program until standard input ends or SIGTERM comes."""
    parser = argparse.ArgumentParser(description="A recording next hop; see the module.")
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--tls", choices=("none", "implicit", "starttls"), default="none")
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--key", type=Path)
    parser.add_argument("--user", action="append", default=[], metavar="LOGIN:PASSWORD")
    parser.add_argument("--script", type=json.loads, default={}, metavar="JSON")
    parser.add_argument("--directory", type=Path, help="write contents to N.eml there, not to JSON")
    arguments = parser.parse_args()
    if arguments.certificate is not None:
        identity: Any = argparse.Namespace(certificate=arguments.certificate, key=arguments.key)
    else:
        identity = None
    printing = threading.Lock()
    count = 0

    def on_message(message: Message) -> None:
        nonlocal count
        with printing:
            count += 1
            print(_as_json(message, arguments.directory, count), flush=True)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with NextHop(
        tls=arguments.tls,
        identity=identity,
        users=dict(user.split(":", 1) for user in arguments.user),
        script=arguments.script,
        address=arguments.address,
        port=arguments.port,
        on_message=on_message,
    ) as hop:
        with printing:
            print(json.dumps({"port": hop.port}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
