"""submitctl user: the operator's way to the users."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner, Result

from submitd.auth.hashing import KINDS_FOR_NEW, check, hash_password, kind_of
from submitd.auth.htfile import parse, with_user
from submitd.ctl.user import user

ROOT = Path(__file__).parents[2]
SECRET = hash_password("secret", rounds=4)

Run = Callable[..., Result]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with a user and a disabled one."""
    data = with_user(b"# users\n", "Ann@example.org", SECRET)
    path = tmp_path / "users.htpasswd"
    path.write_bytes(with_user(data, "bob", SECRET, disabled=True))
    return path


@pytest.fixture
def run(file: Path) -> Run:
    """Runs a command on the file."""

    def run(command: str, *arguments: str, input: str | None = None) -> Result:
        return CliRunner().invoke(user, [command, "--file", str(file), *arguments], input=input)

    return run


def stored(file: Path, login: str) -> str:
    """The stored hash of a user."""
    found = parse(file.read_bytes()).get(login)
    assert found is not None
    return found.stored


def test_add_from_standard_input(run: Run, file: Path) -> None:
    """A user is added with the password from standard input, which is not shown."""
    result = run("add", "carol@example.org", "--stdin", input="Grüße, 世界\n")
    assert (result.exit_code, result.output) == (0, "carol@example.org: added\n")
    assert kind_of(stored(file, "carol@example.org")) == "bcrypt"
    assert check("Grüße, 世界", stored(file, "carol@example.org"))
    assert stored(file, "ann@example.org") == SECRET
    assert file.read_bytes().startswith(b"# users\n")


def test_add_with_a_generated_password(run: Run, file: Path) -> None:
    """A generated password is shown once, is long, and is the user's."""
    result = run("add", "carol@example.org", "--generate", "--hash", "argon2id")
    shown = re.search(r"^password: (\S+)$", result.stdout, re.MULTILINE)
    assert result.exit_code == 0
    assert shown is not None
    assert re.fullmatch(r"[a-z2-9]{4}(-[a-z2-9]{4}){4}", shown[1])
    assert check(shown[1], stored(file, "carol@example.org"))
    again = run("passwd", "carol@example.org", "--generate", "--hash", "argon2id")
    assert shown[1] not in again.output


@pytest.mark.parametrize("kind", KINDS_FOR_NEW)
def test_kinds_of_hash(run: Run, file: Path, kind: str) -> None:
    """The operator chooses how the password is stored."""
    assert run("passwd", "ann@example.org", "--stdin", "--hash", kind, input="x").exit_code == 0
    assert kind_of(stored(file, "ann@example.org")) == kind


def test_a_password_as_argument_is_warned_of(run: Run, file: Path) -> None:
    """A password on the command line works, with a loud warning on standard error."""
    result = run("passwd", "ann@example.org", "--password", "hunter2")
    assert result.exit_code == 0
    assert "WARNING" in result.stderr
    assert "hunter2" not in result.output
    assert check("hunter2", stored(file, "ann@example.org"))


