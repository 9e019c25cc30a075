"""The htpasswd file: one `name:hash` a line, as Apache's htpasswd writes it.

A hash with `!` before it is that of a disabled user, as in shadow(5): Apache finds
such a hash unusable, so the user is disabled there too.
"""

from collections.abc import Iterator

import attrs

from submitd.auth.hashing import kind_of
from submitd.files import FileFault
from submitd.mail.login import login_fault, login_key

DISABLED = "!"
_BOM = b"\xef\xbb\xbf"


@attrs.frozen(slots=True)
class User:
    """One user of the file.

    :ivar name: as the file writes it.
    :ivar stored: the hash, without the mark of a disabled user.
    :ivar kind: the kind of the hash; None if no password can match it.
    :ivar disabled: whether the user may not log in.
    :ivar number: the line it stands in, from 1.
    """

    name: str
    stored: str = attrs.field(repr=False)
    kind: str | None
    disabled: bool
    number: int


@attrs.frozen(slots=True)
class Users:
    """What a file says.

    :ivar by_key: users by their `login_key`.
    :ivar faults: lines that can't be used; one with an unusable hash still names a
        user, who can't log in.
    """

    by_key: dict[str, User]
    faults: tuple[FileFault, ...]

    def get(self, login: str) -> User | None:
        """The user of that name; case does not matter."""
        return self.by_key.get(login_key(login))


def parse(data: bytes) -> Users:
    """Read a whole file; what is wrong with a line concerns only that line.

    Of several lines for one user the first counts, as with Apache, and the others
    are faults.  Names that differ only in case are the same user.
    """
    users: dict[str, User] = {}
    faults: list[FileFault] = []
    for number, line in _lines(data):
        try:
            user = _parse_line(line, number)
        except ValueError as error:
            faults.append(FileFault(number, str(error)))
            continue
        first = users.setdefault(login_key(user.name), user)
        if first is not user:
            faults.append(FileFault(number, f"the user of line {first.number} again"))
        elif user.kind is None and not user.disabled:
            faults.append(FileFault(number, "not a hash of a kind that is accepted here"))
    return Users(users, tuple(faults))


def with_user(data: bytes, login: str, stored: str, *, disabled: bool = False) -> bytes:
    """The file with *login*'s hash set, in its old line or in a new last one.

    All other lines, and further fields of the old one, stay as they are.

    :raises ValueError: when *login* can't be a user's name.
    """
    fault = login_fault(login)
    if fault is not None:
        raise ValueError(f"the name {fault}")
    field = (DISABLED * disabled + stored).encode()
    lines = data.split(b"\n")
    user = parse(data).get(login)
    if user is None:
        if lines[-1]:
            lines.append(b"")
        lines[-1:] = [login.encode() + b":" + field, b""]
    else:
        line = lines[user.number - 1]
        text = line.rstrip()
        name, _, *more = text.split(b":", 2)
        lines[user.number - 1] = b":".join([name, field, *more]) + line[len(text) :]
    return b"\n".join(lines)


def without_user(data: bytes, login: str) -> bytes:
    """The file without any line for *login*: a second one must not come to life."""
    key = login_key(login)
    gone = set()
    for number, line in _lines(data):
        try:
            if login_key(_parse_line(line, number).name) == key:
                gone.add(number)
        except ValueError:
            continue
    kept = (line for number, line in enumerate(data.split(b"\n"), 1) if number not in gone)
    return b"\n".join(kept)


def _lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(data.removeprefix(_BOM).split(b"\n"), 1):
        line = line.strip()
        if line and not line.startswith(b"#"):
            yield number, line


def _parse_line(line: bytes, number: int) -> User:
    try:
        name, colon, rest = line.decode().partition(":")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None  # its own text would show the line
    if not colon:
        raise ValueError("no colon after the name")
    fault = login_fault(name)
    if fault is not None:
        raise ValueError(f"the name {fault}")
    field = rest.partition(":")[0]
    stored = field.removeprefix(DISABLED)
    return User(name, stored, kind_of(stored), stored != field, number)
