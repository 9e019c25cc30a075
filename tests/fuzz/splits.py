"""How a stream is cut into pieces, as one octet of a fuzzer's input says."""

import random
from collections.abc import Iterator


def pieces(data: bytes, pattern: int) -> Iterator[bytes]:
    """Cut *data* up: 0 not at all, up to 63 in pieces of so many octets, above at random.

    :param pattern: 0 to 255; the same one cuts in the same way each time.
    """
    if pattern == 0:
        yield data
        return
    dice = random.Random(pattern)
    start = 0
    while start < len(data):
        octets = pattern if pattern < 64 else dice.choice((1, 1, 2, 3, 7, 30, 200))
        yield data[start : start + octets]
        start += octets
