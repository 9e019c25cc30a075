"""From a file to a `Configuration`, or to every reason why not."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from submitd import plugins
from submitd.config.describe import expected, quoted
from submitd.config.errors import ConfigurationError, Fault, Faults
from submitd.config.model import Configuration, PluginChoice, PluginTable, cross_check
from submitd.config.positions import line_of, positions
from submitd.config.reader import Reader, options_of, unknown_key

Fields = list["attrs.Attribute[Any]"]


def load(path: Path) -> Configuration:
    """Read and check a configuration file.

    Relative paths in it are relative to its directory and come out absolute.  The
    files they name are not looked at.

    :raises ConfigurationError: with every fault; also when the file can't be read.
    """
    path = path.absolute()
    try:
        text = path.read_bytes().decode("utf-8")
        data = tomllib.loads(text)
    except OSError as error:
        fault = Fault((), f"can't be read: {error.strerror}")
        raise ConfigurationError(path, [(None, fault)]) from None
    except UnicodeDecodeError as error:
        fault = Fault((), f"is not UTF-8 at octet {error.start + 1}")
        raise ConfigurationError(path, [(None, fault)]) from None
    except tomllib.TOMLDecodeError as error:
        fault = Fault((), f"is not TOML: {error}")
        raise ConfigurationError(path, [(None, fault)]) from None
    try:
        configuration = read(data, path.parent)
    except Faults as error:
        known = positions(text)
        located = [(line_of(fault.path, known), fault) for fault in error.faults]
        raise ConfigurationError(path, located) from None
    return configuration


def read(data: Mapping[str, Any], base: Path) -> Configuration:
    """Make a configuration of the plain values of a file.

    :param base: what relative paths are relative to; absolute.
    :raises Faults: with every fault.
    """
    reader = Reader(base)
    attrs.resolve_types(Configuration)
    tables: dict[str, Fields] = {}
    for field in attrs.fields(Configuration):
        tables.setdefault(field.metadata.get("table", field.name), []).append(field)
    faults = [unknown_key(key, tables) for key in data if key not in tables]
    arguments: dict[str, Any] = {}
    for name, fields in tables.items():
        try:
            if _is_table(fields[0]):
                arguments |= _read_table(reader, data.get(name, {}), fields)
            elif name in data:
                arguments[name] = reader.field(fields[0], data[name])
            elif fields[0].default is attrs.NOTHING:
                faults.append(Fault((name,), f"missing; expected {expected(fields[0].type)}"))
        except Faults as error:
            faults += [fault.below(name) for fault in error.faults]
    if not faults:
        configuration = Configuration(**arguments)
        faults = cross_check(configuration)
        if not faults:
            return configuration
    raise Faults(*faults)


def _is_table(field: "attrs.Attribute[Any]") -> bool:
    return field.type is not None and (field.type is PluginTable or attrs.has(field.type))


def _read_table(reader: Reader, table: object, fields: Fields) -> dict[str, Any]:
    """Read one table, which may be the home of several fields of the configuration.

    :raises Faults: with paths relative to the table.
    """
    if not isinstance(table, Mapping):
        raise Faults(Fault((), "expected a table", table))
    faults: list[Fault] = []
    factories: dict[str, Any] = {}
    kinds: dict[str, Any] = {}
    keys: set[str] = set()
    for field in fields:
        kinds[field.name] = field.type
        choice: PluginChoice | None = field.metadata.get("plugin")
        if choice is not None:
            keys.add(choice.key)
            try:
                factories[field.name] = _factory(choice, table)
            except Faults as error:
                faults += error.faults
                del kinds[field.name]
            else:
                kinds[field.name] = factories[field.name].options
    for kind in kinds.values():
        keys |= options_of(kind).keys()
    if not faults:  # without its plugin nobody knows what else a table may hold
        faults += [_unknown_in_table(key, keys) for key in table if key not in keys]
    arguments: dict[str, Any] = {}
    for name, kind in kinds.items():
        try:
            options = reader.table(table, kind, frozenset(table))
        except Faults as error:
            faults += error.faults
        else:
            factory = factories.get(name)
            arguments[name] = options if factory is None else PluginTable(factory, options)
    if faults:
        raise Faults(*faults)
    return arguments


def _factory(choice: PluginChoice, table: Mapping[str, Any]) -> Any:
    """The factory that *table* names.

    :raises Faults: when it names none, or one that isn't there.
    """
    name = table.get(choice.key, choice.default)
    there = plugins.names(choice.kind)
    if name is None:
        raise Faults(Fault((choice.key,), f"missing; expected {quoted(there)}"))
    if name not in there:
        raise Faults(Fault((choice.key,), f"expected {quoted(there)}", name))
    try:
        return plugins.find(choice.kind, name)
    except plugins.PluginError as error:
        raise Faults(Fault((choice.key,), str(error), name)) from error


def _unknown_in_table(key: str, known: Iterable[str]) -> Fault:
    for field in attrs.fields(Configuration):
        if field.name == key and not _is_table(field):
            text = "unknown key here; it belongs at the top of the file, before the first table"
            return Fault((key,), text)
    return unknown_key(key, known)
