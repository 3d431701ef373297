"""Short names of searched keys."""

from collections.abc import Sequence


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Return each dotted key's shortest ending that no other key has: `lr` for `optimizer.lr`.

    `name` alone does not say of what, so that it has the part before it too.
    """
    return {
        key: next(end for end in _endings(key) if end == key or (end != "name" and _is_alone(end, key, keys)))
        for key in keys
    }


def _endings(key: str) -> list[str]:
    parts = key.split(".")
    return [".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1)]


def _is_enough(end: str, key: str, keys: Sequence[str]) -> bool:
    return end != "name" and not any(other != key and f".{other}".endswith(f".{end}") for other in keys)
