"""Bytes made into others: flipped, overwritten with extremes, cut off, taken out, doubled."""

import random

EXTREMES = (
    b"\0" * 4,
    b"\xff" * 4,
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\xff\xff",
    b"\xff\xff\0\0",
    b"\0\1",
    b"\x80",
)
HEAD = 96  # bytes at the beginning of most formats that say what comes
MOST = 6  # changes


def mutated(content: bytes, generator: random.Random) -> bytes:
    """Return content with one to some changes; headers are hit as often as all the rest."""
    changed = bytearray(content)
    for _ in range(generator.randint(1, MOST)):
        if not changed:
            break
        end = len(changed) if generator.random() < 0.5 else min(HEAD, len(changed))
        place = generator.randrange(end)
        match generator.randrange(6):
            case 0:
                changed[place] ^= 1 << generator.randrange(8)
            case 1:
                changed[place] = generator.randrange(256)
            case 2:
                extreme = generator.choice(EXTREMES)
                changed[place : place + len(extreme)] = extreme
            case 3:
                del changed[place:]
            case 4:
                del changed[place : place + generator.randint(1, 16)]
            case 5:
                changed[place:place] = changed[place : place + generator.randint(1, 64)]
    return bytes(changed)
