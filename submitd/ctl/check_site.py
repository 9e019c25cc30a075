"""Checks of the configuration's files; the server need not run."""

import datetime
import itertools
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from twisted.internet.task import Clock

from submitd.auth import htfile
from submitd.config.model import Configuration
from submitd.ctl.findings import Finding, fault, ok, warning
from submitd.interfaces import Site
from submitd.policy import senders_file

EXPIRY_WARNING = datetime.timedelta(days=14)
_SECRET_WORDS = ("password", "secret", "token", "key")
_LINES_SHOWN = 10


def check_site(configuration: Configuration, now: datetime.datetime) -> Iterator[Finding]:
    """Every check that needs the files alone.

    :param now: the current time, with its time zone.
    """
    tls = configuration.tls
    yield from check_certificate(tls.certificate, tls.key, [configuration.hostname], now)
    for sni in tls.sni:
        yield from check_certificate(sni.certificate, sni.key, sni.names, now)
    yield from check_modes(configuration)
    yield from _check_users(configuration)
    yield from _check_senders(configuration)
    yield from _check_relay(configuration)
    yield from _check_metrics(configuration)


# ---- certificates -----------------------------------------------------------------


def check_certificate(
    certificate: Path, key: Path, names: Sequence[str], now: datetime.datetime
) -> Iterator[Finding]:
    """Whether a certificate can be used for *names*: form, chain, names, dates and key."""
    try:
        chain = x509.load_pem_x509_certificates(certificate.read_bytes())
    except OSError as error:
        yield fault(certificate, f"can't be read: {error.strerror}")
        return
    except ValueError:
        yield fault(certificate, "holds no certificate in PEM form")
        return
    findings = [
        *_check_names(certificate, chain[0], names),
        *_check_dates(certificate, chain, now),
        *_check_order(certificate, chain),
    ]
    yield from findings
    if not findings:
        left = chain[0].not_valid_after_utc - now
        yield ok(certificate, f"is for {', '.join(names)}, and valid for {left.days} days")
    yield from _check_key(key, chain[0])


