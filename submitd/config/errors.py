"""What is wrong with a configuration, told all at once."""

import re
from pathlib import Path

import attrs

from submitd.config.describe import shown
from submitd.config.positions import KeyPath, dotted

# The value of such a key is never repeated, right or wrong: fault messages end up in
# logs and tickets.  Names of files that hold a secret are spared too, for who writes
# the password itself there.
_SECRET = re.compile(r"pass(word|phrase|wd)|secret|token|credential|api_?key", re.IGNORECASE)
_USER_INFO = re.compile(r"//[^/@\s]*@")  # https://user:password@host/


@attrs.frozen
class Fault:
    """One thing wrong.

    :ivar path: the key or table it is about; empty for the file as a whole.
    :ivar text: what was expected, or what else is wrong, in words.
    :ivar value: what stood there, or None where nothing did or it is not to be shown.
    """

    path: KeyPath
    text: str
    value: object = None

    def below(self, *outer: str | int) -> "Fault":
        """The same fault, seen from further out."""
        return attrs.evolve(self, path=(*outer, *self.path))

    def __str__(self) -> str:
        """The fault in one line, without a line end."""
        name = dotted(self.path)
        if not name:
            return self.text
        if self.value is None or any(_SECRET.search(str(part)) for part in self.path):
            return f"{name}: {self.text}"
        return f"{name} = {_USER_INFO.sub('//...@', shown(self.value))}: {self.text}"


class Faults(Exception):
    """Carries faults up through the structure they were found in."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__(*map(str, faults))
        self.faults = faults


class ConfigurationError(Exception):
    """A configuration that can't be used.

    :ivar file: its path.
    :ivar faults: every fault, each with its line number where one is known.
    """

    def __init__(self, file: Path, faults: list[tuple[int | None, Fault]]) -> None:
        super().__init__(file, faults)
        self.file = file
        self.faults = faults

    @property
    def lines(self) -> list[str]:
        """One line a fault: `line 7: listener[1].port = 70000: expected ...`."""
        return [f"line {line}: {fault}" if line else str(fault) for line, fault in self.faults]

    def __str__(self) -> str:
        """The file's name and every fault, one a line."""
        return "\n  ".join([f"{self.file}:", *self.lines])
