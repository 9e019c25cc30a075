"""The ESMTP parameters of MAIL and RCPT: one reader each, in two tables.

A reader takes the value, or None where the parameter came without one, and returns the
fields of the event that it sets; it raises ValueError for what its RFC does not allow.
"""

import calendar
import re
from collections.abc import Callable, Mapping
from typing import Any, cast, get_args

from submitd.mail.envelope import Notify
from submitd.mail.xtext import decode_xtext
from submitd.smtp import replies
from submitd.smtp.errors import RemoteProtocolError
from submitd.smtp.events import DeliverByRequest

Fields = dict[str, Any]
ParameterReader = Callable[[str | None], Fields]

_PARAMETER = re.compile("([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~\u0080-\U0010ffff]+))?")
# RFC 3461 §4: octets from "!" to "~" but "+" and "=", which are written "+2B" and "+3D".
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_ORCPT = re.compile(r"[A-Za-z0-9-]+;(?:[!-*,-<>-~]|\+[0-9A-F]{2})+")
# RFC 6533 §3: utf-8-addr-xtext and utf-8-addr-unitext.
_UTF8_ORCPT = re.compile("utf-8;[!-<>-~\u00a0-\U0010ffff]+", re.IGNORECASE)
_CONTROL = re.compile("[\0-\x1f\x7f]")
_BY = re.compile(r"([+-]?[0-9]{1,9});([RN])(T?)", re.IGNORECASE)  # RFC 2852 §4
# RFC 4865 §3, RFC 3339 §5.6.
_DATE_TIME = re.compile(
    r"([1-9][0-9]{3})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]+)?"
    r"(?:Z|([+-])([0-9]{2}):([0-9]{2}))",
    re.IGNORECASE,
)

ENVID_OCTETS = 100  # RFC 3461 §4.4
ORCPT_OCTETS = 500  # RFC 3461 §4.2


def read(text: str, known: Mapping[str, ParameterReader]) -> Fields:
    """Read parameters: none unknown, none twice, each with a good value.

    :param text: what stood behind the path.
    :raises RemoteProtocolError: with the reply to give.
    """
    fields: Fields = {}
    seen: set[str] = set()
    for word in text.split(" "):
        if not word:
            continue
        match = _PARAMETER.fullmatch(word)
        if match is None:
            raise RemoteProtocolError("malformed parameter", replies.BAD_PARAMETER)
        keyword = match[1].upper()
        reader = known.get(keyword)
        if reader is None:
            raise RemoteProtocolError("unknown parameter", replies.UNKNOWN_PARAMETER)
        if keyword in seen:
            raise RemoteProtocolError("repeated parameter", replies.REPEATED_PARAMETER)
        seen.add(keyword)
        try:
            fields.update(reader(match[2]))
        except ValueError as error:
            raise RemoteProtocolError(str(error), replies.BAD_PARAMETER) from None
    return fields


def _value(value: str | None) -> str:
    if value is None:
        raise ValueError("the parameter needs a value")
    return value


def _no_value(value: str | None) -> None:
    if value is not None:
        raise ValueError("the parameter takes no value")


def _number(value: str | None, digits: int) -> int:
    text = _value(value)
    if not (text.isascii() and text.isdigit() and len(text) <= digits):
        raise ValueError(f"not a number of at most {digits} digits")
    return int(text)


def _size(value: str | None) -> Fields:
    return {"size": _number(value, 20)}  # RFC 1870 §4


def _body(value: str | None) -> Fields:
    body = _value(value).upper()
    if body not in ("7BIT", "8BITMIME", "BINARYMIME"):
        raise ValueError("not a body type")
    return {"body": body}


def _auth(value: str | None) -> Fields:
    # RFC 4954 §5: "<>" or a mailbox in xtext.  Nobody who submits is trusted to vouch
    # for another, and then the value is checked and goes no further.
    text = _value(value)
    if text != "<>" and not _XTEXT.fullmatch(text):
        raise ValueError("not xtext")
    return {}


