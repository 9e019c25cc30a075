"""How an option is defined: once, as a field of an attrs class.

From that one definition come the class itself, the checks of the configuration
loader, the sample configuration in etc/ and the manual in docs/.  This module
lies below all others so that every part can define its own options.
"""

from collections.abc import Callable
from typing import Any

import attrs

Check = Callable[[Any], str | None]
"""Takes a value of the right type; returns what was expected, or None if it is well."""


def option(doc: str, *, check: Check | None = None, **field: Any) -> Any:
    """Define one option: an `attrs.field` that carries its documentation.

    :param doc: one or two sentences for the manual and the sample file; names
        the unit where there is one.
    :param check: called with the value once its type is right; the text it
        returns completes the sentence "expected ...".
    :param field: passed to `attrs.field` (`default`, `factory`, `kw_only`).
    :raises ValueError: by the class, at construction, when *check* objects.
    """

    def validate(_instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if check is not None and value is not None:
            expected = check(value)
            if expected is not None:
                raise ValueError(f"expected {expected}")

    return attrs.field(metadata={"doc": doc, "check": check}, validator=validate, **field)


@attrs.frozen
class Range:
    """A check that a number lies in a range, both ends included; the manual tells the range.

    :ivar maximum: None where there is no upper end.
    """

    minimum: int
    maximum: int | None = None

    def __call__(self, value: Any) -> str | None:
        """What was expected, or None where *value* is within."""
        if value >= self.minimum and (self.maximum is None or value <= self.maximum):
            return None
        return str(self) if self.maximum is None else f"a number {self}"

    def __str__(self) -> str:
        """As in `a whole number, at least 1`."""
        if self.maximum is None:
            return f"at least {self.minimum}"
        return f"from {self.minimum} to {self.maximum}"


def at_least(minimum: int) -> Check:
    """A check that a number is not below *minimum*."""
    return Range(minimum)


def between(minimum: int, maximum: int) -> Check:
    """A check that a number lies in a range, both ends included."""
    return Range(minimum, maximum)


def not_empty(value: object) -> str | None:
    """A check that a text or a list holds something."""
    return None if value else "a value that is not empty"
