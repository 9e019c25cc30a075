"""The sample configuration and the manual, made from the definitions of the options.

`python -m submitd.config.render` writes etc/submitd.toml and docs/configuration.md;
with `--check` it writes nothing and fails when they differ.
"""

import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import attrs

from submitd import plugins
from submitd.config.describe import expected, without_none
from submitd.config.model import Configuration, PluginChoice, PluginTable
from submitd.config.reader import options_of
from submitd.options import Range

SAMPLE = "etc/submitd.toml"
MANUAL = "docs/configuration.md"
_COLUMNS = 98
_REQUIRED = "required"

# What the sample shows in use; all else stands there as a comment with its default.
_SHOWN: dict[str, Any] = {
    "hostname": "mail.example.org",
    "tls.certificate": "tls/fullchain.pem",
    "tls.key": "tls/privkey.pem",
    "users.file": "users.htpasswd",
    "senders.file": "senders",
    "queue.path": "spool",
    "relay.host": "smtp.example.net",
    "relay.port": 465,
    "relay.tls": "implicit",
    "relay.username": "org",
    "relay.password_file": "relay.password",
}
_PLUGINS = {"users": "htpasswd", "queue": "sqlite", "relay": "smarthost"}
_LISTENERS = ((465, "implicit"), (587, "starttls"))


@attrs.frozen
class Table:
    """One table of the file, as both documents show it.

    :ivar name: such as `"relay"`; empty for the top of the file.
    :ivar doc: the first sentences of the docstring of its class.
    :ivar options: its options by name, those of all who share the table.
    :ivar plugin: the plugin that has these options, or None.
    :ivar choice: how the plugin is chosen, or None.
    """

    name: str
    doc: str
    options: dict[str, "attrs.Attribute[Any]"]
    plugin: str | None = None
    choice: PluginChoice | None = None


def _doc(kind: type[Any]) -> str:
    return " ".join((kind.__doc__ or "").split("\n\n", 1)[0].split())


def _is_builtin(factory: Any) -> bool:
    return type(factory).__module__.startswith("submitd.")


def tables() -> Iterator[Table]:
    """Every table in the order of the file, a table with plugins once for each of submitd's own."""
    attrs.resolve_types(Configuration)
    shared: dict[str, dict[str, attrs.Attribute[Any]]] = {}
    fields = options_of(Configuration).values()
    for field in fields:
        if "table" in field.metadata:
            shared.setdefault(field.metadata["table"], {}).update(options_of(_kind(field)))
    top = {field.name: field for field in fields if "doc" in field.metadata}
    listener = top.pop("listener")
    yield Table("", "", top)
    for field in fields:
        if field.name in top or "table" in field.metadata:
            continue
        beside = shared.get(field.name, {})
        if field is listener:
            kind = get_args(field.type)[0]
            yield Table(field.name, _doc(kind), options_of(kind))
        elif field.type is not PluginTable:
            yield Table(field.name, _doc(_kind(field)), options_of(_kind(field)) | beside)
        else:
            choice = field.metadata["plugin"]
            for name in plugins.names(choice.kind):
                factory = plugins.find(choice.kind, name)
                if _is_builtin(factory):
                    options = options_of(factory.options) | beside
                    yield Table(field.name, _doc(factory.options), options, name, choice)


def _kind(field: "attrs.Attribute[Any]") -> type[Any]:
    kind: type[Any] = without_none(field.type)
    return kind


def _default(field: "attrs.Attribute[Any]") -> Any:
    if isinstance(field.default, attrs.Factory):  # type: ignore[arg-type]
        return field.default.factory()  # type: ignore[union-attr]
    return field.default


def _toml(value: object) -> str:
    if isinstance(value, tuple | list | set | frozenset):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(str(value) if isinstance(value, Path) else value)


# ---- etc/submitd.toml -------------------------------------------------------------


def _comment(text: str) -> Iterator[str]:
    yield from textwrap.wrap(text, _COLUMNS, initial_indent="# ", subsequent_indent="# ")


def _is_tables(field: "attrs.Attribute[Any]") -> bool:
    return any(attrs.has(element) for element in get_args(field.type))


def _sample_option(path: str, field: "attrs.Attribute[Any]") -> Iterator[str]:
    yield from _comment(field.metadata["doc"])
    name = path.rpartition(".")[2]
    default = _default(field)
    choices = f"    # {expected(field.type)}" if _is_choice(field) else ""
    if path in _SHOWN:
        yield f"{name} = {_toml(_SHOWN[path])}{choices}"
    elif default is attrs.NOTHING or default is None:
        yield f"# {name} = {_placeholder(field)}{choices}"
    else:
        yield f"# {name} = {_toml(default)}{choices}"


def _is_choice(field: "attrs.Attribute[Any]") -> bool:
    return get_origin(without_none(field.type)) is Literal


def _placeholder(field: "attrs.Attribute[Any]") -> str:
    kind = without_none(field.type)
    if get_origin(kind) in (tuple, list):
        return '["..."]'
    return '"..."' if kind in (str, Path) else "..."


