"""Writing the files of a new site, with the owners and modes they should have."""

import os
import pwd
from pathlib import Path

import attrs


@attrs.frozen
class Account:
    """The system user that the server will run as."""

    uid: int
    gid: int

    @classmethod
    def named(cls, name: str) -> "Account":
        """The account of that name.

        :raises KeyError: when there is none.
        """
        entry = pwd.getpwnam(name)
        return cls(entry.pw_uid, entry.pw_gid)


@attrs.frozen
class SiteWriter:
    """Writes below one directory.

    With an account, files belong to who writes them and the account's group may read
    them: a server that was broken into can't change its own configuration.  Without
    one they are the writer's alone where they are private.

    :ivar directory: the site's directory.
    :ivar account: who the server will run as, if somebody else than who writes.
    """

    directory: Path
    account: Account | None = None

    def existing(self, *names: str) -> list[Path]:
        """Those of the named files that are there already."""
        return [path for path in map(self.directory.joinpath, names) if os.path.lexists(path)]

    def make_directory(self, name: str = ".", *, spool: bool = False) -> Path:
        """Make a directory, unless it is there; a *spool* is the server's own and nobody else's."""
        path = self.directory / name
        if path.is_dir():
            return path
        path.mkdir(0o700, parents=True)
        if spool:
            self._give(path, 0o700, owned=True)
        else:
            self._give(path, 0o755 if self.account is None else 0o750)
        return path

    def write(self, name: str, data: bytes, *, private: bool = False) -> Path:
        """Write a new file; a *private* one is readable for the server and its owner alone.

        :raises FileExistsError: rather than replace anything.
        """
        path = self.directory / name
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        if private:
            self._give(path, 0o600 if self.account is None else 0o640)
        else:
            self._give(path, 0o644)
        return path

    def _give(self, path: Path, mode: int, *, owned: bool = False) -> None:
        if self.account is not None:
            os.chown(path, self.account.uid if owned else -1, self.account.gid)
        path.chmod(mode)
