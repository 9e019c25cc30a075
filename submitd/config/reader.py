"""Plain TOML values into option classes, strictly, with every fault and not only the first.

cattrs finds the way through the types; what it is lenient about (True for 1, 2.9 for
2, "5" for 5, unknown keys) is a fault here.
"""

import difflib
import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import attrs
from cattrs import Converter, IterableValidationError
from cattrs.errors import IterableValidationNote

from submitd.config.describe import expected
from submitd.config.errors import Fault, Faults

T = TypeVar("T")
Hook = Callable[[Any, Any], Any]


def unknown_key(key: str, known: Iterable[str]) -> Fault:
    """The fault of a key that means nothing, with the likeliest one that does."""
    close = difflib.get_close_matches(key, known, 1)
    return Fault((key,), "unknown key" + (f"; did you mean `{close[0]}`?" if close else ""))


def options_of(kind: type[Any]) -> dict[str, "attrs.Attribute[Any]"]:
    """The options of an attrs class by their names, their types resolved."""
    attrs.resolve_types(kind)
    return {field.alias or field.name: field for field in attrs.fields(kind) if field.init}


def _is_literal(kind: Any) -> bool:
    return get_origin(kind) is Literal


def _is_collection(kind: Any) -> bool:
    """Whether *kind* is a list, a set or a tuple of any length, all of one type."""
    origin = get_origin(kind)
    return origin in (list, set, frozenset) or (origin is tuple and get_args(kind)[1:] == (...,))


def _faults_of(error: Exception, value: object) -> list[Fault]:
    """The faults behind whatever a hook raised for *value*."""
    if isinstance(error, Faults):
        return list(error.faults)
    if isinstance(error, IterableValidationError):
        found: list[Fault] = []
        for inner in error.exceptions:
            notes = getattr(inner, "__notes__", ())
            index = next((n.index for n in notes if isinstance(n, IterableValidationNote)), 0)
            step = index + 1 if isinstance(index, int) else str(index)
            found += [fault.below(step) for fault in _faults_of(inner, None)]
        return found
    return [Fault((), str(error) or type(error).__name__, value)]


class Reader:
    """Reads values of one file.

    :param base: the directory that relative paths are relative to; absolute.
    """

    def __init__(self, base: Path) -> None:
        self.base = base
        self._converter = Converter()
        for scalar in (str, int, float, bool):
            hook = functools.partial(self._scalar, scalar)
            self._converter.register_structure_hook(scalar, hook)
        self._converter.register_structure_hook(Path, self._path)
        hook_factory = self._converter.register_structure_hook_factory
        hook_factory(_is_literal, lambda kind: self._literal)
        hook_factory(_is_collection, self._collection_hook)
        hook_factory(attrs.has, lambda kind: self.table)

    def value(self, kind: Any, value: object) -> Any:
        """*value* as an instance of *kind*.

        :raises Faults: with every fault in it, paths relative to the value.
        """
        try:
            return self._converter.structure(value, kind)
        except Exception as error:
            raise Faults(*_faults_of(error, value)) from error

    def table(self, value: object, kind: type[T], beside: frozenset[str] = frozenset()) -> T:
        """A table as an instance of the attrs class *kind*.

        :param beside: keys of the table that belong to somebody else.
        :raises Faults: as `value` does.
        """
        if not isinstance(value, Mapping):
            raise Faults(Fault((), "expected a table", value))
        fields = options_of(kind)
        known = fields.keys() | beside
        faults = [unknown_key(key, known) for key in value if key not in known]
        arguments: dict[str, Any] = {}
        for key, field in fields.items():
            try:
                if key in value:
                    arguments[key] = self.field(field, value[key])
                elif field.default is attrs.NOTHING:
                    faults.append(Fault((key,), f"missing; expected {expected(field.type)}"))
                elif isinstance(field.default, Path):
                    arguments[key] = self.base / field.default
            except Faults as error:
                faults += [fault.below(key) for fault in error.faults]
        if faults:
            raise Faults(*faults)
        try:
            return kind(**arguments)
        except ValueError as error:
            raise Faults(Fault((), str(error))) from error

    def field(self, field: "attrs.Attribute[Any]", value: object) -> Any:
        """*value* as what *field* holds, with the field's own check.

        :raises Faults: as `value` does.
        """
        result = self.value(field.type, value)
        if field.validator is not None:
            try:
                field.validator(None, field, result)
            except (TypeError, ValueError) as error:
                raise Faults(Fault((), str(error), value)) from error
        return result

    def _scalar(self, kind: type, value: object, _kind: object) -> Any:
        if type(value) is kind:
            return value
        if kind is float and type(value) is int:
            return float(value)
        raise Faults(Fault((), f"expected {expected(kind)}", value))

    def _path(self, value: object, _kind: object) -> Path:
        if not isinstance(value, str) or not value or "\0" in value:
            raise Faults(Fault((), "expected a path", value))
        return self.base / value

    def _literal(self, value: object, kind: Any) -> Any:
        for choice in get_args(kind):
            if type(choice) is type(value) and choice == value:
                return choice
        raise Faults(Fault((), f"expected {expected(kind)}", value))

    def _collection_hook(self, kind: Any) -> Hook:
        build, element = get_origin(kind), get_args(kind)[0]

        def hook(value: object, _kind: object) -> Any:
            if not isinstance(value, list):
                raise Faults(Fault((), f"expected {expected(kind)}", value))
            results, faults = [], []
            for number, item in enumerate(value, 1):
                try:
                    results.append(self.value(element, item))
                except Faults as error:
                    faults += [fault.below(number) for fault in error.faults]
            if faults:
                raise Faults(*faults)
            return build(results)

        return hook
