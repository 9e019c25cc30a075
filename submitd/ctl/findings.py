"""What a check found: one line each, for people or as JSON."""

import enum

import attrs


class Grade(enum.Enum):
    """How bad it is."""

    OK = "OK"
    WARNING = "WARNING"
    FAULT = "FAULT"


@attrs.frozen
class Finding:
    """The outcome of one check.

    :ivar subject: what was looked at.
    :ivar text: what was found and, unless all is well, what to do.
    """

    grade: Grade
    subject: str
    text: str


def ok(subject: object, text: str) -> Finding:
    """All is well."""
    return Finding(Grade.OK, str(subject), text)


def warning(subject: object, text: str) -> Finding:
    """It works, but somebody should look at it."""
    return Finding(Grade.WARNING, str(subject), text)


def fault(subject: object, text: str) -> Finding:
    """It does not work, or is not safe."""
    return Finding(Grade.FAULT, str(subject), text)
