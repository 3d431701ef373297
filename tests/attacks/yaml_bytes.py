"""Experiments whose bytes were tampered with."""

import random
from collections.abc import Iterator
from pathlib import Path

from attacks.outcomes import outcome
from attacks.yaml_structure import OPTUNA, PRETRAINED, SPACES, dry_run

CHANGES = (1, 1, 2, 4)
PIECES = (
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\x85", b"\xc2\x85", b"\xe2\x80\xa8", b"\xed\xa0\x80", b"\t", b"\r", b"\r\n",
    b"\n", b"  ", b"---\n", b"\n---\n", b"\n...\n", b"%YAML 1.1\n---\n", b"%YAML " + b"9" * 5000 + b"\n---\n",
    b"%TAG ! x\n---\n", b"&a ", b"*a", b"*a ", b"!!int ", b"!!set ", b"!!binary ", b"!", b"!<x> ", b"!%FF ", b"? ",
    b": ", b":", b"- ", b"|\n", b">2-\n", b"|99\n", b"'", b'"', b"#", b"[", b"]", b"{", b"}", b",", b"<<: ", b"<<: *a",
    b"~", b"@", b"`", b"\\x", b'"\\xZZ"', b"[" * 3000, b"- " * 3000, b"x" * 9000, b"9" * 5000, b"2026-13-45", b"0o7",
    b"=", b"\x1b[31m", b"1:30", b" " * 2000, b"? " * 500, b"a: " * 500, b"{a: " * 900,
)  # fmt: skip


def cases(seed: int, count: int) -> Iterator[bytes]:
    """Yield the bytes of experiments, each of one seed and number alone."""
    bases = [PRETRAINED.encode(), OPTUNA.encode(), *(path.read_bytes() for path in sorted(SPACES.glob("*.yaml")))]
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")
        content = rng.choice(bases[: rng.choice((2, len(bases)))])
        for _ in range(rng.choice(CHANGES)):
            content = _tampered(content, rng)
        yield content


def _tampered(content: bytes, rng: random.Random) -> bytes:
    start = rng.randint(0, len(content))
    end = min(len(content), start + rng.choice((1, 1, 3, 20, 200)))
    match rng.choice(("insert", "insert", "replace", "delete", "flip", "repeat", "cut", "random", "move")):
        case "insert":
            return content[:start] + rng.choice(PIECES) + content[start:]
        case "replace":
            return content[:start] + rng.choice(PIECES) + content[end:]
        case "delete":
            return content[:start] + content[end:]
        case "flip" if start < len(content):
            return content[:start] + bytes([content[start] ^ 1 << rng.randrange(8)]) + content[start + 1 :]
        case "repeat":
            return content[:end] + content[start:end] * rng.choice((1, 5, 300)) + content[end:]
        case "cut":
            return content[:start]
        case "random":
            return content[:start] + rng.randbytes(rng.choice((1, 4, 50))) + content[start:]
        case "move":
            place = rng.randint(0, len(content))
            return content[:place] + content[start:end] + content[place:]
    return content


def run(case: bytes, folder: Path) -> str:
    """Return what becomes of an experiment: `accepted`, `refused`, or a fault."""
    file = folder / "experiment.yaml"
    file.write_bytes(case)
    return outcome(lambda: dry_run(file))
