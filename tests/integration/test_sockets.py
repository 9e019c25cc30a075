"""Where listening sockets come from: systemd, and ports that only root may bind."""

import os
import pwd
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.server import LOGIN, STOPPED, Server, wait_until

MESSAGE = f"From: {LOGIN}\r\nTo: bob@example.net\r\nSubject: x\r\n\r\ntext\r\n"


def test_sockets_from_systemd(make_server: Callable[..., Server]) -> None:
    """A listener with `systemd` serves on the socket handed over under that name."""
    server = make_server()
    file = server.site / "submitd.toml"
    for port, name in ((server.implicit_port, "smtps"), (server.starttls_port, "submission")):
        address = f'address = "127.0.0.1"\nport = {port}'
        file.write_text(file.read_text().replace(address, f'systemd = "{name}"'))
    with (
        socket.create_server(("127.0.0.1", server.implicit_port)) as implicit,
        socket.create_server(("127.0.0.1", server.starttls_port)) as starttls,
    ):
        # As systemd does: descriptors from 3 on, and the process id of who is meant.
        script = 'exec 3<&"$1" 4<&"$2"; shift 2; LISTEN_PID=$$ exec "$@"'
        server.command = ["bash", "-c", script, "-", str(implicit.fileno()), str(starttls.fileno())]
        server.descriptors = (implicit.fileno(), starttls.fileno())
        server.environment = {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "smtps:submission"}
        with server.running():
            for listener in ("implicit", "starttls"):
                with server.smtp(listener) as smtp:
                    assert smtp.sendmail(LOGIN, ["bob@example.net"], MESSAGE) == {}
            assert server.terminate() == STOPPED


@pytest.mark.may_skip(reason="only root can drop privileges")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can drop privileges")
def test_privileges_are_dropped_after_binding() -> None:
    """With --uid and --gid, ports below 1024 are bound by root and served by the user."""
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory() as directory:
        server = Server.make(Path(directory), 'backend = "maildir"\npath = "mail"')
        file = server.site / "submitd.toml"
        low = free_low_port()
        file.write_text(file.read_text().replace(f"port = {server.starttls_port}", f"port = {low}"))
        server.starttls_port = low
        for path in (server.site, *server.site.rglob("*")):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        server.options = ["--uid", str(nobody.pw_uid), "--gid", str(nobody.pw_gid)]
        with server.running():
            status = Path(f"/proc/{server.pid}/status").read_text()
            assert f"Uid:\t{nobody.pw_uid}\t{nobody.pw_uid}\t{nobody.pw_uid}" in status
            with server.smtp("starttls") as smtp:
                smtp.sendmail(LOGIN, ["bob@example.net"], MESSAGE)
            wait_until("delivered", lambda: bool(server.mails()))


def free_low_port() -> int:
    """A port below 1024 that nobody listens on."""
    for port in range(1023, 600, -1):
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue
    raise AssertionError("no port below 1024 is free")


def test_a_missing_configuration_ends_the_start(tmp_path: Path) -> None:
    """Without its file the server ends at once, with a line that names it and no traceback."""
    done = subprocess.run(
        [Path(sys.executable).with_name("twistd"), "-n", "--pidfile=", "submitd", "--config", "x"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert str(tmp_path / "x") in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