def _sample_table(table: Table) -> Iterator[str]:
    if table.choice is not None:
        yield f"[{table.name}]"
        others = [f'"{name}"' for name in plugins.names(table.choice.kind) if name != table.plugin]
        if others:
            yield from _comment(f"Others: {', '.join(others)}; their keys: docs/configuration.md.")
        yield f"{table.choice.key} = {_toml(table.plugin)}"
    elif table.name:
        yield f"[{table.name}]"
    later = []
    for name, field in table.options.items():
        if _is_tables(field):
            later.append((name, field))
        else:
            yield from _sample_option(f"{table.name}.{name}".removeprefix("."), field)
    for name, field in later:
        yield ""
        yield from _comment(field.metadata["doc"])
        yield f"# [[{table.name}.{name}]]"
        for key, option in options_of(get_args(field.type)[0]).items():
            yield from _sample_option(f"{table.name}.{name}.{key}", option)


def _sample_listeners(table: Table) -> Iterator[str]:
    """The first listener explained, the others with what differs."""
    for number, (port, tls) in enumerate(_LISTENERS):
        yield from [""] * bool(number)
        yield f"[[{table.name}]]"
        values = {"port": port, "tls": tls}
        for name, field in table.options.items():
            lines = list(_sample_option(f"{table.name}.{name}", field))
            *comment, last = lines
            if not number:
                yield from comment
            if name in values:
                choices = last.partition("    ")[2] if not number else ""
                yield f"{name} = {_toml(values[name])}" + (f"    {choices}" if choices else "")
            elif not number:
                yield last


def sample() -> str:
    """The text of etc/submitd.toml."""
    lines = [
        "# The configuration of submitd, whole: what is commented out stands at its default.",
        "# Relative paths are relative to this file. Made by `python -m submitd.config.render`.",
    ]
    for table in tables():
        if table.plugin is None or table.plugin == _PLUGINS[table.name]:
            lines.append("")
            show = _sample_listeners if table.name == "listener" else _sample_table
            lines += show(table)
    return "\n".join(lines) + "\n"


# ---- docs/configuration.md --------------------------------------------------------

_INTRODUCTION = """\
# Configuration

One file in [TOML](https://toml.io/), `/etc/submitd/submitd.toml` unless another is named:
`twistd submitd --config FILE`, `submitctl --config FILE`. [etc/submitd.toml](../etc/submitd.toml)
is a sample with every key; `submitctl init` writes a short one that works.

- A relative path is relative to the file itself.
- An unknown key, a value of another type (`true` for a number, `2.0` for `2`, `"5"` for `5`) and a
  value out of its range are faults. The server does not start with a fault, and all are told at
  once: `submitctl check --offline` tells them too.
- In a fault, `listener[2].port` is the key `port` of the second `[[listener]]`. The value of a key
  that sounds like a secret (`password`, `token` ...) is never repeated.
- Units are part of names: `_s` seconds, `_bytes` octets.
- The file is read at the start. A change needs a restart; certificates, users and senders do not.

This page is made from the options' definitions by `python -m submitd.config.render`.
"""


def _row(name: str, field: "attrs.Attribute[Any]") -> str:
    default = _default(field)
    if default is attrs.NOTHING:
        shown = _REQUIRED
    elif default is None:
        shown = "not set"
    elif default == () and _is_tables(field):
        shown = "none"
    else:
        shown = f"`{_toml(default)}`"
    check = field.metadata.get("check")
    kind = f"{expected(field.type)}, {check}" if isinstance(check, Range) else expected(field.type)
    text = field.metadata["doc"].replace("|", "\\|")
    return f"| `{name}` | {kind} | {shown} | {text} |"


_HEAD = ("| key | value | default | |", "|---|---|---|---|")


def _manual_table(table: Table) -> Iterator[str]:
    yield ""
    if table.plugin is not None and table.choice is not None:
        yield f'## `[{table.name}]`, `{table.choice.key} = "{table.plugin}"`'
    elif table.name:
        yield f"## `[[{table.name}]]`" if table.name == "listener" else f"## `[{table.name}]`"
    else:
        yield "## Top of the file"
    if text := table.doc.partition(": ")[2] or "":
        yield ""
        yield text[0].upper() + text[1:]
    rows = [_row(name, field) for name, field in table.options.items()]
    if table.choice is not None:
        default = _REQUIRED if table.choice.default is None else f"`{_toml(table.choice.default)}`"
        text = f"Chooses the kind of {plugins.KINDS[table.choice.kind]}."
        rows.insert(0, f'| `{table.choice.key}` | "{table.plugin}" | {default} | {text} |')
    if rows:
        yield ""
        yield from (*_HEAD, *rows)
    for name, field in table.options.items():
        if _is_tables(field):
            kind = get_args(field.type)[0]
            nested = Table(f"{table.name}.{name}", _doc(kind), options_of(kind))
            yield ""
            yield f"### `[[{nested.name}]]`"
            yield ""
            yield from (*_HEAD, *(_row(key, option) for key, option in nested.options.items()))


def manual() -> str:
    """The text of docs/configuration.md."""
    lines = [line for table in tables() for line in _manual_table(table)]
    return _INTRODUCTION + "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Write both documents into the source tree, or with `--check` compare them.

    :returns: the exit status: 1 when `--check` found a difference.
    """
    root = Path(__file__).parents[2]
    status = 0
    for name, text in ((SAMPLE, sample()), (MANUAL, manual())):
        file = root / name
        if arguments != ["--check"]:
            file.write_text(text, "utf-8")
        elif not file.exists() or file.read_text("utf-8") != text:
            print(f"{name} differs; python -m submitd.config.render writes it anew")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
