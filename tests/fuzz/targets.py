"""The fuzz targets by name: each takes octets, and raises only where something is wrong."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.fuzz import exchanges, framing, parsers, session

Target = Callable[[bytes], None]

TARGETS: Mapping[str, Target] = {
    "session": session.target,
    "header": parsers.header,
    "address": parsers.address,
    "data": framing.data,
    "chunks": framing.chunks,
    "sasl": exchanges.sasl,
    "client": exchanges.client,
    "replies": exchanges.replies,
    "senders": parsers.senders,
    "htpasswd": parsers.htpasswd,
    "configuration": parsers.configuration,
}

CORPUS = Path(__file__).parent / "corpus"
DICTIONARY = Path(__file__).parent / "dictionary"


def seeds(name: str) -> list[bytes]:
    """The corpus of a target, in the order of the files' names."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


def words() -> Iterator[bytes]:
    """What the dictionary has, one word a line in quotes, with Python's escapes."""
    for line in DICTIONARY.read_text("ascii").splitlines():
        if line.startswith('"'):
            yield line[1:-1].encode().decode("unicode_escape").encode("latin-1")
