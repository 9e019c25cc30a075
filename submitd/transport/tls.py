"""The server's TLS: contexts, certificates by name, and replacing them while serving (RFC 8314).

A context can't be changed once a connection has used it, so new files make new
contexts; connections that exist keep theirs.
"""

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from submitd.interfaces import TlsInfo
from submitd.transport.options import TlsOptions

# RFC 9325 §4.2: forward secrecy and AEAD alone.  TLS 1.3 has no others.
_TLS12_SUITES = b"ECDHE+AESGCM:ECDHE+CHACHA20"
_MINIMUM = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}
# SSL_OP_NO_RENEGOTIATION; pyOpenSSL names it since 26.0, the value is OpenSSL's.
_NO_RENEGOTIATION = 1 << 30


class CertificateError(ValueError):
    """A certificate or key can't be used; the text names the file, for the operator."""


@attrs.frozen(slots=True)
class _Signature:
    """What tells whether a file is still the one that was read."""

    files: tuple[tuple[str, int, int, int], ...]

    @classmethod
    def of(cls, paths: Iterable[Path]) -> "_Signature":
        found = []
        for path in paths:
            try:
                stat = os.stat(path)
            except OSError:
                found.append((str(path), 0, 0, 0))
            else:
                found.append((str(path), stat.st_mtime_ns, stat.st_size, stat.st_ino))
        return cls(tuple(found))


def _context(options: TlsOptions, certificate: Path, key: Path, now: datetime) -> SSL.Context:
    """Make one context.

    :raises CertificateError: when the files can't be read, don't belong together, or
        the certificate has expired.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(_MINIMUM[options.minimum_version])
    context.set_cipher_list(_TLS12_SUITES)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_CIPHER_SERVER_PREFERENCE | _NO_RENEGOTIATION)
    # Sessions are resumed by tickets, which need no memory here.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    data = _octets(certificate, "certificate")
    try:
        leaf, *chain = x509.load_pem_x509_certificates(data)
        context.use_certificate(leaf)
        for each in chain:
            context.add_extra_chain_cert(each)
        expires = leaf.not_valid_after_utc
    except (ValueError, SSL.Error):
        raise CertificateError(f"certificate {certificate}: not a PEM certificate") from None
    private = _private_key(key)
    if private.public_key() != leaf.public_key():
        raise CertificateError(f"key {key}: does not belong to the certificate ({certificate})")
    context.use_privatekey(private)
    if expires <= now:
        raise CertificateError(f"certificate {certificate}: expired on {expires:%Y-%m-%d}")
    return context


def _octets(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(f"{what} {path}: {error.strerror}") from None


def _private_key(path: Path) -> RSAPrivateKey | EllipticCurvePrivateKey:
    try:
        # Not by OpenSSL's own reader, which would ask for a passphrase at the terminal.
        key = load_pem_private_key(_octets(path, "key"), password=None)
    except TypeError:
        raise CertificateError(f"key {path}: not usable: it has a passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateError(f"key {path}: not usable: not a PEM private key") from None
    if not isinstance(key, RSAPrivateKey | EllipticCurvePrivateKey):
        raise CertificateError(f"key {path}: not usable: neither RSA nor ECDSA")
    return key


@attrs.frozen(slots=True)
class _Contexts:
    default: SSL.Context
    exact: dict[str, SSL.Context]
    wildcard: dict[str, SSL.Context]  # by the name behind "*."

    def named(self, name: str) -> SSL.Context | None:
        name = name.lower().rstrip(".")
        found = self.exact.get(name)
        return found or self.wildcard.get(name.partition(".")[2])


def _read(options: TlsOptions, now: datetime) -> _Contexts:
    exact: dict[str, SSL.Context] = {}
    wildcard: dict[str, SSL.Context] = {}
    for sni in options.sni:
        context = _context(options, sni.certificate, sni.key, now)
        for name in sni.names:
            name = name.lower().rstrip(".")
            if name.startswith("*."):
                wildcard[name[2:]] = context
            else:
                exact[name] = context
    default = _context(options, options.certificate, options.key, now)
    contexts = _Contexts(default, exact, wildcard)

    def choose(connection: SSL.Connection) -> None:
        # RFC 6066 §3: a name we don't know gets the default certificate, as most
        # clients then say something more helpful than "unrecognized_name".
        name = connection.get_servername()
        context = contexts.named(name.decode("ascii", "replace")) if name else None
        if context is not None:
            connection.set_context(context)

    if options.sni:
        default.set_tlsext_servername_callback(choose)
    return contexts


@implementer(IOpenSSLServerConnectionCreator)
class ServerTls:
    """Makes the TLS side of each connection from the certificates of the moment.

    :param options: `[tls]`.
    :raises CertificateError: when the files of now can't be used.
    """

    _log = Logger()

    def __init__(self, options: TlsOptions) -> None:
        self._options = options
        self._signature = self._look()
        self._contexts = _read(options, datetime.now(UTC))

    def _look(self) -> _Signature:
        options = self._options
        files = [options.certificate, options.key]
        for sni in options.sni:
            files += [sni.certificate, sni.key]
        return _Signature.of(files)

    def reload_if_changed(self) -> None:
        """Read the files again when they are not those that were read last."""
        if self._look() != self._signature:
            self.reload()

    def reload(self) -> None:
        """Read the files again; those that can't be used leave the old ones in service."""
        self._signature = self._look()
        try:
            self._contexts = _read(self._options, datetime.now(UTC))
        except CertificateError as error:
            self._log.error(
                "new certificate refused, the old one stays in service: {reason}",
                reason=str(error),
            )
        else:
            self._log.info("certificates read again")

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """See `IOpenSSLServerConnectionCreator`."""
        return SSL.Connection(self._contexts.default, None)


def tls_info(connection: SSL.Connection) -> TlsInfo:
    """What a finished handshake has agreed on."""
    name = connection.get_servername()
    return TlsInfo(
        version=connection.get_protocol_version_name(),
        suite=iana_suite(connection.get_cipher_name() or ""),
        server_name=name.decode("ascii", "replace") if name else None,
    )


def iana_suite(openssl_name: str) -> str:
    """The registered name of a cipher suite, which RFC 8314 §4.3 wants in Received.

    TLS 1.3 suites have one name; OpenSSL has its own for those of TLS 1.2.
    """
    return _IANA.get(openssl_name, openssl_name)


_IANA = {
    f"ECDHE-{key}-{openssl}": f"TLS_ECDHE_{key}_WITH_{iana}"
    for key in ("ECDSA", "RSA")
    for openssl, iana in (
        ("AES128-GCM-SHA256", "AES_128_GCM_SHA256"),
        ("AES256-GCM-SHA384", "AES_256_GCM_SHA384"),
        ("CHACHA20-POLY1305", "CHACHA20_POLY1305_SHA256"),
    )
}
