"""The names that folders and files of a split have."""

import re

SPELLINGS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "unlabelled": "unlabelled",
    "unlabeled": "unlabelled",
    "unsupervised": "unlabelled",
}
VALIDATION = ("val", "valid", "validation", "dev")
NO_VALIDATION = "raysl uses no validation images; put them into train or test, or away"


def split_of(name: str) -> str | None:
    """Return the split that a name stands for, in any case of letters; None for another name."""
    return SPELLINGS.get(name.casefold())


def is_validation(name: str) -> bool:
    """Return whether a name is that of validation images."""
    return name.casefold() in VALIDATION


def words(name: str) -> set[str]:
    """Return the words of a name: `train-00000-of-00002` has train and of."""
    return set(re.findall(r"[a-z]+", name.casefold()))
