"""Mail clients that nobody here wrote, each as a function that sends one message.

All check the server's certificate, log in, and raise `Refused` with what the server
said when it takes the message from them no further.
"""

import base64
import os
import re
import shutil
import smtplib
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import pytest

from tests.support.server import HOSTNAME, LOGIN, PASSWORD, Server

Port = Literal["implicit", "starttls"]
Client = Callable[[Server, Port, str, bytes, Path], None]
TIMEOUT_S = 60


class Refused(Exception):
    """The server refused the message; the text has its reply."""


def needed(program: str) -> str:
    """The path of a program; skips the test when it is not there."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


def port_number(server: Server, port: Port) -> int:
    """The TCP port of a listener."""
    return server.implicit_port if port == "implicit" else server.starttls_port


def run(
    command: list[str | Path],
    content: bytes | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a client to its end; what it printed.

    :param content: its standard input.
    :param environment: more variables for it.
    :raises Refused: when it fails.
    """
    done = subprocess.run(
        command,
        input=content,
        stdin=subprocess.DEVNULL if content is None else None,
        capture_output=True,
        timeout=TIMEOUT_S,
        env={**os.environ, **(environment or {})},
        check=False,
    )
    output = (done.stdout + done.stderr).decode(errors="replace")
    if done.returncode:
        raise Refused(output[-4000:])
    return output


def with_smtplib(server: Server, port: Port, recipient: str, content: bytes, _: Path) -> None:
    """Python's smtplib: EHLO, AUTH PLAIN, SIZE."""
    try:
        with server.smtp(port) as smtp:
            smtp.sendmail(LOGIN, [recipient], content)
    except smtplib.SMTPResponseException as error:
        text = error.smtp_error
        reason = text.decode() if isinstance(text, bytes) else text
        raise Refused(f"{error.smtp_code} {reason}") from error


def with_curl(server: Server, port: Port, recipient: str, content: bytes, tmp: Path) -> None:
    """Curl (libcurl), content from a file with CRLF line ends."""
    file = tmp / "message"
    file.write_bytes(content)
    scheme = "smtps" if port == "implicit" else "smtp"
    run(
        [
            needed("curl"), "--silent", "--show-error", "--verbose", "--ssl-reqd",
            "--cacert", server.authority_file,
            "--resolve", f"{HOSTNAME}:{port_number(server, port)}:127.0.0.1",
            "--url", f"{scheme}://{HOSTNAME}:{port_number(server, port)}/client.example",
            "--user", f"{LOGIN}:{PASSWORD}",
            "--mail-from", LOGIN, "--mail-rcpt", recipient, "--upload-file", file,
        ]
    )  # fmt: skip


def with_swaks(server: Server, port: Port, recipient: str, content: bytes, tmp: Path) -> None:
    """Swaks (Net::SSLeay), AUTH LOGIN, commands one by one."""
    file = tmp / "message"
    # swaks makes CRLF of each LF, adds the dots, and a line end behind the last line.
    file.write_bytes(content.replace(b"\r\n", b"\n").removesuffix(b"\n"))
    tls = "--tls-on-connect" if port == "implicit" else "--tls"
    run(
        [
            needed("swaks"), tls, "--tls-verify", "--tls-ca-path", server.authority_file,
            "--server", "localhost", "--port", str(port_number(server, port)),
            "--auth", "LOGIN", "--auth-user", LOGIN, "--auth-password", PASSWORD,
            "--from", LOGIN, "--to", recipient, "--data", f"@{file}",
            "--hide-send", "--helo", "client.example",
        ]
    )  # fmt: skip


def with_msmtp(server: Server, port: Port, recipient: str, content: bytes, _: Path) -> None:
    """Msmtp (GnuTLS), as a sendmail: message on standard input with LF line ends."""
    run(
        [
            needed("msmtp"), "--file=/dev/null", "--host=localhost",
            f"--port={port_number(server, port)}", "--tls=on",
            f"--tls-starttls={'on' if port == 'starttls' else 'off'}",
            f"--tls-trust-file={server.authority_file}", "--auth=plain", f"--user={LOGIN}",
            f"--passwordeval=echo '{PASSWORD}'", f"--from={LOGIN}", "--domain=client.example",
            "--set-date-header=off", "--set-from-header=off", "--set-msgid-header=off",
            "--remove-bcc-headers=off", recipient,
        ],
        content.replace(b"\r\n", b"\n"),
    )  # fmt: skip


def with_openssl(server: Server, port: Port, recipient: str, content: bytes, _: Path) -> None:
    """`openssl s_client`, the rest typed in as a person would, AUTH PLAIN in two steps."""
    command: list[str | Path] = [
        needed("openssl"), "s_client", "-quiet", "-verify_return_error",
        "-CAfile", server.authority_file, "-verify_hostname", HOSTNAME, "-servername", HOSTNAME,
        "-connect", f"127.0.0.1:{port_number(server, port)}",
    ]  # fmt: skip
    if port == "starttls":
        command += ["-starttls", "smtp"]
    stuffed = re.sub(rb"(?m)^\.", b"..", content)
    ended = stuffed if stuffed.endswith(b"\r\n") or not stuffed else stuffed + b"\r\n"
    credentials = base64.b64encode(f"\0{LOGIN}\0{PASSWORD}".encode())
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def expect(code: bytes) -> None:
            assert process.stdout is not None
            while (line := process.stdout.readline())[3:4] == b"-":
                pass
            if line[:3] != code:
                raise Refused(line.decode(errors="replace"))

        watchdog = threading.Timer(TIMEOUT_S, process.kill)
        watchdog.start()
        try:
            if port == "implicit":  # else s_client itself has read the greeting
                expect(b"220")
            for line, code in (
                (b"EHLO client.example", b"250"),
                (b"AUTH PLAIN", b"334"),
                (credentials, b"235"),
                (b"MAIL FROM:<" + LOGIN.encode() + b">", b"250"),
                (b"RCPT TO:<" + recipient.encode() + b">", b"250"),
                (b"DATA", b"354"),
                (ended + b".", b"250"),
                (b"QUIT", b"221"),
            ):
                process.stdin.write(line + b"\r\n")
                process.stdin.flush()
                expect(code)
        finally:
            watchdog.cancel()
            process.kill()


CLIENTS: dict[str, Client] = {
    "smtplib": with_smtplib,
    "curl": with_curl,
    "swaks": with_swaks,
    "msmtp": with_msmtp,
    "openssl": with_openssl,
}