def _names_in(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [name.lower() for name in names.get_values_for_type(x509.DNSName)]


def _covered(name: str, patterns: Sequence[str]) -> bool:
    name = name.lower()
    # RFC 9525 §6.3: a wildcard is the whole first label and stands for exactly one.
    return name in patterns or f"*.{name.partition('.')[2]}" in patterns


def _check_names(
    file: Path, certificate: x509.Certificate, names: Sequence[str]
) -> Iterator[Finding]:
    there = _names_in(certificate)
    for name in names:
        if not _covered(name, there):
            text = f"is for {', '.join(there) or 'no host name'}, not for {name}; get one that is"
            yield fault(file, text)


def _check_dates(
    file: Path, chain: Sequence[x509.Certificate], now: datetime.datetime
) -> Iterator[Finding]:
    begins = max(certificate.not_valid_before_utc for certificate in chain)
    ends = min(certificate.not_valid_after_utc for certificate in chain)
    if ends <= now:
        yield fault(file, f"expired on {ends:%Y-%m-%d}; renew it")
    elif begins > now:
        yield fault(file, f"is not valid before {begins:%Y-%m-%d %H:%M} UTC; is the clock right?")
    elif ends - now < EXPIRY_WARNING:
        yield warning(file, f"expires on {ends:%Y-%m-%d}; renew it")


def _check_order(file: Path, chain: Sequence[x509.Certificate]) -> Iterator[Finding]:
    for number, (certificate, issuer) in enumerate(itertools.pairwise(chain), 1):
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            yield fault(
                file,
                f"certificate {number} was not issued by certificate {number + 1};"
                " put the server's own first, then each one's issuer",
            )
            return


def _check_key(file: Path, certificate: x509.Certificate) -> Iterator[Finding]:
    try:
        key = serialization.load_pem_private_key(file.read_bytes(), password=None)
    except OSError as error:
        yield fault(file, f"can't be read: {error.strerror}")
    except TypeError:
        yield fault(file, "has a passphrase; the server needs a key without one")
    except (ValueError, UnsupportedAlgorithm):
        yield fault(file, "holds no private key in PEM form")
    else:
        form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        ours, theirs = key.public_key(), certificate.public_key()
        if ours.public_bytes(*form) == theirs.public_bytes(*form):
            yield ok(file, "belongs to the certificate")
        else:
            yield fault(file, "does not belong to the certificate")


# ---- modes ------------------------------------------------------------------------


def _secret_files(configuration: Configuration) -> Iterator[Path]:
    """Files that only the server may read: keys, hashes, and what options of plugins sound like."""
    yield configuration.tls.key
    for sni in configuration.tls.sni:
        yield sni.key
    if configuration.users.factory.name == "htpasswd":
        yield configuration.users.options.file
    for options in (configuration.users.options, configuration.relay.options):
        for name, value in attrs.asdict(options, recurse=False).items():
            if isinstance(value, Path) and any(word in name for word in _SECRET_WORDS):
                yield value


def check_modes(configuration: Configuration) -> Iterator[Finding]:
    """Whether the server can read and write what it has to, and others can't."""
    spool = getattr(configuration.queue.options, "path", None)
    owner = None
    if isinstance(spool, Path):
        finding, owner = _check_spool(spool)
        yield finding
    for file in dict.fromkeys(_secret_files(configuration)):
        try:
            status = file.stat()
        except OSError as error:
            yield fault(file, f"can't be read: {error.strerror}")
            continue
        mode = stat.S_IMODE(status.st_mode)
        if mode & 0o007:
            yield fault(file, f"is open to everybody (mode {mode:04o}); chmod o= {file}")
        elif owner is not None and not _readable(status, owner):
            text = "can't be read by the owner of the queue, whom the server should run as"
            yield fault(file, f"{text}; chgrp its group and chmod g+r {file}")
        else:
            yield ok(file, f"is private (mode {mode:04o})")


def _check_spool(spool: Path) -> tuple[Finding, os.stat_result | None]:
    try:
        status = spool.stat()
    except FileNotFoundError:
        if os.access(spool.parent, os.W_OK):
            return ok(spool, "will be made by the server"), None
        return fault(spool, "is not there and can't be made; make it for the server's user"), None
    except OSError as error:
        return fault(spool, f"can't be used: {error.strerror}"), None
    if not stat.S_ISDIR(status.st_mode):
        return fault(spool, "is no directory"), None
    if not os.access(spool, os.R_OK | os.W_OK | os.X_OK):
        return fault(spool, "can't be written by you; run this as root or the server's user"), None
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        return warning(spool, f"is open to others (mode {mode:04o}); chmod 700 {spool}"), status
    return ok(spool, "is there, writable and private"), status


def _readable(status: os.stat_result, owner: os.stat_result) -> bool:
    """Whether a file can be read by the owner of another, in that one's group."""
    if owner.st_uid == 0:
        return True
    if status.st_uid == owner.st_uid:
        return bool(status.st_mode & stat.S_IRUSR)
    return status.st_gid == owner.st_gid and bool(status.st_mode & stat.S_IRGRP)


# ---- what the files say -----------------------------------------------------------


def _check_users(configuration: Configuration) -> Iterator[Finding]:
    if configuration.users.factory.name != "htpasswd":
        return
    file: Path = configuration.users.options.file
    try:
        users = htfile.parse(file.read_bytes())
    except OSError:
        return  # check_modes has said so
    for trouble in users.faults[:_LINES_SHOWN]:
        yield fault(file, f"line {trouble.number}: {trouble.reason}")
    number = len(users.by_key)
    if not number:
        yield warning(file, "has no users; submitctl user add")
    elif not users.faults:
        yield ok(file, f"has {number} user{'s' * (number > 1)}")


def _check_senders(configuration: Configuration) -> Iterator[Finding]:
    file = configuration.senders.file
    if file is None:
        return
    try:
        rules = senders_file.parse(file.read_bytes())
    except OSError as error:
        yield fault(file, f"can't be read: {error.strerror}")
        return
    for trouble in rules.faults[:_LINES_SHOWN]:
        yield fault(file, f"line {trouble.number}: {trouble.reason}")
    if not rules.faults:
        yield ok(file, f"has rules for {len(rules)} login{'s' * (len(rules) != 1)}")


def _check_relay(configuration: Configuration) -> Iterator[Finding]:
    factory = configuration.relay.factory
    site = Site(hostname=configuration.hostname, reactor=Clock())
    try:
        factory.build(configuration.relay.options, site)
    except ValueError as error:
        yield fault(f"relay {factory.name}", str(error))
    else:
        yield ok(f"relay {factory.name}", "can be used as configured")


def _check_metrics(configuration: Configuration) -> Iterator[Finding]:
    if configuration.metrics.port is not None and find_spec("prometheus_client") is None:
        yield fault(
            "metrics",
            "need the package prometheus_client;"
            f" {sys.executable} -m pip install prometheus-client",
        )
