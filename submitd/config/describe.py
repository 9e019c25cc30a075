"""What a type expects, in the words that fault messages and the manual share."""

import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import attrs

_SCALARS: dict[object, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Path: "a path",
}


def quoted(values: Sequence[object]) -> str:
    """Values as alternatives in a sentence: `"a", "b" or "c"`."""
    *first, last = [f'"{value}"' if isinstance(value, str) else str(value) for value in values]
    return f"{', '.join(first)} or {last}" if first else last


def without_none(kind: Any) -> Any:
    """The type itself, or T where it is `T | None`: TOML has no null, only keys left out."""
    if get_origin(kind) in (Union, types.UnionType):
        others = tuple(arm for arm in get_args(kind) if arm is not type(None))
        return others[0] if len(others) == 1 else Union[others]  # noqa: UP007
    return kind


def expected(kind: Any) -> str:
    """What a value of type *kind* looks like in TOML: completes "expected ..."."""
    kind = without_none(kind)
    origin = get_origin(kind)
    if kind in _SCALARS:
        return _SCALARS[kind]
    if origin is Literal:
        return quoted(get_args(kind))
    if origin in (Union, types.UnionType):
        return " or ".join(expected(arm) for arm in get_args(kind))
    if attrs.has(origin or kind) or (origin is not None and issubclass(origin, Mapping)):
        return "a table"
    if origin in (tuple, list, set, frozenset):
        element = get_args(kind)[0]
        singular, _, rest = expected(element).partition(" ")
        if attrs.has(element):
            return "a list of tables, each in [[double brackets]]"
        return f"a list, each {singular} {rest}".rstrip()
    return f"a value of type {getattr(kind, '__name__', kind)}"


def shown(value: object, most: int = 48) -> str:
    """A value as TOML writes it, shortened to about *most* characters."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | Path):
        text = str(value).encode("unicode_escape").decode("ascii").replace('"', '\\"')
        return f'"{text}"' if len(text) <= most else f'"{text[: most - 3]}..."'
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list | tuple | set | frozenset):
        text = f"[{', '.join(shown(element, most) for element in value)}]"
        return text if len(text) <= most else f"{text[: most - 4]}...]"
    text = str(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."
