"""Who may send as whom (`[senders]`)."""

from functools import partial
from pathlib import Path
from typing import Literal

import attrs
from twisted.logger import Logger
from zope.interface import implementer

from submitd.files import WatchedFile, log_faults
from submitd.interfaces import ISenderPolicy, Site
from submitd.mail.address import Mailbox, domain_key
from submitd.mail.login import login_key
from submitd.options import option
from submitd.policy.senders_file import EVERYBODY, Rules, parse


@attrs.frozen(kw_only=True)
class SendersOptions:
    """`[senders]`: who may send as whom."""

    file: Path | None = option(
        "The file: lines `login: address @domain sales-*@example.org`. Read again when it changes."
        " Without it, a login that is an address may send as itself and nobody as anyone else.",
        default=None,
    )
    from_mismatch: Literal["reject", "add-sender", "allow"] = option(
        "When `From:` names somebody the login may not send as. reject: 550; add-sender: the"
        " message gets a `Sender:` field with the login's own address; allow: nothing.",
        default="reject",
    )


@implementer(ISenderPolicy)
class SenderRules:
    """The rules of the file, and one before all of them: an address may send as itself.

    :raises ValueError: with a message for the operator, when the file can't be read.
    """

    _log = Logger()

    def __init__(self, options: SendersOptions, site: Site) -> None:
        self._path = options.file
        self._file = None
        if options.file is not None:
            try:
                self._file = WatchedFile(
                    options.file, partial(self._parse, options.file), site.reactor.seconds
                )
            except OSError as error:
                raise ValueError(
                    f"senders: cannot read {options.file}: {error.strerror or error}"
                ) from error

    def may_send_as(self, login: str, mailbox: Mailbox) -> bool:
        """See `ISenderPolicy`."""
        login, address = login_key(login), mailbox.key
        if _is_own(login, address):
            return True
        rules = self._rules()
        return rules.allow(login, address) or rules.allow(EVERYBODY, address)

    def explain(self, login: str, mailbox: Mailbox) -> str:
        """In words for the operator: whether, and by which rule."""
        login, address = login_key(login), mailbox.key
        if _is_own(login, address):
            return f"{login} may send as {address}: it is its own address"
        rules = self._rules()
        for subject in (login, EVERYBODY):
            for rule in rules.of(subject):
                if rule.pattern.matches(address):
                    return (
                        f"{login} may send as {address}: {self._path}, line {rule.number},"
                        f" `{subject}: {rule.pattern.text}`"
                    )
        return f"{login} may not send as {address}: no rule says so"

    def primary_mailbox(self, login: str) -> Mailbox | None:
        """The address that stands for *login*, for the `Sender:` field.

        Its name if that is an address, else the first exact address of its own rules.
        """
        try:
            return Mailbox.parse(login)
        except ValueError:
            return self._rules().first_exact(login_key(login))

    def _rules(self) -> Rules:
        return self._file.content() if self._file is not None else _NO_RULES

    def _parse(self, path: Path, data: bytes) -> Rules:
        rules = parse(data)
        log_faults(self._log, path, rules.faults)
        self._log.info(
            "{path}: rules for {logins} logins, {faults} faulty lines",
            path=str(path),
            logins=len(rules),
            faults=len(rules.faults),
        )
        return rules


def _is_own(login: str, address: str) -> bool:
    """Whether a login, by its key, is that address, however it spells the domain."""
    local_part, at, domain = login.rpartition("@")
    return f"{local_part}{at}{domain_key(domain)}" == address


_NO_RULES = parse(b"")
