"""The senders file: `login, login: pattern pattern ...`, a rule a line."""

import re
from collections.abc import Iterator, Sequence

import attrs

from submitd.files import FileFault
from submitd.mail.address import Mailbox, domain_key
from submitd.mail.login import login_fault, login_key

EVERYBODY = "*"
WILDCARDS = 3  # in one pattern; more would let the match take long, and mean nothing

_COMMENT = re.compile(r"(?:^|\s)#.*")  # "#" within an address is part of it
_PATTERN = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^\s,"])+')


@attrs.frozen(slots=True)
class Pattern:
    """Which addresses a rule is about.

    :ivar text: as the file writes it.
    :ivar exact: the one mailbox, if it is one.
    :ivar domain: the `domain_key` of the domain, if it is all of one.
    :ivar regex: what the `Mailbox.key` of an address matches, if it has wildcards.
    """

    text: str
    exact: Mailbox | None = None
    domain: str | None = None
    regex: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Pattern":
        """Read `user@domain`, `@domain`, either with `*` in it, or `*`.

        :raises ValueError: with the reason, when it is none of these.
        """
        if text == EVERYBODY:
            return cls(text, regex=".*")
        wildcards = text.count("*")
        if wildcards > WILDCARDS:
            raise ValueError(f"{text} has more than {WILDCARDS} wildcards")
        local_part, at, domain = text.rpartition("@")
        try:
            sample = Mailbox.parse(f"{local_part or 'x'}@{domain}".replace("*", "x"))
        except ValueError:
            at = ""
        if not at:
            raise ValueError(f"{text} is neither an address nor a pattern of addresses")
        if local_part in ("", "*") and "*" not in domain:
            return cls(text, domain=domain_key(domain))
        if not wildcards:
            return cls(text, exact=sample)
        local_regex = _regex(login_key(local_part) or "*", ".*")
        # A domain has no "@" in it, so what stands before the last one is the local part.
        return cls(text, regex=f"{local_regex}@{_regex(domain_key(domain), '[^@]*')}")

    def matches(self, address: str) -> bool:
        """Whether *address*, the key of a mailbox, is one of them."""
        if self.exact is not None:
            return self.exact.key == address
        if self.domain is not None:
            return self.domain == address.rpartition("@")[2]
        return re.fullmatch(self.regex or "", address) is not None


def _regex(text: str, wildcard: str) -> str:
    return wildcard.join(re.escape(part) for part in text.split("*"))


@attrs.frozen(slots=True)
class Rule:
    """One pattern of one line.

    :ivar number: the line, from 1.
    :ivar pattern: what the line's logins may send as.
    """

    number: int
    pattern: Pattern


class _Allowed:
    """What one login may send as, made for quick answers."""

    __slots__ = ("_domains", "_exact", "_regex", "rules")

    def __init__(self, rules: Sequence[Rule]) -> None:
        patterns = [rule.pattern for rule in rules]
        self.rules = rules
        self._exact = frozenset(each.exact.key for each in patterns if each.exact is not None)
        self._domains = frozenset(each.domain for each in patterns if each.domain is not None)
        regexes = [each.regex for each in patterns if each.regex is not None]
        self._regex = re.compile("|".join(regexes)) if regexes else None

    def __contains__(self, address: str) -> bool:
        return (
            address in self._exact
            or (bool(self._domains) and address.rpartition("@")[2] in self._domains)
            or (self._regex is not None and self._regex.fullmatch(address) is not None)
        )


class Rules:
    """All rules of a file.  Logins and addresses are given by their keys.

    :ivar faults: the lines that can't be used.
    """

    def __init__(self, by_login: dict[str, list[Rule]], faults: Sequence[FileFault]) -> None:
        self._by_login = {login: _Allowed(rules) for login, rules in by_login.items()}
        self.faults = tuple(faults)

    def __len__(self) -> int:
        """How many logins there are rules for."""
        return len(self._by_login)

    def allow(self, login: str, address: str) -> bool:
        """Whether a rule for *login* names *address*."""
        allowed = self._by_login.get(login)
        return allowed is not None and address in allowed

    def of(self, login: str) -> Sequence[Rule]:
        """The rules for *login*, in the order of the file."""
        allowed = self._by_login.get(login)
        return allowed.rules if allowed is not None else ()

    def first_exact(self, login: str) -> Mailbox | None:
        """The first address that the rules for *login* name in full."""
        exact = (rule.pattern.exact for rule in self.of(login))
        return next((mailbox for mailbox in exact if mailbox is not None), None)


def parse(data: bytes) -> Rules:
    """Read a whole file; a line that is wrong grants nothing and takes away nothing else."""
    by_login: dict[str, list[Rule]] = {}
    faults: list[FileFault] = []
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            logins, patterns = _parse_line(line)
        except ValueError as error:
            faults.append(FileFault(number, str(error)))
            continue
        rules = [Rule(number, pattern) for pattern in patterns]
        for login in logins:
            by_login.setdefault(login, []).extend(rules)
    return Rules(by_login, faults)


def _parse_line(line: bytes) -> tuple[list[str], list[Pattern]]:
    try:
        text = _COMMENT.sub("", line.decode()).strip()
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    if not text:
        return [], []
    names, colon, rest = text.partition(":")
    if not colon:
        raise ValueError("no colon after the login")
    return list(_logins(names)), list(_patterns(rest))


def _logins(names: str) -> Iterator[str]:
    for name in names.split(","):
        login = name.strip()
        fault = login_fault(login)
        if fault is not None:
            raise ValueError(f"a login {fault}")
        yield login_key(login)


def _patterns(rest: str) -> Iterator[Pattern]:
    if _PATTERN.sub("", rest).strip(" \t,"):
        raise ValueError("a quotation mark without its other half")
    texts = _PATTERN.findall(rest)
    if not texts:
        raise ValueError("no address after the colon")
    for text in texts:
        yield Pattern.parse(text)
