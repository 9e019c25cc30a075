"""The rarer parameters of MAIL and RCPT, as one column of JSON.

What has a column of its own is left out, and so is all that is as usual: most
messages have none of it.  Parameters that are added to `Envelope` or `Recipient`
later need no change here or in the tables.
"""

import json
from collections.abc import Sequence
from typing import Any

import attrs
from cattrs.preconf.json import make_converter

from submitd.mail.envelope import Envelope, Recipient

_converter = make_converter()


class Parameters:
    """Fields of one class, to and from JSON.

    :param kind: an attrs class.
    :param besides: names of the fields that have columns.
    """

    def __init__(self, kind: type[attrs.AttrsInstance], besides: Sequence[str]) -> None:
        self._types = {
            field.name: field.type for field in attrs.fields(kind) if field.name not in besides
        }
        self._usual = [(name, getattr(attrs.fields(kind), name).default) for name in self._types]

    def dump(self, value: object) -> str | None:
        """The fields of *value* that are not as usual, or None when all are."""
        unusual = {}
        for name, usual in self._usual:
            field = getattr(value, name)
            if field != usual:
                unusual[name] = _converter.unstructure(field, self._types[name])
        return json.dumps(unusual) if unusual else None

    def load(self, text: str | None) -> dict[str, Any]:
        """The fields again, by name.

        :raises ValueError: when *text* does not come from `dump`.
        """
        if text is None:
            return {}
        try:
            return {
                name: _converter.structure(field, self._types[name])
                for name, field in json.loads(text).items()
            }
        except Exception as error:
            # cattrs raises groups of exceptions of several kinds.
            raise ValueError(f"{text!r} are no parameters") from error


ENVELOPE = Parameters(Envelope, ("reverse_path", "recipients", "body", "priority"))
RECIPIENT = Parameters(Recipient, ("mailbox",))
