"""submitd.ctl.demo: what a newcomer's `make run` does, with the real server."""

import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.support.server import free_ports

END_S = 60


def command(directory: Path, ports: list[int], *arguments: str) -> list[str]:
    """The command line of a demo."""
    implicit, starttls = map(str, ports)
    return [
        *(sys.executable, "-m", "submitd.ctl.main", "demo", str(directory)),
        *("--implicit-port", implicit, "--starttls-port", starttls, *arguments),
    ]


def run(directory: Path, ports: list[int], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a demo to its end."""
    return subprocess.run(
        command(directory, ports, *arguments),
        capture_output=True,
        text=True,
        timeout=END_S,
        check=False,
    )


def test_once(tmp_path: Path) -> None:
    """Both messages go through and are shown with the settings; a second run keeps them."""
    site, ports = tmp_path / "demo", free_ports(2)
    first = run(site, ports, "--once")
    assert first.returncode == 0, first.stdout + first.stderr
    for port in ports:
        assert re.search(rf"^Subject: Through port {port} ", first.stdout, re.MULTILINE)
        assert f"This came through port {port}." in first.stdout
    assert first.stdout.count("with ESMTPSA") == 2
    password = (site / "password").read_text().strip()
    assert re.search(rf"password +{password}$", first.stdout, re.MULTILINE)
    assert (site / "password").stat().st_mode & 0o077 == 0

    began = time.monotonic()
    second = run(site, free_ports(2), "--once")
    assert second.returncode == 0, second.stdout + second.stderr
    assert password in second.stdout
    assert time.monotonic() - began < 15  # a second or two, but for a busy machine
    assert password not in (site / "server.log").read_text()


def test_taken_port(tmp_path: Path) -> None:
    """A port that somebody else has is named, with the way to choose another."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        result = run(tmp_path / "demo", [taken, *free_ports(1)], "--once")
    assert result.returncode == 1
    assert f"port {taken} of 127.0.0.1 can't be taken" in result.stderr
    assert f"make run IMPLICIT_PORT={taken + 1}" in result.stderr
    assert "Traceback" not in result.stderr


def test_interrupt(tmp_path: Path) -> None:
    """Ctrl-C ends the demo and its server in order, without a stack trace."""
    ports = free_ports(2)
    with subprocess.Popen(
        command(tmp_path / "demo", ports),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Serving."):
                process.send_signal(signal.SIGINT)
        assert process.wait(END_S) == 0, "".join(lines)
    assert "Traceback" not in "".join(lines)
    assert "submitd has stopped" in (tmp_path / "demo" / "server.log").read_text()
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_server_that_does_not_start(tmp_path: Path) -> None:
    """When the server can't start, the end of its log says why."""
    site, ports = tmp_path / "demo", free_ports(2)
    assert run(site, ports, "--once").returncode == 0
    (site / "tls" / "privkey.pem").write_text("not a key\n")
    result = run(site, ports, "--once")
    assert result.returncode == 1
    assert "privkey.pem: not usable" in result.stderr
    assert "Traceback" not in result.stderr
