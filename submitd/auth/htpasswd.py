"""Users from an htpasswd file (`backend = "htpasswd"`)."""

import hashlib
import secrets
from collections.abc import Callable
from pathlib import Path

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from submitd.auth.cache import SuccessCache
from submitd.auth.hashing import check, hash_password, load, prepare_password
from submitd.auth.htfile import Users, parse
from submitd.auth.verifier import Verdict, Verifier, default_threads
from submitd.files import WatchedFile, log_faults
from submitd.interfaces import (
    AuthFailure,
    AuthResult,
    Eventual,
    IUserDatabase,
    IUserDatabaseFactory,
    Site,
)
from submitd.mail.login import login_key
from submitd.options import at_least, between, option


@attrs.frozen(kw_only=True)
class HtpasswdOptions:
    """`[users]` with `backend = "htpasswd"`: a file as Apache's `htpasswd` writes it."""

    file: Path = option(
        "The file: a line `name:hash` for each user; see `submitctl user`. Read again when it"
        " changes."
    )
    threads: int = option(
        "Passwords verified at one time. 0: one for each core, at most four.",
        default=0,
        check=between(0, 64),
    )
    # At a quarter of a second each and two threads: 16 s, less than clients wait.
    waiting: int = option(
        "Logins that may wait for a thread; those beyond are told to try again (454).",
        default=128,
        check=at_least(1),
    )
    cache_s: int = option(
        "Seconds for which a password that was right once need not be verified again; a changed"
        " one always is. 0: none.",
        default=3600,
        check=at_least(0),
    )
    cache_logins: int = option(
        "Most logins remembered in that way, at 150 octets each.",
        default=20_000,
        check=at_least(1),
    )


@attrs.frozen(slots=True)
class _Account:
    """Whom a login is checked as.

    :ivar stored: the hash to verify against: a decoy when there is no usable one.
    :ivar name: the user's name.
    :ivar failure: why the login fails whatever the verification says, or None.
    """

    stored: str
    name: str
    failure: AuthFailure | None


@attrs.frozen(slots=True)
class _Content:
    """The file as logins need it: the users, and the hashes decoys are taken from."""

    users: Users
    decoys: tuple[str, ...]


@implementer(IUserDatabase)
class HtpasswdDatabase:
    """Verifies passwords against the file.

    Every login that is not answered from the cache costs one verification, be the
    user known, unknown or disabled.  Unknown ones are verified against the hash of
    some user of the file, the same one each time for a name, so that their times are
    spread as those of the known are, even with several kinds of hashes in the file.
    Logins with the same name and password at the same time share one verification.

    :param check: see `Verifier`.
    :raises OSError: when the file can't be read.
    """

    _log = Logger()

    def __init__(
        self,
        options: HtpasswdOptions,
        site: Site,
        check: Callable[[str, str], bool] = check,
    ) -> None:
        load()
        seconds = site.reactor.seconds
        self._path = options.file
        self._decoy_key = secrets.token_bytes(16)
        # Cheap: it serves only where no user has a usable hash, and no times can be told apart.
        self._last_decoy = hash_password(secrets.token_hex(), rounds=4)
        self._file = WatchedFile(options.file, self._parse, seconds)
        self._cache = SuccessCache(seconds, options.cache_logins, options.cache_s)
        self._verifier = Verifier(
            site.reactor, options.threads or default_threads(), options.waiting, check
        )
        self._under_way: dict[bytes, list[tuple[Deferred[AuthResult], _Account]]] = {}

    def verify_password(self, login: str, password: str) -> Eventual[AuthResult]:
        """See `IUserDatabase`."""
        key = login_key(login)
        account = self._account(key)
        try:
            prepare_password(password)
        except ValueError:
            password = ""  # what no user has: costs a verification all the same
            account = attrs.evolve(account, failure=account.failure or AuthFailure.WRONG_PASSWORD)
        token = self._cache.token(key, password, account.stored)
        if account.failure is None and self._cache.knows(token):
            return AuthResult(account.name)
        waiting = self._under_way.get(token)
        if waiting is None:
            verdict = self._verifier.verify(password, account.stored)
            if not isinstance(verdict, Deferred):
                return AuthResult(None, verdict)
            waiting = self._under_way[token] = []
            verdict.addCallback(self._verified, token)
        answer: Deferred[AuthResult] = Deferred()
        waiting.append((answer, account))
        return answer

    def stop(self) -> Eventual[None]:
        """See `IUserDatabase`; logins that still wait get `AuthFailure.UNAVAILABLE`."""
        return self._verifier.stop()

    def _account(self, key: str) -> _Account:
        content = self._file.content()
        user = content.users.by_key.get(key)
        if user is not None and user.kind is not None:
            return _Account(user.stored, user.name, AuthFailure.DISABLED if user.disabled else None)
        octets = key.encode(errors="surrogatepass")
        mac = hashlib.blake2b(octets, key=self._decoy_key, digest_size=8).digest()
        decoy = content.decoys[int.from_bytes(mac, "big") % len(content.decoys)]
        if user is None:
            return _Account(decoy, "", AuthFailure.UNKNOWN_USER)
        failure = AuthFailure.DISABLED if user.disabled else AuthFailure.UNUSABLE_HASH
        return _Account(decoy, user.name, failure)

    def _verified(self, verdict: Verdict, token: bytes) -> None:
        for answer, account in self._under_way.pop(token):
            if verdict is AuthFailure.UNAVAILABLE:
                result = AuthResult(None, verdict)
            elif account.failure is not None or verdict is not None:
                result = AuthResult(None, account.failure or verdict)
            else:
                self._cache.remember(token)
                result = AuthResult(account.name)
            answer.callback(result)

    def _parse(self, data: bytes) -> _Content:
        users = parse(data)
        log_faults(self._log, self._path, users.faults)
        self._log.info(
            "{path}: {users} users, {faults} faulty lines",
            path=str(self._path),
            users=len(users.by_key),
            faults=len(users.faults),
        )
        decoys = tuple(user.stored for user in users.by_key.values() if user.kind is not None)
        return _Content(users, decoys or (self._last_decoy,))


@implementer(IUserDatabaseFactory)
class HtpasswdFactory:
    """Makes `HtpasswdDatabase`."""

    name = "htpasswd"
    options = HtpasswdOptions

    def build(self, options: HtpasswdOptions, site: Site) -> IUserDatabase:
        """See `IUserDatabaseFactory`."""
        try:
            return HtpasswdDatabase(options, site)
        except OSError as error:
            raise ValueError(
                f"users: cannot read {options.file}: {error.strerror or error};"
                " `submitctl user add NAME` makes the file"
            ) from error
