"""submitd.auth.hashing: which hashes count, making them, checking them."""

import base64
import hashlib
import subprocess
import sys

import pytest

from submitd.auth.hashing import (
    DEFAULT_KIND,
    KINDS_FOR_NEW,
    PASSWORD_OCTETS,
    check,
    hash_password,
    kind_of,
    prepare_password,
)

CHEAP = {"bcrypt": 4, "argon2id": 1, "sha512-crypt": 1000, "sha256-crypt": 1000}

# Of "secret", as Apache's htpasswd 2.4.71 made them.
FROM_APACHE = {
    "bcrypt": "$2y$04$ipYpo1yZgP3WczDicM6qzexiakDM5q0c2DzwV.w7sIdSDiah7vbfK",
    "apr1": "$apr1$Dg13bUeT$HPv74slE3AJCrSzQR1AFs.",
    "sha1": "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
    "sha256-crypt": "$5$2h861E6P2EFJlECh$FREsbLgsxdSklK//3YCMG2ohy8S2cUDKB9pB0GQoZh1",
    "sha512-crypt": (
        "$6$2NJ3o2DtFrbT2hBy$GqSm/ahYJOOoQhS2xksET9Pb5.akOGxmtHc63MtJikMewWVSn7lekMgcL68VgbEFruAw"
        "fDin/ASfnj5N6.QVB/"
    ),
}


@pytest.mark.parametrize("kind", FROM_APACHE)
def test_hashes_that_apache_made(kind: str) -> None:
    """A hash that Apache's htpasswd made is known by its kind and matches its password alone."""
    assert kind_of(FROM_APACHE[kind]) == kind
    assert check("secret", FROM_APACHE[kind])
    assert not check("Secret", FROM_APACHE[kind])


@pytest.mark.parametrize("kind", KINDS_FOR_NEW)
def test_each_kind_for_new_passwords(kind: str) -> None:
    """A new hash is of the kind asked for, salted, and matches its password alone."""
    stored = hash_password("Grüße aus 世界", kind, CHEAP[kind])
    assert kind_of(stored) == kind
    assert stored != hash_password("Grüße aus 世界", kind, CHEAP[kind])
    assert check("Grüße aus 世界", stored)
    assert not check("Grüße aus 世界!", stored)
    assert not check(stored, stored)


def test_default_is_one_that_apache_knows() -> None:
    """A new password is stored as bcrypt with the prefix that every Apache knows, at cost 12."""
    assert DEFAULT_KIND == "bcrypt"
    assert hash_password("secret").startswith("$2y$12$")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret",
        "*",
        "!",
        "x",
        "rOhWLNXG2tOMM",  # DES crypt
        "$1$abcdefgh$irWbblnpmw.5z7wgBnprh0",  # MD5 crypt
        "{SSHA}hNlk3C2EEdDuQ7mZmzYJ0RiMbLJvNS3r",
        "{PLAIN}secret",
        "$2y$04$short",
        FROM_APACHE["bcrypt"] + " ",
        FROM_APACHE["bcrypt"] + "\n",
        "$argon2id$v=19$m=65536,t=3,p=4$c2FsdA",
        "$6$salt$" + "x" * 85,
    ],
)
def test_what_is_no_hash_matches_nothing(text: str) -> None:
    """Plain text, weak and broken hashes are of no kind, and checking against them is an error."""
    assert kind_of(text) is None
    with pytest.raises(ValueError):
        check("secret", text)


@pytest.mark.parametrize("kind", ["apr1", "sha1", "crypt", "plaintext", ""])
def test_weak_kinds_are_not_for_new_passwords(kind: str) -> None:
    """A kind that is too quick to guess is checked where it exists but never made."""
    with pytest.raises(ValueError, match="not a kind of hash for new passwords"):
        hash_password("secret", kind)


def test_what_bcrypt_would_cut_off_is_refused() -> None:
    """A password that bcrypt would only half use is refused, with the way out."""
    assert check("x" * 72, hash_password("x" * 72, "bcrypt", 4))
    for password in ("x" * 73, "ü" * 37):
        with pytest.raises(ValueError, match=r"72 octets.*argon2id"):
            hash_password(password, "bcrypt", 4)
        assert check(password, hash_password(password, "argon2id", 1))


def test_long_passwords_set_by_apache_work() -> None:
    """What Apache's htpasswd cut to 72 octets is found by its first 72, in mid-character too."""
    stored = hash_password("x" * 71 + "y", "bcrypt", 4)
    assert check("x" * 71 + "y and more", stored)
    assert not check("x" * 71 + "ü", stored)


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("", "empty"),
        ("a\0b", "control character"),
        ("a\tb", "control character"),
        ("secret\n", "control character"),
        ("a\x7f", "control character"),
        ("\ud800", "control character"),
        ("x" * (PASSWORD_OCTETS + 1), "longer than"),
        ("ü" * (PASSWORD_OCTETS // 2 + 1), "longer than"),
        ("x" * 1_000_000, "longer than"),
    ],
)
def test_unusable_passwords(password: str, reason: str) -> None:
    """A password that is empty, too long or has controls in it is refused, not shown."""
    for prepare in (prepare_password, hash_password):
        with pytest.raises(ValueError, match=reason) as raised:
            prepare(password)
        assert not password or password not in str(raised.value)


def test_spellings_of_one_password() -> None:
    """Composed and decomposed letters and all kinds of space are the same; case is not."""
    assert prepare_password("Gru\u0308\u00dfe\u00a0x") == "Gr\u00fc\u00dfe x"
    assert prepare_password("secret ") == "secret "
    assert prepare_password("Secret") != prepare_password("secret")


@pytest.mark.parametrize("typed", ["Gru\u0308\u00dfe", "a\u00a0b", "\u212bngstr\u00f6m"])
def test_a_hash_of_what_was_typed(typed: str) -> None:
    """Apache hashes a password unprepared; it is found when it is typed in the same way again."""
    stored = "{SHA}" + base64.b64encode(hashlib.sha1(typed.encode()).digest()).decode()
    assert prepare_password(typed) != typed
    assert check(typed, stored)
    assert not check(prepare_password(typed), stored)
    assert check(typed, hash_password(typed, "bcrypt", 4))


def test_loading_is_silent() -> None:
    """Nothing is warned of and nothing logged when the libraries are loaded."""
    script = (
        "import logging, warnings; logging.basicConfig(); warnings.simplefilter('default')\n"
        "from submitd.auth.hashing import check, hash_password\n"
        "for kind, rounds in (('bcrypt', 4), ('argon2id', 1), ('sha512-crypt', 1000)):\n"
        "    assert check('x', hash_password('x', kind, rounds))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")
