"""submitd.config.positions: where a fault stands."""

from submitd.config.positions import KeyPath, dotted, line_of, positions

TEXT = '''\
top = 1
# [comment]
[tls]
key = "[not.a.table]"
[[tls.sni]]
names = ["a"]
[[tls.sni]]
names = ["b"]
[tls.sni.deeper]
x = 1
[text]
long = """
[listener]
port = 1
"""
"quoted key" = 2
dotted.key = 3
'''


def test_lines() -> None:
    """Tables, keys, tables of an array by number and dotted keys are found on their lines."""
    expected: dict[KeyPath, int] = {
        ("top",): 1,
        ("tls",): 3,
        ("tls", "key"): 4,
        ("tls", "sni"): 5,
        ("tls", "sni", 1): 5,
        ("tls", "sni", 1, "names"): 6,
        ("tls", "sni", 2): 7,
        ("tls", "sni", 2, "names"): 8,
        ("tls", "sni", 2, "deeper"): 9,
        ("tls", "sni", 2, "deeper", "x"): 10,
        ("text",): 11,
        ("text", "long"): 12,
        ("text", "quoted key"): 16,
        ("text", "dotted", "key"): 17,
    }
    assert positions(TEXT) == expected


def test_nearest() -> None:
    """A key that isn't there is placed at its table, and one without a table nowhere."""
    known = positions(TEXT)
    assert line_of(("tls", "sni", 2, "certificate"), known) == 7
    assert line_of(("relay", "backend"), known) is None


def test_dotted() -> None:
    """A path is written as TOML writes keys, with numbers in brackets."""
    assert dotted(("tls", "sni", 2, "names")) == "tls.sni[2].names"
    assert dotted(("a key", "\n")) == '"a key"."\\n"'