def _utf8(value: str | None) -> Fields:
    _no_value(value)
    return {"utf8": True}


def _ret(value: str | None) -> Fields:
    ret = _value(value).upper()
    if ret not in ("FULL", "HDRS"):
        raise ValueError("neither FULL nor HDRS")
    return {"ret": ret}


def _envid(value: str | None) -> Fields:
    text = _value(value)
    if len(text) > ENVID_OCTETS or not _XTEXT.fullmatch(text):
        raise ValueError("not xtext, or too long")
    decoded = decode_xtext(text)
    if not (decoded.isascii() and decoded.isprintable()):
        raise ValueError("an envelope identifier is printable ASCII")
    return {"envelope_id": text}


def _require_tls(value: str | None) -> Fields:
    _no_value(value)
    return {"require_tls": True}


def _hold_for(value: str | None) -> Fields:
    seconds = _number(value, 9)
    if seconds == 0:
        raise ValueError("an interval is at least a second")
    return {"hold_for_s": seconds}


def _hold_until(value: str | None) -> Fields:
    match = _DATE_TIME.fullmatch(_value(value))
    if match is None:
        raise ValueError("not a date-time")
    *local, sign, offset_hours, offset_minutes = match.groups()
    year, month, day, hour, minute, second = map(int, local)
    if not (
        1 <= month <= 12
        and 1 <= day <= calendar.monthrange(year, month)[1]
        and hour <= 23
        and minute <= 59
        and second <= 60
    ):
        raise ValueError("no such date or time")
    offset_s = int(offset_hours or 0) * 3600 + int(offset_minutes or 0) * 60
    local_s = calendar.timegm((year, month, day, hour, minute, second))
    return {"hold_until_s": float(local_s + offset_s if sign == "-" else local_s - offset_s)}


def _by(value: str | None) -> Fields:
    match = _BY.fullmatch(_value(value))
    if match is None:
        raise ValueError("not a by-value and a by-mode")
    seconds, mode = int(match[1]), match[2].upper()
    if mode == "R" and seconds <= 0:
        raise ValueError("mode R needs a time to come")
    return {"deliver_by": DeliverByRequest(seconds, "R" if mode == "R" else "N", bool(match[3]))}


def _priority(value: str | None) -> Fields:
    text = _value(value)
    if not re.fullmatch(r"-?[0-9]", text) or text == "-0":
        raise ValueError("not a number from -9 to 9")
    return {"priority": int(text)}


def _notify(value: str | None) -> Fields:
    words = _value(value).upper().split(",")
    if len(set(words)) != len(words) or not set(words) <= set(get_args(Notify)):
        raise ValueError("not NEVER, nor a list of SUCCESS, FAILURE, DELAY")
    if "NEVER" in words and len(words) > 1:
        raise ValueError("NEVER stands alone")
    return {"notify": frozenset(cast(list[Notify], words))}


def _orcpt(value: str | None) -> Fields:
    text = _value(value)
    if len(text.encode("utf-8", "replace")) > ORCPT_OCTETS:
        raise ValueError("too long")
    if _UTF8_ORCPT.fullmatch(text):
        return {"original": text}
    if not _ORCPT.fullmatch(text):
        raise ValueError("not an address type and an address in xtext")
    # RFC 3461 §4.2 has printable ASCII there; Postfix sends UTF-8 as type rfc822.
    if _CONTROL.search(decode_xtext(text)):
        raise ValueError("a control character")
    return {"original": text}


MAIL_PARAMETERS: Mapping[str, ParameterReader] = {
    "SIZE": _size,
    "BODY": _body,
    "AUTH": _auth,
    "SMTPUTF8": _utf8,
    "RET": _ret,
    "ENVID": _envid,
    "REQUIRETLS": _require_tls,
    "HOLDFOR": _hold_for,
    "HOLDUNTIL": _hold_until,
    "BY": _by,
    "MT-PRIORITY": _priority,
}

RCPT_PARAMETERS: Mapping[str, ParameterReader] = {"NOTIFY": _notify, "ORCPT": _orcpt}
