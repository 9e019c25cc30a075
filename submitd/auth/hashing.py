"""Stored password hashes: which kinds count, how one is made, how one is checked.

The kinds are those of Apache's htpasswd that are hashes, and argon2id.  Plain text and
the old DES crypt are not among them: `HtpasswdFile` of passlib accepts both, which is
why the context is our own.

New hashes are bcrypt: Apache's `htpasswd -v` can check them (argon2id it cannot), the
library runs without Python's global lock, and one check needs 4 KiB of memory where
argon2id takes 64 MiB in each thread.  Its limit, 72 octets without NUL, is enforced
when a password is set.
"""

import functools
import logging
import re
import unicodedata
import warnings
from typing import Any

PASSWORD_OCTETS = 1024  # far above what people use, far below what costs time to hash
BCRYPT_OCTETS = 72  # bcrypt ignores what comes after
DEFAULT_KIND = "bcrypt"

# Each kind of hash: its name here, passlib's name, and the form of the whole hash.
_KINDS = (
    ("bcrypt", "bcrypt", r"\$2[aby]\$[0-3][0-9]\$[./A-Za-z0-9]{53}"),
    (
        "argon2id",
        "argon2",
        r"\$argon2id\$v=\d+\$m=\d+,t=\d+,p=\d+\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+",
    ),
    (
        "sha512-crypt",
        "sha512_crypt",
        r"\$6\$(?:rounds=\d+\$)?[./A-Za-z0-9]{0,16}\$[./A-Za-z0-9]{86}",
    ),
    (
        "sha256-crypt",
        "sha256_crypt",
        r"\$5\$(?:rounds=\d+\$)?[./A-Za-z0-9]{0,16}\$[./A-Za-z0-9]{43}",
    ),
    ("apr1", "apr_md5_crypt", r"\$apr1\$[./A-Za-z0-9]{0,8}\$[./A-Za-z0-9]{22}"),
    ("sha1", "ldap_sha1", r"\{SHA\}[A-Za-z0-9+/]{27}="),
)
_NAMES = tuple(name for name, _, _ in _KINDS)
_SCHEMES = {name: scheme for name, scheme, _ in _KINDS}
_HASH = re.compile("|".join(f"({form})" for _, _, form in _KINDS))

KINDS_FOR_NEW = ("bcrypt", "argon2id", "sha512-crypt", "sha256-crypt")
"""The kinds a new password may be stored as: apr1 and sha1 are too quick to guess."""

# bcrypt and argon2id: passlib's defaults, a quarter of a second and an eighth on the
# slow machine we measure on.  The SHA kinds are computed in Python, and a round is
# 0.75 us there: these numbers keep a check under a tenth of a second.
_ROUNDS = {"bcrypt": 12, "sha512-crypt": 100_000, "sha256-crypt": 100_000}


def kind_of(stored: str) -> str | None:
    """The kind of a stored hash, such as `"bcrypt"`; None if it is none that counts here."""
    match = _HASH.fullmatch(stored)
    return _NAMES[match.lastindex - 1] if match and match.lastindex else None


def prepare_password(password: str) -> str:
    """Bring *password* into the form that is hashed (RFC 8265 §4.2, OpaqueString).

    Composition is NFC and every kind of space is U+0020, so that it doesn't matter
    which keyboard or system it was typed on; case stays.

    :raises ValueError: when it is empty, too long, or has control characters in it;
        the message says which and not more.
    """
    if len(password) > PASSWORD_OCTETS:
        raise ValueError(f"the password is longer than {PASSWORD_OCTETS} octets")
    password = _composed(password)
    if not password:
        raise ValueError("the password is empty")
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in password):
        raise ValueError("the password has a control character in it")
    if len(password.encode()) > PASSWORD_OCTETS:
        raise ValueError(f"the password is longer than {PASSWORD_OCTETS} octets")
    return password


def _composed(password: str) -> str:
    if password.isascii():
        return password
    spaced = "".join(" " if unicodedata.category(each) == "Zs" else each for each in password)
    return unicodedata.normalize("NFC", spaced)


def hash_password(password: str, kind: str = DEFAULT_KIND, rounds: int | None = None) -> str:
    """Make the hash to store for *password*; takes its time.

    :param kind: one of `KINDS_FOR_NEW`.
    :param rounds: the cost, on the scale of the kind; None for the one argued for here.
    :raises ValueError: when the password can't be used, or not with this kind; the
        message is for the person who chose it.
    """
    if kind not in KINDS_FOR_NEW:
        raise ValueError(f"{kind} is not a kind of hash for new passwords")
    secret = prepare_password(password)
    if kind == "bcrypt" and len(secret.encode()) > BCRYPT_OCTETS:
        raise ValueError(
            f"bcrypt would ignore all after the first {BCRYPT_OCTETS} octets of the password;"
            " take a shorter one, or argon2id as the kind of hash"
        )
    handler = _context().handler(_SCHEMES[kind])
    cost = _ROUNDS.get(kind) if rounds is None else rounds
    return str((handler if cost is None else handler.using(rounds=cost)).hash(secret))


def check(password: str, stored: str) -> bool:
    """Whether *password* is what *stored* was made from.

    Both as `prepare_password` returns it and as it stands: Apache's htpasswd prepares
    nothing, so that its hash is that of the letters as they were typed.

    Takes up to a second, or twice that where the two differ: not for the reactor's thread.

    :raises ValueError: when *stored* is not a usable hash.
    """
    kind = kind_of(stored)
    if kind is None:
        raise ValueError("not a hash of a known kind")
    handler = _context().handler(_SCHEMES[kind])
    for spelling in dict.fromkeys((_composed(password), password)):
        octets = spelling.encode()
        if kind == "bcrypt":
            # Apache's htpasswd lets longer passwords be set: it ignores the rest, and bcrypt
            # itself, from version 5 on, refuses it.
            octets = octets[:BCRYPT_OCTETS]
        if handler.verify(octets, stored):
            return True
    return False


def load() -> None:
    """Load the libraries now, in one thread: the first login need not wait for that."""
    _context()


@functools.cache
def _context() -> Any:
    with warnings.catch_warnings():
        # passlib 1.7.4 asks for the module crypt and for argon2.__version__, both deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        from passlib import hash as handlers
        from passlib.context import CryptContext

        # crypt(3) would hold the global lock for as long as it computes.
        sha = [handlers.sha512_crypt.using(), handlers.sha256_crypt.using()]
        for handler in sha:
            handler.set_backend("builtin")
        bcrypt = handlers.bcrypt.using(ident="2y")  # the only one that old Apaches know
        with _bcrypt_version_unread():
            bcrypt.set_backend("bcrypt")
        argon2 = handlers.argon2.using(type="ID")
        argon2.set_backend("argon2_cffi")
        return CryptContext(
            schemes=[bcrypt, argon2, *sha, handlers.apr_md5_crypt, handlers.ldap_sha1]
        )


class _bcrypt_version_unread(logging.Filter):
    """Keeps one message out of the log: passlib 1.7.4 looks for bcrypt's version where
    it no longer stands, reports the AttributeError, and works."""

    def __enter__(self) -> None:
        logging.getLogger("passlib.handlers.bcrypt").addFilter(self)

    def __exit__(self, *_: object) -> None:
        logging.getLogger("passlib.handlers.bcrypt").removeFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        return "error reading bcrypt version" not in record.getMessage()
