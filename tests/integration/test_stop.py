"""SIGTERM: nobody new, what is under way is finished, nothing is lost."""

import signal
from collections.abc import Callable
from contextlib import closing

import pytest

from tests.support.nexthop import SILENCE, NextHop
from tests.support.server import LOGIN, STOPPED, Server, wait_until

MESSAGE = f"From: {LOGIN}\r\nTo: bob@example.net\r\nSubject: x\r\n\r\ntext\r\n".encode()


def test_a_message_under_way_is_finished(make_server: Callable[..., Server]) -> None:
    """A client in the middle of DATA at SIGTERM still gets its 250, and the message goes out."""
    with make_server().running() as server:
        smtp = server.smtp()
        smtp.mail(LOGIN)
        smtp.rcpt("bob@example.net")
        assert smtp.docmd("DATA")[0] == 354
        smtp.send(MESSAGE[:20])
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)

        def refuses() -> bool:
            try:
                server.connect_plain().close()
            except OSError:
                return True
            return False

        wait_until("new connections are refused", refuses)
        smtp.send(MESSAGE[20:] + b".\r\n")
        assert smtp.getreply()[0] == 250
        smtp.close()
        assert server.wait() == STOPPED
    if not server.mails():  # stored, and delivered by the next start
        with server.running():
            wait_until("delivered", lambda: bool(server.mails()))


def test_idle_clients_are_told(make_server: Callable[..., Server]) -> None:
    """A client that waits between commands gets 421 at SIGTERM, and the server ends at once."""
    with make_server().running() as server, closing(server.smtp()) as smtp:
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        code, _text = smtp.getreply()
        assert code == 421
        smtp.close()
        assert server.process.wait(10) == STOPPED


def test_what_the_next_hop_did_not_take_is_there_after_a_restart(
    make_server: Callable[..., Server],
) -> None:
    """A message that waits for its next attempt at SIGTERM is delivered after the next start."""
    with NextHop(script={"MAIL": ["451 4.3.0 Not now"]}) as hop:
        relay = f'backend = "smarthost"\nhost = "127.0.0.1"\nport = {hop.port}\ntls = "none"'
        server = make_server(relay, {"queue": "retry_schedule_s = [1]"})
        with server.running():
            with server.smtp() as smtp:
                smtp.sendmail(LOGIN, ["bob@example.net"], MESSAGE)
            hop.wait_for(sessions=1)
            assert server.terminate() == STOPPED
        with server.running():
            (message,) = hop.wait_for(messages=1)
        assert message.content.endswith(MESSAGE.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize("stage", [".", "MAIL", "greeting"])
def test_a_silent_next_hop_does_not_hold_up_the_end(
    make_server: Callable[..., Server], stage: str
) -> None:
    """With a next hop that stopped to answer, SIGTERM ends the server within its own limits."""
    with NextHop(script={stage: [SILENCE]}) as hop:
        relay = f'backend = "smarthost"\nhost = "127.0.0.1"\nport = {hop.port}\ntls = "none"'
        tables = {"limits": "stop_s = 1\nclose_s = 1", "queue": "retry_schedule_s = [1]"}
        server = make_server(relay, tables)
        with server.running():
            with server.smtp() as smtp:
                smtp.sendmail(LOGIN, ["bob@example.net"], MESSAGE)
            hop.wait_for(sessions=1)
            assert server.process is not None
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(10) == STOPPED
        with server.running():
            (message,) = hop.wait_for(messages=1)
        assert message.content.endswith(MESSAGE.partition(b"\r\n\r\n")[2])


def test_a_taken_port_ends_the_start(make_server: Callable[..., Server]) -> None:
    """A second server on the same ports ends with a line that names the port."""
    with make_server().running() as server:
        other = Server(server.site, server.implicit_port, server.starttls_port, server.authority)
        other.spawn()
        assert other.wait() == 1
        assert f"cannot listen on 127.0.0.1:{server.implicit_port}" in server.log()