def test_password_from_a_prompt(file: Path) -> None:
    """At a terminal the password is asked for twice and not shown."""
    main, terminal = pty.openpty()
    command = [sys.executable, "-c", "from submitd.ctl.user import user; user()"]
    process = subprocess.Popen(
        [*command, "passwd", "--file", str(file), "--hash", "sha256-crypt", "ann@example.org"],
        cwd=ROOT,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    shown = b""
    for question in (b"Password: ", b"confirmation: "):
        while not shown.endswith(question):
            shown += os.read(main, 1000)
        os.write(main, b"typed\n")
    assert process.wait(30) == 0
    os.close(main)
    assert b"typed" not in shown
    assert check("typed", stored(file, "ann@example.org"))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["add", "ANN@example.org", "--stdin"], "Ann@example.org: already there"),
        (["passwd", "mallory", "--stdin"], "mallory: no such user"),
        (["verify", "mallory", "--stdin"], "mallory: no such user"),
        (["delete", "mallory"], "mallory: no such user"),
        (["disable", "mallory"], "mallory: no such user"),
        (["enable", "mallory"], "mallory: no such user"),
    ],
)
def test_what_is_refused(run: Run, file: Path, arguments: list[str], text: str) -> None:
    """What can't be done is told, changes nothing, and gives exit status 1."""
    before = file.read_bytes()
    result = run(*arguments, input="secret\n")
    assert result.exit_code == 1
    assert text in result.stderr
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("password", "text"),
    [
        ("", "the password is empty"),
        ("\n", "the password is empty"),
        ("a\0b", "control character"),
        ("x" * 73, "argon2id"),
        ("x" * 2000, "longer than 1024"),
        ("a\tb", "control character"),
    ],
)
def test_passwords_that_are_refused(run: Run, file: Path, password: str, text: str) -> None:
    """A password that could not be used later is refused when it is set, and not shown."""
    before = file.read_bytes()
    result = run("passwd", "ann@example.org", "--stdin", input=password)
    assert result.exit_code == 1
    assert text in result.stderr
    assert not password.strip() or password not in result.output
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["add"],
        ["add", "a:b", "--stdin"],
        ["add", "", "--stdin"],
        ["add", "carol", "--stdin", "--generate"],
        ["add", "carol", "--password", "x", "--stdin"],
        ["add", "carol", "--stdin", "--hash", "apr1"],
        ["verify", "ann@example.org", "--generate"],
        ["frobnicate"],
    ],
)
def test_usage_faults(run: Run, file: Path, arguments: list[str]) -> None:
    """A command that can't be understood changes nothing and gives exit status 2."""
    before = file.read_bytes()
    assert run(*arguments, input="secret\n").exit_code == 2
    assert file.read_bytes() == before


def test_verify(run: Run, file: Path) -> None:
    """The right password gives exit status 0; any other, and a disabled user, 1."""
    good = run("verify", "ANN@example.org", "--stdin", input="secret\n")
    assert (good.exit_code, good.output) == (0, "Ann@example.org: right password\n")
    for login, password, text in [
        ("ann@example.org", "wrong", "wrong password"),
        ("ann@example.org", "", "wrong password"),
        ("bob", "secret", "disabled"),
    ]:
        result = run("verify", login, "--stdin", input=password + "\n")
        assert (result.exit_code, text in result.stderr) == (1, True)
    file.write_text("ann:plain\n")
    result = run("verify", "ann", "--stdin", input="plain\n")
    assert (result.exit_code, "no password can match" in result.stderr) == (1, True)


def test_disable_and_enable(run: Run, file: Path) -> None:
    """A disabled user keeps the password, and gets it back when enabled; twice does no harm."""
    before = file.read_bytes()
    for _ in range(2):
        assert run("disable", "ann@example.org").exit_code == 0
        assert f"Ann@example.org:!{SECRET}\n".encode() in file.read_bytes()
    for _ in range(2):
        assert run("enable", "ann@example.org").exit_code == 0
        assert file.read_bytes() == before


def test_a_new_password_enables_nobody(run: Run, file: Path) -> None:
    """A disabled user who gets a new password stays disabled."""
    assert run("passwd", "bob", "--stdin", input="new\n").exit_code == 0
    found = parse(file.read_bytes()).get("bob")
    assert found is not None
    assert found.disabled
    assert check("new", found.stored)


def test_delete(run: Run, file: Path) -> None:
    """A deleted user is gone, the others stay."""
    assert run("delete", "ANN@example.org").exit_code == 0
    assert file.read_bytes() == f"# users\nbob:!{SECRET}\n".encode()


