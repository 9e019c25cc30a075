"""A full disk: 452, and what is queued is still delivered."""

import os
import smtplib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.nexthop import NextHop
from tests.support.server import LOGIN, Server, free_ports, wait_until

HEAD = (
    f"From: {LOGIN}\r\nTo: bob@example.net\r\nSubject: x\r\n"
    "Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n\r\n"
).encode()
SPOOL_MIB = 16
RESERVE = 10 * 2**20  # well above the log of the database, which holds 4 MiB at times


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory with a file system of `SPOOL_MIB` of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SPOOL_MIB}m,mode=700", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(server: Server, message: bytes, at_most: int) -> tuple[int, smtplib.SMTPDataError]:
    """Submit until the server refuses; how many it took, and the refusal."""
    with server.smtp() as smtp:
        for answered in range(at_most):
            try:
                smtp.sendmail(LOGIN, ["bob@example.net"], message)
            except smtplib.SMTPDataError as refusal:
                return answered, refusal
    raise AssertionError("the disk is not full")


@pytest.mark.may_skip(reason="a container may keep root from mounting")
@pytest.mark.parametrize("octets", [60_000, 400_000], ids=["in the database", "as files"])
@pytest.mark.parametrize("reserve", [RESERVE, 0], ids=["reserve", "to the last octet"])
def test_a_full_disk_is_answered_452(
    make_server: Callable[..., Server], small_disk: Path, octets: int, reserve: int
) -> None:
    """Messages without room get 452 4.3.1; those answered 250 go out, then there is room again.

    Without a reserve, deliveries can't be recorded before the disk has room again.
    """
    message = HEAD + (b"z" * 98 + b"\r\n") * (octets // 100)
    (hop_port,) = free_ports(1)  # nobody there yet: everything stays in the queue
    relay = f'backend = "smarthost"\nhost = "127.0.0.1"\nport = {hop_port}\ntls = "none"'
    queue = f"retry_schedule_s = [1]\nreserve_bytes = {reserve}"
    server = make_server(relay, {"queue": queue}, small_disk)
    with server.running():
        answered, refusal = fill(server, message, 2 * SPOOL_MIB * 2**20 // octets)
        assert answered
        assert refusal.smtp_code == 452
        assert "4.3.1" in str(refusal.smtp_error)
        if not reserve:
            larger = f"remount,size={4 * SPOOL_MIB}m"
            subprocess.run(["mount", "-o", larger, str(small_disk)], check=True)
        with NextHop(port=hop_port) as hop:
            for each in hop.wait_for(messages=answered, timeout_s=60):
                assert each.content.endswith(message)
            wait_until("there is room again", lambda: takes(server, message))
            hop.wait_for(messages=answered + 1)


def takes(server: Server, message: bytes) -> bool:
    """Whether the server accepts a message."""
    try:
        with server.smtp() as smtp:
            smtp.sendmail(LOGIN, ["bob@example.net"], message)
    except smtplib.SMTPDataError:
        return False
    return True
