"""Short names of searched keys."""

from collections.abc import Sequence


def short_names(keys: Sequence[str]) -> list[str]:
    """Return names of some dotted keys, in their order: the last part of each, where it tells the key from the others.

    `name` stays whole, for it does not say of what.
    """
    last = [key.rpartition(".")[2] for key in keys]
    return [name if last.count(name) == 1 and name != "name" else key for name, key in zip(last, keys, strict=True)]
