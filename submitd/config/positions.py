"""On which line of a TOML file a key stands; tomllib itself keeps no positions."""

import re

from submitd.config.describe import shown

KeyPath = tuple[str | int, ...]
"""Names of tables and keys; tables of an array by their number, counted from 1."""

_HEADER = re.compile(r"\s*(?P<open>\[\[?)\s*(?P<name>[^\[\]#]+?)\s*\]\]?\s*(?:#.*)?$")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_KEY = re.compile(r"""\s*(?P<name>(?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*[\w"'-]+)*)\s*=""")


def dotted(path: KeyPath) -> str:
    """A path in words: `listener[2].port`, `tls.key`; quoted where TOML has to quote."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part if _BARE.fullmatch(part) else shown(part)}"
    return text.removeprefix(".")


def _parts(name: str) -> list[str]:
    return [part.strip().strip("\"'") for part in name.split(".")]


def positions(text: str) -> dict[KeyPath, int]:
    """The line number, from 1, of each table header and key of *text*.

    A help for the reader of a fault message and no second parser: keys within
    inline tables are not found, nor are quoted keys with dots in them.
    """
    found: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    inside: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if inside is not None:
            if inside in line:
                inside = None
            continue
        if header := _HEADER.match(line):
            table = ()
            *outer, last = _parts(header["name"])
            for part in outer:
                table += (part,)
                if table in counts:
                    table += (counts[table],)
            table += (last,)
            if header["open"] == "[[":
                counts[table] = counts.get(table, 0) + 1
                found.setdefault(table, number)
                table += (counts[table],)
            found.setdefault(table, number)
        elif key := _KEY.match(line):
            found.setdefault((*table, *_parts(key["name"])), number)
        for quotes in ('"""', "'''"):
            if line.count(quotes) % 2:
                inside = quotes
    return found


def line_of(path: KeyPath, known: dict[KeyPath, int]) -> int | None:
    """The line of *path*, or of the nearest table around it; None when nothing is known."""
    while path:
        if path in known:
            return known[path]
        path = path[:-1]
    return None
