"""Random changes to octets, the same ones each time: for tests, which can't ask for atheris."""

import random
from collections.abc import Iterator, Sequence


def mutated(
    seeds: Sequence[bytes], words: Sequence[bytes], number: int, limit: int, seed: int = 0
) -> Iterator[bytes]:
    """Inputs made of the seeds by a few changes each.

    :param words: what is put in, beside single octets.
    :param number: how many inputs.
    :param limit: most octets of one.
    :param seed: another one makes other inputs.
    """
    dice = random.Random(seed)
    for _ in range(number):
        data = dice.choice(seeds)
        for _ in range(dice.choice((1, 1, 2, 3, 5, 10))):
            data = _changed(data, seeds, words, dice)
        yield data[:limit]


def _changed(
    data: bytes, seeds: Sequence[bytes], words: Sequence[bytes], dice: random.Random
) -> bytes:
    start = dice.randint(0, len(data))
    end = min(len(data), start + dice.choice((0, 1, 1, 2, 5, 20, 100)))
    match dice.randrange(6):
        case 0:
            new = dice.randbytes(dice.choice((1, 1, 2, 4)))
        case 1:
            new = dice.choice(words)
        case 2:
            new = b""
        case 3:
            new = data[start:end] * 2
        case 4:
            other = dice.choice(seeds)
            cut = dice.randint(0, len(other))
            new = other[cut : cut + dice.choice((3, 20, 100))]
        case _:
            new = data[start:end][::-1]
    return data[:start] + new + data[end:]
