"""Programs that people send mail with, each with the extensions that it can use."""

import email
import email.policy
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import quote

import attrs
import pytest

from tests.support.clients import Port, needed, port_number, run
from tests.support.server import HOSTNAME, LOGIN, PASSWORD
from tests.support.way import Way

SUBJECT = "Grüße aus Köln"
TEXT = "Grüße, 挨拶\n.\n.. dots\nThe end.\n"

ports = pytest.mark.parametrize("port", ["implicit", "starttls"])


def with_s_nail(way: Way, port: Port, recipient: str, tmp: Path) -> None:
    """s-nail: mailx of today, text on standard input."""
    scheme = "smtps" if port == "implicit" else "submission"
    user = f"{quote(LOGIN, safe='')}:{quote(PASSWORD, safe='')}"
    number = port_number(way.server, port)
    settings = {
        "v15-compat": "yes",
        "mta": f"{scheme}://{user}@localhost:{number}",
        "smtp-auth": "plain",
        "smtp-use-starttls": "yes",
        "tls-ca-file": str(way.server.authority_file),
        "tls-ca-no-defaults": "yes",
        "tls-verify": "strict",
        "from": LOGIN,
        "sendcharsets": "utf-8",
        "sendwait": "yes",
        "mime-encoding": "8bit",
        "hostname": "client.example",
        "ttycharset": "utf-8",
    }
    options = [option for name, value in settings.items() for option in ("-S", f"{name}={value}")]
    run(
        [needed("s-nail"), "-:/", "-#", *options, "-s", SUBJECT, recipient],
        TEXT.encode(),
        {"HOME": str(tmp), "LC_ALL": "C.UTF-8"},
    )


def with_mutt(way: Way, port: Port, recipient: str, tmp: Path) -> None:
    """Mutt (GnuTLS, GSASL), text on standard input, DSN asked for."""
    scheme = "smtps" if port == "implicit" else "smtp"
    number = port_number(way.server, port)
    (tmp / "muttrc").write_text(f"""
set smtp_url = "{scheme}://{quote(LOGIN, safe="")}@localhost:{number}/"
set smtp_pass = "{PASSWORD}"
set smtp_authenticators = "plain"
set ssl_force_tls = yes
set ssl_ca_certificates_file = "{way.server.authority_file}"
set ssl_usesystemcerts = no
set from = "{LOGIN}"
set use_envelope_from = yes
set hostname = "client.example"
set charset = "utf-8"
set send_charset = "utf-8"
set allow_8bit = yes
set use_8bitmime = yes
set dsn_notify = "failure,delay"
set dsn_return = "hdrs"
set copy = no
""")
    run(
        [needed("mutt"), "-n", "-F", tmp / "muttrc", "-s", SUBJECT, recipient],
        TEXT.encode(),
        {"HOME": str(tmp), "LC_ALL": "C.UTF-8"},
    )


def with_git(way: Way, port: Port, recipient: str, tmp: Path) -> None:
    """`git send-email` (Net::SMTP): a patch whose message is the text."""
    patch = tmp / "0001.patch"
    patch.write_text(
        f"From {'0' * 40} Mon Sep 17 00:00:00 2001\nFrom: Alice <{LOGIN}>\n"
        f"Date: Sat, 21 Nov 2026 12:00:00 +0000\nSubject: {SUBJECT}\n"
        f"MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\n"
        f"Content-Transfer-Encoding: 8bit\n\n{TEXT}"
    )
    run(
        [
            needed("git"), "send-email", "--quiet", "--confirm=never", "--no-validate",
            "--suppress-cc=all", f"--from=Alice <{LOGIN}>", f"--to={recipient}",
            "--smtp-server=localhost", f"--smtp-server-port={port_number(way.server, port)}",
            f"--smtp-encryption={'ssl' if port == 'implicit' else 'tls'}",
            f"--smtp-ssl-cert-path={way.server.authority_file}", "--smtp-domain=client.example",
            f"--smtp-user={LOGIN}", f"--smtp-pass={PASSWORD}", "--smtp-auth=PLAIN", patch,
        ],
        environment={
            "HOME": str(tmp),
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_NOSYSTEM": "1",
            **{
                f"GIT_{role}_{what}": value
                for role in ("AUTHOR", "COMMITTER")
                for what, value in (("NAME", "Alice"), ("EMAIL", LOGIN))
            },
            "GIT_CEILING_DIRECTORIES": str(tmp.parent),
        },
    )  # fmt: skip


def message_text(recipient: str) -> bytes:
    """A whole message, for clients that take one; LF line ends."""
    message = EmailMessage(policy=email.policy.SMTP.clone(linesep="\n"))
    message["From"] = LOGIN
    message["To"] = recipient
    message["Subject"] = SUBJECT
    message.set_content(TEXT, cte="8bit")
    return bytes(message)


def with_msmtp(way: Way, port: Port, recipient: str, _: Path) -> None:
    """Msmtp, DSN asked for."""
    run(
        [
            needed("msmtp"), "--file=/dev/null", "--host=localhost",
            f"--port={port_number(way.server, port)}", "--tls=on",
            f"--tls-starttls={'on' if port == 'starttls' else 'off'}",
            f"--tls-trust-file={way.server.authority_file}", "--auth=plain", f"--user={LOGIN}",
            f"--passwordeval=echo '{PASSWORD}'", f"--from={LOGIN}", "--domain=client.example",
            "--dsn-notify=success,failure", "--dsn-return=full", recipient,
        ],
        message_text(recipient),
    )  # fmt: skip


