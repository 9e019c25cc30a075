"""submitd.config.reader: strict types, as options of plugins use them."""

from pathlib import Path
from typing import Literal

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from submitd.config.errors import Faults
from submitd.config.reader import Reader
from submitd.options import at_least, option

BASE = Path("/site")


@attrs.frozen(kw_only=True)
class Inner:
    """A table within a table."""

    size: int = option("A size.", check=at_least(1))


@attrs.frozen(kw_only=True)
class Options:
    """What somebody's plugin might ask for."""

    number: int = option("A number.", default=1)
    ratio: float = option("A ratio.", default=0.5)
    flag: bool = option("A flag.", default=False)
    text: str | None = option("A text.", default=None)
    where: Path = option("A path.", default=Path("there"))
    kind: Literal["a", "b"] = option("A choice.", default="a")
    names: tuple[str, ...] = option("Names.", default=())
    sizes: dict[str, int] = option("Sizes by name.", factory=dict)
    inner: Inner | None = option("A table.", default=None)


def read(**values: object) -> Options:
    """The table with these values."""
    return Reader(BASE).table(values, Options)


def faults(**values: object) -> list[str]:
    """What is wrong with the table of these values."""
    with pytest.raises(Faults) as caught:
        read(**values)
    return [str(fault) for fault in caught.value.faults]


def test_good_values() -> None:
    """Values of the right type come through, paths made absolute, defaults among them."""
    options = read(number=2, ratio=1, flag=True, text="x", kind="b", names=["a"], inner={"size": 3})
    assert options == Options(
        number=2,
        ratio=1.0,
        flag=True,
        text="x",
        where=BASE / "there",
        kind="b",
        names=("a",),
        inner=Inner(size=3),
    )


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"number": True}, "number = true: expected a whole number"),
        ({"number": 2.0}, "number = 2.0: expected a whole number"),
        ({"number": "2"}, 'number = "2": expected a whole number'),
        ({"ratio": True}, "ratio = true: expected a number"),
        ({"flag": 1}, "flag = 1: expected true or false"),
        ({"text": 5}, "text = 5: expected a text"),
        ({"where": "a\0b"}, 'where = "a\\x00b": expected a path'),
        ({"kind": "c"}, 'kind = "c": expected "a" or "b"'),
        ({"names": "abc"}, 'names = "abc": expected a list, each a text'),
        ({"names": ["a", 1]}, "names[2] = 1: expected a text"),
        ({"sizes": {"x": "1"}}, 'sizes.x = "1": expected a whole number'),
        ({"inner": {"size": 0}}, "inner.size = 0: expected at least 1"),
        ({"inner": {}}, "inner.size: missing; expected a whole number"),
        ({"inner": 3}, "inner = 3: expected a table"),
        ({"nubmer": 3}, "nubmer: unknown key; did you mean `number`?"),
    ],
)
def test_strict(values: dict[str, object], fault: str) -> None:
    """What cattrs would let pass or turn into something else is a fault, told in one sentence."""
    assert faults(**values) == [fault]


def test_all_at_once() -> None:
    """Every fault is found, not the first alone."""
    assert len(faults(number="x", flag=1, names=[1, 2], other=1)) == 5


@pytest.mark.parametrize("key", ["password", "api_key", "auth_token", "SecretWord", "passphrase"])
def test_secrets_are_not_repeated(key: str) -> None:
    """The value of a key that sounds like a secret does not stand in the fault."""
    kind = attrs.make_class("Secretive", {key: option("A secret.", type=str)}, frozen=True)
    with pytest.raises(Faults) as caught:
        Reader(BASE).table({key: 4711}, kind)
    assert str(caught.value.faults[0]) == f"{key}: expected a text"


TOML = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


KEYS = st.sampled_from([field.name for field in attrs.fields(Options)]) | st.text(max_size=8)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(KEYS, TOML))
def test_nothing_but_faults(values: dict[str, object]) -> None:
    """Whatever stands in a file gives options or faults of one line each, never another error."""
    found = ["none"]
    try:
        Reader(BASE).table(values, Options)
    except Faults as error:
        found = [str(fault) for fault in error.faults]
    assert found
    assert all(fault.isprintable() for fault in found)
