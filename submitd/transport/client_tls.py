"""TLS towards a next hop: trust, the handshake, and whose certificate it was.

Twisted's `optionsForClientTLS` is not used: its callback lets a certificate of a trusted
authority pass for any name when reading the names out of it fails, as it does for one
without subjectAltName.  Here the name is checked after the handshake and before the
first octet is sent, and whatever goes wrong there ends the connection.
"""

import ipaddress
from pathlib import Path
from typing import Any

from cryptography import x509
from OpenSSL import SSL
from OpenSSL.crypto import X509
from service_identity import CertificateError, VerificationError
from service_identity.pyopenssl import verify_hostname, verify_ip_address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    TLSVersion,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from submitd.interfaces import TlsInfo
from submitd.transport.tls import iana_suite

# What OpenSSL's verification found, X509_V_ERR_*, in words for an operator.
_FAULTS = {
    9: "the certificate is not valid yet",
    10: "the certificate has expired",
    18: "the certificate is self-signed, and not trusted",
    19: "the chain ends in a self-signed certificate that is not trusted",
    20: "the certificate's issuer is not trusted",
    21: "the certificate's issuer is not trusted",
    26: "the certificate is not for a server",
}


class ClientTls:
    """How to do TLS with one next hop.

    :param host: its name or IP address, as configured: what the certificate must be for.
    :param ca_file: PEM file of the authorities to trust, or None for the system's.
    :param required: False goes on whatever the certificate is, and only reports it.
    :raises ValueError: when *ca_file* can't be read or holds no certificate.
    """

    def __init__(self, host: str, ca_file: Path | None, *, required: bool) -> None:
        self.host = host.rstrip(".")
        self.required = required
        self._options = CertificateOptions(
            trustRoot=platformTrust() if ca_file is None else _trust(ca_file),
            raiseMinimumTo=TLSVersion.TLSv1_2,
        )
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            self.is_address = False
        else:
            self.is_address = True

    def handshake(self) -> "Handshake":
        """For one new connection."""
        return Handshake(self)

    def connection(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """An OpenSSL connection that trusts and names whom it should."""
        connection = self._options.clientConnectionForTLS(protocol)
        if not self.is_address:  # RFC 6066 §3: no addresses
            connection.set_tlsext_host_name(self.host.encode("ascii"))
        return connection


@implementer(IOpenSSLClientConnectionCreator)
class Handshake:
    """One handshake, and what came of it.

    :ivar fault: why the peer is not verified, in words, or None.
    """

    def __init__(self, tls: ClientTls) -> None:
        self._tls = tls
        self.fault: str | None = "the handshake was not completed"

    def clientConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Called by Twisted's TLS protocol when it starts."""
        connection = self._tls.connection(protocol)
        connection.set_verify(SSL.VERIFY_PEER, self._certificate_seen)
        self.fault = None
        return connection

    def _certificate_seen(
        self, _connection: SSL.Connection, _certificate: X509, error: int, _depth: int, ok: int
    ) -> bool:
        if not ok and self.fault is None:
            self.fault = _FAULTS.get(error, f"certificate verification error {error}")
        return bool(ok) or not self._tls.required

    def completed(self, connection: SSL.Connection) -> None:
        """OpenSSL is done: check the name; `fault` tells the result."""
        if self.fault is not None:
            return
        self.fault = "the name was not checked"
        try:
            if self._tls.is_address:
                verify_ip_address(connection, self._tls.host)
            else:
                verify_hostname(connection, self._tls.host)
        except VerificationError:
            self.fault = f"the certificate is not for {self._tls.host}"
        except CertificateError:
            self.fault = f"the certificate names no host, so it is not for {self._tls.host}"
        else:
            self.fault = None

    def info(self, connection: SSL.Connection) -> TlsInfo:
        """What was agreed on."""
        version = connection.get_protocol_version_name()
        suite = iana_suite(connection.get_cipher_name() or "")
        return TlsInfo(version, suite, None if self._tls.is_address else self._tls.host)


def _trust(ca_file: Path) -> Any:
    try:
        certificates = x509.load_pem_x509_certificates(ca_file.read_bytes())
    except OSError as fault:
        raise ValueError(f"ca_file {ca_file} cannot be read: {fault.strerror}") from None
    except ValueError:
        raise ValueError(f"ca_file {ca_file} holds no PEM certificates") from None
    return trustRootFromCertificates(
        [Certificate(X509.from_cryptography(each)) for each in certificates]
    )
