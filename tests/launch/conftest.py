"""A finished search to hold others against."""

from collections.abc import Callable

import pytest
from tiny import Finished


@pytest.fixture
def undisturbed(finished: Callable[..., Finished]) -> Finished:
    """The search of the tiny experiment, trained inline: what Ray's must come to, whatever happens to it."""
    return finished(tracked=True)