def test_list(run: Run, file: Path) -> None:
    """The list shows users, kinds of hashes and who is disabled, faulty lines apart."""
    file.write_bytes(file.read_bytes() + b"carol:plain\nno colon\n")
    result = run("list")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "Ann@example.org  bcrypt",
        "bob              bcrypt  disabled",
        "carol            unusable",
    ]
    assert "line 4" in result.stderr
    assert "line 5: no colon" in result.stderr
    assert json.loads(run("list", "--json").stdout) == [
        {"login": "Ann@example.org", "hash": "bcrypt", "disabled": False},
        {"login": "bob", "hash": "bcrypt", "disabled": True},
        {"login": "carol", "hash": None, "disabled": False},
    ]
    assert SECRET not in result.output


def test_the_first_user_makes_the_file(tmp_path: Path) -> None:
    """Adding a user makes the file, readable by owner and group alone; nothing else does."""
    file = tmp_path / "new"
    runner = CliRunner()
    result = runner.invoke(user, ["delete", "ann", "--file", str(file)])
    assert (result.exit_code, "No such file" in result.stderr) == (1, True)
    assert not file.exists()
    result = runner.invoke(user, ["add", "ann", "--file", str(file), "--stdin"], input="secret")
    assert result.exit_code == 0
    assert "ann is no address" in result.stderr
    assert file.stat().st_mode & 0o7777 == 0o640


def test_the_file_keeps_its_mode(run: Run, file: Path) -> None:
    """A change keeps the mode of the file."""
    file.chmod(0o604)
    assert run("disable", "ann@example.org").exit_code == 0
    assert file.stat().st_mode & 0o7777 == 0o604


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    """A file that can't be written is told without a traceback."""
    result = CliRunner().invoke(
        user, ["add", "ann", "--file", str(tmp_path / "no" / "users"), "--stdin"], input="secret"
    )
    assert result.exit_code == 1
    assert "No such file or directory" in result.stderr


def invoke_configured(backend: str, file: Path) -> Result:
    """List the users of a configuration."""

    @click.group()
    @click.pass_context
    def main(ctx: click.Context) -> None:
        users = SimpleNamespace(
            factory=SimpleNamespace(name=backend), options=SimpleNamespace(file=file)
        )
        ctx.obj = SimpleNamespace(configuration=SimpleNamespace(users=users))

    main.add_command(user)
    return CliRunner().invoke(main, ["user", "list"])


def test_the_file_of_the_configuration(file: Path) -> None:
    """Without --file, the file is the one that the configuration names."""
    assert "Ann@example.org" in invoke_configured("htpasswd", file).stdout


def test_users_kept_elsewhere(file: Path) -> None:
    """Where the users are not in an htpasswd file, the command says so."""
    result = invoke_configured("ldap", file)
    assert (result.exit_code, '"ldap"' in result.stderr) == (1, True)


def test_two_at_one_time_lose_nothing(file: Path) -> None:
    """Commands that run at one time all take effect."""
    command = [sys.executable, "-c", "from submitd.ctl.user import user; user()"]
    arguments = ["add", "--file", str(file), "--stdin", "--hash", "sha256-crypt"]
    processes = [
        subprocess.Popen([*command, *arguments, name], cwd=ROOT, stdin=subprocess.PIPE)
        for name in ("carol@example.org", "dave@example.org", "erin@example.org")
    ]
    for process in processes:
        process.communicate(b"secret\n", timeout=60)
        assert process.returncode == 0
    names = list(parse(file.read_bytes()).by_key)
    assert sorted(names) == sorted(
        ["ann@example.org", "bob", "carol@example.org", "dave@example.org", "erin@example.org"]
    )


def test_nobody_to_ask_for_a_password(file: Path) -> None:
    """Without a terminal the command says how else to give it a password, and no more."""
    program = "from submitd.ctl.user import user; user()"
    ended = subprocess.run(
        [sys.executable, "-c", program, "add", "--file", str(file), "carol@example.org"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,  # away from the terminal of whoever runs the tests
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        "Error: no terminal to ask for the password at;"
        " --stdin reads it from standard input, --generate makes one up"
    ]
