"""xtext (RFC 3461 §4): how ENVID and ORCPT write what has no place in a parameter."""

import re

_HEXCHAR = re.compile(r"\+([0-9A-F]{2})")


def decode_xtext(text: str) -> str:
    """The text behind xtext; each octet is one character."""
    return _HEXCHAR.sub(lambda match: chr(int(match[1], 16)), text)
