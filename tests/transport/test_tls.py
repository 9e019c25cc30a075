"""The server's TLS: versions and suites, certificates by name, new certificates while serving."""

import datetime
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.logger import LogEvent, LogLevel

from submitd.transport.options import SniOptions, TlsOptions
from submitd.transport.tls import CertificateError, ServerTls, iana_suite, tls_info
from tests.support.memory import Client
from tests.support.stage import Listener, ScriptedSubmissions, logged

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
KEYS: Mapping[str, Key] = {
    "ECDSA": ec.generate_private_key(ec.SECP256R1()),
    "RSA": rsa.generate_private_key(65537, 2048),
}
SUITES = {
    "ECDHE-{}-AES128-GCM-SHA256": "TLS_ECDHE_{}_WITH_AES_128_GCM_SHA256",
    "ECDHE-{}-AES256-GCM-SHA384": "TLS_ECDHE_{}_WITH_AES_256_GCM_SHA384",
    "ECDHE-{}-CHACHA20-POLY1305": "TLS_ECDHE_{}_WITH_CHACHA20_POLY1305_SHA256",
}
SUITES_13 = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
VERSIONS = {"1.1": SSL.TLS1_1_VERSION, "1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}


def write_certificate(path: Path, name: str, key: Key, days: int = 10) -> None:
    """A self-signed certificate."""
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=20))
        .not_valid_after(now + datetime.timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def write_key(path: Path, key: Key, passphrase: bytes | None = None) -> None:
    """A private key."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    )


@attrs.frozen
class Files:
    """A certificate and its key in a directory."""

    directory: Path

    @property
    def certificate(self) -> Path:
        """The certificate."""
        return self.directory / "certificate.pem"

    @property
    def key(self) -> Path:
        """The key."""
        return self.directory / "key.pem"

    def write(self, name: str, kind: str = "ECDSA", days: int = 10) -> "Files":
        """Write both anew; self."""
        self.directory.mkdir(exist_ok=True)
        write_certificate(self.certificate, name, KEYS[kind], days)
        write_key(self.key, KEYS[kind])
        return self

    def options(self, **more: Any) -> TlsOptions:
        """`[tls]` with these files."""
        return TlsOptions(certificate=self.certificate, key=self.key, **more)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A certificate for `one.example`."""
    return Files(tmp_path / "default").write("one.example")


@pytest.fixture
def events() -> Iterator[list[LogEvent]]:
    """All that is logged."""
    with logged() as found:
        yield found


def listener(tls: ServerTls, implicit: bool = True) -> Listener:
    """A listener with *tls*."""
    return Listener(tls, ScriptedSubmissions(), implicit=implicit)


def context(
    minimum: str = "1.2", maximum: str = "1.3", suites: str = "ALL:@SECLEVEL=0"
) -> SSL.Context:
    """A client's side that takes any certificate, and old versions and weak suites too."""
    made = SSL.Context(SSL.TLS_CLIENT_METHOD)
    made.set_min_proto_version(VERSIONS[minimum])
    made.set_max_proto_version(VERSIONS[maximum])
    made.set_cipher_list(suites.encode())
    return made


def handshake(
    tls: ServerTls, client_context: SSL.Context | None = None, name: str | None = None
) -> Client:
    """A client that has tried."""
    client = listener(tls).connect()
    client.start_tls(client_context, name)
    return client


def subject(client: Client) -> str:
    """The name in the certificate that the client was shown."""
    assert client.tls is not None
    assert client.secure, client.fault
    certificate = client.tls.get_peer_certificate(as_cryptography=True)
    assert certificate is not None
    [common_name] = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(common_name.value)


def alerts(client: Client) -> list[int]:
    """The descriptions of alerts that came in clear (RFC 8446 §6)."""
    found, data = [], client.seen
    while data:
        if data[0] == 21:
            found.append(data[6])
        data = data[5 + int.from_bytes(data[3:5]) :]
    return found


# ---- versions and suites ----------------------------------------------------------


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_tls_1_2_and_1_3_with_either_kind_of_key(files: Files, kind: str, version: str) -> None:
    """TLS 1.2 and 1.3 work, each with an ECDSA and with an RSA key."""
    files.write("one.example", kind)
    client = handshake(ServerTls(files.options()), context(version, version))
    assert subject(client) == "one.example"
    assert client.tls is not None
    assert client.tls.get_protocol_version_name() == f"TLSv{version}"
    assert client.lines()[0].startswith("220 ")


def test_tls_1_1_is_refused(files: Files) -> None:
    """A client of TLS 1.1 gets the alert protocol_version."""
    client = handshake(ServerTls(files.options()), context("1.1", "1.1"))
    assert not client.secure
    assert client.closed
    assert alerts(client) == [70]


def test_minimum_version_1_3_refuses_1_2(files: Files) -> None:
    """With `minimum_version = "1.3"` a client of TLS 1.2 gets the alert protocol_version."""
    tls = ServerTls(files.options(minimum_version="1.3"))
    client = handshake(tls, context("1.2", "1.2"))
    assert not client.secure
    assert alerts(client) == [70]
    assert subject(handshake(tls)) == "one.example"


def test_minimum_version_holds_for_other_names(files: Files, tmp_path: Path) -> None:
    """A client can't get below the minimum version by asking for another name."""
    other = Files(tmp_path / "other").write("two.example")
    sni = SniOptions(names=("two.example",), certificate=other.certificate, key=other.key)
    tls = ServerTls(files.options(minimum_version="1.3", sni=(sni,)))
    assert not handshake(tls, context("1.2", "1.2"), "two.example").secure
    assert subject(handshake(tls, None, "two.example")) == "two.example"


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("pattern", SUITES)
def test_suites_of_tls_1_2(files: Files, kind: str, pattern: str) -> None:
    """Of TLS 1.2 the AEAD suites with ECDHE work, and are told by their registered names."""
    files.write("one.example", kind)
    stage = listener(ServerTls(files.options()))
    client = stage.connect()
    client.start_tls(context("1.2", "1.2", pattern.format(kind)))
    assert client.secure
    [(_, told)] = stage.submissions.made[0].calls
    assert told.version == "TLSv1.2"
    assert told.suite == SUITES[pattern].format(kind)


@pytest.mark.parametrize("suite", SUITES_13)
def test_suites_of_tls_1_3(files: Files, suite: str) -> None:
    """The three suites of TLS 1.3 work, under the only name they have."""
    made = context("1.3", "1.3")
    made.set_tls13_ciphersuites(suite.encode())
    stage = listener(ServerTls(files.options()))
    client = stage.connect()
    client.start_tls(made, "one.example")
    [(_, told)] = stage.submissions.made[0].calls
    assert (told.version, told.suite, told.server_name) == ("TLSv1.3", suite, "one.example")


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize(
    "suites",
    [
        "ECDHE+AES:!AESGCM:!AESCCM",  # CBC
        "ECDHE+AESCCM",
        "kRSA",  # no forward secrecy
        "DHE:!ECDHE",
        "aNULL",
        "eNULL",
    ],
)
def test_other_suites_are_refused(files: Files, kind: str, suites: str) -> None:
    """Without forward secrecy, without AEAD or without a certificate there is no handshake."""
    files.write("one.example", kind)
    made = context("1.2", "1.2", f"{suites}:@SECLEVEL=0")
    client = handshake(ServerTls(files.options()), made)
    assert not client.secure
    assert client.closed
    assert alerts(client) == [40]


def test_names_of_suites_are_openssl_s_own() -> None:
    """All suites that we can negotiate have the registered names that OpenSSL gives them."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl command")
    done = subprocess.run(
        [openssl, "ciphers", "-stdname", "-s", "-tls1_2", "ECDHE+AESGCM:ECDHE+CHACHA20"],
        capture_output=True,
        text=True,
        check=True,
    )
    names = [(words[2], words[0]) for words in map(str.split, done.stdout.splitlines())]
    assert len(names) == 6
    assert [(name, iana_suite(name)) for name, _ in names] == names


def test_there_is_no_compression(files: Files) -> None:
    """TLS compression, which leaks what is in it (RFC 9325 §3.3), is not agreed on if offered."""
    client = listener(ServerTls(files.options())).connect()
    client.wire.to_server = offering_compression(client.begin_tls(context("1.2", "1.2")))
    client.reading = False
    client.run()
    answer = client.wire.to_client
    assert (answer[0], answer[5]) == (22, 2)  # ServerHello (RFC 5246 §7.4.1.3)
    behind_suite = 9 + 2 + 32 + 1 + answer[43] + 2
    assert answer[behind_suite] == 0


def offering_compression(record: bytes) -> bytes:
    """*record*, which holds a ClientHello, with DEFLATE offered besides no compression."""
    hello = record[9:]
    suites = 2 + 32 + 1 + hello[34]
    methods = suites + 2 + int.from_bytes(hello[suites : suites + 2])
    assert hello[methods : methods + 2] == b"\x01\x00"
    hello = hello[:methods] + b"\x02\x01\x00" + hello[methods + 2 :]
    message = record[5:6] + len(hello).to_bytes(3) + hello
    return record[:3] + len(message).to_bytes(2) + message


def test_renegotiation_is_refused(files: Files) -> None:
    """A client of TLS 1.2 that wants to renegotiate gets an alert and no second handshake."""
    stage = listener(ServerTls(files.options()))
    client = stage.connect()
    client.start_tls(context("1.2", "1.2"))
    client.lines()
    assert client.tls is not None
    assert client.tls.renegotiate()
    with pytest.raises(SSL.WantReadError):
        client.tls.do_handshake()
    before = len(client.seen)
    client.send(b"")
    assert client.seen[before] == 21
    assert client.closed
    assert [name for name, *_ in stage.submissions.made[0].calls] == ["secured", "closed"]


# ---- certificates by name ---------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (None, "one.example"),
        ("one.example", "one.example"),
        ("two.example", "two.example"),
        ("TWO.Example", "two.example"),
        ("also-two.example", "two.example"),
        ("smtp.three.example", "three.example"),
        ("Mail.THREE.example", "three.example"),
        ("three.example", "one.example"),
        ("a.b.three.example", "one.example"),
        ("exact.three.example", "two.example"),
        ("unknown.example", "one.example"),
        ("example", "one.example"),
    ],
)
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_certificates_by_name(
    files: Files, tmp_path: Path, name: str | None, shown: str, version: str
) -> None:
    """A name gets its own certificate, exact before wildcard, and an unknown one the default."""
    two = Files(tmp_path / "two").write("two.example", "RSA")
    three = Files(tmp_path / "three").write("three.example")
    names = ("Two.example", "also-two.example.", "exact.three.example")
    sni = (
        SniOptions(names=names, certificate=two.certificate, key=two.key),
        SniOptions(names=("*.Three.example",), certificate=three.certificate, key=three.key),
    )
    tls = ServerTls(files.options(sni=sni))
    assert subject(handshake(tls, context(version, version), name)) == shown


def test_certificates_by_name_after_starttls(files: Files, tmp_path: Path) -> None:
    """A STARTTLS listener chooses by name as well, and the name asked for is told on."""
    two = Files(tmp_path / "two").write("two.example")
    sni = SniOptions(names=("two.example",), certificate=two.certificate, key=two.key)
    stage = listener(ServerTls(files.options(sni=(sni,))), implicit=False)
    client = stage.connect()
    client.ask(b"STARTTLS\r\n")
    client.start_tls(None, "two.example")
    assert subject(client) == "two.example"
    assert stage.submissions.made[0].calls[-1][1].server_name == "two.example"


def test_the_chain_is_sent(files: Files) -> None:
    """What follows the certificate in its file is sent along."""
    first = files.certificate.read_bytes()
    write_certificate(files.certificate, "authority.example", KEYS["RSA"])
    files.certificate.write_bytes(first + files.certificate.read_bytes())
    client = handshake(ServerTls(files.options()))
    assert client.tls is not None
    chain = client.tls.get_peer_cert_chain(as_cryptography=True)
    assert chain is not None
    names = [each.subject.rfc4514_string() for each in chain]
    assert names == ["CN=one.example", "CN=authority.example"]


# ---- new files while serving ------------------------------------------------------


def test_a_new_certificate_serves_new_connections(files: Files, events: list[LogEvent]) -> None:
    """After `reload` new connections get the new certificate, and the old ones go on."""
    tls = ServerTls(files.options())
    stage = listener(tls)
    old = stage.connect()
    old.start_tls()
    files.write("renewed.example", "RSA")
    tls.reload()
    new = stage.connect()
    new.start_tls()
    assert (subject(old), subject(new)) == ("one.example", "renewed.example")
    old.lines()
    assert old.log_in().begin_message()
    assert not [event for event in events if event["log_level"] >= LogLevel.warn]


def _mismatch(files: Files) -> Path:
    write_key(files.key, ec.generate_private_key(ec.SECP256R1()))
    return files.key


def _mismatch_in_kind(files: Files) -> Path:
    write_key(files.key, KEYS["RSA"])
    return files.key


def _garbage_certificate(files: Files) -> Path:
    files.certificate.write_bytes(b"not a certificate\n")
    return files.certificate


def _garbage_in_armour(files: Files) -> Path:
    files.certificate.write_bytes(
        b"-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n"
    )
    return files.certificate


def _empty_certificate(files: Files) -> Path:
    files.certificate.write_bytes(b"")
    return files.certificate


def _half_a_certificate(files: Files) -> Path:
    files.certificate.write_bytes(files.certificate.read_bytes()[:300])
    return files.certificate


def _garbage_key(files: Files) -> Path:
    files.key.write_bytes(b"not a key\n")
    return files.key


def _certificate_for_key(files: Files) -> Path:
    files.key.write_bytes(files.certificate.read_bytes())
    return files.key


def _locked_key(files: Files) -> Path:
    write_key(files.key, KEYS["ECDSA"], b"passphrase")
    return files.key


def _key_of_another_kind(files: Files) -> Path:
    files.key.write_bytes(
        ed25519.Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files.key


def _expired(files: Files) -> Path:
    write_certificate(files.certificate, "one.example", KEYS["ECDSA"], days=-1)
    return files.certificate


def _missing_certificate(files: Files) -> Path:
    files.certificate.unlink()
    return files.certificate


def _missing_key(files: Files) -> Path:
    files.key.unlink()
    return files.key


def _directory(files: Files) -> Path:
    files.certificate.unlink()
    files.certificate.mkdir()
    return files.certificate


BAD_FILES = pytest.mark.parametrize(
    "spoil",
    [
        _mismatch,
        _mismatch_in_kind,
        _garbage_certificate,
        _garbage_in_armour,
        _empty_certificate,
        _half_a_certificate,
        _garbage_key,
        _certificate_for_key,
        _locked_key,
        _key_of_another_kind,
        _expired,
        _missing_certificate,
        _missing_key,
        _directory,
    ],
    ids=lambda spoil: spoil.__name__.strip("_"),
)


def test_all_in_one_file(files: Files) -> None:
    """Certificate, chain and key may stand in one file."""
    with files.certificate.open("ab") as file:
        file.write(files.key.read_bytes())
    options = TlsOptions(certificate=files.certificate, key=files.certificate)
    assert subject(handshake(ServerTls(options))) == "one.example"


@BAD_FILES
def test_bad_files_are_refused_at_the_start(files: Files, spoil: Callable[[Files], Path]) -> None:
    """Files that can't be used are refused with the name of the one at fault, in one line."""
    bad = spoil(files)
    with pytest.raises(CertificateError) as caught:
        ServerTls(files.options())
    assert str(bad) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "Error" not in str(caught.value)


@BAD_FILES
def test_bad_new_files_leave_the_old_in_service(
    files: Files, spoil: Callable[[Files], Path], events: list[LogEvent]
) -> None:
    """Bad new files are refused with one error that names the file; the old ones serve on."""
    tls = ServerTls(files.options())
    bad = spoil(files)
    tls.reload_if_changed()
    [event] = [event for event in events if event["log_level"] is LogLevel.error]
    assert str(bad) in event["reason"]
    assert not event.get("log_failure")
    assert subject(handshake(tls)) == "one.example"
    # Once told is enough.
    tls.reload_if_changed()
    assert len([event for event in events if event["log_level"] is LogLevel.error]) == 1
    # And when it is put right, it serves.
    if files.certificate.is_dir():
        files.certificate.rmdir()
    files.write("renewed.example")
    tls.reload_if_changed()
    assert subject(handshake(tls)) == "renewed.example"


def test_a_passphrase_is_not_asked_for(files: Files) -> None:
    """A key with a passphrase is refused at once, though there is a terminal to ask at."""
    _locked_key(files)
    build = (
        "import sys; from pathlib import Path;"
        "from submitd.transport.options import TlsOptions;"
        "from submitd.transport.tls import CertificateError, ServerTls\n"
        "try: ServerTls(TlsOptions(certificate=Path(sys.argv[1]), key=Path(sys.argv[2])))\n"
        "except CertificateError as error: print(error)"
    )
    at_terminal = "import pty, sys; pty.spawn([sys.executable, *sys.argv[1:]])"
    done = subprocess.run(
        [
            *(sys.executable, "-c", at_terminal),
            *("-c", build, str(files.certificate), str(files.key)),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == f"key {files.key}: not usable: it has a passphrase"


def test_bad_files_of_another_name_leave_all_the_old_in_service(
    files: Files, tmp_path: Path, events: list[LogEvent]
) -> None:
    """New files are taken all together or not at all."""
    two = Files(tmp_path / "two").write("two.example")
    sni = SniOptions(names=("two.example",), certificate=two.certificate, key=two.key)
    tls = ServerTls(files.options(sni=(sni,)))
    files.write("renewed.example")
    bad = _garbage_key(two)
    tls.reload_if_changed()
    assert [str(bad) in event["reason"] for event in events] == [True]
    assert subject(handshake(tls)) == "one.example"
    assert subject(handshake(tls, None, "two.example")) == "two.example"


def test_files_are_read_again_only_when_they_changed(files: Files, events: list[LogEvent]) -> None:
    """`reload_if_changed` reads nothing while size, time and inode are the same."""
    tls = ServerTls(files.options())
    for _ in range(3):
        tls.reload_if_changed()
    assert events == []
    files.write("renewed.example")
    tls.reload_if_changed()
    tls.reload_if_changed()
    assert [event["log_format"] for event in events] == ["certificates read again"]
    assert subject(handshake(tls)) == "renewed.example"


def test_a_renewal_by_links(files: Files, tmp_path: Path) -> None:
    """A symbolic link that is turned to new files (certbot, Kubernetes) is a change."""
    old = files.directory.rename(tmp_path / "old")
    new = Files(tmp_path / "new").write("renewed.example")
    for name in ("certificate.pem", "key.pem"):
        shutil.copystat(old / name, new.directory / name)
    files.directory.symlink_to(old)
    tls = ServerTls(files.options())
    (tmp_path / "link").symlink_to(new.directory)
    os.replace(tmp_path / "link", files.directory)
    tls.reload_if_changed()
    assert subject(handshake(tls)) == "renewed.example"


def test_a_renewal_in_two_steps(files: Files, events: list[LogEvent]) -> None:
    """A look between the new certificate and its new key is no harm: the next one has both."""
    tls = ServerTls(files.options())
    write_certificate(files.certificate, "renewed.example", KEYS["RSA"])
    tls.reload_if_changed()
    assert subject(handshake(tls)) == "one.example"
    write_key(files.key, KEYS["RSA"])
    tls.reload_if_changed()
    assert subject(handshake(tls)) == "renewed.example"
    assert [event["log_level"] for event in events] == [LogLevel.error, LogLevel.info]


def test_what_a_handshake_agreed_on_without_a_name(files: Files) -> None:
    """A client that asks for no name is told of with none."""
    stage = listener(ServerTls(files.options()))
    client = stage.connect()
    client.start_tls()
    assert stage.submissions.made[0].calls[0][1].server_name is None
    assert client.tls is not None
    assert tls_info(client.tls).suite == stage.submissions.made[0].calls[0][1].suite
