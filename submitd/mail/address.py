"""Mailboxes as the envelope knows them (RFC 5321 §4.1.2), not as header fields write them."""

import re
import unicodedata

import attrs
import idna

LOCAL_PART_OCTETS = 64  # RFC 5321 §4.5.3.1.1
DOMAIN_OCTETS = 255  # RFC 5321 §4.5.3.1.2

# RFC 6531 §3.3 adds all of UTF-8 beyond ASCII; the controls of U+0080 to U+009F are left out.
_UTF8 = "\u00a0-\ud7ff\ue000-\U0010ffff"
_ATEXT = rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~{_UTF8}-]"
# RFC 5321 §4.1.2: sub-domain = Let-dig [Ldh-str]; a label has at most 63 octets
# (RFC 1035 §2.3.4).  "_" is no letter of a host name, yet hosts with it exist and
# other servers take them; it is harmless here.
_LDH = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
# A U-label (RFC 5890 §2.3.2.1): what IDNA allows of it is for whoever looks it up to say.
_LABEL = rf"[A-Za-z0-9_{_UTF8}](?:[A-Za-z0-9_{_UTF8}-]{{0,61}}[A-Za-z0-9_{_UTF8}])?"
# RFC 5321 §4.1.3.  IPv6 is checked by ipaddress where it is used, the form here.
_LITERAL = r"\[[!-Z^-~]+\]"
_DOT_STRING = rf"{_ATEXT}+(?:\.{_ATEXT}+)*"
_QUOTED = rf'"(?:[ !#-\[\]-~{_UTF8}]|\\[ -~])*"'  # qtextSMTP, quoted-pairSMTP

DOMAIN = re.compile(rf"{_LDH}(?:\.{_LDH})*")
"""A domain name in ASCII."""
DOT_STRING = re.compile(_DOT_STRING)
_MAILBOX = re.compile(
    rf"(?:(?P<dot>{_DOT_STRING})|(?P<quoted>{_QUOTED}))"
    rf"@(?P<domain>{_LABEL}(?:\.{_LABEL})*|{_LITERAL})"
)
_QUOTED_PAIR = re.compile(r"\\(.)")


def domain_key(domain: str) -> str:
    """What a domain is compared by in rules: the same for all spellings of one name.

    In lower case and NFC, with each A-label as the U-label it stands for (RFC 5890
    §2.3.2.1); a label that is no valid A-label, or a pattern of one, stays as it is.
    """
    lower = domain.lower()
    if "xn--" in lower:
        lower = ".".join(map(_u_label, lower.split(".")))
    return lower if lower.isascii() else unicodedata.normalize("NFC", lower)


def _u_label(label: str) -> str:
    try:
        return idna.ulabel(label) if label.startswith("xn--") else label
    except idna.IDNAError:
        return label


@attrs.frozen(slots=True)
class Mailbox:
    """A mailbox: local part and domain.

    Equality ignores the case of the domain (RFC 5321 §2.4) and how the local
    part was quoted.

    :ivar local_part: the local part with its quoting removed, case as given.
    :ivar domain: a domain name, or an address literal with its brackets, case as given.
    """

    local_part: str
    domain: str = attrs.field(eq=str.lower)

    @classmethod
    def parse(cls, text: str) -> "Mailbox":
        """Read one mailbox in the grammar of RFC 5321 §4.1.2, and nothing around it.

        With characters beyond ASCII the grammar is that of RFC 6531 §3.3; where these
        are not allowed the caller looks at `is_ascii`.

        :raises ValueError: when *text* is not a mailbox, or is longer than §4.5.3.1 allows.
        """
        match = _MAILBOX.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a mailbox")
        dot, quoted, domain = match.groups()
        if len((dot or quoted).encode("utf-8", "replace")) > LOCAL_PART_OCTETS:
            raise ValueError(f"the local part is longer than {LOCAL_PART_OCTETS} octets")
        if len(domain.encode("utf-8", "replace")) > DOMAIN_OCTETS:
            raise ValueError(f"the domain is longer than {DOMAIN_OCTETS} octets")
        return cls(dot if dot is not None else _QUOTED_PAIR.sub(r"\1", quoted[1:-1]), domain)

    @property
    def key(self) -> str:
        """The mailbox for comparisons of policy: `str`, in lower case and NFC.

        RFC 5321 §2.4 leaves the case of a local part to its own host; here that
        host is ours, and nobody shall get past a rule by writing ALICE.  The domain
        is as `domain_key` has it.
        """
        lower = str(self).lower()
        if lower.isascii() and "xn--" not in lower:
            return lower
        local_part, _, domain = lower.rpartition("@")
        return f"{unicodedata.normalize('NFC', local_part)}@{domain_key(domain)}"

    @property
    def is_ascii(self) -> bool:
        """Whether it can be written without SMTPUTF8 (RFC 6531)."""
        return self.local_part.isascii() and self.domain.isascii()

    @property
    def is_fully_qualified(self) -> bool:
        """Whether the domain has more than one label or is a literal (RFC 6409 §4.2)."""
        return "." in self.domain or self.domain.startswith("[")

    def __str__(self) -> str:
        """The mailbox as the envelope writes it, the local part quoted only where it must be."""
        if DOT_STRING.fullmatch(self.local_part):
            return f"{self.local_part}@{self.domain}"
        quoted = self.local_part.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{quoted}"@{self.domain}'