@attrs.frozen
class Agent:
    """A program, and the parameters that it asks for as they come out at the next hop."""

    send: Callable[[Way, Port, str, Path], None]
    mail: frozenset[str] = frozenset()
    rcpt: frozenset[str] = frozenset()


AGENTS = {
    "s-nail": Agent(with_s_nail),
    "mutt": Agent(
        with_mutt, frozenset({"BODY=8BITMIME", "RET=HDRS"}), frozenset({"NOTIFY=FAILURE,DELAY"})
    ),
    "git": Agent(with_git),
    "msmtp": Agent(with_msmtp, frozenset({"RET=FULL"}), frozenset({"NOTIFY=SUCCESS,FAILURE"})),
}


@ports
@pytest.mark.parametrize("agent", AGENTS.values(), ids=AGENTS.keys())
def test_agent(way: Way, agent: Agent, port: Port, tmp_path: Path) -> None:
    """Each program's message comes out with its subject, its text and what it asked for."""
    recipient = way.recipient()
    agent.send(way, port, recipient, tmp_path)
    received = way.received(recipient)
    mail = received.mail.split()
    assert mail[0] == f"FROM:<{LOGIN}>"
    assert agent.mail <= set(mail)
    assert agent.rcpt <= set(received.recipients[0].split())
    message = email.message_from_bytes(received.content, policy=email.policy.SMTP)
    assert isinstance(message, EmailMessage)
    assert message["Subject"] == SUBJECT
    assert message.get_content().splitlines() == TEXT.splitlines()


@ports
def test_swaks_pipelines(way: Way, port: Port) -> None:
    """Swaks sends the envelope in one group; the replies come in order, one for each command."""
    recipients = [way.recipient() for _ in range(3)]
    everybody = [*recipients, "nobody@unqualified"]
    output = run(
        [
            needed("swaks"), "--tls-on-connect" if port == "implicit" else "--tls",
            "--tls-verify", "--tls-ca-path", way.server.authority_file, "--pipeline",
            "--server", "localhost", "--port", str(port_number(way.server, port)),
            "--auth", "PLAIN", "--auth-user", LOGIN, "--auth-password", PASSWORD,
            "--from", LOGIN, "--to", ",".join(everybody),
            "--helo", "client.example", "--suppress-data",
        ]
    )  # fmt: skip
    lines = [" ".join(line.split()[:4]) for line in output.splitlines()]
    group = lines.index(f"~> MAIL FROM:<{LOGIN}>")
    assert lines[group + 1 : group + 12] == [
        *(f"~> RCPT TO:<{each}>" for each in everybody),
        "~> DATA",
        "<~ 250 2.1.0 Sender",
        *["<~ 250 2.1.5 Recipient"] * len(recipients),
        "<~* 554 5.1.2 Recipient",
        "<~ 354 End data",
    ]
    received = way.received(recipients[0])
    assert [each.split()[0] for each in received.recipients] == [f"TO:<{r}>" for r in recipients]


def curl(way: Way, port: Port, *options: str | Path) -> str:
    """Run curl with *options*; the whole conversation."""
    scheme = "smtps" if port == "implicit" else "smtp"
    number = port_number(way.server, port)
    return run(
        [
            needed("curl"), "--silent", "--show-error", "--verbose", "--ssl-reqd",
            "--cacert", way.server.authority_file, "--resolve", f"{HOSTNAME}:{number}:127.0.0.1",
            "--url", f"{scheme}://{HOSTNAME}:{number}/client.example",
            "--user", f"{LOGIN}:{PASSWORD}", *options,
        ],
        environment={"LC_ALL": "C.UTF-8"},
    )  # fmt: skip


@ports
def test_curl_sends_internationalised_mail(way: Way, port: Port, tmp_path: Path) -> None:
    """Addresses beyond ASCII, in the envelope and in the header, come out as curl sent them."""
    sender, recipient = "älice@example.org", f"jürgen{way.recipient()}"
    sent = f"From: {sender}\r\nTo: {recipient}\r\nSubject: {SUBJECT}\r\n\r\n{TEXT}".encode()
    content = sent.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    (tmp_path / "message").write_bytes(content)
    curl(
        way, port, "--mail-from", sender, "--mail-rcpt", recipient,
        "--upload-file", tmp_path / "message",
    )  # fmt: skip
    received = way.received(recipient)
    assert received.mail.split()[0] == f"FROM:<{sender}>"
    assert "SMTPUTF8" in received.mail.split()
    assert b"with UTF8SMTPSA" in received.content.split(b"\r\n\r\n")[0]
    assert content.partition(b"Subject:")[2] in received.content


@ports
def test_curl_vouches_for_nobody(way: Way, port: Port, tmp_path: Path) -> None:
    """The AUTH parameter of MAIL is taken from curl, and goes no further."""
    recipient = way.recipient()
    (tmp_path / "message").write_bytes(message_text(recipient).replace(b"\n", b"\r\n"))
    said = curl(
        way, port, "--mail-from", LOGIN, "--mail-auth", "carol@example.org",
        "--mail-rcpt", recipient, "--upload-file", tmp_path / "message",
    )  # fmt: skip
    assert "AUTH=<carol@example.org>" in said
    assert "carol" not in way.received(recipient).mail


@ports
def test_curl_verifies(way: Way, port: Port) -> None:
    """VRFY of an address beyond ASCII is answered 252."""
    assert "< 252 2.0.0" in curl(way, port, "--mail-rcpt", "jürgen@example.net")
