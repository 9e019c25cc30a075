"""Files go to and fro between submitd and Apache's own htpasswd command."""

import shutil
import subprocess
from pathlib import Path

import pytest

from submitd.auth.hashing import check, hash_password, kind_of
from submitd.auth.htfile import parse, with_user

HTPASSWD = shutil.which("htpasswd")
pytestmark = pytest.mark.skipif(HTPASSWD is None, reason="needs Debian's apache2-utils")

FLAGS = {"bcrypt": ["-B", "-C", "4"], "apr1": ["-m"], "sha1": ["-s"]}
NEWER_FLAGS = {"sha256-crypt": ["-2"], "sha512-crypt": ["-5"]}  # not in every version
PASSWORDS = ["secret", "with space and :", "Grüße, 世界 🔑", "x" * 72]
DECOMPOSED = "Gru\u0308ße"  # as macOS may type it; what submitd hashes is composed


def htpasswd(*arguments: str, password: str = "") -> int:
    """Run Apache's command with the password on standard input; its exit status."""
    command = [HTPASSWD or "", *arguments]
    return subprocess.run(command, input=password.encode(), capture_output=True).returncode


def has_newer_flags() -> bool:
    """Whether this htpasswd makes SHA-256 and SHA-512 hashes."""
    usage = subprocess.run([HTPASSWD or ""], capture_output=True).stderr
    return b"SHA-512" in usage


@pytest.mark.parametrize("password", [*PASSWORDS, DECOMPOSED])
@pytest.mark.parametrize("kind", [*FLAGS, *NEWER_FLAGS])
def test_what_apache_writes_is_read(tmp_path: Path, kind: str, password: str) -> None:
    """A user whom Apache's command adds is found with the right password alone."""
    if kind in NEWER_FLAGS and not has_newer_flags():
        pytest.skip("this htpasswd makes no SHA-2 hashes")
    file = tmp_path / "users"
    flags = (FLAGS | NEWER_FLAGS)[kind]
    assert htpasswd("-c", "-i", *flags, str(file), "ann@example.org", password=password) == 0
    users = parse(file.read_bytes())
    user = users.get("ann@example.org")
    assert users.faults == ()
    assert user is not None
    assert (user.kind, kind_of(user.stored)) == (kind, kind)
    assert check(password, user.stored)
    assert not check(password[:-1], user.stored)


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize(
    ("kind", "rounds"), [("bcrypt", 4), ("sha256-crypt", 1000), ("sha512-crypt", 1000)]
)
def test_what_submitd_writes_is_read_by_apache(
    tmp_path: Path, kind: str, rounds: int, password: str
) -> None:
    """Apache's command verifies a user added here, and a disabled one not."""
    file = tmp_path / "users"
    stored = hash_password(password, kind, rounds)
    data = with_user(b"# comment\n", "ann@example.org", stored)
    file.write_bytes(with_user(data, "bob", stored, disabled=True))
    assert htpasswd("-v", "-i", str(file), "ann@example.org", password=password) == 0
    assert htpasswd("-v", "-i", str(file), "ann@example.org", password="wrong") == 3
    assert htpasswd("-v", "-i", str(file), "bob", password=password) == 3


def test_both_change_one_file(tmp_path: Path) -> None:
    """Each leaves alone what the other wrote, comments and disabled users too."""
    file = tmp_path / "users"
    stored = hash_password("secret", rounds=4)
    data = with_user(b"# users\n", "ann", stored)
    file.write_bytes(with_user(data, "bob", stored, disabled=True))
    assert htpasswd("-i", "-B", "-C", "4", str(file), "carol", password="hers") == 0
    assert htpasswd("-i", "-B", "-C", "4", str(file), "ann", password="new") == 0
    file.write_bytes(with_user(file.read_bytes(), "carol", stored))
    users = parse(file.read_bytes())
    assert file.read_bytes().startswith(b"# users\n")
    assert list(users.by_key) == ["ann", "bob", "carol"]
    assert check("new", users.by_key["ann"].stored)
    assert users.by_key["bob"].disabled
    assert check("secret", users.by_key["carol"].stored)
