"""Login names: when two are the same, and which can be stored."""

import unicodedata

LOGIN_OCTETS = 255  # what Apache's htpasswd takes
# Control characters, surrogates, line and paragraph separators (RFC 8264 §9.12).
_FORBIDDEN = frozenset({"Cc", "Cs", "Zl", "Zp"})


def login_key(login: str) -> str:
    """What *login* is looked up by: the same for spellings of one name.

    Case and Unicode composition don't matter (RFC 8265 §3.3.2, case mapping and NFC):
    nobody gets an account, or past a rule, by writing ALICE.
    """
    lower = login.lower()
    return lower if lower.isascii() else unicodedata.normalize("NFC", lower)


def login_fault(login: str) -> str | None:
    """Why *login* can't be the name of a user, to follow "the name ..."; None if it can."""
    if not login:
        return "is empty"
    if any(unicodedata.category(character) in _FORBIDDEN for character in login):
        return "has a control character in it"
    if ":" in login:
        return "has a colon in it"
    if login.startswith("#") or login != login.strip():
        return "begins with # or begins or ends with a space"
    if len(login.encode()) > LOGIN_OCTETS:
        return f"is longer than {LOGIN_OCTETS} octets"
    return None
