"""submitd.auth.htfile: reading and changing the text of an htpasswd file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from submitd.auth.htfile import parse, with_user, without_user
from submitd.mail.login import login_fault

SHA = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="
OTHER = "{SHA}" + "A" * 27 + "="
FILE = f"""\
# users of example.org
alice@example.org:{SHA}

  bob:{SHA}:Bob:bob@example.org\r
carol:!{SHA}
dave:!
""".encode()


def test_reads_what_apache_writes() -> None:
    """Names, hashes and disabled users are read; comments, blanks, further fields passed over."""
    users = parse(FILE)
    assert users.faults == ()
    assert [
        (user.name, user.stored, user.kind, user.disabled, user.number)
        for user in users.by_key.values()
    ] == [
        ("alice@example.org", SHA, "sha1", False, 2),
        ("bob", SHA, "sha1", False, 4),
        ("carol", SHA, "sha1", True, 5),
        ("dave", "", None, True, 6),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"mallory", "no colon"),
        (b":" + SHA.encode(), "the name is empty"),
        (b"mall\0ory:" + SHA.encode(), "control character"),
        (b"mall\xffory:" + SHA.encode(), "not UTF-8"),
        (b"x" * 256 + b":" + SHA.encode(), "longer than 255"),
        (b"mallory:plain text", "not a hash of a kind"),
        (b"mallory:rOhWLNXG2tOMM", "not a hash of a kind"),
        (b"mallory:", "not a hash of a kind"),
        (b"ALICE:" + OTHER.encode(), "the user of line 1 again"),
    ],
)
def test_a_faulty_line_is_told_by_number(line: bytes, reason: str) -> None:
    """A faulty line is named by its number, shows nothing of itself, and harms no other."""
    users = parse(b"alice:" + SHA.encode() + b"\n" + line + b"\nzoe:" + SHA.encode())
    (fault,) = users.faults
    assert fault.number == 2
    assert reason in fault.reason
    for secret in ("plain text", "rOhW", "AAAA", "mallory", "xxxx"):
        assert secret not in fault.reason
    assert users.by_key["alice"].stored == SHA
    assert users.by_key["zoe"].number == 3


def test_names_are_found_in_any_case_and_composition() -> None:
    """A user is found whatever the case and the composition, and keeps the file's spelling."""
    users = parse(f"J\u00fcrgen@Example.org:{SHA}\n".encode())
    for login in ("J\u00fcrgen@Example.org", "j\u00dcRGEN@example.ORG", "ju\u0308rgen@example.org"):
        user = users.get(login)
        assert user is not None
        assert user.name == "J\u00fcrgen@Example.org"
    assert users.get("jurgen@example.org") is None


def test_a_byte_order_mark_is_no_part_of_a_name() -> None:
    """An editor's byte order mark does not lock out the first user."""
    assert parse(b"\xef\xbb\xbfalice:" + SHA.encode()).get("alice") is not None


def test_the_hash_is_not_shown() -> None:
    """The representation of a user, as tracebacks show it, has no hash in it."""
    assert SHA not in repr(parse(FILE))


def test_change_keeps_everything_else() -> None:
    """Changing one user leaves all other octets, the order and further fields as they were."""
    changed = with_user(FILE, "BOB", OTHER)
    assert changed == FILE.replace(f"bob:{SHA}".encode(), f"bob:{OTHER}".encode())
    assert with_user(FILE, "carol", SHA) == FILE.replace(b"carol:!", b"carol:")
    assert with_user(FILE, "alice@example.org", SHA, disabled=True) == FILE.replace(
        b"alice@example.org:", b"alice@example.org:!"
    )


def test_a_new_user_gets_a_line_of_its_own() -> None:
    """A new user comes last, also where the last line had no end."""
    assert with_user(b"", "eve", SHA) == f"eve:{SHA}\n".encode()
    assert with_user(FILE, "eve", SHA) == FILE + f"eve:{SHA}\n".encode()
    assert with_user(FILE[:-1], "eve", SHA) == FILE + f"eve:{SHA}\n".encode()


def test_delete_takes_all_lines_of_a_user() -> None:
    """No second line of a deleted user comes to life."""
    data = FILE + f"Alice@Example.ORG:{OTHER}\n".encode()
    assert without_user(data, "alice@example.org") == FILE.replace(
        f"alice@example.org:{SHA}\n".encode(), b""
    )
    assert without_user(FILE, "mallory") == FILE


@pytest.mark.parametrize("login", ["", "a:b", "#a", " a", "a\n", "a\0", "x" * 256])
def test_names_that_would_break_the_file_are_refused(login: str) -> None:
    """A name that could not be read back is not written."""
    with pytest.raises(ValueError, match="the name"):
        with_user(FILE, login, SHA)


NAMES = st.text(max_size=20).filter(lambda name: login_fault(name) is None)


@given(NAMES, st.binary(max_size=200))
def test_round_trip(name: str, rest: bytes) -> None:
    """Whatever stands in the file, a user who is set is there, and is gone once deleted."""
    data = with_user(rest, name, SHA)
    user = parse(data).get(name)
    assert user is not None
    assert user.stored == SHA
    assert parse(without_user(data, name)).get(name) is None
